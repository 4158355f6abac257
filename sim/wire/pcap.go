package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// cutPolicy is the handling of truncated frames.
type cutPolicy uint8

const (
	cutRefuse cutPolicy = iota // the file is refused
	cutPad                     // frames are padded with zeros
	cutSkip                    // frames are skipped
)

// Limits of what the loader allocates for a file, bytes.
const (
	maxArena = 16 << 30 // frames and the zeros that cut=pad adds

	// Blocks other than frames. The library keeps names and interfaces of a pcapng
	// file, at up to 50 bytes of memory per byte.
	maxOther   = 16 << 20
	maxOptions = 4 << 10 // of a packet, not counted against maxOther
	maxEntries = 1 << 16 // interfaces, names
)

// loadPcap reads the frames of a pcap or pcapng file into memory.
func loadPcap(name string, cut cutPolicy, most int64) (*frameFile, error) {
	frames, err := loadFile(name, cut, most)
	if err != nil {
		return nil, fmt.Errorf("pcap=%s: %w", name, err)
	}
	return frames, nil
}

func loadFile(name string, cut cutPolicy, most int64) (*frameFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("is a folder, want a pcap or pcapng file")
	case info.Size() > most:
		return nil, fmt.Errorf("file of %d bytes: the limit of a replayed file in memory is %d bytes", info.Size(), most)
	}
	return readFrames(f, info.Size(), cut, most)
}

// readFrames reads a capture of size bytes, 0 if unknown.
func readFrames(r io.Reader, size int64, cut cutPolicy, most int64) (*frameFile, error) {
	l := newLoader(r, cut, most)
	if err := l.open(); err != nil {
		return nil, err
	}
	l.arena = make([]byte, 0, size)
	for {
		err := l.next()
		switch {
		case err != nil && err != io.EOF:
			return nil, err
		case err == nil:
		case len(l.slots) > 0:
			return &l.frameFile, nil
		case l.records > 0:
			return nil, fmt.Errorf("all %d frames are truncated: cut=skip leaves none", l.records)
		default:
			return nil, errors.New("file holds no frames")
		}
	}
}

// loader loads the frames of a file with gopacket's reader.
type loader struct {
	frameFile
	cut  cutPolicy
	most int64 // bytes in the arena

	src     source
	in      *bufio.Reader // of src; the library uses it as its buffer
	packets gopacket.ZeroCopyPacketDataSource
	ng      *pcapgo.NgReader // = packets for pcapng, else nil
	start   int64            // offset in the file of the current record, or of blocks before it
	records int              // read, with skipped ones
	other   int64            // bytes left of maxOther
}

func newLoader(r io.Reader, cut cutPolicy, most int64) *loader {
	l := &loader{cut: cut, most: most, src: source{r: r, limit: maxOther}, other: maxOther}
	l.in = bufio.NewReaderSize(&l.src, 64<<10)
	return l
}

// source counts and limits the bytes read of a file.
type source struct {
	r     io.Reader
	taken int64
	limit int64 // of taken
	err   error // last error; the library does not always return it
}

var errOther = fmt.Errorf("a frame without end, or more than %d MiB of other blocks", maxOther>>20)

func (s *source) Read(b []byte) (n int, err error) {
	if s.taken >= s.limit {
		err = errOther
	} else {
		n, err = s.r.Read(b[:min(int64(len(b)), s.limit-s.taken)])
		s.taken += int64(n)
	}
	if err != nil {
		s.err = err
	}
	return n, err
}

// recovered turns a panic of the library on a damaged file into an error.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("gopacket's reader fails: %v", p)
	}
}

// open reads the file's header.
func (l *loader) open() error {
	head, err := l.in.Peek(24)
	if len(head) == 0 && err == io.EOF {
		return errors.New("file is empty")
	}
	if len(head) >= 4 {
		if err := l.recognise(head); err != nil {
			return err
		}
	}
	switch err := l.openReader(head); {
	case l.src.err == io.EOF:
		return fmt.Errorf("file is cut at byte %d, within its header: it has no frames", l.src.taken)
	case err != nil:
		return fmt.Errorf("file is damaged, or neither pcap 2.4 nor pcapng 1.0: %w", err)
	}
	if p, ok := l.packets.(*pcapgo.Reader); ok {
		return ethernet(p.LinkType())
	}
	return nil
}

const sectionHeader = "\x0a\x0d\x0d\x0a" // every pcapng file begins with it

