package pcapfile

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Numbers of the two formats.
const (
	pcapMagic      = 0xa1b23c4d // with nanoseconds
	pcapHeader     = 24         // bytes of a file's header
	pcapRecord     = 16         // bytes of a packet's header
	linkEthernet   = 1
	crcSize        = 4 // bytes
	byteOrderMagic = 0x1a2b3c4d

	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockStatistics = 5
	blockPacket     = 6 // enhanced packet

	packetFixed = 28 // bytes of an enhanced packet block before the frame
	blockLeast  = 12 // type, length, length
)

// Options of pcapng's blocks.
const (
	optEnd     = 0
	optComment = 1

	shbOS, shbApplication                                = 3, 4
	ifName, ifDescription, ifSpeed, ifTsresol, ifFilter  = 2, 3, 8, 9, 11
	ifFCS                                                = 13
	epbFlags, epbDropcount                               = 2, 4
	isbStart, isbEnd, isbRecv, isbDrop, isbAccept, isbOS = 2, 3, 4, 5, 6, 7
	isbDelivered                                         = 8
)

// Encoder encodes the parts of one file. Its methods append to b and have no
// state, so that the parts can be made independently.
type Encoder struct {
	Format Format
	Interface
}

func (e *Encoder) snaplen() uint32 {
	if e.Snaplen == 0 {
		return MaxPacket
	}
	return e.Snaplen
}

// Header appends the start of a file.
func (e *Encoder) Header(b []byte) []byte {
	le := binary.LittleEndian
	if e.Format == Pcap {
		b = le.AppendUint32(b, pcapMagic)
		b = append(b, 2, 0, 4, 0) // version 2.4
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
		b = le.AppendUint32(b, e.snaplen())
		link := uint32(linkEthernet)
		if e.CRC {
			link |= 1<<26 | crcSize/2<<28 // a CRC follows, in units of 16 bits
		}
		return le.AppendUint32(b, link)
	}
	b, at := begin(b, blockSection)
	b = le.AppendUint32(b, byteOrderMagic)
	b = append(b, 1, 0, 0, 0)              // version 1.0
	b = le.AppendUint64(b, math.MaxUint64) // length not known
	b = text(b, optComment, e.Comment)
	b = text(b, shbOS, e.OS)
	b = text(b, shbApplication, Application)
	return e.AddInterface(end(option(b, optEnd, nil), at), &e.Interface)
}

// AddInterface appends the description of one more interface; for pcap it is empty.
// Header has that of interface 0. All have the Encoder's Snaplen: libpcap reads no
// file in which they differ.
func (e *Encoder) AddInterface(b []byte, i *Interface) []byte {
	if e.Format == Pcap {
		return b
	}
	b, at := begin(b, blockInterface)
	b = append(b, linkEthernet, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, e.snaplen())
	b = text(b, ifName, i.Name)
	b = text(b, ifDescription, i.Description)
	if i.Speed != 0 {
		b = number(b, ifSpeed, i.Speed)
	}
	b = option(b, ifTsresol, []byte{9}) // 1e-9 s
	if i.Filter != "" {
		b = text(b, ifFilter, "\x00"+i.Filter) // 0: libpcap's language
	}
	if i.CRC {
		b = option(b, ifFCS, []byte{crcSize}) // in bytes, as Wireshark reads it
	}
	return end(option(b, optEnd, nil), at)
}

// PacketSize returns how many bytes Packet appends, at most.
func (e *Encoder) PacketSize(p *Packet) int {
	if e.Format == Pcap {
		return pcapRecord + len(p.Data)
	}
	size := packetFixed + len(p.Data) + 3 + 4
	if p.options() {
		size += 8 + 4 + 8 + 4 + min(len(p.Comment), math.MaxUint16) + 3 + 4
	}
	return size
}

