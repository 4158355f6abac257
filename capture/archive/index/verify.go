package index

import (
	"bytes"
	"io"
	"os"
	"strings"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Verify reads a complete file and checks structure, order of time, and the index
// against the data. The report has the problems; the error is that of a file that
// cannot be read.
func Verify(f archive.File) (Report, error) {
	r, _, err := verify(f)
	return r, err
}

// expected is the index that a file must have as it is.
type expected struct {
	entries []byte // the sidecar without its trailer
	trailer Trailer
}

// sidecar returns the bytes of the index.
func (x expected) sidecar() []byte { return x.trailer.encode(x.entries, int64(len(x.entries))) }

// verify is Verify, and returns the expected index.
func verify(f archive.File) (r Report, x expected, err error) {
	r = Report{File: f, Path: f.Path}
	raw, err := open(&r)
	if err != nil {
		return r, x, err
	}
	defer raw.Close()
	side := r.readSidecar(raw)
	x, b, bad, err := expect(raw, r.stored)
	if err != nil {
		return r, x, err
	}
	x.trailer.Length = r.Size
	r.summarize(x.trailer)
	if !r.Writing {
		err = r.readEnd(raw, b.at, bad)
	}
	if err != nil {
		return r, x, err
	}
	r.addProblems(b, bad)
	if r.Index == Complete || r.Index == Partial || r.Index == Damaged {
		r.compare(side, x)
	}
	r.Problems = append(r.Problems, r.indexProblems...)
	return r, x, nil
}

// expect builds the index of the first size bytes of a file. bad is why its records
// end before that, if it is not padding.
func expect(raw io.ReaderAt, size int64) (x expected, b *Builder, bad, err error) {
	b = NewBuilder()
	bad, err = scan(b, raw, size, func(out []byte) { x.entries = append(x.entries, out...) })
	if err != nil {
		return x, b, bad, err
	}
	rest := b.Finish(size)
	x.entries = append(x.entries, rest[:len(rest)-trailerLen]...)
	x.trailer = b.file
	return x, b, bad, nil
}

// scan writes a file's first size bytes to b, and passes what b encodes to emit.
func scan(b *Builder, raw io.ReaderAt, size int64, emit func([]byte)) (bad, err error) {
	buf := make([]byte, rawfile.Block)
	for off := int64(0); !b.ended && off < size; {
		n, err := raw.ReadAt(buf[:min(size-off, rawfile.Block)], off)
		off += int64(n)
		if _, e := b.Write(buf[:n]); e != nil {
			bad = e
		}
		emit(b.Encoded())
		if err == io.EOF {
			break
		}
		if err != nil {
			return bad, err
		}
	}
	return bad, nil
}

// compare adds a problem if a sidecar differs from the expected one.
func (r *Report) compare(side *Sidecar, x expected) {
	rest := x.entries[headerLen:]
	for i := range side.Entries {
		var e Entry
		n := 0
		if len(rest) > 0 {
			e, n, _ = decodeEntry(rest)
		}
		if n == 0 || !side.Entries[i].equal(&e) {
			r.Index = Stale
			r.indexProblem("index does not agree with the records from byte %d on", side.Entries[i].First)
			return
		}
		rest = rest[n:]
	}
	switch {
	case side.Complete && side.Trailer.records() != x.trailer.records():
		r.Index = Stale
		r.indexProblem("index does not agree with the end of the file")
	case r.Index == Partial && !r.File.Part:
		r.indexProblem("index ends at byte %d of %d", side.End(), x.trailer.Records)
	}
}

// equal reports whether two entries are the same.
func (e *Entry) equal(o *Entry) bool {
	return e.First == o.First && e.End == o.End && e.Frames == o.Frames && e.Earliest == o.Earliest &&
		e.Latest == o.Latest && e.Head == o.Head && e.Sum == o.Sum && e.Backwards == o.Backwards &&
		e.addrLevels == o.addrLevels && e.addrBits == o.addrBits && e.portShift == o.portShift &&
		e.addrs.equal(o.addrs) && e.ports.equal(o.ports) && e.protos.equal(o.protos)
}

func (s riceSet) equal(t riceSet) bool { return s.n == t.n && s.k == t.k && bytes.Equal(s.b, t.b) }

// open opens a report's file, and determines whether another process is writing it.
func open(r *Report) (*os.File, error) {
	f, err := os.Open(r.Path)
	if final, part := strings.CutSuffix(r.Path, archive.RawPart); part && missing(err) {
		r.Path = final + archive.Raw // it was closed since it was listed
		r.File.Path, r.File.Part = r.Path, false
		f, err = os.Open(r.Path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	r.Size, r.stored = info.Size(), info.Size()
	if !r.File.Part {
		return f, nil
	}
	archive.NoReadahead(f)
	r.Writing, r.stored = archive.BeingWritten(f, r.Size), archive.Stored(f, r.Size)
	if _, err := os.Stat(r.Path); missing(err) && !r.Writing {
		f.Close()
		return open(r) // its writer has just closed it
	}
	return f, nil
}

// readSidecar reads the file's sidecar and sets the state of the index.
func (r *Report) readSidecar(raw io.ReaderAt) *Sidecar {
	side, n, err := Load(r.File.Sidecar(), r.Size)
	r.IndexSize = n
	read := int64(0)
	switch {
	case missing(err):
		r.Index = Missing
		return side
	case err != nil && !r.Writing: // one that is being written may end anywhere
		r.Index = Damaged
		r.indexProblem("index: %v", err)
		return side
	}
	if err := side.Fits(raw, r.File.Part, r.stored, &read); err != nil {
		r.Index = Stale
		r.indexProblem("index: %v", err)
		return &Sidecar{}
	}
	r.Index = Partial
	if side.Complete {
		r.Index = Complete
	}
	return side
}

// readEnd determines what follows the last complete record, which ends at byte at.
func (r *Report) readEnd(raw io.ReaderAt, at int64, bad error) (err error) {
	e := &r.end
	e.bytes = r.Size - at
	switch h, n, err := headerAt(raw, at); {
	case err != nil:
		return err
	case n == 0:
		e.kind = endUnclosed
		return nil
	case bad != nil:
		e.kind = endNoRecord
	case n < rawfile.HeaderLen || !h.IsPadding():
		e.kind = endCut
	default:
		return r.readPadding(raw, at)
	}
	e.dirty, err = dirty(raw, at, r.Size)
	return err
}

// readPadding reads the padding from byte at on: one record, several if the padding is
// longer than the length field allows, or one shorter than the zeros that follow.
func (r *Report) readPadding(raw io.ReaderAt, at int64) error {
	e := &r.end
	e.bytes -= rawfile.HeaderLen
	full := false
	for {
		h, n, err := headerAt(raw, at)
		if err != nil {
			return err
		}
		if n < rawfile.HeaderLen || !h.IsPadding() || full && h.Len == 0 {
			break
		}
		full = h.Len == rawfile.MaxData
		at += rawfile.HeaderLen + int64(h.Len)
		if at == r.Size {
			e.kind = endClosed
			return nil
		}
		if at > r.Size {
			e.kind = endShort
			return nil
		}
		if h.Len == 0 {
			break
		}
	}
	var err error
	e.dirty, err = dirty(raw, at, r.Size)
	switch {
	case e.dirty:
		e.kind = endMore
	case full:
		e.kind = endClosed
	default:
		e.kind = endZeros
	}
	return err
}

// headerAt reads the header at byte at, of which the file has n bytes.
func headerAt(raw io.ReaderAt, at int64) (h rawfile.Header, n int, err error) {
	var b [rawfile.HeaderLen]byte
	n, err = raw.ReadAt(b[:], at)
	if err == io.EOF {
		err = nil
	}
	return rawfile.DecodeHeader(b[:]), n, err
}

// dirty reports whether a byte between two offsets is not zero.
func dirty(raw io.ReaderAt, from, to int64) (bool, error) {
	buf, zeros := make([]byte, rawfile.Block), make([]byte, rawfile.Block)
	for from < to {
		n, err := raw.ReadAt(buf[:min(to-from, rawfile.Block)], from)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			return true, nil
		}
		if from += int64(n); err == io.EOF {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return false, nil
}
