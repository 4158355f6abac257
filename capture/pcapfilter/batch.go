package pcapfilter

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"github.com/ixcap/ixcap/ring"
)

// MaxBatch is how many frames Classify takes at a time.
const MaxBatch = 64

// A batch passes the program as sets of frames, one bit each: a step divides the
// frames that have reached it. So what a step costs besides its test is paid once
// a batch, and frames of different kinds mispredict no branch.

// Classes are the result of Classify and its working memory, for one goroutine.
type Classes struct {
	reached []uint64 // by step: frames that have reached it
	columns []column
	frames  []uint64 // by class
	found   []int32  // classes that have frames
}

// column holds the numbers that steps of one source test, one a frame.
type column struct {
	known, failed uint64 // frames whose number has been loaded; of those, where that failed
	numbers       [MaxBatch]uint32
}

// NewClasses allocates what Classify needs.
func (c *Classifier) NewClasses() *Classes {
	return &Classes{
		reached: make([]uint64, len(c.code)), columns: make([]column, len(c.places)),
		frames: make([]uint64, len(c.filters)+1), found: make([]int32, 0, MaxBatch),
	}
}

// Found lists the classes that have frames.
func (out *Classes) Found() []int32 { return out.found }

// Frames is the set of frames of a class: bit i is frame i of the batch. Class i
// holds the frames that filter i is the first to match, class Len the others.
func (out *Classes) Frames(class int32) uint64 { return out.frames[class] }

// Add puts frames into a class.
func (out *Classes) Add(class int, frames uint64) {
	if out.frames[class] == 0 {
		out.found = append(out.found, int32(class))
	}
	out.frames[class] |= frames
}

// place is where the numbers of a column come from.
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
// and those that are made one after the other are made at once.
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
		if b.yes >= 0 && b.yes != b.no && b.span == 0 {
			if next := &c.batch[b.yes]; next.column == n && next.span == 0 && next.no == b.no && (b.lo^next.lo)&b.mask&next.mask == 0 {
				b.mask, b.lo, b.yes = b.mask|next.mask, b.lo|next.lo, next.yes
			}
		}
		c.batch[i] = b
	}
}

// widen makes the test of a number up to most one of a word that holds it so many
// bits from its end.
func (b *batchStep) widen(shift, most uint32) {
	if b.lo > most { // never true
		b.mask, b.lo, b.span = 0, 1, 0
		return
	}
	b.span = min(b.span, most-b.lo)
	b.mask, b.lo, b.span = b.mask&most<<shift, b.lo<<shift, b.span<<shift
}

// words finds the loads that lie in one word with another: the place of the word for
// that of the load.
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

// size is how many bytes a load has, 0 for what is none.
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

// Classify divides the frames of the set which, bit i for frames[i], into classes.
// There are at most MaxBatch frames, and each of the set lies in one buffer. What
// is in out is lost. It does not allocate.
func (c *Classifier) Classify(frames []ring.Frame, which uint64, out *Classes) {
	for _, class := range out.found {
		out.frames[class] = 0
	}
	out.found = out.found[:0]
	if which == 0 {
		return
	}
	for i := range out.columns {
		out.columns[i].known = 0
	}
	out.proceed(c.start, which)
	// The successors of a step stand before it.
	for at := c.start; at >= 0; at-- {
		in := out.reached[at]
		if in == 0 {
			continue
		}
		out.reached[at] = 0
		s := &c.batch[at]
		col := &out.columns[s.column]
		if unknown := in &^ col.known; unknown != 0 {
			c.load(&c.places[s.column], frames, unknown, col)
		}
		if failed := in & col.failed; failed != 0 {
			in &^= failed
			c.classifyEach(frames, failed, out)
		}
		yes := in & compare32(&col.numbers, len(frames), s.mask, s.lo, s.span)
		out.proceed(s.yes, yes)
		out.proceed(s.no, in&^yes)
	}
}

// proceed moves frames to a step or a class.
func (out *Classes) proceed(to int32, frames uint64) {
	switch {
	case frames == 0:
	case to >= 0:
		out.reached[to] |= frames
	default:
		out.Add(int(^to), frames)
	}
}

