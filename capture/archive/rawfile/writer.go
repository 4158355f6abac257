package rawfile

import (
	"errors"
	"fmt"
	"io"
)

// MinSegment is the smallest segment of a Writer in bytes: one record of any length
// and the padding record's header.
const MinSegment = HeaderLen + MaxData + HeaderLen

var (
	// ErrFull is returned by Write for a record that does not fit.
	ErrFull = errors.New("segment is full")

	// ErrNoTime is returned by Write for a record whose time is 0, which means
	// padding.
	ErrNoTime = errors.New("a record at 1970-01-01 00:00:00.000000000 would read as padding")
)

// Writer writes the records of one RAW file, each with one Write to its
// destination, which should be buffered.
type Writer struct {
	dst     io.Writer
	segment int64 // bytes of the full file, 0: no limit
	size    int64
	buf     []byte
}

// NewWriter returns a Writer of a file of at most segment bytes, which is at
// least MinSegment or, for no limit, 0.
func NewWriter(dst io.Writer, segment int64) (*Writer, error) {
	if segment != 0 && segment < MinSegment {
		return nil, fmt.Errorf("segment of %d bytes: must be at least %d", segment, MinSegment)
	}
	return &Writer{dst: dst, segment: segment, buf: make([]byte, HeaderLen+MaxData)}, nil
}

// Fits reports whether a record with caplen frame bytes and the header of the
// padding fit into the file.
func (w *Writer) Fits(caplen int) bool {
	return w.segment == 0 || w.size+int64(HeaderLen+caplen+HeaderLen) <= w.segment
}

// Size returns the number of bytes written.
func (w *Writer) Size() int64 { return w.size }

// Write appends a record. It returns ErrFull if the record does not fit, and writes
// nothing then.
func (w *Writer) Write(r Record) error {
	if len(r.Data) > int(r.Len) {
		return fmt.Errorf("write record: %d bytes kept of a frame of %d", len(r.Data), r.Len)
	}
	h := Header{Sec: r.Sec, Nsec: r.Nsec, Caplen: uint16(len(r.Data)), Len: r.Len}
	if h.IsPadding() {
		return ErrNoTime
	}
	if err := h.Check(); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if !w.Fits(len(r.Data)) {
		return ErrFull
	}
	h.Put(w.buf)
	n := HeaderLen + copy(w.buf[HeaderLen:], r.Data)
	return w.put(w.buf[:n])
}

// Fill ends a full file with padding up to the segment size.
func (w *Writer) Fill() error {
	if w.segment == 0 {
		return w.End()
	}
	clear(w.buf)
	n := w.segment - w.size - HeaderLen
	// The field has 16 bits. The padding is longer only if a record of more than
	// MaxData-12 bytes did not fit. Readers ignore what follows the padding's header.
	length := uint16(min(n, MaxData))
	Header{Caplen: length, Len: length}.Put(w.buf)
	if err := w.put(w.buf[:HeaderLen]); err != nil {
		return err
	}
	clear(w.buf[:HeaderLen])
	for w.size < w.segment {
		if err := w.put(w.buf[:min(w.segment-w.size, int64(len(w.buf)))]); err != nil {
			return err
		}
	}
	return nil
}

// End ends the last file of a capture after its last record, with a padding record
// of length 0.
func (w *Writer) End() error {
	clear(w.buf[:HeaderLen])
	return w.put(w.buf[:HeaderLen])
}

func (w *Writer) put(b []byte) error {
	n, err := w.dst.Write(b)
	w.size += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write at byte %d: %w", w.size, err)
	}
	return nil
}
