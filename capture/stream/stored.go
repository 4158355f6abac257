package stream

import "github.com/ixcap/ixcap/ring"

// Next is the number of the next frame in the index. Frames that are refused get none.
func (p *Producer) Next() uint64 { return p.seq }

// Stored returns a frame that was appended under a number: as many of its bytes as
// were kept, and its length, VLAN and Info. It returns false if the record or its entry
// has been overwritten, or there is none yet. The bytes are valid until the next
// Append.
func (p *Producer) Stored(number uint64) (ring.Frame, bool) {
	entries := uint64(len(p.index))
	if number >= p.seq || p.seq-number > entries {
		return ring.Frame{}, false
	}
	e := &p.index[number&(entries-1)]
	if p.pos-e.Offset > p.mask+1 {
		return ring.Frame{}, false
	}
	at := e.Offset&p.mask + RecordHeader
	if e.Place != 0 {
		at = uint64(e.Place)*placeUnit + RecordHeader
	}
	return ring.Frame{
		Data: p.data[at:][:e.Caplen:e.Caplen], Len: uint32(e.Len), Hash: e.Hash, VLAN: e.VLAN, Info: ring.Info(e.Info) &^ Truncated,
	}, true
}
