package capfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// pcap parses pcap files.
type pcap struct {
	order   binary.ByteOrder
	unit    int64 // of the fraction of a second, ns
	record  int   // length of a record's header, bytes
	lengths lengths
}

// lengths is the order of a record's two lengths.
type lengths uint8

const (
	inOrder  lengths = iota // captured, on the wire: since version 2.4
	swapped                 // before version 2.3, and in 543.0 of DG/UX
	whatever                // version 2.3: the lesser one is the captured length
)

const (
	pcapHeader = 24
	pcapRecord = 16
)

// Magic numbers of pcap files.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // A. Kuznetsov's patches: records have an interface, a protocol and a packet type
	magicIxiaHW   = 0x1c0001ac // 4 bytes follow the header: the length of all records
	magicIxiaSW   = 0x1c0001ab // as above. Both are µs, as Wireshark reads them
)

// Parts of a pcap header's link type.
const (
	linkMask     = 0x0000ffff
	linkReserved = 0x03ff0000
	fcsPresent   = 1 << 26
	fcsShift     = 28 // 16-bit words, above
)

// magic sets what the file's first four bytes say, and reports whether they are pcap's.
// extra is the number of bytes behind the header.
func (f *pcap) magic(head []byte) (extra int, ok bool) {
	for _, f.order = range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		f.unit, f.record = 1000, pcapRecord
		switch f.order.Uint32(head) {
		case magicMicro:
			return 0, true
		case magicNano:
			f.unit = 1
			return 0, true
		case magicModified:
			f.record = 24
			return 0, true
		case magicIxiaHW, magicIxiaSW:
			return 4, true
		}
	}
	return 0, false
}

func (f *pcap) open(r *Reader, head []byte) error {
	extra, ok := f.magic(head)
	if !ok {
		return fmt.Errorf("%w: it begins with % x. editcap converts other formats", ErrFormat, head)
	}
	b, err := r.in.take(pcapHeader)
	if err != nil {
		return fmt.Errorf("read pcap header: %w", cut(err))
	}
	if err := f.version(b); err != nil {
		return err
	}
	link := f.order.Uint32(b[20:])
	if link&linkReserved != 0 {
		return fmt.Errorf("pcap link type %#08x: the reserved bits %#08x are set", link, link&linkReserved)
	}
	i := Interface{Link: LinkType(link & linkMask), Snaplen: f.order.Uint32(b[16:])}
	if link&fcsPresent != 0 {
		i.FCS = int(link>>fcsShift) * 2
	}
	if err := r.describe(i); err != nil {
		return err
	}
	if r.options.Select == nil && i.Link != Ethernet {
		return fmt.Errorf("link type %v: Ethernet frames only", i.Link)
	}
	return r.in.skip(int64(extra))
}

// empty returns an error if a record without lengths is none. Zeros are the end of a
// file that was extended before it was written, or that a power failure left; a header
// is the start of a further file.
func (f *pcap) empty(b []byte) error {
	if bytes.Count(b, []byte{0}) == len(b) {
		return errZeros
	}
	if second := new(pcap); f.record == pcapRecord {
		if _, ok := second.magic(b); ok && second.version(b) == nil {
			return errors.New("a second pcap header: files were joined. mergecap joins them")
		}
	}
	return nil
}

// version sets what a header's version says.
func (f *pcap) version(head []byte) error {
	switch major, minor := f.order.Uint16(head[4:]), f.order.Uint16(head[6:]); {
	case major == 543 && minor == 0, major == 2 && minor < 3:
		f.lengths = swapped
	case major == 2 && minor == 3:
		f.lengths = whatever
	case major != 2 || minor != 4:
		return fmt.Errorf("pcap version %d.%d: 2.0 to 2.4 are known", major, minor)
	}
	return nil
}

func (f *pcap) next(r *Reader, p *Packet) (skip bool, err error) {
	r.start = r.in.at
	b, err := r.in.take(f.record)
	if err != nil {
		return false, err
	}
	sec, fraction := f.order.Uint32(b), f.order.Uint32(b[4:])
	caplen, length := f.order.Uint32(b[8:]), f.order.Uint32(b[12:])
	if f.lengths == swapped || f.lengths == whatever && caplen > length {
		caplen, length = length, caplen
	}
	if caplen == 0 && length == 0 {
		if err := f.empty(b); err != nil {
			return false, err
		}
	}
	i := &r.interfaces[0]
	if most := i.Link.maxPacket(); caplen > most {
		return false, fmt.Errorf("damaged: %d bytes captured, the limit of libpcap is %d", caplen, most)
	}
	if !i.Selected {
		if err := r.in.skip(int64(caplen)); err != nil {
			return false, err
		}
		r.packets++
		return true, r.other(i, r.packets)
	}
	data, err := r.in.take(int(caplen))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return false, err
	}
	r.packets++
	*p = Packet{Nano: int64(sec)*second + int64(fraction)*f.unit, Len: length, Data: data, Number: r.packets}
	if int64(fraction)*f.unit >= second {
		if err := r.count(LongFraction, 0, r.packets, func() string { return fmt.Sprintf("%d units of %d ns", fraction, f.unit) }); err != nil {
			return false, err
		}
	}
	return false, r.accept(p, i.FCS)
}
