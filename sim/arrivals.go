package sim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// Arrival is what truly happened to one frame that the port wrote to the host.
// Times are CLOCK_REALTIME, ns since 1970, as those of a stamp.
type Arrival struct {
	At      int64  // its last bit reached the port, by the wire's schedule (wire.Frame.At)
	Written int64  // its last descriptor was written back: from now on software could see it
	Seq     uint64 // frames that the wire had delivered before it; what is missing was lost
	Digest  uint32 // of the bytes that the host got
	Len     uint32 // their number
	Queue   uint8
}

// record takes down emissions (Config.Arrivals). The device thread pays a reading
// of the counter and a digest per frame, and writes into memory made before.
type arrivalLog struct {
	taken    []taken
	beyond   uint64 // frames that there was no room for
	anchors  []anchor
	anchored uint64 // counter at the last one
}

// taken is an emission as the device thread leaves it.
type taken struct {
	at     int64
	seq    uint64
	tick   uint64
	digest uint32
	size   uint32 // and the queue in the upper byte
}

// anchor is one moment by both clocks.
type anchor struct {
	tick uint64
	wall int64 // ns since 1970
}

const (
	anchorEvery = 2_000_000 // ticks, about a millisecond
	anchorTries = 4
	anchorRoom  = 1 << 16 // a minute of a wire that is busy; older ones give way
)

func newArrivalLog(frames int) *arrivalLog {
	r := &arrivalLog{taken: make([]taken, frames), anchors: make([]anchor, 0, anchorRoom)}
	// Touched now, so that no page fault comes between two frames.
	for i := range r.taken {
		r.taken[i].size = 1
	}
	r.taken = r.taken[:0]
	return r
}

// pass is called before the frames of a pass are written.
func (r *arrivalLog) pass() {
	if ticks()-r.anchored >= anchorEvery {
		r.anchor()
	}
}

// anchor reads both clocks; of several tries the quickest counts.
func (r *arrivalLog) anchor() {
	best, width := anchor{}, ^uint64(0)
	for range anchorTries {
		before := ticks()
		wall := time.Now().UnixNano()
		after := ticks()
		if after-before < width {
			width = after - before
			best = anchor{before + width/2, wall}
		}
	}
	r.anchored = best.tick
	if len(r.anchors) == cap(r.anchors) {
		// Every other one: what lies between two of them is a straight line.
		n := 0
		for i := 0; i < len(r.anchors); i += 2 {
			r.anchors[n] = r.anchors[i]
			n++
		}
		r.anchors = r.anchors[:n]
	}
	r.anchors = append(r.anchors, best)
}

// add takes a frame down; its descriptor has just been written back.
func (r *arrivalLog) add(queue int, f []byte, at int64, seq uint64) {
	tick := ticks()
	if len(r.taken) == cap(r.taken) {
		r.beyond++
		return
	}
	r.taken = append(r.taken, taken{at: at, seq: seq, tick: tick, digest: Digest(f), size: uint32(len(f)) | uint32(queue)<<24})
}

// Arrivals returns what Config.Arrivals had taken down, in the order in which
// frames were written to the host. It is an error that more frames came than
// there was room for.
func (n *NIC) Arrivals() ([]Arrival, error) {
	n.lock()
	defer n.mu.Unlock()
	r := n.arrivals
	if r == nil {
		return nil, fmt.Errorf("emissions of a NIC that takes none down: set Config.Arrivals")
	}
	if r.beyond > 0 {
		return nil, fmt.Errorf("%d frames more than the %d that were to be taken down", r.beyond, len(r.taken))
	}
	r.anchor()
	list := make([]Arrival, len(r.taken))
	for i, t := range r.taken {
		list[i] = Arrival{
			At: t.at, Written: r.wall(t.tick), Seq: t.seq,
			Digest: t.digest, Len: t.size & (1<<24 - 1), Queue: uint8(t.size >> 24),
		}
	}
	return list, nil
}

// wall is a reading of the counter as time, on the straight line between the
// anchors around it.
func (r *arrivalLog) wall(tick uint64) int64 {
	i, _ := slices.BinarySearchFunc(r.anchors, tick, func(a anchor, t uint64) int {
		if a.tick < t {
			return -1
		}
		return 1
	})
	i = min(max(i, 1), len(r.anchors)-1)
	a, b := r.anchors[i-1], r.anchors[i]
	rate := float64(b.wall-a.wall) / float64(b.tick-a.tick)
	return a.wall + int64(float64(int64(tick-a.tick))*rate)
}

// Digest is a number by which a frame of Arrivals is recognised: of its length,
// its first 56 bytes and its last 8.
func Digest(f []byte) uint32 {
	const m = 0x9e3779b97f4a7c15
	size := len(f)
	if size < 56 {
		var b [64]byte
		copy(b[:], f)
		f = b[:]
	}
	// A product for each word, so that none waits for the one before. The
	// multipliers are odd, and differ so that words in another order count.
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(f[at:]) }
	sum := word(0)*m + word(8)*(m+2) + word(16)*(m+4) + word(24)*(m+6) +
		word(32)*(m+8) + word(40)*(m+10) + word(48)*(m+12) + word(len(f)-8)*(m+14)
	sum += uint64(size) * m
	sum ^= sum >> 32
	return uint32(sum * m >> 32)
}
