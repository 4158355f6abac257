package capture

// held are the parts of a pool that a poller has taken and not recycled, oldest first.
type held struct {
	parts []part // a ring
	first uint64 // counted from the begin
	next  uint64
}

// part is the frames of one poll.
type part struct {
	seq    uint64 // of the first frame in the index behind them
	frames uint32 // polled, dropped ones included
}

// hold adds the frames of a poll, and recycles old ones if the device needs buffers.
func (p *poller) hold(frames int) {
	h := &p.held
	if frames > 0 {
		h.parts[h.next%uint64(len(h.parts))] = part{p.producer.Next(), uint32(frames)}
		h.next++
	}
	if need := p.pooled.Needs(); need > 0 {
		p.recycle(need)
	}
}

// recycle recycles the oldest parts, of so many frames if no lossless listener holds them.
func (p *poller) recycle(need int) {
	h := &p.held
	n := uint64(0)
	for ; need > 0 && h.first+n < h.next; n++ {
		need -= int(h.parts[(h.first+n)%uint64(len(h.parts))].frames)
	}
	for ; n > 0; n /= 2 {
		if p.producer.Reuse(h.parts[(h.first+n-1)%uint64(len(h.parts))].seq) {
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
