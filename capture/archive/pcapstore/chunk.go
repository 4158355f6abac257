package pcapstore

// chunk is a piece of a file: whole packets. It is filled by the Storer's
// goroutine, compressed by a worker and written by the writer, one after the other.
type chunk struct {
	raw  []byte // packets, encoded
	out  []byte // raw, compressed
	done chan struct{}
	part
	ends bool // its file ends behind it
}

// part is what a chunk, or the rest of one, holds.
type part struct {
	Count             // bytes: those of frames
	first, last int64 // stamps, ns
	overtaken   uint64
}

func (p *part) add(nano int64, bytes int) {
	if p.Packets == 0 {
		p.first = nano
	}
	p.last = nano
	p.Count.add(1, uint64(bytes))
}

func (p *part) join(o *part) {
	if p.Packets == 0 {
		p.first = o.first
	}
	if o.Packets != 0 {
		p.last = o.last
	}
	p.Count.add(o.Packets, o.Bytes)
	p.overtaken += o.overtaken
}

// room returns an empty chunk.
func (s *Storer) room() *chunk {
	select {
	case c := <-s.free:
		c.raw, c.out, c.part, c.ends = c.raw[:0], c.out[:0], part{}, false
		return c
	default:
		return &chunk{raw: make([]byte, 0, s.full+maxEncoded), done: make(chan struct{}, 1)}
	}
}

// recycle keeps a chunk for the next one, unless there are enough.
func (s *Storer) recycle(c *chunk) {
	select {
	case s.free <- c:
	default:
	}
}

// compress makes a frame of each chunk.
func (s *Storer) compress() {
	for c := range s.work {
		c.out = s.zip.Frame(c.out, c.raw)
		c.done <- struct{}{}
	}
}
