package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// cutPolicy says what becomes of frames of which the capture holds a part only.
type cutPolicy uint8

const (
	cutRefuse cutPolicy = iota // the file is refused
	cutPad                     // the rest of the frame is zeros
	cutSkip                    // the frame is left out
)

// limits bound what a file can make the loader allocate.
type limits struct {
	file  int64 // bytes of the file
	arena int64 // bytes of the file and of the zeros that cut=pad adds
}

var defaultLimits = limits{file: 16 << 30, arena: 16 << 30}

const linkEthernet = 1 // LINKTYPE_ETHERNET

// loadPcap reads a pcap or pcapng file into memory, whole: the file itself is
// the arena, and the frames are slices of it.
//
// The formats are read here and not by gopacket's reader, which does not know
// where in the file it is, takes a file cut after a record's header for one that
// ends there, and misreads stamps in powers of two. Tests compare the two.
func loadPcap(name string, cut cutPolicy, lim limits) (*frameFile, error) {
	data, err := readFile(name, lim.file)
	if err != nil {
		return nil, fmt.Errorf("pcap=%s: %w", name, err)
	}
	f, err := parseFrames(data, cut, lim)
	if err != nil {
		return nil, fmt.Errorf("pcap=%s: %w", name, err)
	}
	return f, nil
}

func readFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("is a folder, want a pcap or pcapng file")
	}
	if info.Size() > most {
		return nil, fmt.Errorf("file of %d bytes: a replayed file is held in memory, at most %d bytes", info.Size(), most)
	}
	if info.Mode().IsRegular() {
		data := make([]byte, info.Size())
		if _, err := io.ReadFull(f, data); err != nil {
			return nil, fmt.Errorf("file shrank while it was read: %w", err)
		}
		return data, nil
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1)) // a pipe
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("more than %d bytes: a replayed file is held in memory", most)
	}
	return data, err
}

// parseFrames finds the frames in a file's bytes.
func parseFrames(data []byte, cut cutPolicy, lim limits) (*frameFile, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("file is empty")
	}
	if len(data) < 4 {
		return nil, fmt.Errorf("file of %d bytes is cut within its header, no frame is whole", len(data))
	}
	c := collector{data: data, cut: cut, lim: lim}
	var err error
	switch binary.LittleEndian.Uint32(data) {
	case 0xa1b2c3d4:
		err = c.classic(binary.LittleEndian, 1000)
	case 0xd4c3b2a1:
		err = c.classic(binary.BigEndian, 1000)
	case 0xa1b23c4d:
		err = c.classic(binary.LittleEndian, 1)
	case 0x4d3cb2a1:
		err = c.classic(binary.BigEndian, 1)
	case ngSection:
		err = c.pcapng()
	default:
		err = unknownMagic(data)
	}
	if err != nil {
		return nil, err
	}
	return c.finish()
}

func unknownMagic(data []byte) error {
	switch {
	case data[0] == 0x1f && data[1] == 0x8b:
		return fmt.Errorf("file is gzip-compressed: gunzip it first")
	case binary.LittleEndian.Uint32(data) == 0xfd2fb528:
		return fmt.Errorf("file is zstd-compressed: unzstd it first")
	case binary.LittleEndian.Uint32(data) == 0xa1b2cd34 || binary.BigEndian.Uint32(data) == 0xa1b2cd34:
		return fmt.Errorf("file is in the patched pcap format of old Linux systems: convert it with editcap")
	}
	return fmt.Errorf("neither a pcap nor a pcapng file: it begins with % x", data[:4])
}

// collector gathers the frames of one file.
type collector struct {
	data []byte
	cut  cutPolicy
	lim  limits

	slots    []slot
	captured []int32 // bytes in the file, per slot; nil until one is cut
	stamps   []int64
	zeros    int64 // bytes that cut=pad has to add
	records  int   // packet records seen, also those left out
	timeless int   // number of the first frame without stamp
	firstCut int   // record number of the first cut frame left out
}

// cutShort is the error for a file that ends within a record or block.
func (c *collector) cutShort(off int64, have int, what string, want int64) error {
	return fmt.Errorf("file is cut: record %d at byte %d has %d of the %d bytes of its %s; %d whole frames before it (editcap IN OUT saves those)",
		c.records+1, off, have, want, what, c.records)
}

// damaged is the error for a record that cannot be right.
func (c *collector) damaged(off int64, format string, args ...any) error {
	return fmt.Errorf("file is damaged: record %d at byte %d: %s; %d whole frames before it",
		c.records+1, off, fmt.Sprintf(format, args...), c.records)
}

