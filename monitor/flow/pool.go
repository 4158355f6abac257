package flow

import "encoding/binary"

// take returns a free entry. There is one.
func (e *Engine) take() uint32 {
	e.vacant--
	if n := e.free; n != 0 {
		e.free = e.entries[n].next
		return n
	}
	e.used++
	return e.used
}

// takeShort returns a free short entry. If there is none, the oldest flow in one ends.
func (e *Engine) takeShort() uint32 {
	if e.freed == 0 && e.usedSh == uint32(e.config.Short) {
		e.scoutAhead()
		e.end(ref(e.fresh.head)|isShort, EndEvicted)
	}
	if n := e.freed; n != 0 {
		e.freed = e.shorts[n].next
		return n
	}
	e.usedSh++
	return e.usedSh
}

// scoutAhead begins to load the buckets of flows that are displaced soon: in a flood each
// packet displaces one.
func (e *Engine) scoutAhead() {
	const ahead = 16
	for step := 0; step < 2 && e.scouted < min(ahead, e.kept); step++ {
		if e.scout == 0 {
			e.scout = e.fresh.head
		}
		if f := &e.shorts[e.scout]; !f.scouted {
			f.scouted = true
			e.scouted++
			prefetchBucket(&e.buckets[f.key.hash(&e.seeds)&e.mask])
		}
		e.scout = e.shorts[e.scout].next
	}
}

// pushShort makes a short entry the newest one.
func (e *Engine) pushShort(n uint32) {
	e.kept++
	f := &e.shorts[n]
	f.next, f.prev = 0, e.fresh.tail
	if e.fresh.tail == 0 {
		e.fresh.head = n
	} else {
		e.shorts[e.fresh.tail].next = n
	}
	e.fresh.tail = n
}

// releaseShort frees a short entry.
func (e *Engine) releaseShort(n uint32) {
	e.kept--
	f := &e.shorts[n]
	if f.prev == 0 {
		e.fresh.head = f.next
	} else {
		e.shorts[f.prev].next = f.next
	}
	if f.next == 0 {
		e.fresh.tail = f.prev
	} else {
		e.shorts[f.next].prev = f.prev
	}
	if f.scouted {
		f.scouted = false
		e.scouted--
	}
	if n == e.scout {
		e.scout = f.next
	}
	f.key, f.next = unused, e.freed
	e.freed = n
}

// end removes a flow and makes its record.
func (e *Engine) end(r ref, why End) {
	n := uint32(r & refNumber)
	f := e.headOf(r)
	to := e.record()
	e.replace(f.key.hash(&e.seeds), r, 0)
	e.account.ended[why]++
	if r&isShort != 0 {
		e.shorts[n].record(to)
		e.releaseShort(n)
		e.account.short++
	} else {
		e.entries[n].record(to)
		e.payload(n, to)
		e.wheel.remove(e.entries, n)
		f.key, e.entries[n].next = unused, e.free
		e.free = n
		e.vacant++
	}
	to.Ended = why
	for i := range to.Directions {
		e.account.recordedFrames += to.Directions[i].Packets
		e.account.recordedBytes += to.Directions[i].Bytes
	}
}

// record returns the next record of the batch. A full batch is delivered first.
func (e *Engine) record() *Record {
	if len(e.records) == cap(e.records) {
		e.deliver()
	}
	e.records = e.records[:len(e.records)+1]
	return &e.records[len(e.records)-1]
}

// deliver hands the batch of records over.
func (e *Engine) deliver() {
	if len(e.records) > 0 {
		e.config.OnRecords(e.records)
		e.records = e.records[:0]
	}
}

// record writes an entry as a record, but for the payload and the end.
func (f *entry) record(r *Record) {
	k := f.key
	if f.state&openerB != 0 {
		k.exchange()
	}
	k.record(r)
	r.SrcMAC, r.DstMAC, r.Short = f.srcMAC, f.dstMAC, false
	r.First, r.Last = f.began(), f.last
	r.Leading, r.LeadingFrom, r.LeadingSizes = int(f.first&0xf), f.first>>4, f.sizes
	for i, gap := range f.gaps {
		r.LeadingGaps[i+1] = int64(gap)
	}
	for i := range f.sides {
		f.sides[i].record(&r.Directions[i])
	}
}

