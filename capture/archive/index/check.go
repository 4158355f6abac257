package index

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Report is what a file turned out to be. Times are of its records' stamps.
type Report struct {
	File      archive.File `json:"-"`
	Path      string       `json:"file"`
	Size      int64        `json:"bytes"`
	Records   int64        `json:"recordBytes"` // up to the end of the last whole record
	Frames    uint64       `json:"frames"`
	Earliest  time.Time    `json:"earliest,omitzero"`
	Latest    time.Time    `json:"latest,omitzero"`
	Writing   bool         `json:"writing,omitempty"` // somebody writes it
	Index     string       `json:"index"`             // whole, partial, missing, damaged or stale
	IndexSize int64        `json:"indexBytes"`
	Missing   int          `json:"missingSegments,omitempty"` // between the queue's file before it and this one
	Gap       float64      `json:"gapSeconds,omitempty"`      // since the latest stamp of that file, if both are of one run
	Problems  []string     `json:"problems,omitempty"`

	aboutIndex []string // those of Problems that a new index ends
	lasting    []string // those that nothing ends
	end        ending
	stored     int64 // bytes before the first hole that a storer left
}

// ending is what follows a file's last whole record.
type ending struct {
	kind  string // closed, zeros, short, unclosed, cut, nonsense, more
	bytes int64  // behind the last whole record and, where there is one, the padding's header
	dirty bool   // they are not all zeros
}

func (r *Report) indexProblem(format string, args ...any) {
	r.aboutIndex = append(r.aboutIndex, fmt.Sprintf(format, args...))
}

// States of an index.
const (
	IndexWhole   = "whole"
	IndexPartial = "partial" // as of a file that was not closed; good as far as it goes
	IndexMissing = "missing"
	IndexDamaged = "damaged"
	IndexStale   = "stale" // it tells of other records
)

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Inspect tells about a file what its index does, and reads the file itself only
// where it has no index of its own.
func Inspect(f archive.File) (Report, error) {
	r := Report{File: f, Path: f.Path}
	raw, err := open(&r)
	if err != nil {
		return r, err
	}
	defer raw.Close()
	side := r.sidecar(raw)
	if r.Index != IndexWhole {
		m, _, _, err := makeIndex(raw, r.stored)
		if err != nil {
			return r, err
		}
		side.Trailer = m.trailer
	}
	r.take(side.Trailer)
	r.Problems = append(r.Problems, r.aboutIndex...)
	return r, nil
}

// Verify reads a whole file: structure, order of time, and the index against the
// data. What is wrong is in the report's Problems; the error is about a file that
// cannot be read.
func Verify(f archive.File) (Report, error) {
	r, _, err := verify(f)
	return r, err
}

// made is what a file's index must be, for as long as the file remains as it is.
type made struct {
	entries []byte // the sidecar but for its trailer
	trailer Trailer
}

// sidecar is the bytes of the index.
func (m made) sidecar() []byte { return m.trailer.encode(m.entries, int64(len(m.entries))) }

// verify is Verify, and tells what the index must be.
func verify(f archive.File) (r Report, m made, err error) {
	r = Report{File: f, Path: f.Path}
	raw, err := open(&r)
	if err != nil {
		return r, m, err
	}
	defer raw.Close()
	side := r.sidecar(raw)
	m, b, bad, err := makeIndex(raw, r.stored)
	if err != nil {
		return r, m, err
	}
	m.trailer.Length = r.Size
	r.take(m.trailer)
	if !r.Writing {
		err = r.ends(raw, b.at, bad)
	}
	if err != nil {
		return r, m, err
	}
	r.judge(b, bad)
	if r.Index == IndexWhole || r.Index == IndexPartial || r.Index == IndexDamaged {
		r.compare(side, m)
	}
	r.Problems = append(r.Problems, r.aboutIndex...)
	return r, m, nil
}

// makeIndex reads the first bytes of a file, at most so many. bad is why its
// records end where they do, if it is neither padding nor the end of the bytes.
func makeIndex(raw io.ReaderAt, most int64) (m made, b *Builder, bad, err error) {
	b = NewBuilder()
	bad, err = feed(b, raw, most, func(out []byte) { m.entries = append(m.entries, out...) })
	if err != nil {
		return m, b, bad, err
	}
	rest := b.Finish(most)
	m.entries = append(m.entries, rest[:len(rest)-trailerLen]...)
	m.trailer = b.file
	return m, b, bad, nil
}

// compare says where a sidecar does not tell what it must.
func (r *Report) compare(side *Sidecar, m made) {
	rest := m.entries[headerLen:]
	for i := range side.Entries {
		var e Entry
		n := 0
		if len(rest) > 0 {
			e, n, _ = decodeEntry(rest)
		}
		if n == 0 || !side.Entries[i].agrees(&e) {
			r.Index = IndexStale
			r.indexProblem("the index does not agree with the records from byte %d on", side.Entries[i].First)
			return
		}
		rest = rest[n:]
	}
	switch {
	case side.Whole && side.Trailer != m.trailer:
		r.Index = IndexStale
		r.indexProblem("the index does not agree with the end of the file")
	case r.Index == IndexPartial && !r.File.Part:
		r.indexProblem("the index ends at byte %d of %d", side.End(), m.trailer.Records)
	}
}

// agrees tells whether e, read from a sidecar, is what was made of the file.
func (e *Entry) agrees(made *Entry) bool {
	return e.First == made.First && e.End == made.End && e.Frames == made.Frames && e.Earliest == made.Earliest &&
		e.Latest == made.Latest && e.Head == made.Head && e.Sum == made.Sum && e.Backwards == made.Backwards &&
		e.addrLevels == made.addrLevels && e.addrBits == made.addrBits && e.portShift == made.portShift &&
		e.addrs.same(made.addrs) && e.ports.same(made.ports) && e.protos.same(made.protos)
}

