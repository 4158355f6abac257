package capture

import (
	"sync/atomic"

	"github.com/ixcap/ixcap/capture/rules"
)

// ruleSet is a list of rules on its way through one poller. Whoever makes it
// allocates all that the poller needs for it.
type ruleSet struct {
	rules   *rules.Rules
	matcher *rules.Matcher // the poller's

	// What was polled before these rules were in force.
	earlierFrames, earlierBytes uint64

	shared []sharedHits // what others read
}

type sharedHits struct{ frames, bytes atomic.Uint64 }

// newRuleSet prepares rules for a poller, nil for no rules.
func newRuleSet(r *rules.Rules) *ruleSet {
	s := &ruleSet{rules: r}
	if r != nil {
		s.matcher = r.NewMatcher()
		s.shared = make([]sharedHits, r.Len()+1)
	}
	return s
}

// adopt puts the rules in force that were asked for last. The poller calls it
// before it polls, so that every frame is judged by one list of rules.
func (p *poller) adopt(s *ruleSet) {
	p.flush()
	s.earlierFrames, s.earlierBytes = p.polled, p.bytes
	p.path.rules = s
	if s.rules == nil {
		p.path.rules = nil
	}
	p.adopted = s
	p.choose()
	// Release: pairs with the load in ruleCounts, for the two fields above.
	p.inForce.Store(s)
}

func (s *ruleSet) flush() {
	for i, h := range s.matcher.Hits() {
		s.shared[i].frames.Store(h.Frames)
		s.shared[i].bytes.Store(h.Bytes)
	}
}

// RuleCount is what a rule met: the frames that matched it and no rule before it.
type RuleCount struct {
	Rule   string `json:"rule"`   // EarlierRules for frames from before the rules now in force
	Frames uint64 `json:"frames"` // dropped or cut or kept, as the rule says
	Bytes  uint64 `json:"bytes"`  // on the wire without CRC
}

// What stands in a ledger for a rule where frames met none that is in force.
const (
	EarlierRules = "before these rules"   // other rules, or none
	NoRules      = "abandoned at the end" // the capture was given up before any rule saw them
)

// ruleCounts may be called from any goroutine. There is none where there has been
// no rule.
func (p *poller) ruleCounts() (all []RuleCount) {
	s := p.inForce.Load()
	if s == nil || s.rules == nil {
		return nil
	}
	if s.earlierFrames != 0 {
		all = append(all, RuleCount{Rule: EarlierRules, Frames: s.earlierFrames, Bytes: s.earlierBytes})
	}
	for i := range s.shared {
		all = append(all, RuleCount{Rule: s.rules.Rule(i), Frames: s.shared[i].frames.Load(), Bytes: s.shared[i].bytes.Load()})
	}
	return all
}
