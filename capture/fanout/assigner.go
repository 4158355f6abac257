package fanout

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream/entry"
)

const (
	// MaxMember is the highest number of a member.
	MaxMember = 126

	// recordHeader is the length of the header before a frame in a stream's data, in
	// bytes: seconds, nanoseconds, lengths.
	recordHeader = 12
)

// Group is a group of members that share a stream's frames.
type Group struct {
	Slot    int // 0 to 7: the byte of entry.Entry.Member that the group has
	Mode    Mode
	Tunnels Tunnels // of Hash and Consistent

	// Threshold is the part of the stream that a member of Buddy may leave unread.
	Threshold float64
	Members   []Member // in order of joining
}

// Member is a member of a group.
type Member struct {
	Number uint8  // 1 to MaxMember, what entry.Entry.Member has for it
	Name   string // gives the order of members, except in mode Filter
	Weight int    // share relative to the others, from 1 on
	Filter *pcapfilter.Filter
}

// Config is what an Assigner has to know of its stream.
type Config struct {
	Queue int // receive queue, for QM
	CPU   int // core that receives, for CPU

	// Backlog returns, for Rollover and Buddy, which part of the stream a member has left
	// unread, from 0 to 1. The producer calls it for each batch. Nil: nothing ever.
	Backlog func(slot int, member uint8) float64

	// Gather returns the record of a frame of more than Buffer bytes, which a pool has in
	// several buffers; nil: every record lies in one piece. Only the producer
	// calls it, and uses the record until the next call.
	Gather func(e *entry.Entry) []byte
	Buffer int
}

// Assigner decides which member of each group gets a frame. Assign is called by one
// goroutine, the producer of the stream; all other methods by any.
//
//	Set ─ pending plan ─▶ Assign ─ members ─▶ index entries
//	                        └──── counts ───▶ Count
type Assigner struct {
	config  Config
	pending atomic.Pointer[plan] // set and not yet in force
	applied atomic.Uint64        // generation of plan

	// Of the producer.
	plan  *plan
	state state
	past  Frames // assigned by plans that are no longer in force

	mu         sync.Mutex // guards what follows
	generation uint64
	latest     *plan   // as set last
	counted    []*plan // whose counts are not in totals
	totals     [entry.Groups][MaxMember + 1]total
	picker     *plan // of Pick: latest with other counts
	picking    state // of Pick
}

type total struct{ frames, bytes uint64 }

// Frames is numbers of frames by slot and member.
type Frames [entry.Groups][MaxMember + 2]uint64

// state is what assigning remembers from frame to frame. It outlives plans.
type state struct {
	fragments *fragments
	turn      [entry.Groups]uint32 // of LB: place in the order
	current   [entry.Groups]uint8  // of Rollover: the member that gets frames
	random    uint64               // of RND
}

func newState() state { return state{fragments: new(fragments), random: keyFinal} }

// New makes an Assigner without groups.
func New(c Config) *Assigner {
	empty := &plan{}
	return &Assigner{config: c, plan: empty, latest: empty, picker: empty, state: newState(), picking: newState()}
}

