package rawfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	// HeaderLen is the length in bytes of a record's header.
	HeaderLen = 12

	// MaxData is the greatest number of frame bytes in a record.
	MaxData = 1<<16 - 1

	// Block is the size of the writes of HPCAP's tools, in bytes.
	Block = 1 << 20

	// DefaultSegment is the size in bytes of HPCAP's files.
	DefaultSegment = 2048 * Block
)

// Record is one captured frame.
type Record struct {
	Sec  uint32 // seconds since 1970, UTC
	Nsec uint32 // nanoseconds, below 1e9; Sec and Nsec are never both 0
	Len  uint16 // bytes of the frame on the wire, without CRC
	Data []byte // the bytes kept, at most Len
}

// Time returns the record's timestamp.
func (r Record) Time() time.Time { return time.Unix(int64(r.Sec), int64(r.Nsec)).UTC() }

// Header is a record's header in a file.
type Header struct {
	Sec, Nsec   uint32
	Caplen, Len uint16
}

// IsPadding reports whether the header is that of the padding that ends a file.
func (h Header) IsPadding() bool { return h.Sec == 0 && h.Nsec == 0 }

// DecodeHeader reads the header at the start of b, which holds at least HeaderLen bytes.
func DecodeHeader(b []byte) Header {
	_ = b[HeaderLen-1]
	return Header{
		Sec:    binary.LittleEndian.Uint32(b[0:]),
		Nsec:   binary.LittleEndian.Uint32(b[4:]),
		Caplen: binary.LittleEndian.Uint16(b[8:]),
		Len:    binary.LittleEndian.Uint16(b[10:]),
	}
}

// Put writes the header to the start of b, which has room for HeaderLen bytes.
func (h Header) Put(b []byte) {
	_ = b[HeaderLen-1]
	binary.LittleEndian.PutUint32(b[0:], h.Sec)
	binary.LittleEndian.PutUint32(b[4:], h.Nsec)
	binary.LittleEndian.PutUint16(b[8:], h.Caplen)
	binary.LittleEndian.PutUint16(b[10:], h.Len)
}

// ErrFormat is wrapped by errors about invalid headers.
var ErrFormat = errors.New("not a RAW record")

// Check returns an error if the header is invalid: no writer makes it.
func (h Header) Check() error {
	switch {
	case h.IsPadding() && h.Caplen != h.Len:
		return fmt.Errorf("%w: padding with caplen %d but len %d", ErrFormat, h.Caplen, h.Len)
	case h.Nsec >= 1e9:
		return fmt.Errorf("%w: %d nanoseconds in a second", ErrFormat, h.Nsec)
	case h.Caplen > h.Len:
		return fmt.Errorf("%w: caplen %d exceeds len %d", ErrFormat, h.Caplen, h.Len)
	}
	return nil
}
