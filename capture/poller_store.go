package capture

import (
	"runtime"
	"time"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// A batch is stored in one of two states. As long as the stream has room, one call
// stores the frames: AppendBatch (fast path), AppendCut (rules, duplicates) or AppendStamped
// (slow path). Under backpressure, awaitRoom retries the next frame until a lossless
// listener has made room for it:
//
//	Append... ─► all stored ─► Publish, Release
//	  ▲   └────► stream full ─► awaitRoom for one ─► stopped: the rest is abandoned
//	  └────────────────────────────┘

// store stamps frames, stores them in the stream and releases them to the source.
// A frame that the stream does not accept yet is retried with its stamp. It
// returns false if the poller was stopped first.
func (p *poller) store(frames []ring.Frame) bool {
	if p.config.Timed != nil && p.config.Timed.pending() {
		return p.storeSlow(frames) // which notes the stamps of these frames
	}
	if p.cut {
		return p.storeCut(frames)
	}
	if !p.fast {
		return p.storeSlow(frames)
	}
	p.stamper.Update()
	before := p.producer.WireBytes()
	if p.pooled != nil {
		p.producer.PlaceBatch(p.stamper, frames, p.config.SnapLen)
		p.producer.Publish()
		p.count(len(frames), p.producer.WireBytes()-before)
		return true
	}
	n := p.producer.AppendBatch(p.stamper, frames, p.config.SnapLen)
	stored, bytes := true, uint64(0)
	if n < len(frames) {
		bytes, stored = p.storeBlocked(frames[n:])
	}
	if stored {
		p.producer.Publish()
	}
	p.source.Release()
	p.count(len(frames), p.producer.WireBytes()-before+bytes)
	return stored
}

// storeBlocked stores frames of which the stream did not accept the first. It
// returns the bytes on the wire of those that Producer.WireBytes does not count,
// and false if the poller was stopped first.
func (p *poller) storeBlocked(frames []ring.Frame) (bytes uint64, stored bool) {
	for len(frames) > 0 {
		p.path.stamps[0] = p.stamper.Stamp()
		if !p.awaitRoom(frames[:1], p.path.stamps[:1], p.path.whole[:1]) {
			p.shared.abandoned.Add(uint64(len(frames)))
			return bytes + wireBytes(frames), false
		}
		bytes += wireBytes(frames[:1])
		frames = frames[1:]
		frames = frames[p.producer.AppendBatch(p.stamper, frames, p.config.SnapLen):]
	}
	return bytes, true
}

// storeCut is store with rules or without duplicates, and one stamp per packet:
// AppendCut stamps, cuts and stores in one pass. Dropped frames are not stamped.
func (p *poller) storeCut(frames []ring.Frame) bool {
	p.stamper.Update()
	keep, bytes := p.path.decide(frames)
	if p.path.table != nil {
		p.dropDuplicates(frames, p.pollStamps(len(frames)), keep)
	}
	stored := true
	for left := frames; ; left, keep = left[1:], keep[1:] {
		n := p.producer.AppendCut(p.stamper, keep, left)
		if left, keep = left[n:], keep[n:]; len(left) == 0 {
			break
		}
		p.path.stamps[0] = p.stamper.Stamp()
		if stored = p.awaitRoom(left[:1], p.path.stamps[:1], keep[:1]); !stored {
			p.abandon(keep)
			break
		}
	}
	if stored {
		p.producer.Publish()
	}
	p.source.Release()
	p.count(len(frames), bytes)
	return stored
}

// awaitRoom retries one frame until the stream accepts it. It returns false if the poller
// was stopped first.
func (p *poller) awaitRoom(frame []ring.Frame, stamp []clock.Stamp, keep []uint32) bool {
	return p.await(func() bool { return p.stopping.Load() == stopped },
		func() bool { return p.producer.AppendStamped(stamp, keep, frame) != 0 })
}

// await tries again until it succeeds, while a lossless listener is in the way. It returns
// false if the poller is to end first.
func (p *poller) await(ends, try func() bool) bool {
	p.shared.backpressure.Add(1)
	began, before := p.stamper.Ticks(), p.shared.blocked.Load()
	told := uint64(0)
	waited := func() {
		ns := p.stamper.Nanoseconds(p.stamper.Ticks() - began)
		p.shared.blocked.Store(before + ns)
		p.producer.HeldBack(ns - told)
		told = ns
	}
	defer func() {
		p.monitor.Attribute(p.lastPoll, p.stamper.Ticks()-began, 0)
		waited()
	}()
	for tries := 1; !try(); tries++ {
		if ends() {
			return false
		}
		if p.sleeper != nil {
			p.producer.Notify()
		}
		if tries < yieldAfter {
			runtime.Gosched()
		} else {
			time.Sleep(nap)
			waited() // for a report during a long wait
		}
	}
	return true
}

// wireBytes is the length of frames on the wire, without CRC.
func wireBytes(frames []ring.Frame) (n uint64) {
	for i := range frames {
		n += uint64(frames[i].Len)
	}
	return n
}
