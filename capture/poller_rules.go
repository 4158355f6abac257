package capture

import (
	"sync/atomic"

	"github.com/ixcap/ixcap/capture/rules"
)

// ruleSet is a list of rules with the counters of one poller. The goroutine that
// creates it allocates everything that the poller needs for it.
type ruleSet struct {
	rules   *rules.Rules
	matcher *rules.Matcher // used by the poller

	// Frames and bytes polled before these rules were in force.
	earlierFrames, earlierBytes uint64

	shared []sharedHits // = matcher.Hits(), for other goroutines
}

type sharedHits struct{ frames, bytes atomic.Uint64 }

// newRuleSet prepares rules for a poller; r is nil for no rules.
func newRuleSet(r *rules.Rules) *ruleSet {
	s := &ruleSet{rules: r}
	if r != nil {
		s.matcher = r.NewMatcher()
		s.shared = make([]sharedHits, r.Len()+1)
	}
	return s
}

// apply puts rules in force. The poller calls it before it polls, so that all
// frames of a batch meet the same rules.
func (p *poller) apply(s *ruleSet) {
	p.publish()
	s.earlierFrames, s.earlierBytes = p.polled, p.bytes
	p.path.rules = s
	if s.rules == nil {
		p.path.rules = nil
	}
	p.applied = s
	p.selectPath()
	// R2: release, pairs with A2 in ruleCounts, for earlierFrames and earlierBytes.
	p.published.Store(s)
}

func (s *ruleSet) publish() {
	for i, h := range s.matcher.Hits() {
		s.shared[i].frames.Store(h.Frames)
		s.shared[i].bytes.Store(h.Bytes)
	}
}

// RuleCount counts the frames that matched a rule and none before it.
type RuleCount struct {
	Rule   string `json:"rule"`   // its text, or EarlierRules or NoRules
	Frames uint64 `json:"frames"` // dropped, cut or kept by the rule
	Bytes  uint64 `json:"bytes"`  // on the wire without CRC
}

// Values of RuleCount.Rule for frames that met no rule in force.
const (
	EarlierRules = "before these rules"   // frames before the rules in force; earlier rules, or none, applied
	NoRules      = "abandoned at the end" // frames that no rule was applied to, because the capture ended
)

// ruleCounts returns the counts of the rules in force, nil if there are none. Any
// goroutine may call it.
func (p *poller) ruleCounts() (all []RuleCount) {
	s := p.published.Load() // A2: acquire, pairs with R2 in apply
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
