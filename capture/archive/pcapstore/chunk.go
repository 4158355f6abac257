package pcapstore

import (
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/store"
)

// chunk is a piece of a file: whole packets. The packer fills it, a worker
// compresses it and the writer writes it, one after the other.
type chunk struct {
	raw        []byte // packets, encoded
	compressed []byte
	ready      chan struct{} // compressed is complete
	content
	endsFile bool // the file ends after it
}

// content describes packets of a chunk or a file.
type content struct {
	store.Amount        // bytes: those of frames
	first, last  int64  // stamps, ns
	overrun      uint64 // packets lost before them, for lack of speed
}

func (c *content) addPacket(nano int64, bytes int) {
	if c.Packets == 0 {
		c.first = nano
	}
	c.last = nano
	c.Packets++
	c.Bytes += uint64(bytes)
}

func (c *content) add(o *content) {
	if c.Packets == 0 {
		c.first = o.first
	}
	if o.Packets != 0 {
		c.last = o.last
	}
	c.Amount.Add(o.Amount)
	c.overrun += o.overrun
}

// pipeline moves chunks from the packer through the compressor to the writer, in
// order, and back.
type pipeline struct {
	size       int                  // bytes after which a chunk is full
	zip        *pcapfile.Compressor // nil: chunks are not compressed
	toCompress chan *chunk
	toWrite    chan *chunk
	free       chan *chunk
}

func newPipeline(size int, zip *pcapfile.Compressor) *pipeline {
	return &pipeline{
		size: size, zip: zip,
		toCompress: make(chan *chunk, depth), toWrite: make(chan *chunk, depth), free: make(chan *chunk, 2*depth),
	}
}

// get returns an empty chunk.
func (p *pipeline) get() *chunk {
	select {
	case c := <-p.free:
		c.raw, c.compressed, c.content, c.endsFile = c.raw[:0], c.compressed[:0], content{}, false
		return c
	default:
		return &chunk{raw: make([]byte, 0, p.size+maxEncoded), ready: make(chan struct{}, 1)}
	}
}

// put recycles a chunk, unless there are enough.
func (p *pipeline) put(c *chunk) {
	select {
	case p.free <- c:
	default:
	}
}

// submit sends a chunk to the writer. It waits while depth chunks are unwritten.
func (p *pipeline) submit(c *chunk) {
	if p.zip != nil && len(c.raw) != 0 {
		p.toCompress <- c
	}
	p.toWrite <- c
}

// await waits until a chunk from toWrite is compressed. It returns the bytes to write.
func (p *pipeline) await(c *chunk) []byte {
	if p.zip == nil || len(c.raw) == 0 {
		return c.raw
	}
	<-c.ready
	return c.compressed
}

// compress is a worker. It makes a zstd frame of each chunk.
func (p *pipeline) compress() {
	for c := range p.toCompress {
		c.compressed = p.zip.Frame(c.compressed, c.raw)
		c.ready <- struct{}{}
	}
}

func (p *pipeline) close() {
	close(p.toCompress)
	close(p.toWrite)
}
