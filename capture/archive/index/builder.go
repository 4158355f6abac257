package index

import (
	"math/bits"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Builder makes the sidecar of one RAW file from the file's bytes, in any pieces.
// One goroutine uses it. Once warm it does not allocate.
type Builder struct {
	at    int64  // offset of the next record
	block int64  // the entry's
	carry []byte // the next record, as far as it is here
	entry Entry  // of the block at hand; no Frames: none yet
	file  Trailer
	last  int64 // stamp of the last record in ns

	back   uint64 // stamps earlier than the one before them
	backAt int64  // offset of the first such record

	ended bool // by padding or an error; what follows is no record
	err   error

	frames  *collector
	keys    []uint64 // scratch
	sets    []byte   // scratch
	out     []byte
	written int64 // bytes of the sidecar before out
	taken   bool  // out has been handed out
}

// NewBuilder returns a Builder of a new file's sidecar.
func NewBuilder() *Builder {
	return &Builder{frames: newCollector(), out: appendHeader(nil)}
}

// Write takes the file's next bytes. An error, an *rawfile.Error, says that they
// are no records from some place on; the index goes up to there, and the rest of
// the file is for whoever reads it to judge.
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

// complete takes from p what the record at hand lacks, and says how much.
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

// record takes the record at the start of p, and says how long it is: 0 if it is
// not whole, or none.
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
	ns := stamp(h)
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

// stamp is a header's time in ns since 1970.
func stamp(h rawfile.Header) int64 { return int64(h.Sec)*1e9 + int64(h.Nsec) }

// sum goes on with a sum over headers.
func sum(s uint64, header []byte) uint64 {
	s = bits.RotateLeft64((s^little.Uint64(header))*0x9e3779b97f4a7c15, 29)
	return (s ^ uint64(little.Uint32(header[8:]))) * 0xbf58476d1ce4e5b9
}

// close ends the block at hand.
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

// Take gives the bytes of the sidecar that have come since the last call; they
// are valid until the next Write. They describe only bytes that Write was given,
// so they may go to the sidecar once those are in the file.
func (b *Builder) Take() []byte {
	if b.taken {
		return nil
	}
	b.taken = true
	return b.out
}

// Finish gives the rest of the sidecar of a file that is closed, being length
// bytes long, which all of what Write was given but for padding is part of.
func (b *Builder) Finish(length int64) []byte {
	if b.taken {
		b.written += int64(len(b.out))
		b.out, b.taken = b.out[:0], false
	}
	b.close()
	b.ended = true
	b.file.Length, b.file.Records = length, b.at
	b.out = b.file.encode(b.out, b.written+int64(len(b.out)))
	return b.Take()
}

// Records is where the last whole record ends, in bytes of the file.
func (b *Builder) Records() int64 { return b.at }

// Frames is the number of whole records.
func (b *Builder) Frames() uint64 { return b.file.Frames }
