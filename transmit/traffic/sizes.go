package traffic

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// MaxSize is the longest frame in bytes without CRC.
const MaxSize = 15868

// Sizes are the lengths of frames in bytes, without CRC. The zero value is 60 bytes.
type Sizes struct {
	text  string
	low   int
	high  int
	cycle []int // a mix: lengths in turn, spread evenly
}

// imix is the simple IMIX: IP packets of 40, 576 and 1500 bytes, 7:4:1.
const imix = "60:7,590:4,1514:1"

const maxCycle = 1000 // frames of a mix

// ParseSizes parses one size, a range "60-1514", a mix of sizes with their weights
// "60:7,590:4,1514:1", or imix.
func ParseSizes(text string) (Sizes, error) {
	s := Sizes{text: text}
	if text == "imix" {
		text = imix
	}
	if strings.Contains(text, ":") {
		return s, s.mix(text)
	}
	low, high, ranged := strings.Cut(text, "-")
	if !ranged {
		high = low
	}
	var err error
	if s.low, err = parseSize(low); err != nil {
		return s, err
	}
	if s.high, err = parseSize(high); err != nil {
		return s, err
	}
	if s.high < s.low {
		return s, fmt.Errorf("sizes %s: the second is smaller than the first", text)
	}
	return s, nil
}

func parseSize(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 60 || n > MaxSize {
		return 0, fmt.Errorf("size %q: want bytes without CRC from 60 to %d, a range such as 60-1514, a mix such as %s, or imix", text, MaxSize, imix)
	}
	return n, nil
}

// mix spreads the sizes over a cycle, so that each stands at even distances.
func (s *Sizes) mix(text string) error {
	type part struct{ size, weight, credit int }
	var parts []part
	total := 0
	for one := range strings.SplitSeq(text, ",") {
		size, weight, _ := strings.Cut(one, ":")
		n, err := parseSize(size)
		if err != nil {
			return err
		}
		w, err := strconv.Atoi(weight)
		if total += w; err != nil || w < 1 || w > maxCycle || total > maxCycle {
			return fmt.Errorf("size %q: want SIZE:WEIGHT, the weights at most %d together", one, maxCycle)
		}
		parts = append(parts, part{size: n, weight: w})
	}
	for range total {
		best := 0
		for i := range parts {
			if parts[i].credit += parts[i].weight; parts[i].credit > parts[best].credit {
				best = i
			}
		}
		parts[best].credit -= total
		s.cycle = append(s.cycle, parts[best].size)
	}
	return nil
}

// Max returns the longest size.
func (s Sizes) Max() int {
	longest := max(s.high, 60)
	for _, n := range s.cycle {
		longest = max(longest, n)
	}
	return longest
}

// One returns the size if there is only one.
func (s Sizes) One() (n int, one bool) { return max(s.low, 60), s.low == s.high && s.cycle == nil }

// at returns the size of frame i.
func (s *Sizes) at(i uint64, r *rand.Rand) int {
	switch {
	case s.cycle != nil:
		return s.cycle[i%uint64(len(s.cycle))]
	case s.high > s.low:
		return s.low + r.IntN(s.high-s.low+1)
	}
	return max(s.low, 60)
}

// String returns the text that ParseSizes reads.
func (s Sizes) String() string {
	if s.text == "" {
		return "60"
	}
	return s.text
}

// Set implements pflag.Value.
func (s *Sizes) Set(text string) (err error) {
	*s, err = ParseSizes(text)
	return err
}

// Type implements pflag.Value.
func (*Sizes) Type() string { return "SIZE" }
