package stream

import (
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/fanout"
	"github.com/ixcap/ixcap/capture/stream/entry"
)

// A member of a fan-out group is a listener that gets some of the frames:
//
//	attach ─► join ─► assigner.Set ┄┄► Producer.assign: Entry.Member of each frame
//	                                        │
//	detach ─► depart ─► assigner.Set ┄┄►  applied: the first frame under new groups
//	             └► ghost spares what it left ─► redistribute ─► handover to the others

// groups are the fan-out groups of a stream. Stream.mu guards what is not atomic.
type groups struct {
	assigner   atomic.Pointer[fanout.Assigner] // nil before the first member
	generation atomic.Uint64                   // of the assigner's last Set

	// applied are the generations that the producer has begun to use, the last ones, and
	// from which frame on. The producer writes an element and then counts it.
	applied [keptGenerations]struct{ generation, seq atomic.Uint64 }
	changes atomic.Uint64
	seen    uint64 // changes that resolve has seen

	slots      [entry.Groups]*group
	backlogs   [entry.Groups][fanout.MaxMember + 1]atomic.Uint32 // slot of the member's listener + 1, for modes rollover and buddy
	departures []*departure                                      // in the order in which members left
	marks      []*mark                                           // not known yet
	handover   *runningHandover
	scan       *view // through a mapping that is only read
	scanMap    mapping
}

// keptGenerations is more than the producer can begin to use between two calls of
// resolve, which are at most two Sets apart.
const keptGenerations = 8

// mark is the first frame that is assigned under a generation of groups.
type mark struct {
	generation, seq uint64
	known           bool
}

// group is a fan-out group. It stays when its last member leaves, until its slot is
// needed for another group.
type group struct {
	slot     int
	settings fanout.Settings // of the first member
	members  []*member       // in the order of joining
	taken    [fanout.MaxMember + 1]bool
	past     uint64   // frames stored in periods that are over
	periods  []period // other ones, in which it had members
	base     uint64   // frames that the assigner had counted for no member then
	leaving  int      // numbers of members that have left and are not free yet

	finished      uint64      // members whose account is final
	departed      MemberStats // sums of these
	redistributed uint64      // frames of departed members that others were given
}

// period is a time in which a group has members: from the first frame that is assigned
// to one on, and from another on no longer.
type period struct{ since, until *mark }

// stored is the number of frames stored while the group had members; head is the number
// of all frames.
func (g *group) stored(head uint64) uint64 {
	for len(g.periods) > 0 && g.periods[0].over() {
		g.past += g.periods[0].until.seq - g.periods[0].since.seq
		g.periods = g.periods[1:]
	}
	n := g.past
	for _, p := range g.periods {
		switch {
		case p.over():
			n += p.until.seq - p.since.seq
		case p.since.known:
			n += head - min(head, p.since.seq)
		}
	}
	return n
}

func (p *period) over() bool { return p.until != nil && p.until.known }

// empty reports whether the group has no members and nothing of it is to come.
func (g *group) empty() bool {
	return len(g.members) == 0 && g.leaving == 0 && (len(g.periods) == 0 || g.periods[len(g.periods)-1].over())
}

// member is the stream's side of a member.
type member struct {
	group         *group
	number        uint8
	settings      fanout.Settings
	att           *attachment
	frames, bytes uint64 // that the assigner had counted for the number before
	overrun       uint64 // as memberStats has returned it
	given         uint64 // frames of others in handovers
}

// mayHave reports whether an account has no more of other members than there was. m is
// nil for a listener in no group.
func (m *member) mayHave(a *account) bool {
	if m == nil {
		return a.skipped == 0 && a.handed == 0
	}
	return a.handed <= m.given
}

