package control

import (
	"fmt"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
)

// ParsePolicy parses a listener's policy: lossless, lossy, or
// lossless,detach-after=DURATION.
func ParsePolicy(text string) (p stream.Policy, detachAfter time.Duration, err error) {
	word, option, more := strings.Cut(text, ",")
	value, after := strings.CutPrefix(option, "detach-after=")
	switch {
	case word == stream.Lossless.String():
		p = stream.Lossless
	case word == stream.Lossy.String():
		p = stream.Lossy
	default:
		return p, 0, policyError(text)
	}
	if !more {
		return p, 0, nil
	}
	if !after {
		return p, 0, policyError(text)
	}
	if p == stream.Lossy {
		return p, 0, fmt.Errorf("policy %q: detach-after is for lossless listeners; the capture does not wait for lossy ones", text)
	}
	d, err := units.ParseDuration(value)
	if err != nil || d <= 0 {
		return p, 0, fmt.Errorf("policy %q: must be a time above 0, such as detach-after=2s", text)
	}
	return p, d.Duration(), nil
}

func policyError(text string) error {
	return fmt.Errorf("policy %q: choose lossless, lossy, or lossless,detach-after=DURATION", text)
}

// PolicyText formats a policy for ParsePolicy.
func PolicyText(policy string, detachAfter time.Duration) string {
	if detachAfter > 0 {
		return fmt.Sprintf("%s,detach-after=%v", policy, units.Duration(detachAfter))
	}
	return policy
}
