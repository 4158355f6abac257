package settings

import (
	"encoding"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// decoder reads TOML into structs by their tags. Unlike the library it continues
// after a mistake, and records the line of each key.
type decoder struct {
	problems
	dir  string // folder of the file
	meta toml.MetaData
}

// probe extracts a value from the library and always fails: the library reports
// the line of a value only in an error.
type probe struct{ value any }

var errProbe = errors.New("extracted")

// UnmarshalTOML implements toml.Unmarshaler.
func (p *probe) UnmarshalTOML(v any) error {
	p.value = v
	return errProbe
}

// mark records the line of a key and returns its value.
func (d *decoder) mark(key string, p toml.Primitive) any {
	var got probe
	err := d.meta.PrimitiveDecode(p, &got)
	if e := (toml.ParseError{}); errors.As(err, &e) {
		d.origin.lines[key] = e.Position.Line
	}
	return got.value
}

// open returns the content of a table.
func (d *decoder) open(key string, p toml.Primitive) (map[string]toml.Primitive, bool) {
	if _, table := d.mark(key, p).(map[string]any); !table {
		d.add(key, "not a table: write [%s] and its settings below", key)
		return nil, false
	}
	var content map[string]toml.Primitive
	if err := d.meta.PrimitiveDecode(p, &content); err != nil {
		d.add(key, "%v", err)
		return nil, false
	}
	return content, true
}

// table reads a table into the struct that into points to.
func (d *decoder) table(key string, p toml.Primitive, into any) {
	content, ok := d.open(key, p)
	if !ok {
		return
	}
	v := reflect.ValueOf(into).Elem()
	known := map[string]reflect.Value{}
	var names []string
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("toml"); name != "" {
			known[name] = v.Field(i)
			names = append(names, name)
		}
	}
	for name, p := range content {
		path := key + "." + name
		field, ok := known[name]
		switch {
		case !ok:
			d.mark(path, p)
			d.add(path, "unknown key%s", suggestion(name, names))
		case field.Kind() == reflect.Struct && !isText(field):
			d.table(path, p, field.Addr().Interface())
		default:
			if err := d.set(field, d.mark(path, p)); err != nil {
				d.add(path, "%v", err)
			}
		}
	}
}

func isText(v reflect.Value) bool {
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

// set sets a field to a TOML value.
func (d *decoder) set(field reflect.Value, v any) error {
	if into, ok := field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		text, err := argument(v)
		if err != nil {
			return err
		}
		if text == "" {
			return errEmpty
		}
		if _, rules := into.(*Rules); rules {
			text = relative(d.dir, text)
		}
		return into.UnmarshalText([]byte(text))
	}
	switch field.Kind() {
	case reflect.String:
		text, ok := v.(string)
		switch {
		case ok && strings.TrimSpace(text) == "":
			return errEmpty
		case text == none:
			field.SetString("")
			return nil
		case ok:
			field.SetString(text)
			return nil
		}
		return fmt.Errorf("%s: must be text in quotes", describe(v))
	case reflect.Bool:
		if b, ok := v.(bool); ok {
			field.SetBool(b)
			return nil
		}
		return fmt.Errorf("%s: must be true or false", describe(v))
	case reflect.Int:
		if n, ok := v.(int64); ok {
			field.SetInt(n)
			return nil
		}
		return fmt.Errorf("%s: must be a number without quotes", describe(v))
	case reflect.Slice: // of strings
		if text, ok := v.(string); ok {
			v = []any{text}
		}
		list, ok := v.([]any)
		texts := reflect.MakeSlice(field.Type(), 0, len(list))
		for _, e := range list {
			text, is := e.(string)
			ok = ok && is
			texts = reflect.Append(texts, reflect.ValueOf(text))
		}
		if !ok {
			return fmt.Errorf(`%s: must be texts, such as ["/data0", "/data1"]`, describe(v))
		}
		field.Set(texts)
		return nil
	}
	return fmt.Errorf("a field of type %v cannot be read", field.Type())
}

// argument is a value as the argument of a flag.
func argument(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int64, bool:
		return fmt.Sprint(v), nil
	case []any:
		var parts []string
		for _, e := range v {
			part, err := argument(e)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("%s: must be text in quotes", describe(v))
}

// describe describes a value in messages.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case int64, bool, float64:
		return fmt.Sprint(v)
	case map[string]any, []map[string]any:
		return "a table"
	case []any:
		return "a list"
	}
	return fmt.Sprintf("%v", v)
}

// relative resolves the FILE of @FILE in a folder.
func relative(dir, text string) string {
	if name, file := strings.CutPrefix(text, "@"); file && !filepath.IsAbs(name) {
		return "@" + filepath.Join(dir, name)
	}
	return text
}

// suggestion names the known word that is most like a word, or all of them.
func suggestion(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if n := editDistance(word, k); n < least {
			best, least = k, n
		}
	}
	if best != "" {
		return fmt.Sprintf(": did you mean %s?", best)
	}
	sorted := slices.Sorted(slices.Values(known))
	return ": must be one of " + strings.Join(sorted, ", ")
}

// editDistance is how many bytes must be added, removed or replaced to turn a into
// b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			same := diagonal
			if a[i] != b[j] {
				same++
			}
			row[j+1] = min(same, above+1, row[j]+1)
			diagonal = above
		}
	}
	return row[len(b)]
}
