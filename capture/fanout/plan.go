package fanout

import (
	"encoding/binary"
	"math"

	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream/entry"
)

// plan is how frames are assigned, made of groups. Only its counts change.
type plan struct {
	generation uint64
	groups     []Group

	fixed  uint64   // members by slot that get every frame: CPU, QM
	whole  []int    // slots that give a batch to one member: CPU, QM, Rollover, Buddy
	rolls  []roll   // Rollover
	buddy  []buddy  // Buddy
	hashes []hashed // Hash, Consistent: one for groups with the same tunnels
	random *table   // RND
	orders []order  // LB
	trees  []chosen // Filter

	// By slot, for modes without a table.
	counts [entry.Groups]*[MaxMember + 1]count
}

// roll is a group of mode Rollover.
type roll struct {
	slot    int
	members []uint8
}

// buddy is a group of mode Buddy.
type buddy struct {
	slot      int
	members   []uint8
	home      int // the member of the receive queue
	threshold float64
}

// order is a group of mode LB.
type order struct {
	slot    int
	members []uint8
}

// chosen is a group of mode Filter.
type chosen struct {
	slot    int
	first   *pcapfilter.Classifier
	members []uint8 // by result of the classifier; the last one is none
	pieces  pieces
}

// pieces finds records that may lie in several buffers of a pool.
type pieces struct {
	gather func(e *entry.Entry) []byte // Config.Gather
	most   uint16                      // bytes of a frame in one buffer
}

func piecesOf(c Config) pieces {
	if c.Gather == nil || c.Buffer > math.MaxUint16 {
		return pieces{most: math.MaxUint16}
	}
	return pieces{c.Gather, uint16(c.Buffer)}
}

// record returns an entry's record.
func (p *pieces) record(e *entry.Entry, data []byte, mask uint64) []byte {
	if e.Caplen > p.most {
		return p.gather(e)
	}
	return recordOf(e, data, mask)
}

// newPlan makes a plan of groups that are correct.
func newPlan(groups []Group, c Config) (*plan, error) {
	p := &plan{}
	tables := map[Tunnels]map[int][]uint8{}
	random := map[int][]uint8{}
	for _, g := range groups {
		p.groups = append(p.groups, g)
		members := inOrder(g.Members)
		switch g.Mode {
		case CPU, QM, Rollover, Buddy:
			p.whole = append(p.whole, g.Slot)
			fallthrough
		case LB, Filter:
			p.counts[g.Slot] = new([MaxMember + 1]count)
		}
		switch g.Mode {
		case Hash, Consistent:
			if tables[g.Tunnels] == nil {
				tables[g.Tunnels] = map[int][]uint8{}
			}
			column := contiguous
			if g.Mode == Consistent {
				column = rendezvous
			}
			tables[g.Tunnels][g.Slot] = column(members)
		case RND:
			random[g.Slot] = contiguous(members)
		case LB:
			p.orders = append(p.orders, order{g.Slot, turns(members)})
		case CPU, QM:
			at := c.CPU
			if g.Mode == QM {
				at = c.Queue
			}
			if n := len(members); n > 0 {
				p.fixed |= inSlot(members[turn(at, n)].Number, g.Slot)
			}
		case Buddy:
			if n := len(members); n > 0 {
				p.buddy = append(p.buddy, buddy{g.Slot, numbers(members), turn(c.Queue, n), g.Threshold})
			}
		case Rollover:
			p.rolls = append(p.rolls, roll{g.Slot, numbers(members)})
		case Filter:
			filters := make([]*pcapfilter.Filter, len(g.Members))
			for i, m := range g.Members {
				filters[i] = m.Filter
			}
			first, err := pcapfilter.NewClassifier(filters)
			if err != nil {
				return nil, err
			}
			p.trees = append(p.trees, chosen{g.Slot, first, append(numbers(g.Members), 0), piecesOf(c)})
		}
	}
	for tunnels := range AllTunnels + 1 {
		if columns := tables[tunnels]; columns != nil {
			p.hashes = append(p.hashes, hashed{tunnels, newTable(columns), piecesOf(c)})
		}
	}
	if len(random) > 0 {
		p.random = newTable(random)
	}
	return p, nil
}

// turn is at modulo n members.
func turn(at, n int) int { return ((at % n) + n) % n }

func numbers(members []Member) []uint8 {
	list := make([]uint8, len(members))
	for i, m := range members {
		list[i] = m.Number
	}
	return list
}

// inSlot is a member's number in the byte of a slot.
func inSlot(member uint8, slot int) uint64 { return uint64(member) << (8 * slot) }

func members(e *entry.Entry) uint64       { return binary.LittleEndian.Uint64(e.Member[:]) }
func setMembers(e *entry.Entry, m uint64) { binary.LittleEndian.PutUint64(e.Member[:], m) }

