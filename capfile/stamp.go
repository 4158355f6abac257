package capfile

import (
	"fmt"
	"math"
	"math/bits"
)

const second = 1_000_000_000 // ns

// resolution is the unit of an interface's stamps, as in the option if_tsresol: a
// power of 10 or, with the top bit, of 2, as negative exponent. offset is in seconds
// (if_tsoffset).
type resolution struct {
	unit   uint8
	offset int64
}

const (
	microseconds = 6
	binary2      = 0x80 // of resolution.unit
)

// String returns the unit and the offset, "10^-6 s from 5 s".
func (r resolution) String() string {
	s := fmt.Sprintf("10^-%d s", r.unit)
	if r.unit&binary2 != 0 {
		s = fmt.Sprintf("2^-%d s", r.unit&^binary2)
	}
	if r.offset != 0 {
		s += fmt.Sprintf(" from %d s", r.offset)
	}
	return s
}

// nano converts a stamp to ns since 1970, rounded down. ok is false if an int64 does
// not hold it.
func (r resolution) nano(stamp uint64) (nano int64, ok bool) {
	sec, nsec := r.split(stamp)
	// The year 2262 is the end of an int64 of ns: greater seconds are out of range
	// with any offset that is not below -2^63.
	if sec > math.MaxInt64 {
		return 0, false
	}
	s := int64(sec) + r.offset
	if (s > int64(sec)) != (r.offset > 0) && r.offset != 0 {
		return 0, false
	}
	const most = math.MaxInt64/second - 1
	if s < -most || s > most {
		return 0, false
	}
	return s*second + int64(nsec), true
}

// split returns whole seconds and the ns below, both rounded down.
func (r resolution) split(stamp uint64) (sec, nsec uint64) {
	e := uint(r.unit &^ binary2)
	if r.unit&binary2 != 0 {
		if e >= 64 {
			hi, _ := bits.Mul64(stamp, second)
			return 0, hi >> (e - 64)
		}
		hi, lo := bits.Mul64(stamp&(1<<e-1), second)
		if e == 0 {
			return stamp, 0
		}
		return stamp >> e, hi<<(64-e) | lo>>e
	}
	if e > 19 { // 10^20 units exceed a uint64: below a second
		if e-9 > 19 {
			return 0, 0
		}
		return 0, stamp / pow10(e-9)
	}
	unit := pow10(e)
	hi, lo := bits.Mul64(stamp%unit, second)
	nsec, _ = bits.Div64(hi, lo, unit)
	return stamp / unit, nsec
}

func pow10(e uint) uint64 {
	n := uint64(1)
	for range e {
		n *= 10
	}
	return n
}
