package capfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Block types of pcapng.
const (
	blockSection    = 0x0a0d0d0a // the same in both byte orders
	blockInterface  = 1
	blockOldPacket  = 2
	blockSimple     = 3
	blockNames      = 4
	blockStatistics = 5
	blockPacket     = 6
	blockJournal    = 9
	blockSecrets    = 10
	blockCustom     = 0x00000bad // may be copied
	blockCustomOnly = 0x40000bad // may not
)

const (
	byteOrderMagic = 0x1a2b3c4d
	blockLeast     = 12        // bytes: type, length, length again
	maxBlock       = 16 << 20  // bytes of a block that is parsed, libpcap's limit
	maxSkipped     = 512 << 20 // bytes of a block that is skipped
)

// maxComment is the greatest length in bytes of a comment that Statistics keep.
const maxComment = 256

// Options of blocks.
const (
	optionEnd     = 0
	optionComment = 1

	interfaceName        = 2
	interfaceDescription = 3
	interfaceSpeed       = 8
	interfaceResolution  = 9
	interfaceFilter      = 11
	interfaceOS          = 12
	interfaceFCS         = 13
	interfaceOffset      = 14

	packetFlags   = 2
	packetDropped = 4

	statisticsStart     = 2
	statisticsEnd       = 3
	statisticsReceived  = 4
	statisticsDropped   = 5
	statisticsAccepted  = 6
	statisticsOSDropped = 7
	statisticsDelivered = 8
)

// pcapng parses pcapng files.
type pcapng struct {
	order   binary.ByteOrder
	section int // number of the current section
	base    int // number of its first interface
}

// open parses the blocks up to the first interface. A file without one is cut.
func (f *pcapng) open(r *Reader) error {
	f.section = -1
	b, err := r.in.take(8)
	if err == nil {
		err = f.begin(r, b)
	}
	for err == nil && len(r.interfaces) == 0 && !f.packetFollows(r) {
		_, err = f.next(r, &Packet{})
	}
	if err != nil {
		return fmt.Errorf("read pcapng header: %w", cut(err))
	}
	return nil
}

// packetFollows reports whether the next block has a packet.
func (f *pcapng) packetFollows(r *Reader) bool {
	r.in.release()
	head, err := r.in.r.Peek(4)
	if err != nil {
		return false
	}
	kind := f.order.Uint32(head)
	return kind == blockPacket || kind == blockSimple || kind == blockOldPacket
}

// begin parses a section header block, of which head has been taken.
func (f *pcapng) begin(r *Reader, head []byte) error {
	length := [4]byte(head[4:])
	b, err := r.in.take(8)
	if err != nil {
		return cut(err)
	}
	switch {
	case binary.LittleEndian.Uint32(b) == byteOrderMagic:
		f.order = binary.LittleEndian
	case binary.BigEndian.Uint32(b) == byteOrderMagic:
		f.order = binary.BigEndian
	default:
		return fmt.Errorf("damaged: byte order % x of a section", b[:4])
	}
	if major, minor := f.order.Uint16(b[4:]), f.order.Uint16(b[6:]); major != 1 {
		return fmt.Errorf("pcapng version %d.%d: 1.0 is known", major, minor)
	}
	f.section++
	f.base = len(r.interfaces)
	total := f.order.Uint32(length[:])
	if total < 28 || total > maxBlock || total%4 != 0 {
		return fmt.Errorf("damaged: a section header of %d bytes", total)
	}
	// The length of the section, mostly unknown (-1), and options.
	return f.end(r, total, total-16-4)
}

// end passes the rest of a block but its last field, and checks this.
func (f *pcapng) end(r *Reader, total, rest uint32) error {
	if err := r.in.skip(int64(rest)); err != nil {
		return err
	}
	b, err := r.in.take(4)
	if err != nil {
		return cut(err)
	}
	return f.sameLength(total, b)
}

func (f *pcapng) sameLength(total uint32, b []byte) error {
	if again := f.order.Uint32(b); again != total {
		return fmt.Errorf("damaged: a block of %d bytes ends as one of %d", total, again)
	}
	return nil
}

