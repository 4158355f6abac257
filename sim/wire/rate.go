package wire

import (
	"fmt"
	"math/big"
	"strings"
	"time"
)

// A tick is 0.1 ns, the time of one bit at 10 Gb/s.
const ticksPerSecond = 10_000_000_000

const (
	minFrame     = 60 // bytes, padded by the sender's MAC, without CRC
	crcSize      = 4
	lineOverhead = 8 + crcSize + 12 // preamble with start delimiter, CRC, gap
	maxFrame     = 256 << 10        // bytes of the longest frame, as in tcpdump
	clockStep    = time.Second      // a larger step back of stamps is a clock that was set
	maxSpan      = 365 * 24 * time.Hour
)

// wireTicks is the time of a frame of n bytes on the line.
func wireTicks(n int) int64 { return int64(max(n, minFrame)+lineOverhead) * 8 }

type rateKind uint8

const (
	rateLine rateKind = iota
	rateRecorded
	ratePackets
	rateBits
)

// rate is the spacing of frames.
type rate struct {
	kind rateKind
	per  int64 // packets a second in millionths, or bits a second
}

var lineRate = rate{kind: rateLine}

const rateAllowed = "line, recorded, a packet rate such as 14.88Mpps (at most 14.880952Mpps) or a bit rate such as 5Gbps (at most 10Gbps)"

// parseRate parses a rate exactly: 14.88Mpps is 14880000, not a float.
func parseRate(o Option) (rate, error) {
	switch o.Value {
	case "line":
		return lineRate, nil
	case "recorded":
		return rate{kind: rateRecorded}, nil
	}
	if s, ok := strings.CutSuffix(o.Value, "pps"); ok {
		const highest = ticksPerSecond * 1_000_000 / ((minFrame + lineOverhead) * 8)
		if n, ok := scaled(s, 1_000_000); ok && n <= highest {
			return rate{ratePackets, n}, nil
		}
	} else if s, ok := strings.CutSuffix(o.Value, "bps"); ok {
		if n, ok := scaled(s, 1); ok && n <= ticksPerSecond {
			return rate{rateBits, n}, nil
		}
	}
	return rate{}, bad(o, rateAllowed)
}

// scaled parses a decimal with an optional k, M or G and multiplies it by unit. The
// result must be a whole number from 1.
func scaled(s string, unit int64) (int64, bool) {
	for suffix, factor := range map[string]int64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if digits, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = digits, unit*factor
			break
		}
	}
	if s == "" || len(s) > 24 || strings.Trim(s, "0123456789.") != "" || strings.Count(s, ".") > 1 || s == "." {
		return 0, false
	}
	v, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, false
	}
	v.Mul(v, new(big.Rat).SetInt64(unit))
	if !v.IsInt() || !v.Num().IsInt64() || v.Sign() <= 0 {
		return 0, false
	}
	return v.Num().Int64(), true
}

// slot is one frame of a train, and its place in the schedule.
type slot struct {
	off  int64 // of its first byte in the arena
	step int64 // ticks after the previous frame, by the rate
	frac int64 // ... plus frac/den ticks, den of the train
	len  int32 // bytes
	wire int32 // ticks on the line: the minimum distance from the previous frame

	damage Damage
	crc    uint32 // with BadCRC
}

// train is a round of frames with their spacing. Only the sequence numbers of generated
// frames change.
type train struct {
	arena []byte
	slots []slot
	den   int64  // denominator of slot.frac
	mark  *marks // nil for a file's frames
}

// frameFile holds a file's frames.
type frameFile struct {
	arena    []byte
	slots    []slot   // off and len filled in
	stamps   []int64  // ns, one per slot; nil when a frame has none
	notices  []string // what is left out or changed
	timeless int      // first frame without a stamp, counted from 1; 0 if there is none
}

// newTrain makes a train of a file's frames. The error is about the rate.
func newTrain(f *frameFile, r rate) (*train, error) {
	t := &train{arena: f.arena, slots: f.slots}
	if err := t.space(r, f); err != nil {
		return nil, err
	}
	return t, nil
}

// space sets step, frac and wire of every slot. f is needed for recorded spacing
// only.
func (t *train) space(r rate, f *frameFile) error {
	var busy int64 // ticks of a round on the line
	for i := range t.slots {
		s := &t.slots[i]
		s.wire = int32(wireTicks(int(s.len)))
		busy += int64(s.wire)
	}
	t.den = 1
	switch r.kind {
	case rateLine:
		for i := range t.slots {
			t.slots[i].step = int64(t.slots[i].wire)
		}
	case rateBits:
		t.den = r.per
		for i := range t.slots {
			s := &t.slots[i]
			scaled := int64(s.wire) * ticksPerSecond
			s.step, s.frac = scaled/r.per, scaled%r.per
		}
	case ratePackets:
		return t.spaceEvenly(r.per, busy)
	case rateRecorded:
		return t.spaceRecorded(f)
	}
	return nil
}

// spaceEvenly spaces frames equally. A long frame can be late and the short ones after
// it catch up, but the round as a whole must fit the line.
func (t *train) spaceEvenly(perMillionSeconds, busy int64) error {
	const ticks = ticksPerSecond * 1_000_000
	t.den = perMillionSeconds
	step, frac := ticks/perMillionSeconds, ticks%perMillionSeconds
	n := int64(len(t.slots))
	if mean := float64(busy) / float64(n); mean > float64(step+1) {
		return fmt.Errorf("the line carries at most %.6gMpps of these frames (%.5g bytes on average with preamble, CRC and gap)",
			ticksPerSecond/mean/1e6, mean/8)
	}
	for i := range t.slots {
		t.slots[i].step, t.slots[i].frac = step, frac
	}
	return nil
}

// spaceRecorded takes the file's spacing. A stamp before the latest one is a frame
// recorded out of order: it follows at once and the latest stamp stays. If it is more
// than clockStep before, the clock was set: it is the latest stamp from then on. A
// further round follows at the mean distance.
func (t *train) spaceRecorded(f *frameFile) error {
	if f == nil {
		return fmt.Errorf("generated frames have no recorded spacing, want line, a packet rate or a bit rate")
	}
	if f.timeless != 0 {
		return fmt.Errorf("frame %d of the file has no time stamp, want line, a packet rate or a bit rate", f.timeless)
	}
	var span int64 // ns
	latest := f.stamps[0]
	for i := 1; i < len(t.slots); i++ {
		gap := f.stamps[i] - latest
		switch {
		case gap < -int64(clockStep):
			gap = 0
			latest = f.stamps[i]
		case gap < 0:
			gap = 0
		default:
			latest = f.stamps[i]
		}
		if span += gap; gap > int64(maxSpan) || span > int64(maxSpan) {
			return fmt.Errorf("frame %d of the file comes more than %.0f days after the first", i+1, maxSpan.Hours()/24)
		}
		t.slots[i].step = gap * 10
	}
	t.slots[0].step = int64(t.slots[0].wire)
	if n := int64(len(t.slots)); n > 1 {
		t.slots[0].step = max(t.slots[0].step, span*10/(n-1))
	}
	return nil
}
