package index

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// A set of integers is stored as the differences of its sorted members, each Rice
// coded: the difference's upper bits in unary, as ones and a zero, then its lower k
// bits. With k near the logarithm of the mean difference that takes at most half a bit
// per member more than the minimum.

// riceBits returns k for n members below limit.
func riceBits(n int, limit uint64) uint8 {
	if n == 0 || limit/uint64(n) < 2 {
		return 0
	}
	return uint8(bits.Len64(limit/uint64(n)) - 1)
}

// riceSize returns the largest number of bytes that n members below limit can take.
func riceSize(n int, limit uint64, k uint8) int {
	return int((uint64(n)*(1+uint64(k)) + limit>>k + 7) / 8)
}

// riceWriter packs bits into bytes, the lowest first.
type riceWriter struct {
	out  []byte
	acc  uint64
	n    uint // bits in acc, below 8 between calls
	last uint64
	k    uint8
}

// add appends a member that is not below the last one.
func (w *riceWriter) add(v uint64) {
	d := v - w.last
	w.last = v
	for ones := d >> w.k; ; ones -= 32 {
		if ones < 32 {
			w.put(1<<ones-1, uint(ones)+1)
			break
		}
		w.put(math.MaxUint32, 32)
	}
	w.put(d&(1<<w.k-1), uint(w.k))
}

// put appends n bits, at most 48.
func (w *riceWriter) put(v uint64, n uint) {
	w.acc |= v << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
	}
}

// end completes the last byte and returns the bytes.
func (w *riceWriter) end() []byte {
	if w.n > 0 {
		w.out = append(w.out, byte(w.acc))
		w.acc, w.n = 0, 0
	}
	return w.out
}

// riceSet is a stored set.
type riceSet struct {
	b []byte
	n int // members
	k uint8
}

// contains reports whether the set may have a member from lo to hi. A set that is cut
// may have any.
func (s riceSet) contains(lo, hi uint64) bool {
	var acc, v uint64
	var have uint
	b := s.b
	for range s.n {
		// Refill: at least 57 bits, or all that are left.
		if len(b) >= 8 {
			acc |= binary.LittleEndian.Uint64(b) << have
			taken := (63 - have) / 8
			b = b[taken:]
			have += taken * 8
			acc &= 1<<have - 1
		} else {
			for have <= 56 && len(b) > 0 {
				acc |= uint64(b[0]) << have
				b, have = b[1:], have+8
			}
		}
		ones := uint(bits.TrailingZeros64(^acc))
		if ones >= have {
			return s.containsSlow(lo, hi)
		}
		if ones+1+uint(s.k) > have {
			return s.containsSlow(lo, hi)
		}
		acc >>= ones + 1
		v += uint64(ones)<<s.k | acc&(1<<s.k-1)
		acc >>= s.k
		have -= ones + 1 + uint(s.k)
		if v >= lo {
			return v <= hi
		}
	}
	return false
}

// containsSlow is contains, bit by bit, for the rare difference that is longer than a
// word.
func (s riceSet) containsSlow(lo, hi uint64) bool {
	at, end := 0, 8*len(s.b)
	bit := func() uint64 {
		at++
		return uint64(s.b[(at-1)/8]>>((at-1)%8)) & 1
	}
	v := uint64(0)
	for range s.n {
		for {
			if at == end {
				return true
			}
			if bit() == 0 {
				break
			}
			v += 1 << s.k
		}
		if end-at < int(s.k) {
			return true
		}
		for i := range s.k {
			v += bit() << i
		}
		if v >= lo {
			return v <= hi
		}
	}
	return false
}