func (f *pcapng) next(r *Reader, p *Packet) (skip bool, err error) {
	r.start = r.in.at
	head, err := r.in.take(8)
	if err != nil {
		return false, err
	}
	if f.order.Uint32(head) == blockSection {
		return true, f.begin(r, head)
	}
	kind, total := f.order.Uint32(head), f.order.Uint32(head[4:])
	if kind == 0 && total == 0 {
		return false, errZeros
	}
	// libpcap refuses a length that is no multiple of four, too.
	if total < blockLeast || total%4 != 0 {
		return false, fmt.Errorf("damaged: a block of %d bytes", total)
	}
	switch kind {
	case blockInterface, blockOldPacket, blockSimple, blockPacket, blockStatistics:
	default:
		return true, f.skip(r, kind, total)
	}
	if total > maxBlock {
		return false, fmt.Errorf("damaged: a block of %d bytes, the limit is %d", total, maxBlock)
	}
	body, err := r.in.take(int(total) - 8)
	if err != nil {
		return false, cut(err)
	}
	n := len(body) - 4
	if err := f.sameLength(total, body[n:]); err != nil {
		return false, err
	}
	switch body = body[:n:n]; kind {
	case blockInterface:
		return true, f.describe(r, body)
	case blockStatistics:
		f.statistics(r, body)
		return true, nil
	}
	r.packets++
	p.Number = r.packets
	return f.packet(r, p, kind, body)
}

// skip passes a block without packets.
func (f *pcapng) skip(r *Reader, kind, total uint32) error {
	if total > maxSkipped {
		return fmt.Errorf("damaged: a block of %d bytes, the limit is %d", total, maxSkipped)
	}
	if err := f.end(r, total, total-blockLeast); err != nil {
		return err
	}
	switch kind {
	case blockNames, blockJournal, blockSecrets, blockCustom, blockCustomOnly:
		return nil
	}
	return r.count(UnknownBlock, int(kind), r.packets, func() string { return fmt.Sprintf("type %#08x", kind) })
}

// damaged counts a packet whose block is not valid.
func damaged(r *Reader, p *Packet, what string, v ...any) (skip bool, err error) {
	return true, r.count(Damaged, 0, p.Number, func() string { return fmt.Sprintf(what, v...) })
}

// packet parses a block with a packet.
func (f *pcapng) packet(r *Reader, p *Packet, kind uint32, body []byte) (skip bool, err error) {
	fixed := 20
	if kind == blockSimple {
		fixed = 4
	}
	if len(body) < fixed {
		return damaged(r, p, "a packet block of %d bytes", len(body)+blockLeast)
	}
	id := uint32(0)
	switch kind {
	case blockPacket:
		id = f.order.Uint32(body)
	case blockOldPacket:
		id = uint32(f.order.Uint16(body))
		if drops := f.order.Uint16(body[2:]); drops != 0xffff { // all ones: not known
			p.Dropped = uint64(drops)
		}
	}
	if uint64(id) >= uint64(len(r.interfaces)-f.base) {
		return true, r.count(NoInterface, 0, p.Number, func() string { return fmt.Sprintf("number %d of its section", id) })
	}
	p.Interface = f.base + int(id)
	i := &r.interfaces[p.Interface]
	if !i.Selected {
		return true, r.other(i, p.Number)
	}
	if kind == blockSimple {
		return false, f.simple(r, p, i, body)
	}
	caplen := f.order.Uint32(body[12:])
	p.Len = f.order.Uint32(body[16:])
	if uint64(caplen) > uint64(len(body)-fixed) || caplen > i.Link.maxPacket() {
		return damaged(r, p, "%d bytes captured, in a block of %d", caplen, len(body)+blockLeast)
	}
	p.Data = body[fixed : fixed+int(caplen)]
	stamp := uint64(f.order.Uint32(body[4:]))<<32 | uint64(f.order.Uint32(body[8:]))
	nano, ok := i.clock.nano(stamp)
	if !ok {
		return true, r.count(StampRange, 0, p.Number, func() string { return fmt.Sprintf("%d units of %v", stamp, i.clock) })
	}
	p.Nano = nano
	fcs := i.FCS
	var comment []byte
	f.options(body[min(len(body), fixed+(int(caplen)+3)&^3):], func(code uint16, value []byte) {
		switch {
		case code == optionComment:
			if comment != nil {
				comment = append(comment, '\n')
			}
			comment = append(comment, bytes.TrimRight(value, "\x00")...)
		case code == packetFlags && len(value) == 4:
			if n := int(f.order.Uint32(value) >> 5 & 15); n != 0 {
				fcs = n
			}
		case code == packetDropped && len(value) == 8 && kind == blockPacket:
			p.Dropped = f.order.Uint64(value)
		}
	})
	p.Comment = string(comment)
	return false, r.accept(p, fcs)
}

