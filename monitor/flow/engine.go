package flow

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ixcap/ixcap/capture/headers"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
)

const (
	chunk      = 32 // packets that are looked up at once
	recordsMax = 64 // records of a call of OnRecords
	maxDated   = 4  // first fragments in one frame, in each other
)

// Engine computes the flows of one stream. Its methods belong to one goroutine at a time,
// but for Stats.
type Engine struct {
	table
	config Config
	memory *hugepage.Memory
	seeds  seeds
	oneWay bool
	vlan   bool

	tunnels   headers.Tunnels
	headers   headers.Headers // of the packet being parsed
	dated     []uint64        // its datagrams of which this is the first fragment
	fragments *fragments
	parsed    []packet // a chunk
	spares    []packet // the one behind it

	now    int64 // the latest stamp
	idle   int64
	active int64
	linger int64
	wheel  wheel
	fresh  list   // short entries, the oldest first
	free   uint32 // first free entry of those used before
	freed  uint32 // the same of short entries
	used   uint32 // entries used so far
	vacant int    // entries that are free
	usedSh uint32 // short entries used so far
	kept   int    // short entries in use

	scout   uint32 // short entry up to which the buckets of the oldest are requested
	scouted int    // how many they are
	spare   int    // with fewer vacant ones, flows begin in short entries

	payloads []byte // of each entry, both directions
	records  []Record
	copies   []byte // payloads of records
	account  account
}

// New allocates an engine.
func New(c Config) (*Engine, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	e := &Engine{
		config: c, oneWay: c.OneWay, vlan: c.VLAN, tunnels: c.Tunnels,
		idle: int64(c.Idle), active: int64(c.Active), linger: int64(c.Linger),
		dated: make([]uint64, 0, maxDated), fragments: new(fragments), parsed: make([]packet, chunk), spares: make([]packet, chunk),
		records: make([]Record, 0, recordsMax), vacant: c.Flows, spare: c.Flows / 8,
		copies: make([]byte, recordsMax*2*c.Payload),
	}
	e.wheel.setSpan(c.Idle)
	var random [len(e.seeds) * 8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("flow table: seeds of its hash: %w", err)
	}
	for i := range e.seeds {
		e.seeds[i] = binary.LittleEndian.Uint64(random[8*i:])
	}
	if err := e.allocate(); err != nil {
		return nil, err
	}
	return e, nil
}

// Process adds packets to their flows. It does not keep them.
//
// Chunks overlap, so that memory has time to arrive: the buckets of a chunk are requested
// before the chunk in front of it is added, its entries before the one behind it is parsed.
func (e *Engine) Process(packets []stream.Packet) {
	now, rest := split(packets)
	prefetchData(now)
	next, rest := split(rest)
	prefetchData(next)
	e.parseAll(now)
	for len(now) > 0 {
		parsed := e.parsed
		e.locate(parsed[:len(now)])
		later, more := split(rest)
		prefetchData(later)
		e.parsed, e.spares = e.spares, e.parsed
		e.parseAll(next)
		prefetchLeads(parsed[:len(now)], &e.entries[0])
		for i := range now {
			e.update(&parsed[i], &now[i])
		}
		now, next, rest = next, later, more
	}
	e.deliver()
	e.publish()
}

// split returns the first chunk of packets, and the rest.
func split(packets []stream.Packet) (first, rest []stream.Packet) {
	n := min(chunk, len(packets))
	return packets[:n], packets[n:]
}

// parseAll counts and parses packets, and begins to load their buckets.
func (e *Engine) parseAll(packets []stream.Packet) {
	e.account.frames += uint64(len(packets))
	for i := range packets {
		e.account.bytes += uint64(packets[i].Len)
		p := &e.parsed[i]
		if !e.parseFast(p, &packets[i]) {
			e.parse(p, &packets[i])
		}
		p.hash = p.key.hash(&e.seeds)
	}
	e.prefetchBuckets(e.parsed[:len(packets)])
}

// locateGo finds the entries that may be those of packets.
func (e *Engine) locateGo(packets []packet) {
	for i := range packets {
		packets[i].ref = e.candidate(packets[i].hash)
	}
}

// update adds a packet to its flow.
func (e *Engine) update(p *packet, in *stream.Packet) {
	if p.time > e.now {
		e.advance(p.time)
	}
	r := p.ref
	if r == 0 || !e.headOf(r).key.equal(&p.key) {
		r = e.find(&p.key, p.hash)
	}
	if r != 0 && e.over(r, p) {
		r = 0
	}
	switch {
	case r == 0:
		e.begin(p, in)
	case r&isShort != 0:
		e.grow(p, in, r)
	default:
		e.add(p, in, uint32(r&refNumber))
	}
}

// add adds a packet to a flow that has an entry.
func (e *Engine) add(p *packet, in *stream.Packet, n uint32) {
	f := &e.entries[n]
	was := f.state
	f.add(p, e.oneWay)
	if e.config.Payload > 0 && p.payload >= 0 && p.payload < p.end {
		e.keepPayload(n, f.direction(p), in.Data[p.payload:p.end])
	}
	if (f.state^was)&closed != 0 {
		e.wheel.remove(e.entries, n)
		e.wheel.push(e.entries, n, e.deadline(&f.head))
	}
}

// deadline is when a flow expires if no packet comes.
func (e *Engine) deadline(f *head) int64 {
	if f.state&closed != 0 {
		return f.last + e.linger
	}
	return f.last + e.idle
}

