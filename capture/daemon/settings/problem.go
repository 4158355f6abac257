package settings

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, and what to do about it.
type Problem struct {
	File string // where it was read; "": nowhere
	Line int    // in File, from 1; 0: not known
	Key  string // such as port.hpcap0.buffer
	Text string
}

func (p Problem) Error() string {
	switch {
	case p.File == "":
		return p.Text
	case p.Line == 0:
		return fmt.Sprintf("%s: %s", p.File, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// origin is where each setting was read: nothing for those of a command line.
type origin struct {
	file  string
	lines map[string]int // by key
}

// where is the line of a key. What a port has not said itself came from
// [defaults] or [storage], and what nobody said is missing in the port's table.
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

// problems collects what is wrong.
type problems struct {
	origin origin
	all    []Problem
}

// add notes a problem of a key. What many ports inherit is told once.
func (p *problems) add(key, format string, args ...any) {
	at, line := p.origin.where(key)
	if line == 0 {
		at = key
	}
	one := Problem{File: p.origin.file, Line: line, Key: at, Text: strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")}
	if !slices.Contains(p.all, one) {
		p.all = append(p.all, one)
	}
}

// sorted are the problems in the order of their lines.
func (p *problems) sorted() []Problem {
	slices.SortStableFunc(p.all, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return p.all
}

// Join is one error for all problems, a line each; nil for none.
func Join(all []Problem) error {
	errs := make([]error, len(all))
	for i, p := range all {
		errs[i] = p
	}
	return errors.Join(errs...)
}
