package stream

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/ring"
)

// memberReader is what a listener in a fan-out group has besides.
type memberReader struct {
	group  int // slot
	number uint8

	// Of the packets returned last.
	seqs [batchSize]uint64
	read int    // how many of them count as read with the next release
	size uint64 // bytes of their records

	done   uint64 // handovers read
	begun  uint64 // the one that is read, counted from 1
	at, to uint64 // what is left of it
	handed uint64 // bytes of the record returned last, of a handover; 0: none
}

// scanStep is the number of entries after which a member releases what it skips.
const scanStep = 1024

// attachedMember reports whether the slot still has the member.
func (l *Listener) attachedMember() bool {
	w := l.cur.Slots[l.slot].Load()
	return w == l.id || w == l.id|readOn && l.cur.Finished.Load() != 0
}

// take fills packets with the member's own frames among the next n, and passes over those
// of others. It returns 0 if there are none in the next few, or if the listener is
// overrun or detached; the caller tries again.
func (l *Listener) take(packets []Packet, n int) int {
	m, from := l.member, l.next
	packets = packets[:min(len(packets), batchSize)]
	end := l.next
	last := from.seq + uint64(min(n, scanStep))
	free, got, size := l.scratch, 0, uint64(0)
	if l.lossy && l.overwritten(from) {
		l.skipAhead()
		return 0
	}
	for end.seq < last && got < len(packets) {
		e := l.entry(end.seq) // of a lossy listener it may be torn: not trusted before the check below
		offset, caplen := e.Offset, uint64(e.Caplen)
		if e.Member[m.group] == m.number {
			rec := l.record(e)
			data := rec[RecordHeader:]
			if l.lossy || l.pool.parts(caplen) {
				if caplen > uint64(len(free)) {
					break
				}
				data = l.gather(free, e, caplen)
				free = free[caplen:]
			}
			packets[got].set(rec, data, e)
			m.seqs[got] = end.seq
			size += RecordHeader + caplen
			got++
		}
		end = position{offset + RecordHeader + caplen, end.seq + 1}
	}
	if l.lossy && l.overwritten(from) {
		l.skipAhead()
		return 0
	}
	// SC5: claimed, then still attached. Pairs with depart.
	l.account.Claimed.Store(end.seq)
	if !l.attachedMember() {
		return 0
	}
	l.next, m.read, m.size = end, got, size
	if got == 0 {
		l.release()
	}
	return got
}

// set fills a packet from its record and entry. data are the bytes of the frame.
func (p *Packet) set(rec, data []byte, e *Entry) {
	stamp := binary.LittleEndian.Uint64(rec)
	*p = Packet{
		Data: data, Sec: uint32(stamp), Nsec: uint32(stamp >> 32), Hash: e.Hash, VLAN: e.VLAN, Info: ring.Info(e.Info), Len: e.Len,
		end: e.Offset + RecordHeader + uint64(e.Caplen),
	}
}

// delivering stores that a packet of the last batch is passed to the program. It returns
// false if the member was detached, whose packets go to others.
func (l *Listener) delivering(i int) bool {
	m := l.member
	if m == nil || m.handed != 0 {
		return true
	}
	if !l.attachedMember() {
		return false
	}
	releaseStore(&l.account.Delivering, m.seqs[i]+1)
	return true
}

// delivered stores that the program has done with a packet of the last batch.
func (l *Listener) delivered(i int) {
	if m := l.member; m != nil && m.handed == 0 {
		releaseStore(&l.account.Delivered, m.seqs[i]+1)
	}
}

// deliveringAll stores that all packets of the last batch are passed to the program.
func (l *Listener) deliveringAll() {
	if l.member != nil {
		releaseStore(&l.account.Delivering, l.next.seq)
	}
}

// stopAfter makes packet i of the last batch the last one that was returned.
func (m *memberReader) stopAfter(i int, packets []Packet) (seq uint64) {
	m.read, m.size = i+1, 0
	for _, p := range packets[:i+1] {
		m.size += RecordHeader + uint64(len(p.Data))
	}
	return m.seqs[i]
}

// releaseMember counts what a member has read and skipped since released.
func (l *Listener) releaseMember() {
	m := l.member
	if m.handed != 0 {
		l.handed++
		l.handedBytes += m.handed
		m.handed = 0
	}
	l.read += uint64(m.read)
	l.readBytes += m.size
	l.skipped += l.next.seq - l.released.seq - uint64(m.read)
	l.skippedBytes += l.next.offset - l.released.offset - m.size
	l.released = l.next
	l.holdNothing()
}

// holdNothing stores that the program holds no frame of the member's own.
func (l *Listener) holdNothing() {
	m := l.member
	m.read, m.size = 0, 0
	releaseStore(&l.account.Claimed, l.next.seq)
	releaseStore(&l.account.Delivering, l.next.seq)
	releaseStore(&l.account.Delivered, l.next.seq)
}

// handoverWaits reports whether there is a handover that the member has not read.
func (l *Listener) handoverWaits() bool {
	return l.member != nil && l.cur.Handovers.Load() != l.member.done
}

// readHandover returns the member's next frame of a handover in packets[0], and 1, or 0
// once it has read its part.
//
// A10: the number of handovers first, then the entries. Pairs with R10 in beginHandover.
func (l *Listener) readHandover(packets []Packet) int {
	m := l.member
	n := l.cur.Handovers.Load()
	row := &l.cur.Handover[(n-1)%keptHandovers]
	if m.begun != n {
		group, from, to := row.Group.Load(), row.From.Load(), row.To.Load()
		if l.cur.Handovers.Load() != n {
			return l.readHandover(packets)
		}
		m.at, m.to = from, to
		if group != uint64(m.group) || to < from || to-from > uint64(len(l.index)) {
			m.at, m.to = 0, 0
		}
		l.account.HandoverClaimed.Store(m.at)
		l.account.HandoverBegun.Store(n)
		m.begun = n
	}
	for ; m.at < m.to; m.at++ {
		e := *l.entry(m.at) // may be torn: not trusted before the check below
		if e.Member[m.group] != handed+m.number {
			continue
		}
		data := l.gather(l.scratch, &e, uint64(e.Caplen))
		p := &packets[0]
		p.set(l.record(&e), data, &e)
		// A11: the fence keeps the copy before the load of the state. Pairs with R11 in
		// unspare.
		if fence(); row.State.Load() != handoverSpared && l.overwritten(position{e.Offset, m.at}) {
			continue
		}
		m.at++
		// SC4, SC5: claimed, then the handover goes on. Pairs with handoverEnds and depart.
		l.account.HandoverClaimed.Store(m.at)
		if !l.attachedMember() {
			return 0 // the rest is another's; HandoversDone must not say otherwise
		}
		if row.State.Load() == handoverClosed || l.cur.Handovers.Load() != n {
			break
		}
		m.handed = RecordHeader + uint64(e.Caplen)
		return 1
	}
	m.done, m.at, m.to = n, 0, 0
	l.account.HandoversDone.Store(n)
	return 0
}
