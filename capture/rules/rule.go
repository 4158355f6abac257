package rules

import (
	"strings"

	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// Rules are an ordered list of rules. They are immutable.
type Rules struct {
	rules      []rule
	rest       action // for frames that no rule matches
	classifier *pcapfilter.Classifier
}

// rule is an expression and the action for the frames that match.
type rule struct {
	filter *pcapfilter.Filter
	do     action
}

func (r *rule) String() string {
	return "(" + strings.Join(strings.Fields(r.filter.String()), " ") + ") " + r.do.String()
}

// Len is the number of rules that have an expression.
func (r *Rules) Len() int { return len(r.rules) }

// Rule is the text of rule i, 0 <= i <= Len: the last is the action for frames that
// no rule matches.
func (r *Rules) Rule(i int) string {
	if i == len(r.rules) {
		return r.rest.String()
	}
	return r.rules[i].String()
}

// String is the rules on one line. Parse returns the same rules for it.
func (r *Rules) String() string {
	parts := make([]string, 0, r.Len()+1)
	for i := range r.Len() + 1 {
		parts = append(parts, r.Rule(i))
	}
	return strings.Join(parts, "; ")
}

// action returns the action of rule i, 0 <= i <= Len.
func (r *Rules) action(i int) action {
	if i == len(r.rules) {
		return r.rest
	}
	return r.rules[i].do
}
