package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// Limits of a text.
const (
	maxText  = 1 << 20 // bytes
	maxRules = 4096
)

const noText = "no rules: write (EXPRESSION) ACTION, all to keep every frame whole, or none"

// Parse parses rules; the package documentation defines the grammar. An error names
// the place and what to write instead.
func Parse(text string) (*Rules, error) {
	if len(text) > maxText {
		return nil, errors.New("rules: more than 1 MiB of text")
	}
	p := &parser{text: text}
	r := &Rules{rest: all}
	done := false
	for p.skip(" \t\r\n;"); p.i < len(text); p.skip(" \t\r\n;") {
		switch {
		case done:
			return nil, p.fail(p.i, "a rule behind the one without an expression, which is for all frames: write that last; none stands alone")
		case len(r.rules) == maxRules:
			return nil, p.fail(p.i, "more than %d rules", maxRules)
		}
		if text[p.i] != '(' {
			do, err := p.action(true, len(r.rules) == 0)
			if err != nil {
				return nil, err
			}
			r.rest, done = do, true
			continue
		}
		f, err := p.expression()
		if err != nil {
			return nil, err
		}
		do, err := p.action(false, false)
		if err != nil {
			return nil, err
		}
		r.rules = append(r.rules, rule{f, do})
	}
	if !done && len(r.rules) == 0 {
		return nil, errors.New("rules: " + noText)
	}
	return r, r.classify()
}

// Keep returns rules that keep the frames that match an expression, whole, and drop the
// others: those of the text "(EXPRESSION) all; drop". An error names the column of the
// expression, from 1, and what to write instead.
func Keep(expression string) (*Rules, error) {
	if strings.TrimSpace(expression) == "" {
		return nil, errors.New("no expression: write what to match")
	}
	f, err := pcapfilter.Compile(expression)
	var e *pcapfilter.Error
	if errors.As(err, &e) {
		return nil, fmt.Errorf("column %d: %s", e.Byte+1, e.Message)
	}
	if err != nil {
		return nil, err
	}
	r := &Rules{rules: []rule{{f, all}}, rest: drop}
	return r, r.classify()
}

// classify makes the classifier.
func (r *Rules) classify() (err error) {
	filters := make([]*pcapfilter.Filter, len(r.rules))
	for i := range filters {
		filters[i] = r.rules[i].filter
	}
	r.classifier, err = pcapfilter.NewClassifier(filters)
	return err
}

// parser of a text, from byte i on. It leaves expressions to pcapfilter.
type parser struct {
	text string
	i    int
}

// fail is an error at a byte: line and column count from 1.
func (p *parser) fail(at int, format string, args ...any) error {
	before := p.text[:at]
	line := strings.Count(before, "\n") + 1
	column := at - (strings.LastIndexByte(before, '\n') + 1) + 1
	return fmt.Errorf("rules: line %d, column %d: %s", line, column, fmt.Sprintf(format, args...))
}

// skip moves past the characters of set, and past comments up to the end of their
// line.
func (p *parser) skip(set string) {
	for ; p.i < len(p.text); p.i++ {
		if p.text[p.i] == '#' {
			end := strings.IndexByte(p.text[p.i:], '\n')
			if end < 0 {
				p.i = len(p.text)
				return
			}
			p.i += end
		}
		if strings.IndexByte(set, p.text[p.i]) < 0 {
			return
		}
	}
}

// expression compiles the text between the current parenthesis and the one that
// closes it.
func (p *parser) expression() (*pcapfilter.Filter, error) {
	start := p.i + 1
	end, err := p.closing()
	if err != nil {
		return nil, err
	}
	expr := p.text[start:end]
	if strings.TrimSpace(expr) == "" {
		return nil, p.fail(start, "no expression: write what to match, or the action alone for all frames")
	}
	f, err := pcapfilter.Compile(expr)
	var e *pcapfilter.Error
	if errors.As(err, &e) {
		return nil, p.fail(start+e.Byte, "%s", e.Message)
	}
	p.i = end + 1
	return f, err
}

// closing is the place of the parenthesis that closes the current one.
func (p *parser) closing() (int, error) {
	depth, i := 0, p.i
	for ; i < len(p.text) && strings.IndexByte(";\n#", p.text[i]) < 0; i++ {
		switch p.text[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i, nil
			}
		}
	}
	return 0, p.fail(i, "the expression is not closed: write ) and an action on the same line")
}

const actions = "drop, all, headers, or the number of bytes to keep, 1 to 65535"

// action parses an action and the end of the rule. alone: the rule has no expression;
// first: it is the first rule.
func (p *parser) action(alone, first bool) (action, error) {
	p.skip(" \t\r")
	at := p.i
	word := p.word()
	if word == "" && at < len(p.text) && p.text[at] != ';' && p.text[at] != '\n' {
		return 0, p.fail(at, "unexpected %q: write %s", p.text[at:at+1], actions)
	}
	do := drop
	switch n, err := strconv.ParseUint(word, 10, 64); {
	case word == "drop":
	case word == "all" || word == "none" && alone && first:
		do = all
	case word == "headers":
		do = headers
	case err == nil && n >= 1 && n <= mostBytes:
		do = action(n)
	case err == nil && n == 0:
		return 0, p.fail(at, "0 bytes to keep: write drop")
	case alone && word == "none":
		return 0, p.fail(at, "none behind a rule: it stands alone, for no rules; write all")
	case alone && err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, p.fail(at, "%q: want a rule, (EXPRESSION) ACTION, or alone %s", word, actions)
	default:
		return 0, p.fail(at, "%q: want %s", word, actions)
	}
	p.skip(" \t\r")
	if p.i < len(p.text) && p.text[p.i] != ';' && p.text[p.i] != '\n' {
		at := p.i
		next := p.word()
		if next == "" {
			next = p.text[at : at+1]
		}
		return 0, p.fail(at, "%q behind %q: rules are separated by ; or the end of a line", next, word)
	}
	return do, nil
}

// word consumes a word.
func (p *parser) word() string {
	start := p.i
	for p.i < len(p.text) && wordByte(p.text[p.i]) {
		p.i++
	}
	return p.text[start:p.i]
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".:/-_", c) >= 0
}
