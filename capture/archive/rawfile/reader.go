package rawfile

import (
	"errors"
	"fmt"
	"io"
	"iter"
)

// Error is what a Reader returns for bytes that it cannot read to the end. All
// records before Offset were whole and have been delivered.
type Error struct {
	Offset  int64  // of the record that could not be read, in bytes
	Records uint64 // whole records before it
	Err     error  // wraps io.ErrUnexpectedEOF (cut), ErrFormat (nonsense), or is the source's error
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
	buf     []byte // buf[at:end] is read and not yet delivered
	at, end int
	offset  int64 // in the file, of buf[at]
	records uint64
	padded  bool
	fault   error // of src, delivered once the bytes before it are used up
	err     error // what Next returns from now on
}

// bufferSize holds the longest record with room for reads of a useful length.
const bufferSize = 4 * (HeaderLen + MaxData + 1)

// NewReader returns a Reader of one file's bytes. It reads ahead.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, bufferSize)}
}

// Next returns the next record. Its Data is valid until the following call.
//
// At the padding record, or when the bytes end after a whole record, the error
// is io.EOF. Any other error is an *Error. An error stays.
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

// Records is an iterator over the records; each is valid until the next one.
// A last pair with an error says why the file could not be read to its end.
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

// Offset is where the last whole record delivered ends, in bytes.
func (r *Reader) Offset() int64 { return r.offset }

// Count is the number of records delivered.
func (r *Reader) Count() uint64 { return r.records }

// Padded tells whether the end that Next reported was a padding record, as it is
// in a file that was closed in order.
func (r *Reader) Padded() bool { return r.padded }

// fill makes n bytes available at buf[at:], and reports whether it could.
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

// short says why fill could not.
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
