package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// AnyCore leaves a thread where the kernel puts it.
const AnyCore = -1

// Choice is the core of one poller and what speaks for it.
type Choice struct {
	Core int // or AnyCore
	Why  string
}

// Choose gives each of so many pollers a core: of the allowed ones that belong to
// the NUMA node, where it is known, and in this order of preference
//
//   - isolated, and without the timer tick;
//   - no hyperthread of a core that another poller has, for two that poll share
//     one core's units without ever leaving them to each other;
//   - not core 0, nor a hyperthread of it: interrupts and the kernel's own work
//     go there unless told otherwise;
//   - the last ones, for the same reason.
//
// Cores that are not isolated are the whole machine's: unless that many are left
// for everything else (spare), every poller gets AnyCore.
func (m Machine) Choose(pollers int, allowed []int, node, spare int) []Choice {
	candidates, where := allowed, ""
	if own := m.Node(node); len(own) > 0 {
		candidates, where = both(allowed, own), fmt.Sprintf(" on NUMA node %d", node)
	}
	free := both(candidates, m.Isolated)
	switch {
	case len(candidates) < pollers:
		return undecided(pollers, fmt.Sprintf("%d cores%s are too few for %d pollers", len(candidates), where, pollers))
	case len(free) < pollers && len(allowed) < pollers+spare:
		return undecided(pollers, fmt.Sprintf("of %d cores fewer than %d would be left for everything else", len(allowed), spare))
	}
	choices := make([]Choice, 0, pollers)
	var taken []int
	for range pollers {
		left := without(candidates, taken)
		best := slices.MaxFunc(left, func(a, b int) int { return m.compare(a, b, taken) })
		choices = append(choices, Choice{best, m.why(best, taken) + where})
		taken = append(taken, best)
	}
	// Queue 0 on the lowest core, as people expect.
	slices.SortFunc(choices, func(a, b Choice) int { return cmp.Compare(a.Core, b.Core) })
	return choices
}

func undecided(pollers int, why string) []Choice {
	return slices.Repeat([]Choice{{AnyCore, why}}, pollers)
}

// compare is positive when a suits a poller better than b, with the cores that
// other pollers have.
func (m Machine) compare(a, b int, taken []int) int {
	return cmp.Or(
		truth(slices.Contains(m.Isolated, a))-truth(slices.Contains(m.Isolated, b)),
		truth(slices.Contains(m.Tickless, a))-truth(slices.Contains(m.Tickless, b)),
		truth(m.shared(b, taken))-truth(m.shared(a, taken)),
		truth(m.first(b))-truth(m.first(a)),
		a-b,
	)
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// shared tells that a core is a hyperthread of one of the others.
func (m Machine) shared(core int, others []int) bool {
	return len(both(m.Siblings(core), others)) > 0
}

func (m Machine) first(core int) bool { return core == 0 || m.shared(core, []int{0}) }

// why is what speaks for a core, and what against it.
func (m Machine) why(core int, taken []int) string {
	var words []string
	switch {
	case !slices.Contains(m.Isolated, core):
		words = append(words, "not isolated")
	case slices.Contains(m.Tickless, core):
		words = append(words, "isolated, without the tick")
	default:
		words = append(words, "isolated, with the tick")
	}
	if siblings := m.Siblings(core); len(siblings) > 0 {
		word := "hyperthread of " + FormatList(siblings)
		if m.shared(core, taken) {
			word += ", where another poller runs"
		}
		words = append(words, word)
	}
	if core == 0 {
		words = append(words, "the core of the kernel's own work")
	}
	return strings.Join(words, ", ")
}
