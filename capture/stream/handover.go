package stream

import (
	"math"
	"slices"
	"time"

	"github.com/ixcap/ixcap/capture/fanout"
)

// stallTimeout is how long a handover waits for a member that makes no progress.
const stallTimeout = time.Second

// exposedInterval is how often a handover is looked at that the producer does not spare.
const exposedInterval = 20 * time.Millisecond

// departure is a member that has left and whose account is not final yet.
type departure struct {
	member   *member
	gone     *mark       // from this frame on none is assigned to it
	ghost    *attachment // spares what it had not read; nil: that is not redistributed
	account  account
	lossless bool // it was, and was never overrun
	// Frames from taken on were not delivered to it. Of the frames before, so many are
	// read, and so many may be.
	taken        uint64
	read, inHand uint64
	// handed is the first frame of a running handover that was not delivered to it;
	// math.MaxUint64: it has no part in one.
	handed uint64
}

// runningHandover is the redistribution of what a departed member had not read.
type runningHandover struct {
	number   uint64 // counted from 1
	group    *group
	member   uint8 // that departed
	from, to uint64
	ghost    *attachment // nil: the frames are no longer spared
	targets  []target
}

// target is a member that takes part in a handover.
type target struct {
	att      *attachment
	progress [3]uint64
	at       time.Time // of the last progress
}

// depart takes a listener out of its group and clears its slot. It returns false if the
// producer had detached the listener. What the member had not read stays where it is
// until the producer assigns no more frames to it; see sweepGroups.
func (s *Stream) depart(att *attachment, reason string) (cleared bool) {
	m, g := att.member, att.member.group
	g.members = slices.DeleteFunc(g.members, func(x *member) bool { return x == m })
	if s.closed {
		return s.clearSlot(att)
	}
	g.leaving++
	s.groups.backlogs[g.slot][m.number].Store(0)
	d := &departure{member: m, handed: math.MaxUint64}
	if now, err := s.setGroups(); err == nil {
		d.gone = now
	} else { // not reached: fewer members are never too many
		d.gone = &mark{seq: s.view.cursors.IndexHead.Load(), known: true}
	}
	if len(g.members) == 0 {
		g.periods[len(g.periods)-1].until = d.gone
	}
	spare := g.settings.Departed == fanout.Redistribute && len(g.members) > 0
	if reason == reasonServerClosed {
		att.slotWord, spare = att.id|readOn, false
	}
	// SC5: it delivers no frame beyond what it has claimed by now.
	s.view.cursors.Slots[att.slot].Store(att.slotWord)
	spare = s.readAccount(att) && reason != reasonCorrupt && spare
	s.measure(d, att, reason)
	if spare {
		d.ghost = s.putGhost(d, att)
		cleared = d.ghost != nil
	} else {
		cleared = s.clearSlot(att)
	}
	s.groups.departures = append(s.groups.departures, d)
	s.startHousekeeper()
	return cleared
}

// measure finds what a member that leaves was delivered. What its page says is bounded,
// and not trusted otherwise: it decides about the member's own frames only.
func (s *Stream) measure(d *departure, att *attachment, reason string) {
	a, c := &att.last, att.cursor
	d.account, d.lossless = *a, att.policy == Lossless && a.overrun == 0
	bound := func(n, low, high uint64) uint64 { return min(max(n, low), high) }
	head := s.view.cursors.IndexHead.Load()
	done := bound(c.Delivered.Load(), a.position.seq, head)
	delivering := bound(c.Delivering.Load(), done, head)
	switch reason {
	case reasonClosed:
		done, d.taken = delivering, delivering
	case reasonExited:
		d.taken = delivering
	default:
		d.taken = bound(c.Claimed.Load(), delivering, head)
	}
	d.read = a.read + s.countOwn(d.member, a.position.seq, done)
	d.inHand = s.countOwn(d.member, done, d.taken)
	h := s.groups.handover
	if h == nil || !h.involves(att) || c.HandoversDone.Load() >= h.number {
		return
	}
	d.handed = h.from
	if c.HandoverBegun.Load() == h.number {
		d.handed = bound(c.HandoverClaimed.Load(), h.from, h.to)
	}
}

// countOwn counts the frames of a range that are assigned to a member and not
// overwritten.
func (s *Stream) countOwn(m *member, from, to uint64) (n uint64) {
	v := s.groups.scan
	if first := v.oldest(0).seq; from < first {
		from = first
	}
	for ; from < to; from++ {
		if v.entry(from).Member[m.group.slot] == m.number {
			n++
		}
	}
	return n
}