// over ends a flow if a packet of its key is one of a new flow, and reports that.
func (e *Engine) over(r ref, p *packet) bool {
	f := e.headOf(r)
	why := EndIdle
	switch quiet := e.now - f.last; {
	case quiet > e.idle:
		if f.state&closed != 0 {
			why = EndClosed
		}
	case f.state&closed != 0 && (quiet > e.linger || p.isTCP && p.flags&(1<<SYN|1<<ACK) == 1<<SYN):
		why = EndClosed
	case uint32(e.now>>startShift)-f.start+1 >= uint32(e.active>>startShift) && e.old(r):
		why = EndActive
	case r&isShort == 0 && e.entries[r&refNumber].sides[f.direction(p)].packets == maxPackets:
		why = EndActive
	default:
		return false
	}
	e.end(r, why)
	return true
}

// old reports that a flow began longer than the active time ago.
func (e *Engine) old(r ref) bool {
	if r&isShort != 0 {
		return e.now-e.shorts[r&refNumber].last > e.active
	}
	return e.now-e.entries[r&refNumber].began() > e.active
}

// begin makes a flow of a packet.
func (e *Engine) begin(p *packet, in *stream.Packet) {
	e.account.opened++
	where := ref(0)
	if p.opensAtB(e.oneWay) {
		where = atB
	}
	if e.vacant <= e.spare {
		n := e.takeShort()
		e.shorts[n].keep(p, e.oneWay)
		e.pushShort(n)
		e.insert(p.hash, ref(n)|isShort|where)
		return
	}
	n := e.take()
	f := &e.entries[n]
	f.begin(p, e.oneWay)
	e.clearPayload(n)
	e.wheel.push(e.entries, n, e.deadline(&f.head))
	e.insert(p.hash, ref(n)|where)
	e.add(p, in, n)
}

// grow gives the flow of a short entry one of its own, and adds a packet.
func (e *Engine) grow(p *packet, in *stream.Packet, old ref) {
	if e.vacant == 0 {
		e.evict()
	}
	n := e.take()
	s, f := &e.shorts[old&refNumber], &e.entries[n]
	s.expand(f, e.oneWay)
	e.clearPayload(n)
	e.wheel.push(e.entries, n, e.deadline(&f.head))
	e.replace(p.hash, old, ref(n)|old&atB)
	e.releaseShort(uint32(old & refNumber))
	e.add(p, in, n)
}

// Advance tells the time in ns since 1970 when no packets come: flows that are idle then end.
// A time before the latest stamp is ignored.
func (e *Engine) Advance(now int64) {
	if now > e.now {
		e.advance(now)
	}
	e.deliver()
	e.publish()
}

// advance sets the time and ends the flows that expired in the slots passed.
func (e *Engine) advance(now int64) {
	e.now = now
	at := now >> e.wheel.shift
	if at <= e.wheel.at {
		return
	}
	from := max(e.wheel.at, at-wheelSlots)
	e.wheel.at = at
	for ; from < at; from++ {
		e.expire(&e.wheel.slots[from%wheelSlots])
	}
	for n := e.fresh.head; n != 0 && now-e.shorts[n].last > e.idle; n = e.fresh.head {
		e.end(ref(n)|isShort, e.why(&e.shorts[n].head))
	}
}

// expire ends the flows of a slot, or moves them to the slot of their deadline.
func (e *Engine) expire(l *list) {
	for n := l.head; n != 0; n = l.head {
		e.prefetchBehind(n)
		f := &e.entries[n]
		if e.deadline(&f.head) < e.now {
			e.end(ref(n), e.why(&f.head))
			continue
		}
		e.wheel.remove(e.entries, n)
		e.wheel.push(e.entries, n, e.deadline(&f.head))
	}
}

// prefetchBehind begins to load what it takes to end the two flows behind one in a list: of
// the first one the bucket, since its entry is there, of the second one the entry.
func (e *Engine) prefetchBehind(n uint32) {
	first := e.entries[n].next
	if first == 0 {
		return
	}
	f := &e.entries[first]
	prefetchBucket(&e.buckets[f.key.hash(&e.seeds)&e.mask])
	if f.next != 0 {
		prefetchEntry(&e.entries[f.next])
	}
}

// why is the reason for the end of a flow that expires.
func (e *Engine) why(f *head) End {
	if f.state&closed != 0 {
		return EndClosed
	}
	return EndIdle
}

// evict ends the flow that is idle longest.
func (e *Engine) evict() {
	for {
		slot, ahead := e.wheel.oldest()
		n := e.wheel.slots[slot].head
		e.prefetchBehind(n)
		f := &e.entries[n]
		deadline := e.deadline(&f.head)
		if e.wheel.slot(deadline) <= e.wheel.at+ahead {
			e.end(ref(n), EndEvicted)
			return
		}
		e.wheel.remove(e.entries, n)
		e.wheel.push(e.entries, n, deadline)
	}
}

// Flush ends all flows, because the stream has ended. The engine can be used again.
func (e *Engine) Flush() {
	for slot := range e.wheel.slots {
		for n := e.wheel.slots[slot].head; n != 0; n = e.wheel.slots[slot].head {
			e.end(ref(n), EndFlushed)
		}
	}
	for n := e.fresh.head; n != 0; n = e.fresh.head {
		e.end(ref(n)|isShort, EndFlushed)
	}
	e.deliver()
	e.publish()
}

// Memory is how many bytes the table has, and how many flows at once.
func (e *Engine) Memory() (bytes, flows int) {
	return e.memory.Len(), e.config.Flows + e.config.Short
}

// Close frees the memory. Flows in the table are lost: Flush ends them.
func (e *Engine) Close() error {
	if e.memory == nil {
		return errors.New("close flow engine: it is closed")
	}
	err := e.memory.Close()
	e.memory, e.entries, e.shorts, e.buckets, e.payloads = nil, nil, nil, nil, nil
	return err
}