// settings returns the settings of the group that a listener asks to join.
func (o *Options) settings() (fanout.Settings, error) {
	s, err := fanout.ParseSettings(o.Fanout)
	switch {
	case err != nil:
		return s, err
	case o.Start != FromNow || o.Aligned:
		return s, fmt.Errorf("member of group %d: begins with the next frame. Ask for no other start", s.Group)
	}
	return s, nil
}

// findGroup returns the group for a listener that joins, or a new one, which has no
// slot yet if none is free. It changes nothing.
func (s *Stream) findGroup(set fanout.Settings) (*group, error) {
	for _, g := range s.groups.slots {
		if g == nil || g.settings.Group != set.Group {
			continue
		}
		if len(g.members) > 0 {
			return g, g.admits(set)
		}
		return g, nil
	}
	return &group{slot: -1}, nil
}

// admits returns an error if a member asks for what the group does not have.
func (g *group) admits(set fanout.Settings) error {
	has := func(what string, have, asked fmt.Stringer) error {
		return fmt.Errorf("fan-out group %d has %s %s, not %s. Leave it out or choose another group", set.Group, what, have, asked)
	}
	switch have := &g.settings; {
	case set.Mode != fanout.Unset && set.Mode != have.Mode:
		return has("mode", have.Mode, set.Mode)
	case set.HasTunnels && set.Tunnels != have.Tunnels:
		return has("tunnels", have.Tunnels, set.Tunnels)
	case set.Departed != fanout.DepartedUnset && set.Departed != have.Departed:
		return has("departed", have.Departed, set.Departed)
	case set.Threshold != 0 && have.Mode != fanout.Buddy:
		return fmt.Errorf("fan-out group %d has mode %s: leave the threshold out or choose another group", set.Group, have.Mode)
	case set.Threshold != 0 && set.Threshold != have.Threshold:
		return fmt.Errorf("fan-out group %d has threshold %d, not %d. Leave it out or choose another group", set.Group, have.Threshold, set.Threshold)
	case have.Mode == fanout.Filter && set.Filter == nil:
		return fmt.Errorf("fan-out group %d has mode filter: write filter=EXPRESSION, which frames this member gets", set.Group)
	case have.Mode != fanout.Filter && set.Filter != nil:
		return fmt.Errorf("fan-out group %d has mode %s: leave the filter out or choose another group", set.Group, have.Mode)
	}
	return nil
}

// place gives a new group a slot: a free one, or that of a group without members.
func (s *Stream) place(g *group) error {
	q := &s.groups
	for _, drop := range []bool{false, true} {
		for i, old := range q.slots {
			if old == nil || drop && old.empty() {
				g.slot, q.slots[i] = i, g
				return nil
			}
		}
	}
	return fmt.Errorf("%d fan-out groups have members already. Join one of them or end one", entry.Groups)
}

// reserve finds a number for a listener that joins a group, and makes the group if it
// is new.
func (s *Stream) reserve(set fanout.Settings) (*member, error) {
	g, err := s.findGroup(set)
	if err != nil {
		return nil, err
	}
	number := 1
	for number <= fanout.MaxMember && g.taken[number] {
		number++
	}
	if number > fanout.MaxMember {
		return nil, fmt.Errorf("fan-out group %d has %d members. Close one", set.Group, fanout.MaxMember)
	}
	if s.groups.assigner.Load() == nil {
		if err := s.makeAssigner(); err != nil {
			return nil, err
		}
	}
	if g.slot < 0 {
		if err := s.place(g); err != nil {
			return nil, err
		}
		g.base, _ = s.groups.assigner.Load().Count(g.slot, 0)
	}
	if len(g.members) == 0 {
		g.settings = set
		switch {
		case set.Mode != fanout.Unset:
		case set.Filter != nil:
			g.settings.Mode = fanout.Filter
		case set.Threshold != 0:
			g.settings.Mode = fanout.Buddy
		default:
			g.settings.Mode = fanout.Hash
		}
		if set.Departed == fanout.DepartedUnset {
			g.settings.Departed = fanout.Redistribute
		}
		if g.settings.Mode == fanout.Buddy && set.Threshold == 0 {
			g.settings.Threshold = fanout.DefaultThreshold
		}
	}
	m := &member{group: g, number: uint8(number), settings: set}
	m.frames, m.bytes = s.groups.assigner.Load().Count(g.slot, m.number)
	return m, nil
}

