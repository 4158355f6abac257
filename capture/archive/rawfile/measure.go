package rawfile

import "io"

// UnixNano returns the header's time in ns since 1970.
func (h Header) UnixNano() int64 { return int64(h.Sec)*1e9 + int64(h.Nsec) }

// Measure returns the length of the record at the start of b, header included. The
// error is io.EOF for padding, io.ErrUnexpectedEOF if b does not contain the complete
// record, and wraps ErrFormat if b does not begin with a record.
func Measure(b []byte) (int, error) {
	if len(b) < HeaderLen {
		return 0, io.ErrUnexpectedEOF
	}
	h := DecodeHeader(b)
	if err := h.Check(); err != nil {
		return 0, err
	}
	if h.IsPadding() {
		return 0, io.EOF
	}
	n := HeaderLen + int(h.Caplen)
	if n > len(b) {
		return 0, io.ErrUnexpectedEOF
	}
	return n, nil
}