func (s riceSet) same(t riceSet) bool { return s.n == t.n && s.k == t.k && bytes.Equal(s.b, t.b) }

// open opens a report's file, and finds out whether somebody writes it.
func open(r *Report) (*os.File, error) {
	f, err := os.Open(r.Path)
	if final, part := strings.CutSuffix(r.Path, archive.RawPart); part && missing(err) {
		r.Path = final + archive.Raw // it has been closed since it was listed
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
		return open(r) // it was being written a moment ago
	}
	return f, nil
}

// sidecar reads the file's sidecar and says what it is good for.
func (r *Report) sidecar(raw io.ReaderAt) *Sidecar {
	side, n, err := Load(r.File.Sidecar(), r.Size)
	r.IndexSize = n
	read := int64(0)
	switch {
	case missing(err):
		r.Index = IndexMissing
		return side
	case err != nil && !r.Writing: // then it ends anywhere
		r.Index = IndexDamaged
		r.indexProblem("index: %v", err)
		return side
	}
	if err := side.Fits(raw, r.File.Part, r.stored, &read); err != nil {
		r.Index = IndexStale
		r.indexProblem("index: %v", err)
		return &Sidecar{}
	}
	r.Index = IndexPartial
	if side.Whole {
		r.Index = IndexWhole
	}
	return side
}

func (r *Report) take(t Trailer) {
	r.Records, r.Frames = t.Records, t.Frames
	if t.Frames > 0 {
		r.Earliest, r.Latest = time.Unix(0, t.Earliest).UTC(), time.Unix(0, t.Latest).UTC()
	}
}

// feed gives b a file's first bytes, and each what that makes of the sidecar.
func feed(b *Builder, raw io.ReaderAt, most int64, each func([]byte)) (bad, err error) {
	buf := make([]byte, rawfile.Block)
	for off := int64(0); !b.ended && off < most; {
		n, err := raw.ReadAt(buf[:min(most-off, rawfile.Block)], off)
		off += int64(n)
		if _, e := b.Write(buf[:n]); e != nil {
			bad = e
		}
		each(b.Take())
		if err == io.EOF {
			break
		}
		if err != nil {
			return bad, err
		}
	}
	return bad, nil
}

// ends finds out what follows the last whole record, at byte at.
func (r *Report) ends(raw io.ReaderAt, at int64, bad error) (err error) {
	e := &r.end
	e.bytes = r.Size - at
	switch h, n, err := headerAt(raw, at); {
	case err != nil:
		return err
	case n == 0:
		e.kind = "unclosed"
		return nil
	case bad != nil:
		e.kind = "nonsense"
	case n < rawfile.HeaderLen || !h.IsPadding():
		e.kind = "cut"
	default:
		return r.padding(raw, at)
	}
	e.dirty, err = dirty(raw, at, r.Size)
	return err
}

// padding goes through the padding that begins at byte at: a record, or several
// where one cannot say enough, or one that says less than there are zeros.
func (r *Report) padding(raw io.ReaderAt, at int64) error {
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
			e.kind = "closed"
			return nil
		}
		if at > r.Size {
			e.kind = "short"
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
		e.kind = "more"
	case full:
		e.kind = "closed"
	default:
		e.kind = "zeros"
	}
	return err
}

// headerAt reads the header at byte at, or the n bytes of it that there are.
func headerAt(raw io.ReaderAt, at int64) (h rawfile.Header, n int, err error) {
	var b [rawfile.HeaderLen]byte
	n, err = raw.ReadAt(b[:], at)
	if err == io.EOF {
		err = nil
	}
	return rawfile.DecodeHeader(b[:]), n, err
}

// dirty tells whether there is a byte other than zero from a place on.
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

// judge says what is wrong with the file's structure and order.
func (r *Report) judge(b *Builder, bad error) {
	if b.back > 0 {
		r.problem("%d times a stamp is earlier than the one before it, first in the record at byte %d", b.back, b.backAt)
		r.lasting = r.Problems
	}
	if r.Writing {
		return
	}
	switch r.end.kind {
	case "nonsense":
		r.problem("%v; %d bytes follow", bad, r.end.bytes)
	case "cut":
		r.problem("file is cut: the record at byte %d is not complete", b.at)
	case "unclosed":
		r.problem("file was not closed: no padding record follows the last of its %d records", r.Frames)
	case "short":
		r.problem("file is cut in its padding, all records are whole")
	case "zeros":
		if !r.File.Part {
			r.problem("%d zeros follow the padding", r.end.bytes)
		}
	case "more":
		r.problem("%d bytes follow the padding at byte %d, and they are not all zeros", r.end.bytes, b.at)
	}
	if r.File.Part {
		r.problem("file was left unfinished by its writer")
	}
}

// After compares a file with the one before it in archive.List's order: segments of the
// same queue that are missing between them, and files that overlap in time.
func (r *Report) After(p *Report) {
	if r.File.Seq < 1 || p.File.Seq < 0 || p.File.Port != r.File.Port || p.File.Queue != r.File.Queue {
		return // the first of a run, or nothing is known
	}
	same := p.File.Seq < r.File.Seq
	r.Missing = r.File.Seq
	if same {
		r.Missing -= p.File.Seq + 1
	}
	if r.Missing > 0 {
		r.problem("%d segments are missing before this one", r.Missing)
	}
	if !same || p.Frames == 0 || r.Frames == 0 {
		return
	}
	if gap := r.Earliest.Sub(p.Latest); gap >= 0 {
		r.Gap = gap.Seconds()
	} else {
		r.problem("it begins %v before %s ends", -gap, p.Path)
	}
}
