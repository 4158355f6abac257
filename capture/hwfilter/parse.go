package hwfilter

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// Rules are the rules of a text. The zero value has none.
type Rules struct{ list []rule }

// rule is an expression and what happens to the frames that match it.
type rule struct {
	expression string
	drop       bool
	queue      int    // without drop
	software   string // of drop: the expression without what queues in front of it match
}

const maxText = 64 << 10

// Parse parses rules; "none" has none. An error names the rule and what to write instead.
func Parse(text string) (Rules, error) {
	if len(text) > maxText {
		return Rules{}, fmt.Errorf("filters of the port: more than %d KiB of text", maxText>>10)
	}
	var r Rules
	if strings.TrimSpace(text) == "none" {
		return r, nil
	}
	for rest := strings.TrimLeft(text, " \t\r\n;"); rest != ""; rest = strings.TrimLeft(rest, " \t\r\n;") {
		one, behind, err := parseRule(rest)
		if err == nil && one.drop {
			one.software, err = r.behind(one.expression)
		}
		if err != nil {
			return Rules{}, fmt.Errorf("filter %d of the port: %w", len(r.list)+1, err)
		}
		r.list = append(r.list, one)
		rest = behind
	}
	if len(r.list) == 0 {
		return r, errors.New(`filters of the port: none: write (EXPRESSION) drop, (EXPRESSION) queue N, or "none"`)
	}
	return r, nil
}

// behind returns an expression for the frames that e matches and the queues of r do not.
// "vlan" moves what stands behind it, so the expression that has it is the last.
func (r Rules) behind(e string) (string, error) {
	parts, moving := []string{}, []string{}
	add := func(part, e string) {
		if slices.Contains(split(e), "vlan") {
			moving = append(moving, part)
		} else {
			parts = append(parts, part)
		}
	}
	for _, x := range r.list {
		if !x.drop {
			add("not ("+x.expression+")", x.expression)
		}
	}
	if len(parts)+len(moving) == 0 {
		return e, nil
	}
	add("("+e+")", e)
	if len(moving) > 1 {
		return "", fmt.Errorf("%q: it is behind a queue, and several of them have vlan: put the drops first", e)
	}
	all := strings.Join(append(parts, moving...), " and ")
	if _, err := pcapfilter.Compile(all); err != nil {
		return "", fmt.Errorf("%q behind the queues in front of it: %w. Put it first", e, err)
	}
	return all, nil
}

func parseRule(text string) (one rule, rest string, err error) {
	if text[0] != '(' {
		return one, "", errors.New("an expression in parentheses is expected, as in (udp and port 53) drop")
	}
	end, depth := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			end = i
			break
		}
	}
	if end == 0 {
		return one, "", errors.New("a parenthesis is not closed")
	}
	one.expression, rest = strings.Join(strings.Fields(text[1:end]), " "), text[end+1:]
	if one.expression == "" {
		return one, "", errors.New("the expression is empty: use the rules of the capture for all frames")
	}
	if _, err := pcapfilter.Compile(one.expression); err != nil {
		return one, "", fmt.Errorf("%q: %w", one.expression, err)
	}
	action := rest
	if i := strings.IndexAny(rest, ";\r\n"); i >= 0 {
		action, rest = rest[:i], rest[i:]
	} else {
		rest = ""
	}
	words := strings.Fields(action)
	switch {
	case len(words) == 1 && words[0] == "drop":
		one.drop = true
	case len(words) == 2 && words[0] == "queue":
		one.queue, err = strconv.Atoi(words[1])
		if err != nil || one.queue < 0 {
			return one, "", fmt.Errorf("queue %s: want a number from 0", words[1])
		}
	default:
		return one, "", fmt.Errorf("%q behind %q: want drop, or queue and its number", strings.Join(words, " "), one.expression)
	}
	return one, rest, nil
}

// action is the rule's action in words.
func (r *rule) action() string {
	if r.drop {
		return "drop"
	}
	return fmt.Sprintf("queue %d", r.queue)
}

// Any reports whether there is a rule.
func (r Rules) Any() bool { return len(r.list) > 0 }

// String returns the text of the rules, "none" without any.
func (r Rules) String() string {
	if !r.Any() {
		return "none"
	}
	var all []string
	for _, x := range r.list {
		all = append(all, fmt.Sprintf("(%s) %s", x.expression, x.action()))
	}
	return strings.Join(all, "; ")
}

// Software returns the rules of package rules for the frames that the "drop" rules match
// and the chip does not: a text to be put before the others, "" without any.
func (r Rules) Software() string {
	var b strings.Builder
	for _, x := range r.list {
		if x.drop {
			fmt.Fprintf(&b, "(%s) drop; ", x.software)
		}
	}
	return b.String()
}
