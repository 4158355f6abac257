package capture

import (
	"math/bits"

	"github.com/ixcap/ixcap/ring"
)

// held are the parts of a pool that a poller has taken and not recycled, oldest first.
type held struct {
	parts []part // a ring
	mask  uint64
	first uint64 // counted from the begin
	next  uint64
}

// part is the frames of one poll.
type part struct {
	seq    uint64 // of the first frame in the index behind them
	frames uint32 // polled, dropped ones included
}

func (h *held) init(buffers int) {
	size := 1 << bits.Len(uint(buffers-1))
	h.parts, h.mask = make([]part, size), uint64(size-1)
}

// receivePooled polls and stores a batch of frames, those of one part, and recycles old ones
// if the device needs buffers. It returns how many, and whether more may have arrived.
func (p *poller) receivePooled() (n int, more bool) {
	if p.fast && !p.samples() {
		n, more = p.place()
	}
	if n == 0 {
		n, more = p.pollPooled()
	}
	if need := p.pooled.Needs(); need > 0 {
		p.recycle(need)
		if p.pooled.Dry() {
			p.awaitBuffers()
		}
	}
	return n, more
}

// place polls, stamps and stores frames in one pass, up to the first that needs another path.
func (p *poller) place() (n int, more bool) {
	run := p.pooled.Run(len(p.frames))
	p.stamper.Update()
	before := p.producer.WireBytes()
	if n = p.producer.PlaceRun(p.stamper, &run, p.config.SnapLen); n == 0 {
		return 0, false
	}
	p.hold(n, p.pooled.Take(n))
	p.producer.Publish()
	p.count(n, p.producer.WireBytes()-before)
	return n, n == len(run.Descriptors) || run.Descriptors[n].Status()&ring.RxDD != 0
}

// pollPooled polls and stores frames that need another path.
func (p *poller) pollPooled() (n int, more bool) {
	if n = p.source.Poll(p.frames); n == 0 {
		return 0, false
	}
	if p.samples() {
		p.config.Spread.sample(&p.frames[0])
	}
	p.store(p.frames[:n])
	p.hold(n, false)
	run := p.pooled.Run(1)
	return n, len(run.Descriptors) > 0 && run.Descriptors[0].Status()&ring.RxDD != 0
}

// hold adds frames to the last part, or a part.
func (p *poller) hold(frames int, added bool) {
	h := &p.held
	if !added {
		h.parts[h.next&h.mask] = part{}
		h.next++
	}
	last := &h.parts[(h.next-1)&h.mask]
	last.seq = p.producer.Next()
	last.frames += uint32(frames)
}

// recycle recycles the oldest parts, of so many frames if no lossless listener holds them.
func (p *poller) recycle(need int) {
	h := &p.held
	n := uint64(0)
	for ; need > 0 && h.first+n < h.next; n++ {
		need -= int(h.parts[(h.first+n)&h.mask].frames)
	}
	for ; n > 0; n /= 2 {
		if p.producer.Reuse(h.parts[(h.first+n-1)&h.mask].seq) {
			p.pooled.Recycle(int(n))
			h.first += n
			return
		}
	}
}

// awaitBuffers waits until lossless listeners have released buffers of a pool of which the
// device has none: it is the backpressure of a pool. It ends when the capture does: what
// the port holds then gets no buffer any more.
func (p *poller) awaitBuffers() {
	p.dry.Store(true)
	defer p.dry.Store(false)
	p.await(func() bool { return p.stopping.Load() != running }, func() bool {
		p.producer.Publish() // the listener in the way may wait for an aligned start
		p.recycle(p.pooled.Needs())
		return !p.pooled.Dry()
	})
}