// checkLengths refuses lengths that no Ethernet frame has.
func (c *collector) checkLengths(off int64, caplen, length uint32) error {
	switch {
	case caplen > maxFrame || length > maxFrame:
		return c.damaged(off, "%d bytes captured of a frame of %d, at most %d can be", caplen, length, maxFrame)
	case caplen > length:
		return c.damaged(off, "%d bytes captured of a frame of %d", caplen, length)
	case length < 14:
		return c.damaged(off, "a frame of %d bytes is shorter than an Ethernet header", length)
	}
	return nil
}

// frame adds a record's frame; its caplen bytes at off are in the file.
func (c *collector) frame(record, off int64, caplen, length uint32, stamp int64) error {
	c.records++
	if caplen < length {
		switch c.cut {
		case cutRefuse:
			return fmt.Errorf("record %d at byte %d: the capture holds %d of the frame's %d bytes (snaplen): cut=pad fills such frames with zeros, cut=skip leaves them out",
				c.records, record, caplen, length)
		case cutSkip:
			if c.firstCut == 0 {
				c.firstCut = c.records
			}
			return nil
		}
		if c.captured == nil {
			c.captured = make([]int32, len(c.slots), cap(c.slots))
			for i := range c.slots {
				c.captured[i] = c.slots[i].len
			}
		}
		if c.zeros += int64(length); int64(len(c.data))+c.zeros > c.lim.arena {
			return fmt.Errorf("record %d at byte %d: with the zeros of cut=pad the file takes more than %d bytes of memory", c.records, record, c.lim.arena)
		}
	}
	c.slots = append(c.slots, slot{off: off, len: int32(length)})
	c.stamps = append(c.stamps, stamp)
	if c.captured != nil {
		c.captured = append(c.captured, int32(caplen))
	}
	return nil
}

// finish pads what has to be padded and hands the frames over.
func (c *collector) finish() (*frameFile, error) {
	if len(c.slots) == 0 {
		if c.firstCut != 0 {
			return nil, fmt.Errorf("every one of the %d frames is cut, cut=skip leaves none", c.records)
		}
		return nil, fmt.Errorf("file holds no frames")
	}
	arena := c.data
	if c.zeros > 0 {
		arena = make([]byte, int64(len(c.data))+c.zeros)
		free := int64(copy(arena, c.data))
		for i := range c.slots {
			s := &c.slots[i]
			if n := int64(c.captured[i]); n < int64(s.len) {
				copy(arena[free:], c.data[s.off:s.off+n])
				s.off = free
				free += int64(s.len)
			}
		}
	}
	return &frameFile{arena: arena, slots: c.slots, stamps: c.stamps, timeless: c.timeless}, nil
}

const (
	classicHeader = 24
	classicRecord = 16
)

// classic reads the libpcap format, version 2.4: a header of 24 bytes, then
// records of seconds, fraction, captured length, length, bytes.
func (c *collector) classic(order binary.ByteOrder, nsPerFraction int64) error {
	if len(c.data) < classicHeader {
		return fmt.Errorf("file is cut: it has %d of the %d bytes of its header, no frame is whole", len(c.data), classicHeader)
	}
	if major, minor := order.Uint16(c.data[4:]), order.Uint16(c.data[6:]); major != 2 || minor != 4 {
		return fmt.Errorf("pcap version %d.%d, want 2.4: convert it with editcap", major, minor)
	}
	network := order.Uint32(c.data[20:])
	if link := network & 0xffff; link != linkEthernet {
		return wrongLink(link)
	}
	if network&(1<<26) != 0 && network>>28 != 0 { // length of the FCS in 16-bit words
		return withFCS(int(network>>28) * 2)
	}
	size := int64(len(c.data))
	for off := int64(classicHeader); off < size; {
		if size-off < classicRecord {
			return c.cutShort(off, int(size-off), "header", classicRecord)
		}
		h := c.data[off : off+classicRecord]
		caplen, length := order.Uint32(h[8:]), order.Uint32(h[12:])
		if err := c.checkLengths(off, caplen, length); err != nil {
			return err
		}
		body := off + classicRecord
		if size-body < int64(caplen) {
			return c.cutShort(off, int(size-body), "frame", int64(caplen))
		}
		stamp := int64(order.Uint32(h))*1e9 + int64(order.Uint32(h[4:]))*nsPerFraction
		if err := c.frame(off, body, caplen, length, stamp); err != nil {
			return err
		}
		off = body + int64(caplen)
	}
	return nil
}

func wrongLink(link uint32) error {
	return fmt.Errorf("link type %d, want %d (Ethernet): a port carries Ethernet frames only", link, linkEthernet)
}

func withFCS(n int) error {
	return fmt.Errorf("its frames end in an FCS of %d bytes: take it off first, editcap -C -%d IN OUT", n, n)
}
