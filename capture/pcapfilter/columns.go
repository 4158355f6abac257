package pcapfilter

import (
	"cmp"
	"maps"
	"slices"
)

// place is where the numbers of a column are read.
type place struct {
	src       source
	off, base uint32
}

// batchStep is a step whose number is in a column.
type batchStep struct {
	column         uint32
	mask, lo, span uint32
	yes, no        int32
}

// prepare makes the steps for batches. Tests of one word of a frame share a column,
// and successive ones become one step where possible.
func (c *Classifier) prepare() {
	words := c.words()
	numbers := map[place]uint32{}
	c.batch = make([]batchStep, len(c.code))
	for i := range c.code {
		s := &c.code[i]
		at := place{s.src, s.off, s.base}
		b := batchStep{mask: s.mask, lo: s.lo, span: s.span, yes: s.yes, no: s.no}
		if w, ok := words[at]; ok {
			b.widen(8*(w.off+4-at.off-s.src.size()), s.src.most())
			at = w
		}
		n, ok := numbers[at]
		if !ok {
			n = uint32(len(c.places))
			numbers[at] = n
			c.places = append(c.places, at)
		}
		b.column = n
		// Successors stand before, and have been merged with their own.
		if b.yes >= 0 && b.yes != b.no {
			b.merge(c.batch[b.yes])
		}
		c.batch[i] = b
	}
}

// merge makes one step of a step and its successor, if both test the same number and
// continue alike where the test fails: of two equalities, or of two ranges.
func (b *batchStep) merge(next batchStep) {
	if next.no != b.no {
		next.invert()
	}
	if b.column != next.column || b.no != next.no {
		return
	}
	hi, nextHi := b.lo+b.span, next.lo+next.span // which are no less than lo
	switch {
	case b.span == 0 && next.span == 0 && (b.lo^next.lo)&b.mask&next.mask == 0:
		b.mask, b.lo = b.mask|next.mask, b.lo|next.lo
	case b.mask == next.mask && b.lo <= nextHi && next.lo <= hi:
		b.lo = max(b.lo, next.lo)
		b.span = min(hi, nextHi) - b.lo
	default:
		return
	}
	b.yes = next.yes
}

// invert swaps the outcomes of a step that is true from a number on.
func (b *batchStep) invert() {
	if b.lo > 0 && b.lo+b.span >= b.mask {
		b.lo, b.span, b.yes, b.no = 0, b.lo-1, b.no, b.yes
	}
}

// widen converts the test of a number, at most so large, to a test of the word that
// holds it shifted left.
func (b *batchStep) widen(shift, most uint32) {
	if b.lo > most { // never true
		b.mask, b.lo, b.span = 0, 1, 0
		return
	}
	b.span = min(b.span, most-b.lo)
	b.mask, b.lo, b.span = b.mask&most<<shift, b.lo<<shift, b.span<<shift
}

// words finds the loads that lie in one word with others. It returns the place of the
// word by that of the load.
func (c *Classifier) words() map[place]place {
	loads := map[place]bool{}
	for i := range c.code {
		if s := &c.code[i]; s.src.size() != 0 && s.off < maxShared {
			loads[place{s.src, s.off, s.base}] = true
		}
	}
	order := slices.SortedFunc(maps.Keys(loads), func(x, y place) int {
		return cmp.Or(cmp.Compare(x.src.word(), y.src.word()), cmp.Compare(x.base, y.base), cmp.Compare(x.off, y.off), cmp.Compare(x.src, y.src))
	})
	out := map[place]place{}
	for len(order) > 0 {
		first := order[0]
		w := place{first.src.word(), first.off, first.base}
		n := 1
		for n < len(order) && order[n].src.word() == w.src && order[n].base == w.base && order[n].off+order[n].src.size() <= w.off+4 {
			n++
		}
		if n > 1 {
			for _, l := range order[:n] {
				out[l] = w
			}
		}
		order = order[n:]
	}
	return out
}

// maxShared is the offset up to which loads share words.
const maxShared = 1 << 16

// size is the number of bytes of a load, 0 for other sources.
func (s source) size() uint32 {
	switch s {
	case byte1, ipByte1:
		return 1
	case half, ipHalf:
		return 2
	case word, ipWord:
		return 4
	}
	return 0
}

// most is the greatest number that a load yields.
func (s source) most() uint32 { return 0xffffffff >> (32 - 8*s.size()) }

// word is the load of 4 bytes at the same place.
func (s source) word() source {
	if s >= ipByte1 {
		return ipWord
	}
	return word
}