// Packet appends a packet. It allocates only if b is too small.
func (e *Encoder) Packet(b []byte, p *Packet) []byte {
	b = slices.Grow(b, e.PacketSize(p))
	if e.Format == Pcap {
		var h [pcapRecord]byte
		binary.LittleEndian.PutUint32(h[0:], uint32(p.Nano/1e9))
		binary.LittleEndian.PutUint32(h[4:], uint32(p.Nano%1e9))
		binary.LittleEndian.PutUint32(h[8:], uint32(len(p.Data)))
		binary.LittleEndian.PutUint32(h[12:], p.Len)
		return append(append(b, h[:]...), p.Data...)
	}
	at := len(b)
	var h [packetFixed]byte
	binary.LittleEndian.PutUint32(h[0:], blockPacket)
	binary.LittleEndian.PutUint32(h[8:], p.Interface)
	binary.LittleEndian.PutUint32(h[12:], uint32(uint64(p.Nano)>>32))
	binary.LittleEndian.PutUint32(h[16:], uint32(p.Nano))
	binary.LittleEndian.PutUint32(h[20:], uint32(len(p.Data)))
	binary.LittleEndian.PutUint32(h[24:], p.Len)
	b = pad(append(append(b, h[:]...), p.Data...), len(p.Data))
	if p.options() {
		if p.Errors != 0 {
			var flags [4]byte
			binary.LittleEndian.PutUint32(flags[:], uint32(p.Errors)|crcSize<<5)
			b = option(b, epbFlags, flags[:])
		}
		b = text(b, optComment, p.Comment)
		if p.Dropped != 0 {
			b = number(b, epbDropcount, p.Dropped)
		}
		b = option(b, optEnd, nil)
	}
	return end(b, at)
}

// options reports whether the block of the packet has options.
func (p *Packet) options() bool { return p.Dropped != 0 || p.Comment != "" || p.Errors != 0 }

// Statistics appends the end of a file; for pcap it is empty.
func (e *Encoder) Statistics(b []byte, s *Statistics) []byte {
	if e.Format == Pcap {
		return b
	}
	b, at := begin(b, blockStatistics)
	b = binary.LittleEndian.AppendUint32(b, s.Interface)
	b = stamp(b, s.End)
	b = stamp(binary.LittleEndian.AppendUint32(b, isbStart|8<<16), s.Start)
	b = stamp(binary.LittleEndian.AppendUint32(b, isbEnd|8<<16), s.End)
	if s.Port {
		b = number(b, isbRecv, s.Received)
		b = number(b, isbDrop, s.Dropped)
	}
	b = number(b, isbAccept, s.Accepted)
	b = number(b, isbOS, s.OSDropped)
	b = number(b, isbDelivered, s.Delivered)
	if s.Uncertainty > 0 {
		b = text(b, optComment, fmt.Sprintf(uncertainty, s.Uncertainty))
	}
	return end(option(b, optEnd, nil), at)
}

// uncertainty is the comment about Statistics.Uncertainty.
const uncertainty = "timestamps at most %v from arrival"

// ParseUncertainty returns Statistics.Uncertainty of a comment; 0: it is not known.
func ParseUncertainty(comment string) time.Duration {
	before, after, _ := strings.Cut(uncertainty, "%v")
	text, ok := strings.CutPrefix(comment, before)
	text, also := strings.CutSuffix(text, after)
	if d, err := time.ParseDuration(text); ok && also && err == nil && d > 0 {
		return d
	}
	return 0
}

// begin appends a block's type and a place for its length, and returns its start.
func begin(b []byte, kind uint32) (_ []byte, at int) {
	at = len(b)
	return append(binary.LittleEndian.AppendUint32(b, kind), 0, 0, 0, 0), at
}

// end sets the length of the block that began at byte at, and closes it.
func end(b []byte, at int) []byte {
	size := uint32(len(b) - at + 4)
	binary.LittleEndian.PutUint32(b[at+4:], size)
	return binary.LittleEndian.AppendUint32(b, size)
}

// pad appends zeros up to the next multiple of 4 after n bytes.
func pad(b []byte, n int) []byte {
	var zeros [3]byte
	return append(b, zeros[:-n&3]...)
}

func option(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...), len(value))
}

// text appends a text option, unless it is empty, cut to the length of an option.
func text(b []byte, code uint16, s string) []byte {
	if s == "" {
		return b
	}
	s = s[:min(len(s), math.MaxUint16)]
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
	return pad(append(b, s...), len(s))
}

func number(b []byte, code uint16, n uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(code)|8<<16)
	return binary.LittleEndian.AppendUint64(b, n)
}

// stamp appends a time in pcapng's order: the high 32 bits first.
func stamp(b []byte, t time.Time) []byte {
	n := uint64(t.UnixNano())
	b = binary.LittleEndian.AppendUint32(b, uint32(n>>32))
	return binary.LittleEndian.AppendUint32(b, uint32(n))
}
