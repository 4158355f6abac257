package capture

import (
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/ring"
)

// pipeline is what frames pass on their way into the stream when a stamp each and
// a copy is not all that was asked for:
//
//	poll ─► rules: how much of each is kept ─► stamps ─► duplicates ─► AppendStamped
//	          └─► dropped: filtered                          └─► dropped: duplicates
//
// All frames of a batch are stamped together, those that are dropped too: they
// were on the wire. Rules come before duplicates, because a frame that is dropped
// must not make a copy a duplicate of something that was never stored; nor does it
// then take the place of another frame in the table.
type pipeline struct {
	table *dedup.Table // nil: duplicates are kept
	rules *ruleSet     // in force; nil: none

	stamps []clock.Stamp
	whole  []uint32 // bytes to keep of each frame where no rule says less
	keep   []uint32 // the same by the rules
	copies []bool   // what the table says

	filtered, duplicates uint64 // frames left out
}

func (p *pipeline) init(batch, caplen int, table *dedup.Table) {
	most := uint32(1<<32 - 1)
	if caplen > 0 {
		most = uint32(caplen)
	}
	*p = pipeline{
		table: table, stamps: make([]clock.Stamp, batch), whole: make([]uint32, batch),
		keep: make([]uint32, batch), copies: make([]bool, batch),
	}
	for i := range p.whole {
		p.whole[i] = most
	}
}

// storeBatch passes a batch down the pipeline, and gives it back to the source.
// False: stopped meanwhile.
func (p *poller) storeBatch(frames []ring.Frame) bool {
	w := clock.Window{Emptied: p.emptied, Polled: p.stamper.Ticks(), Full: len(frames) == len(p.frames)}
	p.stamper.Update()
	n, bytes := len(frames), uint64(0)
	for i := range frames {
		bytes += uint64(frames[i].Len)
	}
	keep := p.path.decide(frames)
	group := p.stamper.Group()
	if group == 0 {
		group = n
	}
	stored := true
	for len(frames) > 0 {
		g := min(group, len(frames))
		if stored {
			stored = p.storeGroup(frames[:g], keep[:g], w)
		} else {
			p.abandon(frames[:g], keep[:g])
		}
		frames, keep = frames[g:], keep[g:]
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

// decide says how many bytes to keep of each frame.
func (p *pipeline) decide(frames []ring.Frame) []uint32 {
	if p.rules == nil {
		return p.whole[:len(frames)]
	}
	keep := p.keep[:len(frames)]
	p.rules.matcher.Apply(frames, keep, p.whole[0])
	return keep
}

// storeGroup stamps frames, leaves out what is to be left out, and stores the
// others. It reorders all that it is given. False: stopped meanwhile.
func (p *poller) storeGroup(frames []ring.Frame, keep []uint32, w clock.Window) bool {
	n, stamps := len(frames), p.path.stamps[:len(frames)]
	each := p.stamper.Policy() == clock.PerPacket
	if !each {
		p.stamper.Batch(frames, w, stamps)
	}
	if p.path.rules != nil {
		n = 0
		for i := range frames {
			if keep[i] == rules.Drop {
				continue
			}
			if n != i {
				frames[n], stamps[n], keep[n] = frames[i], stamps[i], keep[i]
			}
			n++
		}
		p.path.filtered += uint64(len(frames) - n)
	}
	if each {
		p.stamper.Batch(frames[:n], w, stamps[:n])
	}
	if t := p.path.table; t != nil && t.Mark(frames[:n], stamps[:n], p.path.copies) != 0 {
		all := n
		n = 0
		for i, again := range p.path.copies[:all] {
			if again {
				continue
			}
			if n != i {
				frames[n], stamps[n], keep[n] = frames[i], stamps[i], keep[i]
			}
			n++
		}
		p.path.duplicates += uint64(all - n)
	}
	return p.append(frames[:n], stamps[:n], keep[:n])
}

// append stores frames. Those that the stream does not take yet keep their stamps
// until it does. False: stopped meanwhile.
func (p *poller) append(frames []ring.Frame, stamps []clock.Stamp, keep []uint32) bool {
	for {
		n := p.producer.AppendStamped(stamps, keep, frames)
		if n == len(frames) {
			return true
		}
		frames, stamps, keep = frames[n:], stamps[n:], keep[n:]
		if !p.held(func() bool { return p.producer.AppendStamped(stamps[:1], keep[:1], frames[:1]) == 1 }) {
			p.shared.abandoned.Add(uint64(len(frames)))
			return false
		}
		frames, stamps, keep = frames[1:], stamps[1:], keep[1:]
	}
}

// abandon accounts for frames that come after one that could not be stored.
func (p *poller) abandon(frames []ring.Frame, keep []uint32) {
	var dropped uint64
	for _, n := range keep {
		if n == rules.Drop {
			dropped++
		}
	}
	p.path.filtered += dropped
	p.shared.abandoned.Add(uint64(len(frames)) - dropped)
}
