package jsondoc

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	key  = regexp.MustCompile("(?m)^\\| `([a-zA-Z_0-9]+)` \\|")
	name = regexp.MustCompile("^[a-z0-9]+(_[a-z0-9]+)*$")
)

// Check requires that each table of a section of the document at path has the keys of
// a struct, in order, and that there is a table for each. A section with one struct
// may have no titles: its title is then "".
func Check(t *testing.T, path, section string, structs map[string]reflect.Type) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	_, part, found := strings.Cut(string(text), "\n## "+section+"\n")
	require.True(t, found, "%s has no section %q", path, section)
	part, _, _ = strings.Cut(part, "\n## ")
	tables := strings.Split(part, "\n### ")
	if _, untitled := structs[""]; untitled {
		tables[0] = "\n" + tables[0]
	} else {
		tables = tables[1:]
	}
	require.Len(t, tables, len(structs), "%s, section %q", path, section)
	for _, table := range tables {
		title, rows, _ := strings.Cut(table, "\n")
		typ, known := structs[title]
		require.True(t, known, "%s, section %q: no struct for %q", path, section, title)
		var documented []string
		for _, m := range key.FindAllStringSubmatch(rows, -1) {
			documented = append(documented, m[1])
			require.Regexp(t, name, m[1])
		}
		require.Equal(t, Keys(typ), documented, "%s, section %q, %q", path, section, title)
	}
}

// Keys returns the JSON keys of a struct in order, with those of embedded structs.
func Keys(t reflect.Type) (all []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case key != "" && key != "-":
			all = append(all, key)
		case f.Anonymous:
			all = append(all, Keys(f.Type)...)
		}
	}
	return all
}