// record writes a side as a direction.
func (s *side) record(d *Direction) {
	*d = Direction{
		Packets: uint64(s.packets), Bytes: s.bytes, First: s.first, Last: s.last,
		Flags: s.flags, ZeroWindows: s.zeroWindows, Retransmitted: s.retransmitted, OutOfOrder: s.outOfOrder,
		SynRTT: max(0, s.syn),
	}
	if s.packets == 0 {
		return
	}
	d.Sizes = Moments{uint64(s.packets), s.bytes, uint64(s.min), uint64(s.max), [2]uint64{s.squares}}
	if s.packets > 1 {
		d.Gaps = Moments{uint64(s.packets) - 1, uint64(s.last - s.first), s.gapMin, s.gapMax, s.gapSquares}
	}
}

// record writes a short entry as a record.
func (f *short) record(r *Record) {
	k := f.key
	at := Forward
	if f.state&openerB != 0 {
		k.exchange()
	}
	if f.state&isAnswer != 0 {
		at = Reverse
	}
	k.record(r)
	r.SrcMAC, r.DstMAC, r.Short = f.srcMAC, f.dstMAC, true
	r.First, r.Last = f.last, f.last
	r.Leading, r.LeadingFrom = 1, uint16(at)
	r.LeadingSizes, r.LeadingGaps = [Firsts]uint16{f.size}, [Firsts]int64{}
	size := uint64(f.size)
	r.Directions[1-at] = Direction{}
	d := &r.Directions[at]
	*d = Direction{Packets: 1, Bytes: size, First: f.last, Last: f.last, Sizes: Moments{1, size, size, size, [2]uint64{size * size}}}
	if f.state&isTCP == 0 {
		return
	}
	for i := range d.Flags {
		d.Flags[i] = uint32(f.flags >> i & 1)
	}
	const control = 1<<SYN | 1<<FIN | 1<<RST
	if f.state&isWindow != 0 && f.flags&control == 0 {
		d.ZeroWindows = 1
	}
}

// payloadSize is the room for the payload of a flow: for each direction, its length and bytes.
func (c *Config) payloadSize() int {
	if c.Payload == 0 {
		return 0
	}
	return 2 * (2 + c.Payload)
}

// payloadOf is the room for one direction.
func (e *Engine) payloadOf(n uint32, d int) []byte {
	size := e.config.payloadSize()
	at := int(n)*size + d*size/2
	return e.payloads[at : at+size/2]
}

// clearPayload forgets what an earlier flow of an entry left.
func (e *Engine) clearPayload(n uint32) {
	if e.config.Payload > 0 {
		binary.LittleEndian.PutUint16(e.payloadOf(n, Forward), 0)
		binary.LittleEndian.PutUint16(e.payloadOf(n, Reverse), 0)
	}
}

// keepPayload keeps the bytes of a packet for which there is room.
func (e *Engine) keepPayload(n uint32, d int, data []byte) {
	b := e.payloadOf(n, d)
	have := int(binary.LittleEndian.Uint16(b))
	have += copy(b[2+have:], data)
	binary.LittleEndian.PutUint16(b, uint16(have))
}

// payload copies the payload of a flow for its record, the last one of the batch.
func (e *Engine) payload(n uint32, r *Record) {
	size := e.config.Payload
	if size == 0 {
		return
	}
	for d := range r.Directions {
		b := e.payloadOf(n, d)
		at := (2*(len(e.records)-1) + d) * size
		to := e.copies[at : at+size : at+size]
		r.Directions[d].Payload = to[:copy(to, b[2:2+binary.LittleEndian.Uint16(b)])]
	}
}
