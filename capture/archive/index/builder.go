package index

import (
	"math/bits"
	"time"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Builder encodes the sidecar of one RAW file from the file's bytes, in pieces of any
// length. It is used by one goroutine. Once warm it does not allocate.
type Builder struct {
	at    int64  // offset of the next record
	block int64  // number of the entry's block
	carry []byte // begin of the next record
	entry Entry  // of the current block; no Frames: none yet
	file  Trailer
	last  int64 // stamp of the last record in ns

	back   uint64 // stamps earlier than the one before them
	backAt int64  // offset of the first such record

	ended bool // by padding or an error: no record follows
	err   error

	frames  *collector
	keys    []uint64 // scratch
	sets    []byte   // scratch
	out     []byte
	written int64 // bytes of the sidecar before out
	taken   bool  // Encoded has returned out
}

// NewBuilder returns a Builder for a new file.
func NewBuilder() *Builder {
	return &Builder{frames: newCollector(), out: appendHeader(nil)}
}

// Write indexes the file's next bytes. It returns an *rawfile.Error if they are no
// records from some byte on; the index goes up to there.
func (b *Builder) Write(p []byte) (int, error) {
	n := len(p)
	if b.err != nil {
		return 0, b.err
	}
	if b.taken {
		b.written += int64(len(b.out))
		b.out, b.taken = b.out[:0], false
	}
	for len(b.carry) > 0 && len(p) > 0 && !b.ended {
		p = p[b.complete(p):]
	}
	for !b.ended && len(p) >= rawfile.HeaderLen {
		size := b.record(p)
		if size == 0 {
			break
		}
		p = p[size:]
	}
	if b.err != nil {
		return 0, b.err
	}
	if !b.ended {
		b.carry = append(b.carry, p...)
		if b.at/Block != b.block {
			b.close()
		}
	}
	return n, nil
}

// complete appends the rest of the record in carry from p, and returns its length.
func (b *Builder) complete(p []byte) int {
	want := rawfile.HeaderLen
	if len(b.carry) >= want {
		want += int(rawfile.DecodeHeader(b.carry).Caplen)
	}
	n := min(want-len(b.carry), len(p))
	b.carry = append(b.carry, p[:n]...)
	if len(b.carry) >= rawfile.HeaderLen && b.record(b.carry) > 0 {
		b.carry = b.carry[:0]
	}
	return n
}

// record indexes the record at the start of p, and returns its length: 0 if it is not
// complete, or no record.
func (b *Builder) record(p []byte) int {
	h := rawfile.DecodeHeader(p)
	if err := h.Check(); err != nil {
		b.err = &rawfile.Error{Offset: b.at, Records: b.file.Frames, Err: err}
		b.ended = true
		return 0
	}
	if h.IsPadding() {
		b.ended = true
		return 0
	}
	n := rawfile.HeaderLen + int(h.Caplen)
	if n > len(p) {
		return 0
	}
	if block := b.at / Block; block != b.block || b.entry.Frames == 0 {
		b.close()
		b.block = block
		b.entry = Entry{First: b.at, Head: [rawfile.HeaderLen]byte(p)}
	}
	ns := h.UnixNano()
	e := &b.entry
	if e.Frames == 0 {
		e.Earliest, e.Latest = ns, ns
	} else {
		e.Earliest, e.Latest = min(e.Earliest, ns), max(e.Latest, ns)
	}
	if ns < b.last {
		e.Backwards = true
		if b.back++; b.back == 1 {
			b.backAt = b.at
		}
	}
	b.last = ns
	e.Frames++
	e.Sum = sum(e.Sum, p)
	b.file.Frames++
	b.frames.frame(p[rawfile.HeaderLen:n])
	b.at += int64(n)
	return n
}

// sum adds a header to a checksum of headers.
func sum(s uint64, header []byte) uint64 {
	s = bits.RotateLeft64((s^little.Uint64(header))*0x9e3779b97f4a7c15, 29)
	return (s ^ uint64(little.Uint32(header[8:]))) * 0xbf58476d1ce4e5b9
}

// close encodes the entry of the current block.
func (b *Builder) close() {
	e := &b.entry
	if e.Frames == 0 {
		return
	}
	e.End = b.at
	b.keys, b.sets = b.frames.pack(e, b.keys, b.sets)
	b.frames.reset()
	b.out = e.encode(b.out)
	t := &b.file
	if t.Entries == 0 {
		t.Earliest, t.Latest = e.Earliest, e.Latest
	} else {
		t.Earliest, t.Latest = min(t.Earliest, e.Earliest), max(t.Latest, e.Latest)
	}
	t.Backwards = t.Backwards || e.Backwards
	t.Sum = mix(t.Sum ^ e.Sum)
	t.Entries++
	*e = Entry{}
}

// Encoded returns the bytes of the sidecar encoded since the last call, valid until the
// next Write. They describe only bytes passed to Write, so they may be written to the
// sidecar once those are in the file.
func (b *Builder) Encoded() []byte {
	if b.taken {
		return nil
	}
	b.taken = true
	return b.out
}

// SetUncertainty sets the uncertainty of the file's stamps for the trailer (see Trailer).
func (b *Builder) SetUncertainty(d time.Duration) { b.file.Uncertainty = d }

// Finish returns the rest of the sidecar of a closed file of length bytes. All records
// of the file must have been written to the Builder.
func (b *Builder) Finish(length int64) []byte {
	if b.taken {
		b.written += int64(len(b.out))
		b.out, b.taken = b.out[:0], false
	}
	b.close()
	b.ended = true
	b.file.Length, b.file.Records = length, b.at
	b.out = b.file.encode(b.out, b.written+int64(len(b.out)))
	return b.Encoded()
}

// Records returns the end of the last complete record, in bytes of the file.
func (b *Builder) Records() int64 { return b.at }

// Frames returns the number of complete records.
func (b *Builder) Frames() uint64 { return b.file.Frames }
