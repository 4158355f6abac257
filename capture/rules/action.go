package rules

import (
	"math"
	"strconv"
)

// Drop is the value of keep for a frame that is not stored.
const Drop = 0

// action is the bytes to keep of a frame, or one of the following.
type action uint32

const (
	drop    action = 0
	headers action = math.MaxUint32 - 1
	all     action = math.MaxUint32

	mostBytes = 65535
)

func (a action) String() string {
	switch a {
	case drop:
		return "drop"
	case headers:
		return "headers"
	case all:
		return "all"
	}
	return strconv.FormatUint(uint64(a), 10)
}

// AtMost returns the rules with every action limited to n bytes, 1 to 65535. possible
// is false if a rule keeps headers, which can be longer than n.
func (r *Rules) AtMost(n int) (less *Rules, possible bool) {
	copied := *r
	copied.rules = append([]rule(nil), r.rules...)
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