// assign sets the members of entries, one kind of mode after the other.
func (p *plan) assign(entries []entry.Entry, data []byte, mask uint64, s *state, backlog func(int, uint8) float64) {
	all := p.fixed
	for i := range p.rolls {
		r := &p.rolls[i]
		all |= inSlot(r.choose(s, backlog), r.slot)
	}
	for i := range p.buddy {
		b := &p.buddy[i]
		all |= inSlot(b.choose(backlog), b.slot)
	}
	if len(p.whole) > 0 {
		p.countWhole(entries, all)
	}
	for i := range p.hashes {
		p.hashes[i].assign(entries, data, mask, all, i > 0, s.fragments)
	}
	if len(p.hashes) == 0 {
		for i := range entries {
			setMembers(&entries[i], all)
		}
	}
	if p.random != nil {
		s.random = p.random.assignRandom(entries, s.random)
	}
	for i := range p.orders {
		o := &p.orders[i]
		s.turn[o.slot] = o.assign(entries, s.turn[o.slot], p.counts[o.slot])
	}
	for i := range p.trees {
		p.trees[i].assign(entries, data, mask, p.counts[p.trees[i].slot])
	}
}

// countWhole counts entries for the groups that give all of a batch to one member.
func (p *plan) countWhole(entries []entry.Entry, all uint64) {
	bytes := uint64(0)
	for i := range entries {
		bytes += uint64(entries[i].Caplen)
	}
	for _, slot := range p.whole {
		p.counts[slot][uint8(all>>(8*slot))].add(uint64(len(entries)), bytes)
	}
}

// rollLimit is the backlog above which a member of Rollover gets no more frames.
const rollLimit = 0.5

// choose returns the member that gets frames: the last one until it is backlogged,
// then the next that is not, if there is one.
func (r *roll) choose(s *state, backlog func(int, uint8) float64) uint8 {
	if len(r.members) == 0 {
		return 0
	}
	at := 0
	for i, m := range r.members {
		if m == s.current[r.slot] {
			at = i
		}
	}
	if backlog != nil {
		for i := range r.members {
			if next := (at + i) % len(r.members); backlog(r.slot, r.members[next]) <= rollLimit {
				at = next
				break
			}
		}
	}
	s.current[r.slot] = r.members[at]
	return r.members[at]
}

// choose returns the member that gets frames: that of the receive queue, or while its backlog
// is above the threshold the one with the shortest.
func (b *buddy) choose(backlog func(int, uint8) float64) uint8 {
	best := b.members[b.home]
	if backlog == nil {
		return best
	}
	least := backlog(b.slot, best)
	if least <= b.threshold {
		return best
	}
	for _, m := range b.members {
		if n := backlog(b.slot, m); n < least {
			best, least = m, n
		}
	}
	return best
}

// nextRandom is xorshift64 (Marsaglia 2003).
func nextRandom(x uint64) uint64 {
	x ^= x << 13
	x ^= x >> 7
	return x ^ x<<17
}

// assignRandom assigns entries by random numbers, and returns the last number.
func (t *table) assignRandom(entries []entry.Entry, random uint64) uint64 {
	for i := range entries {
		e := &entries[i]
		random = nextRandom(random)
		t.give(e, uint32(random>>32), 0, true)
	}
	return random
}

// assign assigns entries in turn, and returns the next place in the order.
func (o *order) assign(entries []entry.Entry, turn uint32, counts *[MaxMember + 1]count) uint32 {
	if turn >= uint32(len(o.members)) {
		turn = 0
	}
	for i := range entries {
		e := &entries[i]
		m := o.members[turn]
		if turn++; turn == uint32(len(o.members)) {
			turn = 0
		}
		e.Member[o.slot] = m
		counts[m].add(1, uint64(e.Caplen))
	}
	return turn
}

// assign assigns entries to the first members whose expressions they match.
func (c *chosen) assign(entries []entry.Entry, data []byte, mask uint64, counts *[MaxMember + 1]count) {
	for i := range entries {
		e := &entries[i]
		record := c.pieces.record(e, data, mask)
		m := c.members[c.first.First(record[recordHeader:], int(e.Len))]
		e.Member[c.slot] = m
		counts[m].add(1, uint64(e.Caplen))
	}
}

// recordOf returns an entry's record, of a frame in several buffers the first one's part and
// what lies behind it.
func recordOf(e *entry.Entry, data []byte, mask uint64) []byte {
	b := data[e.Offset&mask+uint64(e.Place)*entry.PlaceUnit:]
	return b[:min(len(b), recordHeader+int(e.Caplen))]
}

// count is what a member of a slot was given by the plan.
func (p *plan) count(slot int, member uint8) (frames, bytes uint64) {
	if c := p.counts[slot]; c != nil {
		return c[member].frames.load(), c[member].bytes.load()
	}
	if p.random != nil && p.random.has(slot) {
		return p.random.counted(slot, member)
	}
	for _, h := range p.hashes {
		if h.table.has(slot) {
			return h.table.counted(slot, member)
		}
	}
	return 0, 0
}

// addFrames adds the frames that the plan has assigned.
func (p *plan) addFrames(to *Frames) {
	for slot, counts := range p.counts {
		if counts != nil {
			for member := range counts {
				to[slot][member] += counts[member].frames.load()
			}
		}
	}
	if p.random != nil {
		p.random.addFrames(to)
	}
	for i := range p.hashes {
		p.hashes[i].table.addFrames(to)
	}
}
