package convert

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/ixcap/ixcap/capture/rawfile"
)

// Reader reads the packets of a pcap or pcapng file as RAW records.
type Reader struct {
	packets interface {
		ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	}
	count  uint64
	moved  uint64
	broken error
}

// sectionHeader is the type of the block that every pcapng file begins with.
var sectionHeader = []byte{0x0a, 0x0d, 0x0d, 0x0a}

// NewReader reads the header of a pcap or pcapng file; its first bytes say which
// of them it is.
func NewReader(src io.Reader) (*Reader, error) {
	in := bufio.NewReaderSize(src, rawfile.Block)
	magic, err := in.Peek(len(sectionHeader))
	if err != nil {
		return nil, fmt.Errorf("read capture header: %w", cut(err))
	}
	if bytes.Equal(magic, sectionHeader) {
		// Without mixed link types the reader takes the first interface's for all;
		// asked to, it reports packets of another.
		p, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{ErrorOnMismatchingLinkType: true})
		if err != nil {
			return nil, fmt.Errorf("read pcapng header: %w", cut(err))
		}
		return &Reader{packets: p}, ethernet(p.LinkType())
	}
	p, err := pcapgo.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("neither pcap nor pcapng: %w", cut(err))
	}
	return &Reader{packets: p}, ethernet(p.LinkType())
}

func ethernet(l layers.LinkType) error {
	if l != layers.LinkTypeEthernet {
		return fmt.Errorf("link type %v: RAW files hold Ethernet frames only", l)
	}
	return nil
}

// cut is err for a file that ends where it must not.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Next returns the next packet; Data is valid until the following call. The
// error is io.EOF at the end, wraps io.ErrUnexpectedEOF when the file is cut,
// and names the packet that RAW cannot hold. An error stays.
func (r *Reader) Next() (rawfile.Record, error) {
	if r.broken != nil {
		return rawfile.Record{}, r.broken
	}
	rec, err := r.next()
	if err != nil {
		if err != io.EOF {
			err = fmt.Errorf("after %d whole packets: %w", r.count, err)
		}
		r.broken = err
		return rawfile.Record{}, err
	}
	r.count++
	return rec, nil
}

// Count is the number of packets delivered; Moved how many of them had a time
// of 0, which RAW keeps for padding, and were given the first nanosecond of 1970.
func (r *Reader) Count() uint64 { return r.count }
func (r *Reader) Moved() uint64 { return r.moved }

func (r *Reader) next() (rawfile.Record, error) {
	data, info, err := r.packets.ZeroCopyReadPacketData()
	if err == io.EOF && info.CaptureLength > 0 {
		err = io.ErrUnexpectedEOF // cut between a packet's header and its first byte
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.EOF
		}
		return rawfile.Record{}, err
	}
	if info.Length > rawfile.MaxData {
		return rawfile.Record{}, fmt.Errorf("a packet of %d bytes: RAW holds at most %d", info.Length, rawfile.MaxData)
	}
	if len(data) > info.Length {
		return rawfile.Record{}, fmt.Errorf("a packet of %d bytes of which %d were captured", info.Length, len(data))
	}
	sec := info.Timestamp.Unix()
	if sec < 0 || sec > math.MaxUint32 {
		return rawfile.Record{}, fmt.Errorf("a packet stamped %v: RAW holds the years 1970 to 2106", info.Timestamp)
	}
	rec := rawfile.Record{Sec: uint32(sec), Nsec: uint32(info.Timestamp.Nanosecond()), Len: uint16(info.Length), Data: data}
	if rec.Sec == 0 && rec.Nsec == 0 {
		rec.Nsec = 1
		r.moved++
	}
	return rec, nil
}
