package capture

import (
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/ring"
)

// pipeline is what frames pass that need more than a stamp each and a copy:
//
//	poll ─► rules: bytes to keep ─► duplicates ─► stamps, AppendCut
//	          └─► dropped: filtered   └─► dropped: duplicates
//
// With another policy than one stamp per packet, stamps of the source (Stamped), Count, or
// a frame in the batch that the device has stamped (Timed), they take the slow path:
//
//	poll ─► rules: bytes to keep ─► stamps ─► duplicates ─► Count ─► AppendStamped
//
// There, all frames of a batch are stamped together, dropped ones included: they were
// on the wire. Rules come before duplicates: a dropped frame must not make a later
// copy a duplicate of a frame that was never stored, nor occupy a record of the
// table.
type pipeline struct {
	table *dedup.Table // nil: duplicates are kept
	rules *ruleSet     // in force; nil: none

	stamps []clock.Stamp
	whole  []uint32 // bytes to keep of each frame where no rule says less
	keep   []uint32 // the same after the rules; 0: none, the frame is dropped

	filtered, duplicates uint64 // frames dropped
}

func (p *pipeline) init(batch, snaplen int, table *dedup.Table) {
	most := uint32(1<<32 - 1)
	if snaplen > 0 {
		most = uint32(snaplen)
	}
	*p = pipeline{
		table: table, stamps: make([]clock.Stamp, batch), whole: make([]uint32, batch),
		keep: make([]uint32, batch),
	}
	for i := range p.whole {
		p.whole[i] = most
	}
}

// group is the part of a batch that is stamped together: for each frame its stamp
// and the number of bytes to keep.
type group struct {
	frames []ring.Frame
	stamps []clock.Stamp
	keep   []uint32
}

// skip removes the group's first n frames.
func (g *group) skip(n int) { g.frames, g.stamps, g.keep = g.frames[n:], g.stamps[n:], g.keep[n:] }

// truncate removes all but the group's first n frames.
func (g *group) truncate(n int) { g.frames, g.stamps, g.keep = g.frames[:n], g.stamps[:n], g.keep[:n] }

// removeDropped removes the frames of which nothing is kept. It moves the others, in
// order, within the group's memory.
func (g *group) removeDropped() {
	n := 0
	for i, keep := range g.keep {
		if keep == rules.Drop {
			continue
		}
		if n != i {
			g.frames[n], g.stamps[n], g.keep[n] = g.frames[i], g.stamps[i], g.keep[i]
		}
		n++
	}
	g.truncate(n)
}

// storeSlow passes a batch through the pipeline and releases it to the source. It
// returns false if the poller was stopped first.
func (p *poller) storeSlow(frames []ring.Frame) bool {
	w := clock.Window{Emptied: p.emptied, Polled: p.stamper.Ticks(), Full: len(frames) == len(p.frames)}
	p.stamper.Update()
	n := len(frames)
	keep, bytes := p.path.decide(frames)
	stamps, size := p.path.stamps, p.stamper.Group()
	if p.stamped != nil {
		stamps = p.stamped.Stamps()
	}
	if size == 0 {
		size = n
	}
	stored := true
	for len(frames) > 0 {
		m := min(size, len(frames))
		if stored {
			g := group{frames[:m], stamps[:m], keep[:m]}
			stored = p.storeGroup(&g, w)
		} else {
			p.abandon(keep[:m])
		}
		frames, keep = frames[m:], keep[m:]
		if p.stamped != nil {
			stamps = stamps[m:]
		}
		if len(frames) > 0 {
			w.Polled = p.stamper.Ticks()
		}
	}
	if stored {
		p.producer.Publish()
	}
	p.source.Release()
	p.count(n, bytes)
	return stored
}

// decide returns how many bytes to keep of each frame, and the length of all on the
// wire. It counts the frames that rules drop.
func (p *pipeline) decide(frames []ring.Frame) (keep []uint32, bytes uint64) {
	keep = p.keep[:len(frames)]
	if p.rules == nil {
		copy(keep, p.whole)
		return keep, wireBytes(frames)
	}
	bytes, dropped := p.rules.matcher.Apply(frames, keep, p.whole[0])
	p.filtered += uint64(dropped)
	return keep, bytes
}

// dropDuplicates sets keep to 0 for frames that the table has seen before, and counts
// them.
func (p *poller) dropDuplicates(frames []ring.Frame, stamps []clock.Stamp, keep []uint32) {
	p.path.duplicates += uint64(p.path.table.Mark(p.producer, frames, stamps, keep))
}

// pollStamps returns the time of the last poll as the stamp of each of n frames. With
// one stamp per packet, duplicates are sought before the others are stamped.
func (p *poller) pollStamps(n int) []clock.Stamp {
	at := p.stamper.At(p.lastPoll)
	stamps := p.path.stamps[:n]
	for i := range stamps {
		stamps[i] = at
	}
	return stamps
}

// storeGroup stamps a group unless the source did, removes dropped frames and duplicates,
// and stores the others. With one stamp per packet, these are not stamped. It returns
// false if the poller was stopped first.
func (p *poller) storeGroup(g *group, w clock.Window) bool {
	each := p.stamped == nil && p.stamper.Policy() == clock.PerPacket
	switch {
	case p.stamped != nil:
	case !each:
		p.stamper.Batch(g.frames, w, g.stamps)
		p.raiseUncertainty(p.stamper.Span())
	case p.path.table != nil:
		p.pollStamps(len(g.frames))
	}
	if p.path.table != nil {
		p.dropDuplicates(g.frames, g.stamps, g.keep)
	}
	g.removeDropped()
	if each {
		p.stamper.Batch(g.frames, w, g.stamps)
	}
	if p.config.Count != nil {
		p.limitCount(g)
	}
	if p.config.Timed != nil {
		p.config.Timed.note(g)
	}
	return p.append(g)
}

// append stores a group. Frames that the stream does not accept yet are retried
// with their stamps. It returns false if the poller was stopped first.
func (p *poller) append(g *group) bool {
	if p.pooled != nil {
		p.producer.Place(g.stamps, g.keep, g.frames)
		return true
	}
	for {
		n := p.producer.AppendStamped(g.stamps, g.keep, g.frames)
		if n == len(g.frames) {
			return true
		}
		g.skip(n)
		if !p.awaitRoom(g.frames[:1], g.stamps[:1], g.keep[:1]) {
			p.shared.abandoned.Add(uint64(len(g.frames)))
			return false
		}
		g.skip(1)
	}
}

// abandon counts the frames of a group after one that could not be stored.
func (p *poller) abandon(keep []uint32) {
	var dropped uint64
	for _, n := range keep {
		if n == rules.Drop {
			dropped++
		}
	}
	p.shared.abandoned.Add(uint64(len(keep)) - dropped)
}
