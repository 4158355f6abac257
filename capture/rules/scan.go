package rules

import (
	"fmt"
	"strings"
)

// token is a word or a sign of a text of rules; "" is the end. A rule's end is
// ";", also where it is the end of a line.
type token struct {
	text string
	at   int // byte of the text
}

// scan cuts a text into tokens; comments are left out.
func scan(text string) ([]token, error) {
	var out []token
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '\n':
			out = append(out, token{";", i})
			i++
		case c == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case strings.IndexByte("();!", c) >= 0:
			out = append(out, token{text[i : i+1], i})
			i++
		case strings.HasPrefix(text[i:], "&&") || strings.HasPrefix(text[i:], "||"):
			out = append(out, token{text[i : i+2], i})
			i += 2
		case wordByte(c):
			start := i
			for i < len(text) && wordByte(text[i]) {
				i++
			}
			out = append(out, token{text[start:i], start})
		default:
			return nil, errorAt(text, i, "unexpected %q", c)
		}
	}
	return append(out, token{"", len(text)}), nil
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".:/-_", c) >= 0
}

// errorAt is an error with its place: line and column count from 1.
func errorAt(text string, at int, format string, args ...any) error {
	before := text[:at]
	line := strings.Count(before, "\n") + 1
	column := at - (strings.LastIndexByte(before, '\n') + 1) + 1
	return fmt.Errorf("rules: line %d, column %d: %s", line, column, fmt.Sprintf(format, args...))
}
