package rules

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/ring"
)

// Hits are the frames that a rule was the first to match.
type Hits struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"` // on the wire without CRC
}

// visible is how much of a frame is looked at where it is not in one piece.
const visible = 256

// maxLevels: up to maxTags tags, and labels behind them.
const maxLevels = (maxTags + 1) * (maxTags + 2) / 2

// Apply says of each frame how many bytes to store: Drop for none, never more than
// the frame has. keep is as long as frames. hits counts by rule; it has Len()+1
// entries, the last for frames that no rule matches. It does not allocate.
func (r *Rules) Apply(frames []ring.Frame, keep []uint32, hits []Hits) {
	hits = hits[:len(r.rules)+1]
	keep = keep[:len(frames)]
	var buf [visible]byte
	var views [maxLevels]view
	for i := range frames {
		f := &frames[i]
		n, do := len(r.rules), r.rest
		if n > 0 {
			b := f.Data
			if f.Rest != nil || f.Info&ring.Stripped != 0 {
				b = onWire(f, &buf)
			}
			for k := range r.levels {
				views[k].made = false
			}
			if n = r.first(b, &views); n < len(r.rules) {
				do = r.rules[n].do
			}
		}
		hits[n].Frames++
		hits[n].Bytes += uint64(f.Len)
		keep[i] = do.bytes(f, &buf)
	}
}

// first is the first rule that matches, Len where none does.
func (r *Rules) first(b []byte, views *[maxLevels]view) int {
	for n := range r.gates {
		g := &r.gates[n]
		v := &views[g.level]
		if !v.made {
			*v = r.levels[g.level].look(b)
		}
		if v.odd {
			if every(r.rules[n].match, b) {
				return n
			}
			continue
		}
		if !g.names[0].fits(v.names) && !g.names[1].fits(v.names) || !g.addrs[0].fits(v.addrs) && !g.addrs[1].fits(v.addrs) {
			continue
		}
		if g.ranged && !g.ports.has(v.names) {
			continue
		}
		if g.only || every(r.rules[n].after, b) {
			return n
		}
	}
	return len(r.gates)
}

// every tells whether all tests say yes.
func every(tests []primitive, b []byte) bool {
	for i := range tests {
		if tests[i].eval(b) != yes {
			return false
		}
	}
	return true
}

// bytes is how much of a frame an action keeps.
func (a action) bytes(f *ring.Frame, buf *[visible]byte) uint32 {
	switch a {
	case drop:
		return Drop
	case headers:
		b := f.Data
		if f.Rest != nil {
			b = joined(f, buf, 0)
		}
		a = action(headerBytes(b))
	}
	return max(1, min(uint32(a), f.Len))
}

// onWire is the start of a frame as it was on the wire: in one piece, and with the
// tag that the device took out.
func onWire(f *ring.Frame, buf *[visible]byte) []byte {
	const addresses, tag = 12, 4
	if f.Info&(ring.Stripped|ring.HasVLAN) != ring.Stripped|ring.HasVLAN {
		if f.Rest == nil {
			return f.Data
		}
		return joined(f, buf, 0)
	}
	b := joined(f, buf, tag)
	copy(b, b[tag:tag+min(addresses, len(b)-tag)])
	if len(b) >= addresses+tag {
		binary.BigEndian.PutUint16(b[addresses:], 0x8100)
		binary.BigEndian.PutUint16(b[addresses+2:], f.VLAN)
	}
	return b
}

// joined copies the start of a frame to buf[at:] and returns all of buf that is in use.
func joined(f *ring.Frame, buf *[visible]byte, at int) []byte {
	at += copy(buf[at:], f.Data)
	for _, b := range f.Rest {
		at += copy(buf[at:], b)
	}
	return buf[:at]
}
