package convert

import (
	"fmt"
	"io"
	"math"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Reader reads the packets of a capture file as RAW records. Packets that RAW cannot
// hold are left out and counted.
type Reader struct {
	packets *capfile.Reader
	count   uint64
	moved   uint64
	err     error // that Next returns
}

// NewReader reads the header of a capture file of any format that capfile reads.
func NewReader(src io.Reader, o capfile.Options) (*Reader, error) {
	p, err := capfile.NewReader(src, o)
	if err != nil {
		return nil, err
	}
	return &Reader{packets: p}, nil
}

// Close frees memory. It does not close the source.
func (r *Reader) Close() { r.packets.Close() }

// Next returns the next packet; Data is valid until the next call. The error is
// io.EOF at the end, wraps io.ErrUnexpectedEOF if the file is cut, or is about a
// selected interface that is not Ethernet, or about a packet left out with
// Options.Strict. Later calls return the same error.
func (r *Reader) Next() (rawfile.Record, error) {
	for r.err == nil {
		rec, kept, err := r.next()
		if err == nil && kept {
			r.count++
			return rec, nil
		}
		r.err = err
	}
	return rawfile.Record{}, r.err
}

// Count returns the number of packets delivered.
func (r *Reader) Count() uint64 { return r.count }

// Moved returns how many of them had a time of 0, which means padding in RAW, and
// got the first nanosecond of 1970.
func (r *Reader) Moved() uint64 { return r.moved }

// Counts returns what was left out or changed, by cause.
func (r *Reader) Counts() []capfile.Count { return r.packets.Counts() }

// Interfaces returns the interfaces of the file so far.
func (r *Reader) Interfaces() []capfile.Interface { return r.packets.Interfaces() }

// LeftOut returns the number of packets left out.
func (r *Reader) LeftOut() uint64 { return r.packets.LeftOut() }

// next converts a packet. kept is false if it was left out.
func (r *Reader) next() (rec rawfile.Record, kept bool, err error) {
	p, err := r.packets.Next()
	if err != nil {
		return rec, false, err
	}
	const second = 1_000_000_000
	i := &r.packets.Interfaces()[p.Interface]
	switch {
	case i.Link != capfile.Ethernet:
		return rec, false, fmt.Errorf("%v has link type %v: RAW holds Ethernet frames only. Select another interface", i, i.Link)
	case p.Len > rawfile.MaxData:
		return rec, false, r.packets.LeaveOut(capfile.TooLong, &p, fmt.Sprintf("%d bytes, RAW holds at most %d", p.Len, rawfile.MaxData))
	case p.Nano < 0 || p.Nano/second > math.MaxUint32:
		return rec, false, r.packets.LeaveOut(capfile.StampRange, &p, fmt.Sprintf("%v, RAW holds the years 1970 to 2106", p.Time()))
	}
	rec = rawfile.Record{Sec: uint32(p.Nano / second), Nsec: uint32(p.Nano % second), Len: uint16(p.Len), Data: p.Data}
	if rec.Sec == 0 && rec.Nsec == 0 {
		rec.Nsec = 1
		r.moved++
	}
	return rec, true, nil
}
