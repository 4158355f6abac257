package index

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Sidecar is the decoded index of a RAW file.
type Sidecar struct {
	Entries  []Entry // in the order of the file, without gaps
	Trailer  Trailer // if Complete
	Complete bool    // the index ends with its trailer
}

// Parse decodes a sidecar; the result uses b. With an error, which wraps ErrIndex, it
// returns the part before the damage. A sidecar that ends between two entries belongs
// to a file that was not closed, and is no error.
func Parse(b []byte) (*Sidecar, error) {
	s := &Sidecar{}
	if err := checkHeader(b); err != nil {
		return s, err
	}
	t, complete := Trailer{}, false
	if len(b) >= headerLen+trailerLen {
		if t, complete = decodeTrailer(b[len(b)-trailerLen:], int64(len(b))); complete {
			b = b[:len(b)-trailerLen]
		}
	}
	for at := headerLen; at < len(b); {
		e, n, err := decodeEntry(b[at:])
		if err == nil && !s.follows(&e) {
			err = fmt.Errorf("%w: an entry does not follow the one before it", ErrIndex)
		}
		if err != nil {
			return s, fmt.Errorf("%w, at byte %d of %d", err, at, len(b))
		}
		s.Entries = append(s.Entries, e)
		at += n
	}
	if !complete {
		return s, nil
	}
	if got := s.summary(); got != t.entries() {
		return s, fmt.Errorf("%w: its trailer does not agree with its entries", ErrIndex)
	}
	s.Trailer, s.Complete = t, true
	return s, nil
}

// follows reports whether e can be the next entry: records are contiguous.
func (s *Sidecar) follows(e *Entry) bool {
	end := s.End()
	return e.First == end && (end == 0 || e.First/Block > s.Entries[len(s.Entries)-1].First/Block)
}

// End returns the end of the records that the entries describe, in bytes of the file.
func (s *Sidecar) End() int64 {
	if len(s.Entries) == 0 {
		return 0
	}
	return s.Entries[len(s.Entries)-1].End
}

// summary returns the part of a trailer that follows from the entries.
func (s *Sidecar) summary() (t Trailer) {
	for i, e := range s.Entries {
		if i == 0 {
			t.Earliest, t.Latest = e.Earliest, e.Latest
		}
		t.Earliest, t.Latest = min(t.Earliest, e.Earliest), max(t.Latest, e.Latest)
		t.Backwards = t.Backwards || e.Backwards
		t.Frames += uint64(e.Frames)
		t.Sum = mix(t.Sum ^ e.Sum)
		t.Entries++
	}
	t.Records = s.End()
	return t
}

// entries returns t without the part that does not follow from the entries.
func (t Trailer) entries() Trailer {
	t.Length = 0
	return t.records()
}

// records returns t without the part that does not follow from the file.
func (t Trailer) records() Trailer {
	t.Uncertainty = 0
	return t
}

// Load reads the sidecar of a RAW file of size bytes, and returns how many bytes it
// read. The error of a missing one is fs.ErrNotExist; otherwise see Parse.
func Load(name string, size int64) (*Sidecar, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return &Sidecar{}, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return &Sidecar{}, 0, err
	}
	if most := headerLen + (size/Block+1)*maxEntry + trailerLen; info.Size() > most {
		return &Sidecar{}, 0, fmt.Errorf("%w: %d bytes, too many for a file of %d", ErrIndex, info.Size(), size)
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return &Sidecar{}, int64(n), err
	}
	s, err := Parse(b[:n])
	return s, int64(n), err
}

// ErrStale is wrapped by the error of a sidecar that belongs to another file, or to an
// earlier state of this one.
var ErrStale = errors.New("index of another file or of an earlier state of this one")

// samples is how many records of the file Fits compares.
const samples = 3

// Fits returns an error if the sidecar does not belong to a RAW file of size bytes, by
// the file's length and the header of the first record of its first, middle and last
// block. The sidecar of a file that is not closed (part) may describe less than the
// file; it is truncated to the blocks that the file has. Fits adds the bytes that it
// reads of the file to *read.
func (s *Sidecar) Fits(raw io.ReaderAt, part bool, size int64, read *int64) error {
	if s.Complete && s.Trailer.Length != size {
		if !part {
			return fmt.Errorf("%w: it describes %d bytes, the file has %d", ErrStale, s.Trailer.Length, size)
		}
		s.Complete = false // the file is being closed
	}
	s.Truncate(size)
	n := len(s.Entries)
	if n == 0 {
		return nil
	}
	var head [rawfile.HeaderLen]byte
	for i := range min(n, samples) {
		e := &s.Entries[i*(n-1)/max(min(n, samples)-1, 1)]
		got, err := raw.ReadAt(head[:], e.First)
		*read += int64(got)
		if err != nil && err != io.EOF {
			return err
		}
		if got < len(head) || head != e.Head {
			return fmt.Errorf("%w: different record at byte %d", ErrStale, e.First)
		}
	}
	return nil
}

// Truncate removes the entries of blocks that do not end within the first size bytes
// of the file.
func (s *Sidecar) Truncate(size int64) {
	for len(s.Entries) > 0 && s.End() > size {
		s.Entries = s.Entries[:len(s.Entries)-1]
		s.Complete = false
	}
}

// Peek reads the first entry and the trailer of a sidecar, which are enough for the
// time range of the file. ok is false if the sidecar is not complete. Peek adds the
// bytes that it reads to *read.
func Peek(name string, read *int64) (first Entry, t Trailer, ok bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return first, t, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return first, t, false, err
	}
	if info.Size() < headerLen+trailerLen {
		return first, t, false, nil
	}
	end := make([]byte, trailerLen)
	n, err := f.ReadAt(end, info.Size()-trailerLen)
	*read += int64(n)
	if err != nil {
		return first, t, false, nil // the file has become shorter
	}
	if t, ok = decodeTrailer(end, info.Size()); !ok || t.Entries == 0 {
		return first, t, ok, nil
	}
	start := make([]byte, min(headerLen+maxEntry, info.Size()))
	n, err = f.ReadAt(start, 0)
	*read += int64(n)
	if err != nil && err != io.EOF || checkHeader(start[:n]) != nil {
		return first, t, false, nil
	}
	first, _, err = decodeEntry(start[headerLen:n])
	return first, t, err == nil, nil
}

// missing reports whether err is that of a file that does not exist.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
