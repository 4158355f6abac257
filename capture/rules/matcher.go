package rules

import (
	"encoding/binary"
	"math/bits"

	"github.com/ixcap/ixcap/capture/internal/ether"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/ring"
)

// Hits counts the frames that a rule was the first to match.
type Hits struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"` // on the wire without CRC
}

const (
	headerReach = 256 // bytes searched for headers of a frame in several buffers
	tagBytes    = 4   // of a VLAN tag
	maxFrame    = 65535
)

// Matcher applies rules to the frames of one queue and counts. It is used by one
// goroutine at a time.
type Matcher struct {
	rules   *Rules
	hits    []Hits
	classes *pcapfilter.Classes
	start   []byte // copy of the start of a frame that does not lie in one piece
	reach   int    // bytes of a frame that the rules read
}

// NewMatcher allocates what Apply needs.
func (r *Rules) NewMatcher() *Matcher {
	reach := min(r.classifier.Reach(), maxFrame+tagBytes)
	return &Matcher{
		rules: r, hits: make([]Hits, r.Len()+1), classes: r.classifier.NewClasses(),
		start: make([]byte, max(reach, headerReach)), reach: reach,
	}
}

// Hits returns the counts by rule. It has Len()+1 entries, the last for frames that
// no rule matches. The matcher writes to it.
func (m *Matcher) Hits() []Hits { return m.hits }

// Apply sets keep[i] to the bytes to store of frames[i]: Drop for none, never more
// than most or than the frame has. len(keep) is at least len(frames). It returns the
// length of all frames on the wire and how many are dropped. It does not allocate.
func (m *Matcher) Apply(frames []ring.Frame, keep []uint32, most uint32) (bytes uint64, dropped int) {
	for len(frames) > 0 {
		n := min(len(frames), pcapfilter.MaxBatch)
		b, d := m.batch(frames[:n], keep, most)
		bytes, dropped = bytes+b, dropped+d
		frames, keep = frames[n:], keep[n:]
	}
	return bytes, dropped
}

// batch is Apply for at most pcapfilter.MaxBatch frames.
func (m *Matcher) batch(frames []ring.Frame, keep []uint32, most uint32) (bytes uint64, dropped int) {
	keep = keep[:len(frames)]
	bytes, plain := prepare(frames, keep, most)
	every, pieces := ^uint64(0)>>(64-len(frames)), uint64(0)
	if !plain {
		for i := range frames {
			if inPieces(&frames[i]) {
				pieces |= 1 << (i & 63)
			}
		}
	}
	m.rules.classifier.Classify(frames, every&^pieces, m.classes)
	for left := pieces; left != 0; left &= left - 1 {
		i := bits.TrailingZeros64(left)
		m.classes.Add(m.rules.classifier.First(m.onWire(&frames[i])), 1<<i)
	}
	counted := uint64(0)
	found := m.classes.Found()
	for n, class := range found {
		set := m.classes.Frames(class)
		h := &m.hits[class]
		h.Frames += uint64(bits.OnesCount64(set))
		do := m.rules.action(int(class))
		if do == drop {
			dropped += bits.OnesCount64(set)
		}
		if n < len(found)-1 {
			b := wireBytes(frames, set)
			h.Bytes += b
			counted += b
		} else {
			h.Bytes += bytes - counted
		}
		if do != all {
			m.cut(do, frames, keep, set)
		}
	}
	return bytes, dropped
}

// wireBytes is the length on the wire of the frames of a set.
func wireBytes(frames []ring.Frame, set uint64) (n uint64) {
	for ; set != 0; set &= set - 1 {
		n += uint64(frames[bits.TrailingZeros64(set)].Len)
	}
	return n
}

// cut lowers keep of the frames of a set to what an action keeps.
func (m *Matcher) cut(do action, frames []ring.Frame, keep []uint32, set uint64) {
	for ; set != 0; set &= set - 1 {
		i := bits.TrailingZeros64(set)
		if do == headers {
			keep[i] = min(keep[i], max(1, m.headerBytes(&frames[i])))
		} else {
			keep[i] = min(keep[i], uint32(do))
		}
	}
}

// headerBytes is where the headers of a frame end.
func (m *Matcher) headerBytes(f *ring.Frame) uint32 {
	b := f.Data
	if f.Rest != nil {
		b = join(m.start[:headerReach], f, 0)
	}
	return uint32(headerBytes(b))
}

// onWire returns the start of a frame as it was on the wire, as far as the rules read
// it: in one piece, and with the tag that the device took out. wireLen is the length
// with the tag.
func (m *Matcher) onWire(f *ring.Frame) (start []byte, wireLen int) {
	const addresses = 12
	wireLen = int(f.Len)
	if f.Info&(ring.Stripped|ring.HasVLAN) != ring.Stripped|ring.HasVLAN {
		if f.Rest == nil || len(f.Data) >= m.reach {
			return f.Data, wireLen
		}
		return join(m.start[:m.reach], f, 0), wireLen
	}
	wireLen += tagBytes
	b := join(m.start[:max(m.reach, addresses+tagBytes)], f, tagBytes)
	if len(b) < addresses+tagBytes {
		return b[:copy(b, b[tagBytes:])], wireLen // there is no place for a tag
	}
	copy(b, b[tagBytes:tagBytes+addresses])
	binary.BigEndian.PutUint16(b[addresses:], ether.TypeVLAN)
	binary.BigEndian.PutUint16(b[addresses+2:], f.VLAN)
	return b, wireLen
}

// join copies the start of a frame to out[at:] and returns all of out that is in use.
func join(out []byte, f *ring.Frame, at int) []byte {
	at += copy(out[at:], f.Data)
	for _, b := range f.Rest {
		at += copy(out[at:], b)
	}
	return out[:at]
}
