package rules

import "slices"

// AtMost are the same rules, of which none keeps more than n bytes, 1 to 65535.
// False: one keeps headers, which may be longer than n.
func (r *Rules) AtMost(n int) (less *Rules, possible bool) {
	copied := *r
	copied.rules = slices.Clone(r.rules)
	possible = true
	for i := range copied.rules {
		possible = copied.rules[i].do.limit(n) && possible
	}
	return &copied, copied.rest.limit(n) && possible
}

func (a *action) limit(n int) (possible bool) {
	if *a == headers {
		return false
	}
	*a = min(*a, action(n))
	return true
}
