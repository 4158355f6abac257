package clock

import (
	"fmt"
	"strconv"
	"strings"
)

// Policy says how the frames of a batch get their stamps. The zero value is
// PerPacket.
type Policy uint32

const (
	// PerPacket reads the clock for every frame, at the moment the poller stores it.
	PerPacket Policy = iota
	// Batch gives all frames of a batch the time at which they were polled.
	Batch
	// Uniform spreads the frames of a batch evenly over the time since the batch
	// before: UDTS, equation 4.3 of the HPCAP thesis.
	Uniform
	// Weighted spreads that time in proportion to the frames' time on the wire:
	// WDTS, equation 4.4.
	Weighted
	// Adaptive places frames where the link could have carried them: no closer
	// together than their time on the wire, after the queue was last seen empty,
	// before they were polled. See adaptive.go.
	Adaptive
)

// MaxSample is the largest n of Sample.
const MaxSample = 4096

const sampled Policy = 1 << 16 // and n

// Sample reads the clock for one frame in n, 1 to MaxSample, and gives the frames
// between two readings the time between them, in proportion to their time on the wire.
func Sample(n int) Policy { return sampled | Policy(uint16(n)) }

// every is the n of Sample, 0 for other policies.
func (p Policy) every() int {
	if p&sampled == 0 {
		return 0
	}
	return int(p &^ sampled)
}

var policyNames = [...]string{PerPacket: "packet", Batch: "batch", Uniform: "uniform", Weighted: "weighted", Adaptive: "adaptive"}

func (p Policy) String() string {
	switch n := p.every(); {
	case n != 0:
		return "sample=" + strconv.Itoa(n)
	case int(p) < len(policyNames):
		return policyNames[p]
	default:
		return fmt.Sprintf("policy %d", uint32(p))
	}
}

func (p Policy) check() error {
	if int(p) < len(policyNames) {
		return nil
	}
	if n := p &^ sampled; p&sampled != 0 && n >= 1 && n <= MaxSample {
		return nil
	}
	return fmt.Errorf("stamp frames: unknown %v", p)
}

// ParsePolicy reads what String writes: packet, batch, uniform, weighted,
// adaptive or sample=N.
func ParsePolicy(s string) (Policy, error) {
	for p, name := range policyNames {
		if s == name {
			return Policy(p), nil
		}
	}
	if digits, ok := strings.CutPrefix(s, "sample="); ok {
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > MaxSample {
			return 0, fmt.Errorf("timestamp policy %q: choose sample=1 to sample=%d", s, MaxSample)
		}
		return Sample(n), nil
	}
	return 0, fmt.Errorf("timestamp policy %q: choose %s or sample=N", s, strings.Join(policyNames[:], ", "))
}

// MarshalText writes what String writes.
func (p Policy) MarshalText() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return []byte(p.String()), nil
}

// UnmarshalText reads what ParsePolicy reads; with it a Policy is a flag
// (flag.TextVar) and a JSON string.
func (p *Policy) UnmarshalText(text []byte) (err error) {
	q, err := ParsePolicy(string(text))
	if err == nil {
		*p = q
	}
	return err
}