// putGhost puts an attachment of the stream into the slot of a member that leaves. It is
// lossless, so the producer spares what the member left. It returns nil if the producer
// has detached the member.
func (s *Stream) putGhost(d *departure, att *attachment) *attachment {
	v := s.reader()
	at, sure := s.sparedOf(d, att, v)
	ghost := &attachment{cursor: &cursor{}, id: att.id, slot: att.slot, name: att.name, offset: at.offset, seq: at.seq}
	ghost.lossless.Store(1)
	ghost.cursor.release(at.offset, at.seq)
	replaced := s.slots[att.slot].CompareAndSwap(att, ghost)
	s.awaitScan()
	if !replaced {
		return nil
	}
	// SC1, as in claimSlot.
	for margin := uint64(0); !sure && v.overwritten(at); margin += (v.mask + 1) / 8 {
		at = v.newest()
		if margin <= v.mask {
			at = v.oldest(margin).later(ghost.spared())
		}
		ghost.cursor.Offset.Store(at.offset)
		ghost.cursor.Seq.Store(at.seq)
	}
	d.lossless = d.lossless && at.seq <= d.taken
	return ghost
}

// sparedOf returns from where on a ghost spares what a member leaves, and whether the
// producer is sure to spare that already. It spares all that a lossless member has not
// released, so that needs no look at the announcement, which is above it for a moment
// when the producer tries again. Of a lossy member a ghost spares what lies at least
// half a buffer ahead of the producer, which is not held back for lossy members longer
// than the frames are looked through.
func (s *Stream) sparedOf(d *departure, att *attachment, v *view) (at position, sure bool) {
	c := att.cursor
	if att.lossless.Load() == 0 || c.Mode.Load() != att.wanted {
		return v.oldest((v.mask + 1) / 2).later(att.last.position), false
	}
	if h := s.groups.handover; d.handed < att.last.position.seq && h.ghost != nil {
		return position{v.entry(d.handed).Offset, d.handed}, true // the other ghost spares it
	}
	at = position{c.Offset.Load(), c.Seq.Load()}
	if at.seq < v.cur.IndexHead.Load() && v.entry(at.seq).Offset < at.offset {
		return att.last.position, false // the two do not belong together
	}
	return at, true
}

// spared is what a ghost spares: all from this position on.
func (ghost *attachment) spared() position {
	return position{ghost.cursor.Offset.Load(), ghost.cursor.Seq.Load()}
}

// later returns the later one of two positions.
func (p position) later(q position) position {
	if q.seq > p.seq {
		return q
	}
	return p
}

// dropGhost ends what a ghost spares.
func (s *Stream) dropGhost(ghost *attachment) {
	if ghost != nil && s.slots[ghost.slot].CompareAndSwap(ghost, nil) {
		s.active.And(^uint64(1 << ghost.slot))
		s.awaitScan()
	}
}

// sweepGroups goes on with departures and handovers, one at a time. It returns the time
// to its next call, 0 when there are none. A handover that the producer does not spare
// is in no hurry: a member that hangs may never read its part.
func (s *Stream) sweepGroups(now time.Time) (next time.Duration) {
	s.resolve()
	q := &s.groups
	for {
		if h := q.handover; h != nil && !s.handoverEnds(h, now) {
			if h.ghost == nil && len(q.departures) == 0 {
				return exposedInterval
			}
			return ackInterval
		}
		if len(q.departures) == 0 {
			return 0
		}
		d := q.departures[0]
		if !d.gone.known {
			return ackInterval
		}
		q.departures = slices.Delete(q.departures, 0, 1)
		s.finish(d, now)
	}
}

// finish redistributes what a departed member left and makes its account final. The
// producer assigns no more frames to it.
func (s *Stream) finish(d *departure, now time.Time) {
	m, g := d.member, d.member.group
	var given uint64
	if d.ghost != nil {
		given = s.redistribute(d, now)
	}
	st := s.assigned(m)
	rest := s.countOwn(m, d.taken, d.gone.seq)
	st.Handed, st.InHand, st.Redistributed = d.account.handed, d.inHand, given
	switch {
	case d.lossless && d.ghost != nil:
		st.Unread = rest
		st.Read = st.Assigned - min(st.Assigned, d.inHand+given+rest)
	case d.lossless:
		st.Read = d.read
		st.Unread = st.Assigned - min(st.Assigned, d.read+d.inHand)
	default:
		st.Read, st.Unread = d.read, rest
		st.Overrun = st.Assigned - min(st.Assigned, d.read+d.inHand+given+rest)
	}
	g.departed.add(&st)
	g.finished++
	if h := s.groups.handover; h == nil || h.member != m.number || h.group != g {
		s.dropGhost(d.ghost)
		s.release(g, m.number)
	}
}

// release makes a number free for another member.
func (s *Stream) release(g *group, number uint8) {
	g.taken[number] = false
	g.leaving--
}

