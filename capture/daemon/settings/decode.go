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

// decoder reads TOML into structs by their tags. Unlike the library it goes on
// after a mistake, and knows the line of each.
type decoder struct {
	problems
	dir  string // of the file
	meta toml.MetaData
}

// probe takes a value out of the library, and always fails: the library tells a
// value's line only with an error.
type probe struct{ value any }

var errProbe = errors.New("taken")

// UnmarshalTOML implements toml.Unmarshaler.
func (p *probe) UnmarshalTOML(v any) error {
	p.value = v
	return errProbe
}

// mark notes the line of a key and returns its value.
func (d *decoder) mark(key string, p toml.Primitive) any {
	var got probe
	err := d.meta.PrimitiveDecode(p, &got)
	if e := (toml.ParseError{}); errors.As(err, &e) {
		d.origin.lines[key] = e.Position.Line
	}
	return got.value
}

// open is the content of a table.
func (d *decoder) open(key string, p toml.Primitive) (map[string]toml.Primitive, bool) {
	if _, table := d.mark(key, p).(map[string]any); !table {
		d.add(key, "%s is no table: write [%[1]s] and its settings below", key)
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
			d.add(path, "unknown key %s in [%s]%s", name, key, instead(name, names))
		case field.Kind() == reflect.Struct && !isText(field):
			d.table(path, p, field.Addr().Interface())
		default:
			if err := d.set(field, d.mark(path, p)); err != nil {
				text := err.Error()
				if !strings.HasPrefix(text, name+" ") && !strings.HasPrefix(text, name+":") {
					text = name + ": " + text
				}
				d.add(path, "%s", text)
			}
		}
	}
}

func isText(v reflect.Value) bool {
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

// set puts a TOML value into a field.
func (d *decoder) set(field reflect.Value, v any) error {
	if into, ok := field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		text, err := words(v)
		if err != nil {
			return err
		}
		if _, rules := into.(*Rules); rules {
			text = beside(d.dir, text)
		}
		return into.UnmarshalText([]byte(text))
	}
	switch field.Kind() {
	case reflect.String:
		if text, ok := v.(string); ok {
			field.SetString(text)
			return nil
		}
		return fmt.Errorf("%s: want text in quotes", kind(v))
	case reflect.Bool:
		if b, ok := v.(bool); ok {
			field.SetBool(b)
			return nil
		}
		return fmt.Errorf("%s: want true or false", kind(v))
	case reflect.Int:
		if n, ok := v.(int64); ok {
			field.SetInt(n)
			return nil
		}
		return fmt.Errorf("%s: want a number without quotes", kind(v))
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
			return fmt.Errorf(`%s: want texts, such as ["/data0", "/data1"]`, kind(v))
		}
		field.Set(texts)
		return nil
	}
	return fmt.Errorf("a field of type %v cannot be read", field.Type())
}

// words are a value as the words of a flag.
func words(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int64, bool:
		return fmt.Sprint(v), nil
	case []any:
		var parts []string
		for _, e := range v {
			part, err := words(e)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("%s: want text in quotes", kind(v))
}

// kind says what a value is, for messages.
func kind(v any) string {
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

// beside is @FILE with FILE in a folder, unless it has a folder of its own.
func beside(dir, text string) string {
	if name, file := strings.CutPrefix(text, "@"); file && !filepath.IsAbs(name) {
		return "@" + filepath.Join(dir, name)
	}
	return text
}

// instead says what could have been meant.
func instead(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if n := distance(word, k); n < least {
			best, least = k, n
		}
	}
	if best != "" {
		return fmt.Sprintf(": %s is meant?", best)
	}
	sorted := slices.Sorted(slices.Values(known))
	return ": choose one of " + strings.Join(sorted, ", ")
}

// distance is how many letters must be added, left out or replaced to make b of a.
func distance(a, b string) int {
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
