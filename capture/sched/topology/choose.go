package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ixcap/ixcap/capture/units"
)

// AnyCore stands for a thread that is not pinned to a core.
const AnyCore = -1

// Choice is the core of one poller and the reason for it.
type Choice struct {
	Core   int // or AnyCore
	Reason string
}

// Choose selects a core for each poller from the allowed cores of the NUMA node (of
// all nodes if it is not known), in this order of preference:
//
//   - isolated cores, first those without the timer tick;
//   - no hyperthread of another poller's core, because two pollers on one physical
//     core slow each other down;
//   - neither core 0 nor its hyperthread, where interrupts and kernel threads run by
//     default;
//   - the highest numbers, for the same reason.
//
// Cores that are not isolated also run other work: if fewer than spare cores would
// remain for it, every poller gets AnyCore. Choices are in ascending order of cores.
func (m Machine) Choose(pollers int, allowed []int, node, spare int) []Choice {
	candidates, where := allowed, ""
	if own := m.Node(node); len(own) > 0 {
		candidates, where = both(allowed, own), fmt.Sprintf("NUMA node %d", node)
	}
	free := both(candidates, m.Isolated)
	switch {
	case len(candidates) < pollers:
		return undecided(pollers, tooFew(len(candidates), where, pollers))
	case len(free) < pollers && len(allowed) < pollers+spare:
		return undecided(pollers, fmt.Sprintf("of %d cores, fewer than %d would remain for other work", len(allowed), spare))
	}
	choices := make([]Choice, 0, pollers)
	var taken []int
	for range pollers {
		left := without(candidates, taken)
		best := slices.MaxFunc(left, func(a, b int) int { return m.compare(a, b, taken) })
		reason := m.reason(best, taken)
		if where != "" {
			reason += ", " + where
		}
		choices = append(choices, Choice{best, reason})
		taken = append(taken, best)
	}
	// Queue 0 gets the lowest core.
	slices.SortFunc(choices, func(a, b Choice) int { return cmp.Compare(a.Core, b.Core) })
	return choices
}

// undecided returns AnyCore for each poller.
func undecided(pollers int, why string) []Choice {
	return slices.Repeat([]Choice{{AnyCore, why}}, pollers)
}

func tooFew(cores int, where string, pollers int) string {
	if where != "" {
		where = " on " + where
	}
	return fmt.Sprintf("only %s%s for %s", units.Plural(cores, "core"), where, units.Plural(pollers, "poller"))
}

// compare returns a positive number if core a suits a poller better than core b;
// taken are the other pollers' cores.
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

// shared reports whether a core is a hyperthread of one of the others.
func (m Machine) shared(core int, others []int) bool {
	return len(both(m.Siblings(core), others)) > 0
}

// first reports whether a core is core 0 or its hyperthread.
func (m Machine) first(core int) bool { return core == 0 || m.shared(core, []int{0}) }

// reason describes a core by the criteria of Choose.
func (m Machine) reason(core int, taken []int) string {
	var words []string
	switch {
	case !slices.Contains(m.Isolated, core):
		words = append(words, "not isolated")
	case slices.Contains(m.Tickless, core):
		words = append(words, "isolated, without timer tick")
	default:
		words = append(words, "isolated, with timer tick")
	}
	if siblings := m.Siblings(core); len(siblings) > 0 {
		word := "hyperthread of " + FormatList(siblings)
		if m.shared(core, taken) {
			word += " (another poller's core)"
		}
		words = append(words, word)
	}
	if core == 0 {
		words = append(words, "default core of interrupts and kernel threads")
	}
	return strings.Join(words, ", ")
}
