package capture_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/sched"
)

// keys returns the JSON keys of a struct, in order; embedded structs are part of it.
func keys(t reflect.Type) (all []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name != "":
			all = append(all, name)
		case f.Anonymous:
			all = append(all, keys(f.Type)...)
		}
	}
	return all
}

// TestDocumentedLedgerKeysAreTheEncodedOnes compares the tables of docs/JSON.md,
// section "ledger", with the structs that WriteJSON encodes.
func TestDocumentedLedgerKeysAreTheEncodedOnes(t *testing.T) {
	text, err := os.ReadFile("../docs/JSON.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "\n## ledger\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	structs := map[string]reflect.Type{
		"the ledger":     capture.LedgerDocument,
		"account":        reflect.TypeFor[capture.Account](),
		"missed":         reflect.TypeFor[capture.Count](),
		"clock":          reflect.TypeFor[capture.ClockAccount](),
		"queues":         reflect.TypeFor[capture.QueueAccount](),
		"rules":          reflect.TypeFor[capture.RuleCount](),
		"listeners":      reflect.TypeFor[capture.ListenerAccount](),
		"older_detached": reflect.TypeFor[capture.DetachedAccount](),
		"gaps":           reflect.TypeFor[sched.Bucket](),
		"worst_gaps":     reflect.TypeFor[sched.Gap](),
		"storers":        reflect.TypeFor[capture.StorerAccount](),
		"failed":         reflect.TypeFor[capture.ByteCount](),
	}
	key := regexp.MustCompile("(?m)^\\| `([a-z_0-9]+)` \\|")
	unit := regexp.MustCompile("^[a-z0-9]+(_[a-z0-9]+)*$")
	parts := strings.Split(section, "\n### ")[1:]
	require.Len(t, parts, len(structs))
	for _, part := range parts {
		title, table, _ := strings.Cut(part, "\n")
		typ, ok := structs[title]
		require.True(t, ok, title)
		var documented []string
		for _, m := range key.FindAllStringSubmatch(table, -1) {
			documented = append(documented, m[1])
			require.Regexp(t, unit, m[1])
		}
		require.Equal(t, keys(typ), documented, title)
	}
}
