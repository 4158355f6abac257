package pcapfilter

import (
	"math/bits"

	"github.com/ixcap/ixcap/ring"
)

// MaxBatch is how many frames Classify takes at a time.
const MaxBatch = 64

// A batch passes the program as sets of frames, one bit each: a step divides the
// frames that have reached it. So the overhead of a step is paid once a batch, and
// frames of different kinds cause no mispredicted branch.

// Classes are the result of Classify and its working memory, for one goroutine.
type Classes struct {
	reached []uint64 // by step: frames that have reached it
	columns []column
	frames  []uint64 // by class
	found   []int32  // classes that have frames
}

// column holds the numbers that steps of one place test, one a frame.
type column struct {
	known, failed uint64 // frames whose number has been loaded; those of them that end before it
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

// Classify divides the frames of the set which, bit i for frames[i], into classes.
// There are at most MaxBatch frames, and each of the set lies in one buffer. The
// earlier content of out is replaced. It does not allocate.
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

// classifyEach classifies frames one by one: those that end before a word that the
// batch reads.
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

// loadAll loads the numbers of all frames. It returns false if it has no loop for the
// place.
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

// number is what steps of a place test of a frame; ok is false if the frame ends before.
func (c *Classifier) number(at *place, data []byte, wireLen uint32) (n uint32, ok bool) {
	off := uint64(at.off)
	switch at.src {
	case frameLen:
		return wireLen, true
	case evaluated:
		return c.evaluate(c.calcs[at.base:at.off], data, wireLen)
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
