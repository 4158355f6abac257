package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"

	"github.com/ixcap/ixcap/capfile"
)

// cutPolicy is the handling of truncated frames.
type cutPolicy uint8

const (
	cutRefuse cutPolicy = iota // the file is refused
	cutPad                     // frames are padded with zeros
	cutSkip                    // frames are skipped
)

var cutText = [...]string{cutPad: "padded with zeros", cutSkip: "skipped"}

// loading says which frames of a file are replayed.
type loading struct {
	cut   cutPolicy
	iface string // name or number of the interface; "": all of Ethernet
	other bool   // packets that a port cannot carry are skipped; else the file is refused
	fcs   bool   // frames have the CRCs of the file, and are not padded
	most  int64  // bytes of frames, with the zeros that cutPad adds
}

// maxArena limits the frames of a file in memory, bytes.
const maxArena = 16 << 30

// loadPcap reads the frames of a capture file into memory.
func loadPcap(name string, how loading) (*frameFile, error) {
	frames, err := loadFile(name, how)
	if err != nil {
		return nil, fmt.Errorf("pcap=%s: %w", name, err)
	}
	return frames, nil
}

func loadFile(name string, how loading) (*frameFile, error) {
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
	case info.Size() > how.most:
		return nil, fmt.Errorf("file of %d bytes: the limit of a replayed file in memory is %d bytes", info.Size(), how.most)
	}
	return readFrames(f, info.Size(), how)
}

// readFrames reads a capture of size bytes, 0 if unknown.
func readFrames(src io.Reader, size int64, how loading) (*frameFile, error) {
	l := &loader{loading: how}
	var err error
	if l.packets, err = capfile.NewReader(src, how.options()); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("file is empty, or cut within its header: it has no frames: %w", err)
		}
		return nil, err
	}
	defer l.packets.Close()
	l.arena = make([]byte, 0, size)
	for err == nil {
		err = l.next()
	}
	if err == io.EOF {
		err = l.check()
	}
	if err != nil {
		return nil, err
	}
	for _, c := range l.packets.Counts() {
		if c.Cause != capfile.NotSelected && c.Cause != capfile.FCSKept { // interface= and fcs= say so
			l.notices = append(l.notices, c.String())
		}
	}
	if l.truncated > 0 {
		l.notices = append(l.notices, fmt.Sprintf("truncated frames %s: %d", cutText[l.cut], l.truncated))
	}
	return &l.frameFile, nil
}

func (how loading) options() (o capfile.Options) {
	o.KeepFCS = how.fcs
	if how.iface != "" {
		o.Select = func(i *capfile.Interface) bool {
			return i.Link == capfile.Ethernet && (i.Name == how.iface || strconv.Itoa(i.Number) == how.iface)
		}
	}
	return o
}

// loader loads the frames of a file.
type loader struct {
	frameFile
	loading
	packets   *capfile.Reader
	truncated uint64 // frames of which the file has a part
}

// check returns an error if the whole file has no frames.
func (l *loader) check() error {
	switch {
	case len(l.slots) > 0:
		return nil
	case l.packets.Delivered() > 0:
		return fmt.Errorf("all %d frames are truncated: cut=skip leaves none", l.packets.Delivered())
	case l.iface != "":
		return fmt.Errorf("interface=%s: the file has no frames of an Ethernet interface with this name or number", l.iface)
	case l.packets.Packets() > 0:
		return errors.New("file holds no frames of Ethernet")
	}
	return errors.New("file holds no frames")
}

// next adds the next frame. The error is io.EOF after the last.
func (l *loader) next() error {
	p, err := l.packets.Next()
	if err == nil || err == io.EOF {
		if refused := l.refused(); refused != nil {
			return refused
		}
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("file is cut within record %d at byte %d; %d whole frames before it (editcap IN OUT saves those)",
			l.packets.Packets()+1, l.packets.Offset(), l.packets.Packets())
	case err != nil:
		return err
	}
	if err := valid(&p); err != nil {
		return l.at(&p, err)
	}
	return l.add(&p)
}

// refused returns an error about packets that were left out, unless they may be.
func (l *loader) refused() error {
	if l.other || l.packets.LeftOut() == 0 {
		return nil
	}
	for _, c := range l.packets.Counts() {
		if c.Cause.LeftOut() {
			return fmt.Errorf("packet %d cannot be replayed: %s%s. A port carries valid Ethernet frames: interface=NAME or its number replays one interface, other=skip skips such packets",
				c.First, leftOutText[c.Cause], c.Detail)
		}
	}
	return nil
}

// leftOutText stands before the detail of a cause.
var leftOutText = map[capfile.Cause]string{
	capfile.NoInterface: "its interface is not described in the file, ",
	capfile.Damaged:     "damaged, ",
	capfile.StampRange:  "its stamp is out of range, ",
}

// at adds the place of a packet to an error.
func (l *loader) at(p *capfile.Packet, err error) error {
	return fmt.Errorf("record %d at byte %d: %w", p.Number, l.packets.Offset(), err)
}

// valid returns an error about a packet that no port carries.
func valid(p *capfile.Packet) error {
	switch sec := p.Nano / 1e9; {
	case p.Len > maxFrame:
		return fmt.Errorf("%d bytes captured of a frame of %d, longer than %d", len(p.Data), p.Len, maxFrame)
	case p.Len < 14:
		return fmt.Errorf("a frame of %d bytes is shorter than an Ethernet header", p.Len)
	case p.Nano < 0 || sec > 1<<33:
		return errors.New("stamp before 1970 or after 2242")
	}
	return nil
}

func (l *loader) add(p *capfile.Packet) error {
	if len(p.Data) < int(p.Len) {
		l.truncated++
		switch l.cut {
		case cutRefuse:
			return l.at(p, fmt.Errorf("truncated to %d of %d bytes (snaplen): cut=pad pads such frames with zeros, cut=skip skips them", len(p.Data), p.Len))
		case cutSkip:
			return nil
		}
	}
	s := l.damage(p)
	off := int64(len(l.arena))
	if off+int64(p.Len) > l.most {
		return l.at(p, fmt.Errorf("frames up to it take more than %d bytes, the limit of a replayed file in memory", l.most))
	}
	l.arena = append(l.arena, p.Data...)
	l.arena = append(l.arena, make([]byte, int(p.Len)-len(p.Data))...)
	s.off, s.len = off, int32(p.Len)
	l.slots = append(l.slots, s)
	if p.NoStamp && l.timeless == 0 {
		l.timeless = len(l.slots)
	}
	l.stamps = append(l.stamps, p.Nano)
	return nil
}

// damage takes the CRC from a packet that has one, and returns what is wrong with the
// frame. That of a truncated frame is not known.
func (l *loader) damage(p *capfile.Packet) (s slot) {
	if p.FCS != crcSize {
		return s
	}
	whole := len(p.Data) == int(p.Len)
	p.Len -= crcSize
	if p.Len < minFrame {
		s.damage = Unpadded
	}
	if !whole {
		p.Data = p.Data[:min(len(p.Data), int(p.Len))]
		return s
	}
	body := p.Data[:p.Len]
	if s.crc = binary.LittleEndian.Uint32(p.Data[p.Len:]); s.crc != crc32.ChecksumIEEE(body) {
		s.damage |= BadCRC
	}
	p.Data = body
	return s
}
