package convert

import (
	"fmt"
	"io"
	"math"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Reader reads the packets of a pcap or pcapng file as RAW records.
type Reader struct {
	packets *pcapfile.Reader
	count   uint64
	moved   uint64
	err     error // that Next returns
}

// NewReader reads the header of a pcap or pcapng file, which may be compressed with
// zstd. The format is recognized by the first bytes.
func NewReader(src io.Reader) (*Reader, error) {
	p, err := pcapfile.NewReader(src)
	if err != nil {
		return nil, err
	}
	return &Reader{packets: p}, nil
}

// Next returns the next packet; Data is valid until the next call. The error is
// io.EOF at the end, wraps io.ErrUnexpectedEOF if the file is cut, or is about a
// packet that RAW cannot hold. Later calls return the same error.
func (r *Reader) Next() (rawfile.Record, error) {
	if r.err != nil {
		return rawfile.Record{}, r.err
	}
	rec, err := r.next()
	if err != nil {
		r.err = err
		return rawfile.Record{}, err
	}
	r.count++
	return rec, nil
}

// Count returns the number of packets delivered.
func (r *Reader) Count() uint64 { return r.count }

// Moved returns how many of them had a time of 0, which means padding in RAW, and
// got the first nanosecond of 1970.
func (r *Reader) Moved() uint64 { return r.moved }

func (r *Reader) next() (rawfile.Record, error) {
	p, err := r.packets.Next()
	if err != nil {
		return rawfile.Record{}, err
	}
	if p.Len > rawfile.MaxData {
		return rawfile.Record{}, fmt.Errorf("after %d whole packets: a packet of %d bytes: RAW holds at most %d", r.count, p.Len, rawfile.MaxData)
	}
	const second = 1_000_000_000
	if p.Nano < 0 || p.Nano/second > math.MaxUint32 {
		return rawfile.Record{}, fmt.Errorf("after %d whole packets: a packet stamped %v: RAW holds the years 1970 to 2106", r.count, p.Time())
	}
	rec := rawfile.Record{Sec: uint32(p.Nano / second), Nsec: uint32(p.Nano % second), Len: uint16(p.Len), Data: p.Data}
	if rec.Sec == 0 && rec.Nsec == 0 {
		rec.Nsec = 1
		r.moved++
	}
	return rec, nil
}