// makeAssigner makes the assigner and a second view of the memory: what the producer
// writes at the same time must not be read through the mapping that it writes.
func (s *Stream) makeAssigner() (err error) {
	q := &s.groups
	if q.scanMap, err = mapShared(s.control.Fd(), s.control.Len(), 1, s.control.PageSize(), unix.PROT_READ); err != nil {
		return fmt.Errorf("control memory: %w", err)
	}
	c := viewControl(q.scanMap.mem, s.view.header)
	scan := newView(s.bytes, s.view.header, c)
	scan.cur = s.view.cursors
	q.scan = &scan
	fc := fanout.Config{Queue: s.config.Queue, CPU: max(0, s.config.Core), Backlog: s.backlog}
	if pool := s.config.Pool; pool != nil && pool.BufferSize < MaxFrame {
		v, record := s.reader(), make([]byte, MaxRecord)
		fc.Buffer, fc.Gather = pool.BufferSize, func(e *Entry) []byte { return v.whole(e, record) }
	}
	q.assigner.Store(fanout.New(fc))
	return nil
}

// join makes an attached listener a member. It comes after the listener has its start:
// no frame is assigned to it before.
func (s *Stream) join(m *member, att *attachment) error {
	g := m.group
	m.att = att
	att.cursor.AssignedBefore.Store(m.frames)
	if m.settings.Member == "" {
		m.settings.Member = g.freeName(fmt.Sprintf("%s-%d", att.name, att.pid))
	}
	g.members = append(g.members, m)
	now, err := s.setGroups()
	if err != nil {
		g.members = g.members[:len(g.members)-1]
		return err
	}
	if len(g.members) == 1 {
		g.periods = append(g.periods, period{since: now})
	}
	s.groups.backlogs[g.slot][m.number].Store(uint32(att.slot) + 1)
	g.taken[m.number] = true
	att.member = m
	return nil
}

// freeName returns a name that no member has: listeners of one name and process differ
// by a counter.
func (g *group) freeName(name string) string {
	free := name
	for n := 2; slices.ContainsFunc(g.members, func(m *member) bool { return m.settings.Member == free }); n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	return free
}

// setGroups gives the groups to the assigner and returns the mark of their first frame.
func (s *Stream) setGroups() (*mark, error) {
	q := &s.groups
	s.resolve()
	var all []fanout.Group
	for _, g := range q.slots {
		if g == nil || len(g.members) == 0 {
			continue
		}
		of := fanout.Group{Slot: g.slot, Mode: g.settings.Mode, Tunnels: g.settings.Tunnels, Threshold: float64(g.settings.Threshold) / 100}
		for _, m := range g.members {
			of.Members = append(of.Members, fanout.Member{
				Number: m.number, Name: m.settings.Member, Weight: int(m.settings.Weight), Filter: m.settings.Filter,
			})
		}
		all = append(all, of)
	}
	generation, err := q.assigner.Load().Set(all)
	if err != nil {
		return nil, err
	}
	q.generation.Store(generation)
	s.notifier.wakeProducer()
	m := &mark{generation: generation}
	q.marks = append(q.marks, m)
	s.resolve()
	return m, nil
}