// simple parses a simple packet block: the length on the wire, and as many bytes as
// the interface captures.
func (f *pcapng) simple(r *Reader, p *Packet, i *Interface, body []byte) error {
	p.Len, p.NoStamp = f.order.Uint32(body), true
	data := body[4:]
	caplen := min(uint64(p.Len), uint64(len(data)))
	if i.Snaplen != 0 {
		caplen = min(caplen, uint64(i.Snaplen))
	}
	p.Data = data[:caplen]
	if err := r.count(NoStamp, 0, p.Number, nil); err != nil {
		return err
	}
	return r.accept(p, i.FCS)
}

// options calls each for the options in b. It reports whether they are valid.
func (f *pcapng) options(b []byte, each func(code uint16, value []byte)) (valid bool) {
	for len(b) >= 4 {
		code, n := f.order.Uint16(b), int(f.order.Uint16(b[2:]))
		b = b[4:]
		if code == optionEnd {
			return true
		}
		if n > len(b) {
			return false
		}
		each(code, b[:n])
		b = b[min(len(b), (n+3)&^3):]
	}
	return true
}

// describe parses an interface description block. If an option is not valid, none is
// used: the packets are read, with stamps in µs.
func (f *pcapng) describe(r *Reader, body []byte) error {
	if len(body) < 8 {
		return fmt.Errorf("damaged: an interface description of %d bytes", len(body)+blockLeast)
	}
	plain := Interface{
		Section: f.section, Link: LinkType(f.order.Uint16(body)), Snaplen: f.order.Uint32(body[4:]),
		clock: resolution{unit: microseconds},
	}
	i := plain
	bad := ""
	valid := f.options(body[8:], func(code uint16, value []byte) {
		if !f.interfaceOption(&i, code, value) {
			bad = fmt.Sprintf(" (option %d: % x)", code, value[:min(len(value), 16)])
		}
	})
	if !valid || bad != "" {
		i = plain
		number := len(r.interfaces)
		if err := r.count(BadOptions, number, r.packets, func() string { return fmt.Sprintf("interface %d%s", number, bad) }); err != nil {
			return err
		}
	}
	return r.describe(i)
}

// interfaceOption sets an option of an interface, and reports whether it is valid.
func (f *pcapng) interfaceOption(i *Interface, code uint16, value []byte) bool {
	text := strings.TrimRight(string(value), "\x00")
	switch code {
	case interfaceName:
		i.Name = text
	case interfaceDescription:
		i.Description = text
	case interfaceOS:
		i.OS = text
	case interfaceFilter:
		if len(value) > 0 && value[0] == 0 { // an expression; 1 is a BPF program
			i.Filter = text[min(1, len(text)):]
		}
	case interfaceSpeed:
		if len(value) == 8 {
			i.Speed = f.order.Uint64(value)
		}
	case interfaceResolution:
		if len(value) != 1 {
			return false
		}
		i.clock.unit = value[0]
	case interfaceOffset:
		if len(value) != 8 {
			return false
		}
		i.clock.offset = int64(f.order.Uint64(value))
	case interfaceFCS:
		if len(value) != 1 {
			return false
		}
		return i.setFCS(value[0])
	}
	return true
}

// setFCS sets the length of frame check sequences from the option if_fcslen. The draft
// says bits, its example and Wireshark's reader are in bytes: less than 8 is bytes.
func (i *Interface) setFCS(n uint8) bool {
	switch {
	case n < 8:
		i.FCS = int(n)
	case n%8 == 0:
		i.FCS = int(n / 8)
	default:
		return false
	}
	return true
}

// statistics parses an interface statistics block. One that is not valid is passed.
func (f *pcapng) statistics(r *Reader, body []byte) {
	if len(body) < 12 || uint64(f.order.Uint32(body)) >= uint64(len(r.interfaces)-f.base) {
		return
	}
	i := &r.interfaces[f.base+int(f.order.Uint32(body))]
	s := &Statistics{}
	f.options(body[12:], func(code uint16, value []byte) {
		if code == optionComment {
			s.Comment = string(value[:min(len(value), maxComment)])
		}
		if len(value) != 8 || code == optionComment {
			return
		}
		switch v := f.order.Uint64(value); code {
		case statisticsStart, statisticsEnd:
			// A stamp is stored as its upper and its lower half.
			stamp := uint64(f.order.Uint32(value))<<32 | uint64(f.order.Uint32(value[4:]))
			nano, _ := i.clock.nano(stamp)
			if code == statisticsStart {
				s.Start = nano
			} else {
				s.End = nano
			}
		case statisticsReceived:
			s.Received = &v
		case statisticsDropped:
			s.Dropped = &v
		case statisticsAccepted:
			s.Accepted = &v
		case statisticsOSDropped:
			s.OSDropped = &v
		case statisticsDelivered:
			s.Delivered = &v
		}
	})
	i.Stats = s
}
