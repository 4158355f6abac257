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
	f := ring.Frame{Len: uint32(e.Len), Hash: e.Hash, VLAN: e.VLAN, Info: ring.Info(e.Info) &^ Truncated}
	if p.stream.config.Pool != nil {
		p.placed(e, &f)
		return f, number+entries >= p.reserveSeq
	}
	at := e.Offset&p.mask + RecordHeader
	f.Data = p.data[at:][:e.Caplen:e.Caplen]
	return f, p.pos-e.Offset <= p.mask+1
}

// placed fills in where an entry's frame lies in the pool.
func (p *Producer) placed(e *Entry, f *ring.Frame) {
	pool, at, left := p.stream.config.Pool, int(e.Place)*placeUnit+RecordHeader, int(e.Caplen)
	n := min(left, pool.BufferSize)
	f.Data = p.data[at : at+n : at+n]
	p.rest = p.rest[:0]
	for b := at/pool.Stride + 1; left > n; b++ {
		left -= n
		n = min(left, pool.BufferSize)
		at = b%pool.Buffers*pool.Stride + pool.Headroom
		p.rest = append(p.rest, p.data[at:at+n:at+n])
	}
	if len(p.rest) > 0 {
		f.Rest = p.rest
	}
}