// recognise refuses formats that the library does not read, or misreads.
func (l *loader) recognise(head []byte) error {
	fcs := byte(0)
	switch string(head[:4]) {
	case sectionHeader:
	case "\xd4\xc3\xb2\xa1", "\x4d\x3c\xb2\xa1": // little endian, µs and ns
		fcs = head[len(head)-1]
	case "\xa1\xb2\xc3\xd4", "\xa1\xb2\x3c\x4d": // big endian
		fcs = head[len(head)-4]
	case "\x34\xcd\xb2\xa1", "\xa1\xb2\xcd\x34":
		return errors.New("file is in the patched pcap format of old Linux systems: convert it with editcap")
	case "\x28\xb5\x2f\xfd":
		return errors.New("file is zstd-compressed: unzstd it first")
	default:
		if head[0] == 0x1f && head[1] == 0x8b {
			return errors.New("file is gzip-compressed: gunzip it first")
		}
		return fmt.Errorf("neither a pcap nor a pcapng file: it begins with % x", head[:4])
	}
	// Top byte of a pcap file's link type: length of the frames' FCS in 16-bit words,
	// and whether it is valid.
	if n := fcs >> 4 * 2; len(head) == 24 && fcs&4 != 0 && n != 0 {
		return fmt.Errorf("frames end in an FCS of %d bytes: remove it with editcap -C -%d IN OUT", n, n)
	}
	return nil
}

func (l *loader) openReader(head []byte) (err error) {
	defer recovered(&err)
	if !bytes.HasPrefix(head, []byte(sectionHeader)) {
		l.packets, err = pcapgo.NewReader(l.in)
		return err
	}
	// The link type is then per frame: interfaces without frames do not matter.
	l.ng, err = pcapgo.NewNgReader(l.in, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	l.packets = l.ng
	return err
}

func ethernet(link layers.LinkType) error {
	if link != layers.LinkTypeEthernet {
		return fmt.Errorf("link type %d, want %d (Ethernet): a port carries Ethernet frames only", link, layers.LinkTypeEthernet)
	}
	return nil
}

// offset is the library's position in the file.
func (l *loader) offset() int64 { return l.src.taken - int64(l.in.Buffered()) }

// next adds the next frame. The error is io.EOF after the last.
func (l *loader) next() error {
	l.start = l.offset()
	l.src.limit = l.start + maxFrame + maxOptions + l.other
	data, info, err := l.read()
	// io.EOF also comes between a record's header and its first byte.
	if err == io.EOF && info.CaptureLength == 0 {
		return io.EOF
	}
	if err == nil {
		err = l.check(info)
	}
	if err != nil {
		return l.broken(err)
	}
	if other := l.offset() - l.start - int64(len(data)); other > maxOptions {
		l.other -= other
	}
	if l.ng != nil {
		if err := ethernet(info.AncillaryData[0].(layers.LinkType)); err != nil {
			return err
		}
	}
	l.records++
	return l.add(data, info)
}

func (l *loader) read() (data []byte, info gopacket.CaptureInfo, err error) {
	defer recovered(&err)
	return l.packets.ZeroCopyReadPacketData()
}

// broken is the error for a record that cannot be read.
func (l *loader) broken(err error) error {
	if l.src.err != nil {
		err = l.src.err
	}
	if err == io.EOF {
		return fmt.Errorf("file is cut at byte %d, within record %d at byte %d; %d whole frames before it (editcap IN OUT saves those)",
			l.src.taken, l.records+1, l.start, l.records)
	}
	return fmt.Errorf("file is damaged: record %d at byte %d: %w; %d whole frames before it", l.records+1, l.start, err, l.records)
}

// check returns an error if the header of a record is invalid.
func (l *loader) check(info gopacket.CaptureInfo) error {
	caplen, length, sec := info.CaptureLength, info.Length, info.Timestamp.Unix()
	switch {
	case max(caplen, length) > maxFrame:
		return fmt.Errorf("%d bytes captured of a frame of %d, longer than %d", caplen, length, maxFrame)
	case caplen > length:
		return fmt.Errorf("%d bytes captured of a frame of %d", caplen, length)
	case length < 14:
		return fmt.Errorf("a frame of %d bytes is shorter than an Ethernet header", length)
	case !info.Timestamp.IsZero() && (sec < 0 || sec > 1<<33):
		return errors.New("stamp before 1970 or after 2242")
	case l.ng != nil && max(l.ng.NInterfaces(), l.ng.NNames()) > maxEntries:
		return fmt.Errorf("more than %d interfaces or names before it", maxEntries)
	}
	return nil
}

func (l *loader) add(data []byte, info gopacket.CaptureInfo) error {
	if len(data) < info.Length {
		switch l.cut {
		case cutRefuse:
			return fmt.Errorf("record %d at byte %d: truncated to %d of %d bytes (snaplen): cut=pad pads such frames with zeros, cut=skip skips them",
				l.records, l.start, len(data), info.Length)
		case cutSkip:
			return nil
		}
	}
	off := int64(len(l.arena))
	if off+int64(info.Length) > l.most {
		return fmt.Errorf("record %d at byte %d: frames up to it take more than %d bytes, the limit of a replayed file in memory", l.records, l.start, l.most)
	}
	l.arena = append(l.arena, data...)
	l.arena = append(l.arena, make([]byte, info.Length-len(data))...)
	l.slots = append(l.slots, slot{off: off, len: int32(info.Length)})
	var stamp int64
	if !info.Timestamp.IsZero() {
		stamp = info.Timestamp.UnixNano()
	} else if l.timeless == 0 {
		l.timeless = len(l.slots)
	}
	l.stamps = append(l.stamps, stamp)
	return nil
}