// classifyEach classifies frames one by one: those that end before a word that is
// read of all.
func (c *Classifier) classifyEach(frames []ring.Frame, which uint64, out *Classes) {
	for ; which != 0; which &= which - 1 {
		i := bits.TrailingZeros64(which)
		f := &frames[i]
		out.Add(c.First(f.Data, int(f.Len)), 1<<i)
	}
}

// load loads the numbers of frames.
func (c *Classifier) load(at *place, frames []ring.Frame, which uint64, col *column) {
	if 4*bits.OnesCount64(which) >= len(frames) && at.loadAll(frames, col) {
		col.known = ^uint64(0)
		return
	}
	if col.known == 0 {
		col.failed = 0
	}
	for left := which; left != 0; left &= left - 1 {
		i := bits.TrailingZeros64(left)
		n, ok := c.number(at, frames[i].Data, frames[i].Len)
		if !ok {
			col.failed |= 1 << i
		}
		col.numbers[i] = n
	}
	col.known |= which
}

// loadAll loads the numbers of all frames. It returns false if the place is none
// that it can load from.
func (at *place) loadAll(frames []ring.Frame, col *column) bool {
	switch at.src {
	case byte1:
		col.failed = loadBytes(frames, at.off, &col.numbers)
	case half:
		col.failed = loadHalves(frames, at.off, &col.numbers)
	case word:
		col.failed = loadWords(frames, at.off, &col.numbers)
	case ipByte1:
		col.failed = loadIPGo(frames, at.base, at.off, 1, &col.numbers)
	case ipHalf:
		col.failed = loadIPHalves(frames, at.base, at.off, &col.numbers)
	case ipWord:
		col.failed = loadIPWords(frames, at.base, at.off, &col.numbers)
	default:
		return false
	}
	return true
}

// number is what a step tests of a frame; ok is false if the frame ends before.
func (c *Classifier) number(at *place, data []byte, wireLen uint32) (n uint32, ok bool) {
	off := uint64(at.off)
	switch at.src {
	case frameLen:
		return wireLen, true
	case evaluated:
		return evaluate(c.calcs[at.base:at.off], data, wireLen)
	case ipByte1, ipHalf, ipWord:
		if uint64(at.base) >= uint64(len(data)) {
			return 0, false
		}
		off += uint64(data[at.base]&0xf) << 2
	}
	return bigEndian(data, off, uint64(at.src.size()))
}

// loadGo loads size bytes at off of each frame, and returns the frames that end
// before. It is loadBytes, loadHalves and loadWords without assembly.
func loadGo(frames []ring.Frame, off, size uint32, out *[MaxBatch]uint32) (failed uint64) {
	for i := range frames[:min(len(frames), MaxBatch)] {
		n, ok := bigEndian(frames[i].Data, uint64(off), uint64(size))
		if !ok {
			failed |= 1 << i
			continue
		}
		out[i] = n
	}
	return failed
}

// loadIPGo is loadGo at off behind the IPv4 header that begins at base.
func loadIPGo(frames []ring.Frame, base, off, size uint32, out *[MaxBatch]uint32) (failed uint64) {
	for i := range frames[:min(len(frames), MaxBatch)] {
		b := frames[i].Data
		if uint64(base) >= uint64(len(b)) {
			failed |= 1 << i
			continue
		}
		n, ok := bigEndian(b, uint64(off)+uint64(b[base]&0xf)<<2, uint64(size))
		if !ok {
			failed |= 1 << i
			continue
		}
		out[i] = n
	}
	return failed
}

// bigEndian is the number of size bytes at off; ok is false if data ends before.
func bigEndian(data []byte, off, size uint64) (n uint32, ok bool) {
	if off+size > uint64(len(data)) {
		return 0, false
	}
	for _, b := range data[off : off+size] {
		n = n<<8 | uint32(b)
	}
	return n, true
}

// compare32Go is the set of the first n numbers with lo <= number&mask <= lo+span;
// those behind may be in it or not.
func compare32Go(numbers *[MaxBatch]uint32, n int, mask, lo, span uint32) (yes uint64) {
	for i := range numbers[:min(n, MaxBatch)] {
		bit := uint64(0)
		if numbers[i]&mask-lo <= span {
			bit = 1
		}
		yes |= bit << (i & 63)
	}
	return yes
}
