package rawfile

import (
	"errors"
	"fmt"
	"io"
	"iter"
)

// Error is a Reader's error. All records before Offset were whole and have been
// delivered.
type Error struct {
	Offset  int64  // of the record that could not be read, in bytes
	Records uint64 // whole records before it
	Err     error  // wraps io.ErrUnexpectedEOF (cut) or ErrFormat (invalid), or is the source's error
}

func (e *Error) Error() string {
	if errors.Is(e.Err, io.ErrUnexpectedEOF) {
		return fmt.Sprintf("file is cut: the record at byte %d, after %d whole ones, is not complete: %v", e.Offset, e.Records, e.Err)
	}
	return fmt.Sprintf("at byte %d, after %d whole records: %v", e.Offset, e.Records, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Reader reads the records of one RAW file.
type Reader struct {
	src     io.Reader
	buf     []byte // buf[at:end] is read and not delivered
	at, end int
	offset  int64 // in the file, of buf[at]
	records uint64
	padded  bool
	fault   error // of src, returned after the bytes before it
	err     error // what Next returns from now on
}

// bufferSize holds several of the longest records.
const bufferSize = 4 * (HeaderLen + MaxData + 1)

// NewReader returns a Reader of one file's bytes. It reads ahead.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, bufferSize)}
}

// Next returns the next record. Its Data is valid until the next call.
//
// At the padding record, or when the bytes end after a whole record, the error
// is io.EOF. Any other error is an *Error. Later calls return the same error.
func (r *Reader) Next() (Record, error) {
	if r.err != nil {
		return Record{}, r.err
	}
	if !r.fill(HeaderLen) {
		return Record{}, r.fail(r.short())
	}
	h := DecodeHeader(r.buf[r.at:])
	if err := h.Check(); err != nil {
		return Record{}, r.fail(err)
	}
	if h.IsPadding() {
		r.padded = true
		return Record{}, r.fail(io.EOF)
	}
	n := HeaderLen + int(h.Caplen)
	if !r.fill(n) {
		return Record{}, r.fail(r.short())
	}
	data := r.buf[r.at+HeaderLen : r.at+n : r.at+n]
	r.at += n
	r.offset += int64(n)
	r.records++
	return Record{Sec: h.Sec, Nsec: h.Nsec, Len: h.Len, Data: data}, nil
}

// Records returns an iterator over the records; each is valid until the next one.
// The last pair has the error, if the file cannot be read to its end.
func (r *Reader) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			rec, err := r.Next()
			if err == io.EOF {
				return
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// Offset returns the end of the last record delivered, in bytes of the file.
func (r *Reader) Offset() int64 { return r.offset }

// Count returns the number of records delivered.
func (r *Reader) Count() uint64 { return r.records }

// Padded reports whether Next returned io.EOF at a padding record, as in a file that
// was closed.
func (r *Reader) Padded() bool { return r.padded }

// fill reads until n bytes are available at buf[at:]. It returns false on an error.
func (r *Reader) fill(n int) bool {
	if r.end-r.at >= n {
		return true
	}
	if r.at+n > len(r.buf) {
		r.end = copy(r.buf, r.buf[r.at:r.end])
		r.at = 0
	}
	for idle := 0; r.end-r.at < n; {
		if r.fault != nil {
			return false
		}
		got, err := r.src.Read(r.buf[r.end:])
		r.end += got
		r.fault = err
		if got > 0 {
			idle = 0
		} else if idle++; idle == 100 && err == nil {
			r.fault = io.ErrNoProgress
		}
	}
	return true
}

// short returns the error of fill.
func (r *Reader) short() error {
	switch {
	case r.fault != io.EOF:
		return r.fault
	case r.end == r.at:
		return io.EOF
	default:
		return io.ErrUnexpectedEOF
	}
}

func (r *Reader) fail(err error) error {
	if err != io.EOF {
		err = &Error{Offset: r.offset, Records: r.records, Err: err}
	}
	r.err = err
	return err
}
