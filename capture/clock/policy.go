package clock

import (
	"fmt"
	"strconv"
	"strings"
)

// Policy is how the frames of a batch are stamped. The zero value is PerPacket.
type Policy uint32

const (
	// PerPacket reads the clock for every frame when the poller stores it.
	PerPacket Policy = iota
	// Batch stamps all frames of a batch with the time of the poll.
	Batch
	// Uniform divides the time since the batch before evenly among the frames: UDTS,
	// equation 4.3 of the HPCAP thesis.
	Uniform
	// Weighted divides it in proportion to the frames' time on the wire: WDTS,
	// equation 4.4.
	Weighted
	// Adaptive places frames where the link can have carried them: no closer together
	// than their time on the wire, after the queue was last seen empty, and before
	// the poll. See adaptive.go.
	Adaptive
)

// MaxSample is the largest n of Sample.
const MaxSample = 4096

const sampled Policy = 1 << 16 // and n

// Sample reads the clock for one frame in n, 1 to MaxSample, and divides the time
// between two readings in proportion to the frames' time on the wire.
func Sample(n int) Policy { return sampled | Policy(uint16(n)) }

// every returns the n of Sample, 0 for other policies.
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

// ParsePolicy parses packet, batch, uniform, weighted, adaptive or sample=N.
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

// MarshalText implements encoding.TextMarshaler.
func (p Policy) MarshalText() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return []byte(p.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler with ParsePolicy.
func (p *Policy) UnmarshalText(text []byte) (err error) {
	q, err := ParsePolicy(string(text))
	if err == nil {
		*p = q
	}
	return err
}
