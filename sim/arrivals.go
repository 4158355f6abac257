package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Arrival records one frame that the port wrote to the host. Times are
// CLOCK_REALTIME, ns since 1970, like the stamps of a driver.
type Arrival struct {
	At      int64  // its last bit reached the port, by the wire's schedule (wire.Frame.At)
	Written int64  // its last descriptor was written back: software can see it
	Seq     uint64 // frames that the wire delivered before it: gaps are losses
	Digest  uint32 // of the bytes written
	Len     uint32 // bytes written
	Queue   uint8
}

// arrivalLog records arrivals (Config.Arrivals). Per frame the device thread reads
// the time-stamp counter, computes a digest and writes to preallocated memory.
type arrivalLog struct {
	entries  []arrival
	overflow uint64 // frames beyond the capacity
	anchors  []anchor
	anchored uint64 // ticks at the last anchor
}

// arrival is an Arrival before its tick is converted.
type arrival struct {
	at     int64
	seq    uint64
	tick   uint64
	digest uint32
	size   uint32 // bytes, and the queue in the upper 8 bits
}

// anchor is one moment by both clocks.
type anchor struct {
	tick uint64
	wall int64 // ns since 1970
}

const (
	anchorEvery = 2_000_000 // ticks, about a millisecond
	anchorTries = 4
	anchorRoom  = 1 << 16 // a minute of a busy wire; then every other one is dropped
)

func newArrivalLog(frames int) *arrivalLog {
	r := &arrivalLog{entries: make([]arrival, frames), anchors: make([]anchor, 0, anchorRoom)}
	// Written now, so that no page fault delays a frame.
	for i := range r.entries {
		r.entries[i].size = 1
	}
	r.entries = r.entries[:0]
	return r
}

// pass is called before the frames of a pass are written.
func (r *arrivalLog) pass() {
	if ticks()-r.anchored >= anchorEvery {
		r.anchor()
	}
}

// anchor reads both clocks. Of several tries the shortest counts.
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
		// Drop every other one: wall interpolates linearly between them.
		n := 0
		for i := 0; i < len(r.anchors); i += 2 {
			r.anchors[n] = r.anchors[i]
			n++
		}
		r.anchors = r.anchors[:n]
	}
	r.anchors = append(r.anchors, best)
}

// add records a frame whose descriptor has just been written back.
func (r *arrivalLog) add(queue int, f []byte, at int64, seq uint64) {
	tick := ticks()
	if len(r.entries) == cap(r.entries) {
		r.overflow++
		return
	}
	r.entries = append(r.entries, arrival{at: at, seq: seq, tick: tick, digest: Digest(f), size: uint32(len(f)) | uint32(queue)<<24})
}

// Arrivals returns what Config.Arrivals recorded, in the order of writing. More
// frames than the capacity are an error.
func (n *NIC) Arrivals() ([]Arrival, error) {
	n.lock()
	defer n.mu.Unlock()
	r := n.arrivals
	if r == nil {
		return nil, errors.New("read arrivals: none are recorded: set Config.Arrivals")
	}
	if r.overflow > 0 {
		return nil, fmt.Errorf("read arrivals: %d frames beyond the capacity of %d: raise Config.Arrivals", r.overflow, len(r.entries))
	}
	r.anchor()
	list := make([]Arrival, len(r.entries))
	for i, t := range r.entries {
		list[i] = Arrival{
			At: t.at, Written: r.wall(t.tick), Seq: t.seq,
			Digest: t.digest, Len: t.size & (1<<24 - 1), Queue: uint8(t.size >> 24),
		}
	}
	return list, nil
}

// wall converts ticks to ns since 1970 by linear interpolation between the nearest
// anchors.
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

// Digest identifies a frame of Arrivals. It is a hash of the frame's length, its
// first 56 bytes and its last 8.
func Digest(f []byte) uint32 {
	const m = 0x9e3779b97f4a7c15
	size := len(f)
	if size < 56 {
		var b [64]byte
		copy(b[:], f)
		f = b[:]
	}
	// One product per word, so that none depends on another. The multipliers are
	// odd, and differ so that the order of words matters.
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(f[at:]) }
	sum := word(0)*m + word(8)*(m+2) + word(16)*(m+4) + word(24)*(m+6) +
		word(32)*(m+8) + word(40)*(m+10) + word(48)*(m+12) + word(len(f)-8)*(m+14)
	sum += uint64(size) * m
	sum ^= sum >> 32
	return uint32(sum * m >> 32)
}