// Set replaces the groups. They are in force from the next Assign on: Applied then
// returns the generation, or a higher one.
func (a *Assigner) Set(groups []Group) (generation uint64, err error) {
	if err := check(groups); err != nil {
		return 0, err
	}
	p, err := newPlan(groups, a.config)
	if err != nil {
		return 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.generation++
	p.generation = a.generation
	a.latest = p
	a.collect()
	a.counted = append(a.counted, p)
	if old := a.pending.Swap(p); old != nil { // the producer never had it
		a.counted = slices.DeleteFunc(a.counted, func(c *plan) bool { return c == old })
	}
	return p.generation, nil
}

// check returns an error unless a plan can be made of groups.
func check(groups []Group) error {
	var slots [entry.Groups]bool
	for _, g := range groups {
		if g.Slot < 0 || g.Slot >= entry.Groups || slots[g.Slot] {
			return fmt.Errorf("fan-out: group slot %d: must be 0 to %d, one for each group", g.Slot, entry.Groups-1)
		}
		slots[g.Slot] = true
		if g.Mode == Unset || g.Mode >= modes {
			return fmt.Errorf("fan-out: group slot %d: no mode", g.Slot)
		}
		var numbers [MaxMember + 1]bool
		for _, m := range g.Members {
			if m.Number == 0 || m.Number > MaxMember || numbers[m.Number] {
				return fmt.Errorf("fan-out: member %d: must be 1 to %d, one for each member", m.Number, MaxMember)
			}
			numbers[m.Number] = true
			if m.Weight < 1 || m.Weight > MaxWeight {
				return fmt.Errorf("fan-out: weight %d: must be 1 to %d", m.Weight, MaxWeight)
			}
			if g.Mode == Filter && m.Filter == nil {
				return errors.New("fan-out: a member of mode filter has no filter")
			}
		}
	}
	return nil
}

// Applied is the generation of the groups by which the last Assign was made, 0 before
// any.
func (a *Assigner) Applied() uint64 { return a.applied.Load() }

// Assign sets the Member of all entries. data is the stream's data memory, twice
// mapped; an entry's record begins at Offset&mask, in a pool, with mask 0, at its Place. It neither allocates nor locks.
func (a *Assigner) Assign(entries []entry.Entry, data []byte, mask uint64) {
	if a.pending.Load() != nil {
		// Swap hands the plan over: Set then knows that its counts matter.
		if p := a.pending.Swap(nil); p != nil {
			a.plan.addFrames(&a.past)
			a.plan = p
			a.applied.Store(p.generation)
		}
	}
	if len(entries) != 0 {
		a.plan.assign(entries, data, mask, &a.state, a.config.Backlog)
	}
}

// Pick returns the member that a slot's group, as set last, gives a frame to, 0 if
// none. The record is that of the stream: header and Caplen bytes. It changes no count.
// It remembers fragments and turns apart from Assign.
func (a *Assigner) Pick(slot int, e *entry.Entry, record []byte) uint8 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.picker.generation != a.generation {
		c := a.config
		c.Gather = nil // record is whole
		p, err := newPlan(a.latest.groups, c)
		if err != nil {
			return 0 // not reached: Set made a plan of them
		}
		p.generation = a.generation
		a.picker = p
	}
	one := [1]entry.Entry{*e}
	one[0].Offset, one[0].Place = 0, 0
	a.picker.assign(one[:], record, 0, &a.picking, a.config.Backlog)
	return one[0].Member[slot]
}

// Count is what a member of a slot was assigned: frames, and bytes in the stream's
// data, record headers included. Member 0 is frames of the group that no member got.
// They only grow, whoever has the slot and the number.
func (a *Assigner) Count(slot int, member uint8) (frames, bytes uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.collect()
	t := a.totals[slot][member]
	for _, p := range a.counted {
		f, b := p.count(slot, member)
		t.frames += f
		t.bytes += b
	}
	return t.frames, t.bytes + recordHeader*t.frames
}

// Assigned sets the elements of the members in force to what Count returns for them. It is
// of the producer, as Assign is. The others' stay as they are.
func (a *Assigner) Assigned(to *Frames) {
	for i := range a.plan.groups {
		g := &a.plan.groups[i]
		for k := range g.Members {
			m := g.Members[k].Number
			to[g.Slot][m] = a.past[g.Slot][m]
		}
	}
	a.plan.addFrames(to)
}

// Groups are those in force. It is of the producer, too.
func (a *Assigner) Groups() []Group { return a.plan.groups }

// Words is the number of counters that Assigned loads for groups that divide by a hash or
// at random.
func (a *Assigner) Words() (n int) {
	for i := range a.plan.hashes {
		n += len(a.plan.hashes[i].table.words)
	}
	if a.plan.random != nil {
		n += len(a.plan.random.words)
	}
	return n
}

// collect adds the counts of plans that are no longer in force to the totals.
func (a *Assigner) collect() {
	applied := a.applied.Load()
	kept := a.counted[:0]
	for _, p := range a.counted {
		if p.generation >= applied {
			kept = append(kept, p)
			continue
		}
		for slot := range a.totals {
			for member := range a.totals[slot] {
				f, b := p.count(slot, uint8(member))
				a.totals[slot][member].frames += f
				a.totals[slot][member].bytes += b
			}
		}
	}
	clear(a.counted[len(kept):])
	a.counted = kept
}