// redistribute gives what a departed member left to the others and begins the handover.
// It returns the number of frames that were the member's own.
func (s *Stream) redistribute(d *departure, now time.Time) (given uint64) {
	m, g, v := d.member, d.member.group, s.reader()
	from, to := max(min(d.taken, d.handed), d.ghost.spared().seq), d.gone.seq
	if len(g.members) == 0 {
		return 0
	}
	// What members have left of earlier handovers is given away, too, also that of
	// members whose turn is not yet.
	var left [fanout.MaxMember + 1]uint64
	for i := range left {
		left[i] = math.MaxUint64
	}
	left[m.number] = d.handed
	for _, waits := range s.groups.departures {
		if waits.member.group == g {
			left[waits.member.number] = waits.handed
		}
	}
	again := uint64(0)
	var givenTo [fanout.MaxMember + 1]uint64
	assigner, record := s.groups.assigner.Load(), make([]byte, MaxRecord)
	for seq := from; seq < to; seq++ {
		e := v.entry(seq)
		b := &e.Member[g.slot]
		own := *b == m.number && seq >= d.taken
		second := *b > handed && *b <= handed+fanout.MaxMember && seq >= left[*b-handed]
		if !own && !second {
			if *b >= handed {
				*b = delivered
			}
			continue
		}
		number := assigner.Pick(g.slot, e, v.whole(e, record))
		switch {
		case number != noMember:
			*b = handed + number
			givenTo[number]++
			if own {
				given++
			} else {
				again++
			}
		case second:
			*b = delivered
		}
	}
	for _, to := range g.members {
		to.given += givenTo[to.number]
	}
	g.redistributed += given
	if given+again == 0 {
		return 0
	}
	s.beginHandover(d, from, to, now)
	return given
}

// beginHandover makes the members walk a range for what was given to them. R10: the
// entries are changed before. Pairs with A10 in readHandover.
func (s *Stream) beginHandover(d *departure, from, to uint64, now time.Time) {
	c, g := s.view.cursors, d.member.group
	n := c.Handovers.Load()
	row := &c.Handover[n%keptHandovers]
	row.Group.Store(uint64(g.slot))
	row.From.Store(from)
	row.To.Store(to)
	row.State.Store(handoverSpared)
	if !d.lossless {
		row.State.Store(handoverExposed)
	}
	c.Handovers.Store(n + 1)
	h := &runningHandover{number: n + 1, group: g, member: d.member.number, from: from, to: to, ghost: d.ghost}
	for _, m := range g.members {
		h.targets = append(h.targets, target{att: m.att, at: now})
	}
	if !d.lossless {
		s.unspare(h, handoverExposed)
	}
	s.groups.handover = h
}

// unspare lets the producer overwrite what a handover is about. R11: members know before,
// and check their copies. Pairs with A11 in readHandover.
func (s *Stream) unspare(h *runningHandover, state uint64) {
	s.view.cursors.Handover[(h.number-1)%keptHandovers].State.Store(state)
	s.dropGhost(h.ghost)
	h.ghost = nil
}

// involves reports whether a member takes part in a handover.
func (h *runningHandover) involves(att *attachment) bool {
	return slices.ContainsFunc(h.targets, func(t target) bool { return t.att == att })
}

// handoverEnds ends the handover once all members have read their part or departed. A
// member that makes no progress for stallTimeout loses the producer's sparing, and the
// rest of its part once another departure waits.
func (s *Stream) handoverEnds(h *runningHandover, now time.Time) bool {
	stalled := true
	h.targets = slices.DeleteFunc(h.targets, func(t target) bool {
		return t.att.final != nil || t.att.cursor.HandoversDone.Load() >= h.number
	})
	for i := range h.targets {
		t := &h.targets[i]
		c := t.att.cursor
		if p := [3]uint64{c.HandoverClaimed.Load(), c.HandoverBegun.Load(), c.Seq.Load()}; p != t.progress {
			t.progress, t.at = p, now
		}
		if now.Sub(t.at) < stallTimeout {
			stalled = false
		}
	}
	if len(h.targets) > 0 && !(stalled && len(s.groups.departures) > 0) {
		if stalled && h.ghost != nil {
			s.unspare(h, handoverExposed)
		}
		return false
	}
	// SC4: members stop at what they have claimed by now.
	s.unspare(h, handoverClosed)
	s.release(h.group, h.member)
	s.groups.handover = nil
	return true
}

// closeGroups makes the accounts of departed members final when the stream is closed.
func (s *Stream) closeGroups() {
	q := &s.groups
	if q.assigner.Load() == nil {
		return
	}
	s.resolve()
	s.endMarks()
	if q.handover != nil {
		s.dropGhost(q.handover.ghost)
	}
	for _, d := range q.departures {
		s.dropGhost(d.ghost)
		d.ghost = nil
		s.finish(d, time.Now())
	}
	q.departures = nil
}
