package wire

import (
	"fmt"
	"slices"
	"strings"
)

// Option is a key and its value. A key without a value has the value "".
type Option struct{ Key, Value string }

// String formats the option for ParseOptions.
func (o Option) String() string {
	if o.Value == "" {
		return o.Key
	}
	return o.Key + "=" + Quote(o.Value)
}

// Quote formats a value for ParseOptions.
func Quote(value string) string {
	if !strings.ContainsAny(value, `,"\`) {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

// ParseOptions parses "key=value,key,key=value". In a value a backslash quotes the
// next character, and double quotes quote all but backslash and double quote: a comma
// in a file's name is written a\,b or "a,b". A key given twice is an error.
func ParseOptions(s string) ([]Option, error) {
	var options []Option
	if s == "" {
		return nil, nil
	}
	for rest, more := s, true; more; {
		var o Option
		var err error
		start := rest
		if o, rest, more, err = nextOption(rest); err != nil {
			return nil, fmt.Errorf("parse options %q: %w", s, err)
		}
		if o.Key == "" {
			return nil, fmt.Errorf("parse options %q: no key before %q; want key=value,key=value", s, start)
		}
		if slices.ContainsFunc(options, func(p Option) bool { return p.Key == o.Key }) {
			return nil, fmt.Errorf("parse options %q: key %q is given twice", s, o.Key)
		}
		options = append(options, o)
	}
	return options, nil
}

// nextOption parses the first option of s; more reports whether a comma follows it.
func nextOption(s string) (o Option, rest string, more bool, err error) {
	end := strings.IndexAny(s, "=,")
	switch {
	case end < 0:
		return Option{Key: s}, "", false, nil
	case s[end] == ',':
		return Option{Key: s[:end]}, s[end+1:], true, nil
	}
	o.Key = s[:end]
	var value strings.Builder
	quoted := false
	for i := end + 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			if i++; i == len(s) {
				return o, "", false, fmt.Errorf("value of %q ends in a backslash; write \\\\ for one", o.Key)
			}
			value.WriteByte(s[i])
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			o.Value = value.String()
			return o, s[i+1:], true, nil
		default:
			value.WriteByte(c)
		}
	}
	if quoted {
		return o, "", false, fmt.Errorf("value of %q has no closing double quote", o.Key)
	}
	o.Value = value.String()
	return o, "", false, nil
}

// SplitOptions splits options into those with one of the keys and the rest, in order. Package
// sim takes its own keys and passes the rest to Parse.
func SplitOptions(options []Option, keys ...string) (taken, rest []Option) {
	for _, o := range options {
		if slices.Contains(keys, o.Key) {
			taken = append(taken, o)
		} else {
			rest = append(rest, o)
		}
	}
	return taken, rest
}

// bad is the error for an invalid value of an option.
func bad(o Option, allowed string) error {
	return fmt.Errorf("wire option %s=%q: want %s", o.Key, o.Value, allowed)
}