// resolve finds the frames of marks that the producer has reached. After the end of
// the stream all are at its end.
func (s *Stream) resolve() {
	q := &s.groups
	if len(q.marks) == 0 || s.closed {
		return
	}
	// A9, pairs with R9 in assign.
	ended := s.view.cursors.Finished.Load() != 0 // before changes and IndexHead, which are final then
	for n := q.changes.Load(); q.seen < n; q.seen++ {
		a := &q.applied[q.seen%keptGenerations]
		generation, seq := a.generation.Load(), a.seq.Load()
		if seq > s.view.cursors.IndexHead.Load() {
			break // the frames before it are not published yet
		}
		for _, m := range q.marks {
			if !m.known && m.generation <= generation {
				m.seq, m.known = seq, true
			}
		}
	}
	if ended {
		s.endMarks()
	}
	q.marks = slices.DeleteFunc(q.marks, func(m *mark) bool { return m.known })
}

// endMarks sets the marks that are not known to the end of the stream.
func (s *Stream) endMarks() {
	for _, m := range s.groups.marks {
		if !m.known {
			m.seq, m.known = s.view.cursors.IndexHead.Load(), true
		}
	}
}

// assign assigns the frames that are about to be published to members, and notes from
// which of them on groups are in force. R9: a change is counted after it is stored.
// Pairs with A9 in resolve.
func (p *Producer) assign(a *fanout.Assigner) {
	size, mask := uint64(len(p.index)), p.mask
	if p.stream.config.Pool != nil {
		mask = 0
	}
	for from := p.publishedSeq; ; {
		first := from & (size - 1)
		n := min(p.seq-from, size-first)
		a.Assign(p.index[first:first+n], p.data, mask)
		if g := a.Applied(); g != p.generation {
			p.generation = g
			q := &p.stream.groups
			c := &q.applied[q.changes.Load()%keptGenerations]
			c.generation.Store(g)
			c.seq.Store(from)
			q.changes.Add(1)
		}
		if from += n; from == p.seq {
			return
		}
	}
}

// minAssignedStep is the least number of frames after which publishAssigned stores again.
const minAssignedStep = 1024

// publishAssigned stores how many of the published frames the members were assigned, if
// there are enough new ones, or at the end. R12: AssignedVersion is odd while it stores.
// Pairs with A12 in listeners.
func (p *Producer) publishAssigned(end bool) {
	a := p.stream.groups.assigner.Load()
	if a == nil || p.publishedSeq-p.assignedSeq < p.assignedStep && !end {
		return
	}
	p.assignedSeq = p.publishedSeq
	p.assignedStep = min(max(minAssignedStep, 16*uint64(a.Words())), uint64(len(p.index))/4)
	a.Assigned(&p.assigned)
	c := p.cur
	c.AssignedVersion.Add(1)
	c.AssignedSeq.Store(p.assignedSeq)
	for _, g := range a.Groups() {
		for i := range g.Members {
			m := int(g.Members[i].Number)
			c.Assigned[g.Slot*assignedRow+m].Store(p.assigned[g.Slot][m])
		}
	}
	c.AssignedVersion.Add(1)
}

// backlog returns the part of the stream's data or index, or of its pool, that a member has
// left unread. The producer calls it in assign, and redistribute, which holds Stream.mu.
// SC2: scans is odd during the call, as in scanListeners; who waits for that holds
// Stream.mu, too.
func (s *Stream) backlog(slot int, number uint8) float64 {
	s.scans.Add(1)
	defer s.scans.Add(1)
	i := s.groups.backlogs[slot][number].Load()
	if i == 0 {
		return 0
	}
	att := s.slots[i-1].Load()
	if att == nil {
		return 0
	}
	frames := part(s.view.cursors.IndexHead.Load(), att.cursor.Seq.Load(), s.config.Entries)
	if pool := s.config.Pool; pool != nil {
		return min(frames*float64(s.config.Entries)/float64(pool.Buffers), 1)
	}
	return max(frames, part(s.view.cursors.Head.Load(), att.cursor.Offset.Load(), s.config.Size))
}

// part returns which part of a size lies between a listener's cursor, which may be wrong, and
// the end.
func part(end, cursor uint64, size int) float64 {
	return min(float64(end-min(end, cursor))/float64(size), 1)
}
