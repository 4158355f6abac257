package transmit

import (
	"fmt"
	"strconv"
	"strings"
)

// Rate is a rate of frames, or of bits that count preamble, CRC and gap, so that 10Gbps is
// the line. The zero value is the line's rate.
type Rate struct {
	Frames float64 // a second; 0: Bits counts
	Bits   float64 // a second
}

// ParseRate parses "line", frames a second such as 14.88Mpps or bits a second such as
// 5Gbps.
func ParseRate(text string) (Rate, error) {
	if text == "line" {
		return Rate{}, nil
	}
	number, frames := strings.CutSuffix(text, "pps")
	if !frames {
		var bits bool
		if number, bits = strings.CutSuffix(text, "bps"); !bits {
			return Rate{}, badRate(text)
		}
	}
	unit := 1.0
	for suffix, factor := range map[string]float64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if digits, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = digits, factor
			break
		}
	}
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return Rate{}, badRate(text)
	}
	v, err := strconv.ParseFloat(number, 64)
	if v *= unit; err != nil || v < 1e-3 || v > 1e11 {
		return Rate{}, badRate(text)
	}
	if frames {
		return Rate{Frames: v}, nil
	}
	return Rate{Bits: v}, nil
}

func badRate(text string) error {
	return fmt.Errorf("%q: want line, frames a second such as 14.88Mpps, or bits a second such as 5Gbps", text)
}

// Line reports whether r is the line's rate.
func (r Rate) Line() bool { return r == Rate{} }

// Gap returns the distance from a frame of n bytes, without CRC, to the next, in ps.
func (r Rate) Gap(n int) float64 {
	switch {
	case r.Frames > 0:
		return 1e12 / r.Frames
	case r.Bits > 0:
		return float64(WireBytes(n)) * 8e12 / r.Bits
	}
	return 0
}

// String returns the text that ParseRate reads.
func (r Rate) String() string {
	switch {
	case r.Frames > 0:
		return scaled(r.Frames) + "pps"
	case r.Bits > 0:
		return scaled(r.Bits) + "bps"
	}
	return "line"
}

func scaled(v float64) string {
	for _, u := range []struct {
		factor float64
		name   string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= u.factor {
			return strconv.FormatFloat(v/u.factor, 'g', -1, 64) + u.name
		}
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// Set implements pflag.Value.
func (r *Rate) Set(text string) (err error) {
	*r, err = ParseRate(text)
	return err
}

// Type implements pflag.Value.
func (*Rate) Type() string { return "RATE" }

const (
	minFrame     = 60 // bytes, without CRC; the device pads
	lineGap      = 12
	lineOverhead = 8 + 4 + lineGap // preamble with start delimiter, CRC, gap
)

// WireBytes returns the bytes that a frame of n bytes, without CRC, takes of the line.
func WireBytes(n int) int { return max(n, minFrame) + lineOverhead }
