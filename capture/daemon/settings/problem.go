package settings

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in settings.
type Problem struct {
	File string // where the setting was read; empty for a command line
	Line int    // in File, from 1; 0: unknown
	Key  string // such as port.hpcap0.buffer
	Text string // what is wrong, and what to do
}

// Error is FILE:LINE: KEY: TEXT. On a command line there is one port and no file:
// the key is then that of the setting alone.
func (p Problem) Error() string {
	switch {
	case p.File == "":
		return p.Setting() + ": " + p.Text
	case p.Line == 0:
		return fmt.Sprintf("%s: %s: %s", p.File, p.Key, p.Text)
	case p.Key == "": // a syntax error
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Key, p.Text)
}

// Setting is the key without the port: buffer, storage.dirs, retention.size.
func (p Problem) Setting() string {
	rest, ok := strings.CutPrefix(p.Key, "port.")
	if !ok {
		return p.Key
	}
	_, own, _ := strings.Cut(rest, ".")
	return cmp.Or(own, "port")
}

// origin is where each setting was read; empty for those of a command line.
type origin struct {
	file  string
	lines map[string]int // by key
}

// where returns the key that set a value, and its line. Values that a port does
// not set come from [defaults] or [storage]; values that are set nowhere have the
// line of their table.
func (o origin) where(key string) (string, int) {
	inherited := []string{key}
	if rest, ok := strings.CutPrefix(key, "port."); ok {
		if _, own, ok := strings.Cut(rest, "."); ok {
			inherited = append(inherited, "defaults."+own)
			if strings.HasPrefix(own, "storage.") {
				inherited = append(inherited, own)
			}
		}
	}
	for _, k := range inherited {
		if n := o.lines[k]; n != 0 {
			return k, n
		}
	}
	for k := key; ; {
		dot := strings.LastIndexByte(k, '.')
		if dot < 0 {
			return key, 0
		}
		if k = k[:dot]; o.lines[k] != 0 {
			return key, o.lines[k]
		}
	}
}

// problems collects the mistakes found.
type problems struct {
	origin origin
	all    []Problem
}

// add adds a problem of a key. A value that several ports inherit is reported
// once.
func (p *problems) add(key, format string, args ...any) {
	at, line := p.origin.where(key)
	one := Problem{File: p.origin.file, Line: line, Key: at, Text: strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")}
	if !slices.Contains(p.all, one) {
		p.all = append(p.all, one)
	}
}

// sorted returns the problems in the order of their lines.
func (p *problems) sorted() []Problem {
	slices.SortStableFunc(p.all, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return p.all
}

// Join returns one error for all problems, a line each; nil for none.
func Join(all []Problem) error {
	errs := make([]error, len(all))
	for i, p := range all {
		errs[i] = p
	}
	return errors.Join(errs...)
}
