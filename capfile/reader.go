package capfile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Options say what Next delivers.
type Options struct {
	// Select reports whether packets of an interface are delivered. It is called once
	// for each interface. nil: those of Ethernet, and others are left out; a pcap file
	// of another link type is then an error of NewReader.
	Select func(*Interface) bool

	KeepFCS bool // leave frame check sequences at the end of packets
	Strict  bool // a packet that is left out, has no stamp or contradicts itself is an error
}

// Interface is the source of packets. A pcap file has one.
type Interface struct {
	Number  int // in the file, from 0
	Section int // of the file, from 0
	Link    LinkType
	Snaplen uint32 // bytes captured of a packet, at most; 0: no limit
	FCS     int    // bytes of frame check sequence at the end of packets

	// Pcapng only.
	Name, Description, Filter, OS string
	Speed                         uint64      // bits a second; 0: not known
	Stats                         *Statistics // the last ones so far; nil: none

	Selected bool // its packets are delivered

	clock resolution
}

// String returns the number and, if it has one, the start of the name. Characters that
// cannot be printed are quoted.
func (i *Interface) String() string {
	if i.Name == "" {
		return fmt.Sprintf("interface %d", i.Number)
	}
	name := strconv.Quote(i.Name[:min(len(i.Name), 64)])
	return fmt.Sprintf("interface %d (%s)", i.Number, name[1:len(name)-1])
}

// Statistics are an interface's counters (interface statistics block).
type Statistics struct {
	Start, End int64 // of the capture, ns since 1970; 0: not known

	// nil: not known.
	Received, Dropped   *uint64 // packets of the interface
	Accepted, OSDropped *uint64 // packets that matched its filter; that the system lost
	Delivered           *uint64 // packets for the file

	Comment string // the last one
}

// Packet is one packet.
type Packet struct {
	Nano      int64  // stamp, ns since 1970, rounded down
	Len       uint32 // bytes on the wire; without FCS, if it is removed
	Data      []byte // the bytes captured, at most Len; valid until the next call of Next
	Interface int    // index in Interfaces
	Number    uint64 // in the file, from 1; all packets count
	NoStamp   bool   // Nano is 0 because there is none
	FCS       int    // bytes of the frame check sequence in Len, with Options.KeepFCS

	// Pcapng only.
	Dropped uint64 // packets lost since the previous one of the interface; 0: none known
	Comment string // several are joined by line feeds
}

// Time returns the packet's stamp.
func (p *Packet) Time() time.Time { return time.Unix(0, p.Nano).UTC() }

// format parses one file format.
type format interface {
	// next parses the next packet. skip: it is counted in the tally, or nothing.
	next(r *Reader, p *Packet) (skip bool, err error)
}

// Reader reads the packets of a file. It is used by one goroutine.
type Reader struct {
	options    Options
	in         input
	format     format
	name       string // of the compression and the format
	interfaces []Interface
	names      int // bytes of text in interfaces
	tally      tally
	packets    uint64 // read
	delivered  uint64
	start      int64 // offset of the current record or block in the unpacked file
	free       func()
	err        error // what Next returns from now on
}

// NewReader reads the header of a file. Its errors wrap io.ErrUnexpectedEOF if the file
// ends within the header, and ErrFormat if it is no capture file.
func NewReader(src io.Reader, o Options) (*Reader, error) {
	r := &Reader{options: o, free: func() {}}
	if err := r.open(bufio.NewReaderSize(src, bufferSize)); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// ErrFormat is wrapped by the error about a file that is no capture file.
var ErrFormat = errors.New("neither pcap nor pcapng")

func (r *Reader) open(in *bufio.Reader) error {
	out, compression, free, err := unpack(in, func(n int64) { r.tally.add(TrailingBytes, 0, r.packets, nil).N = uint64(n) })
	if err != nil {
		return err
	}
	r.free = free
	if compression != "" {
		in = bufio.NewReaderSize(out, bufferSize)
	}
	r.in.r = in
	head, err := in.Peek(4)
	if len(head) < 4 {
		return fmt.Errorf("read capture header: %w", cut(err))
	}
	if binary.BigEndian.Uint32(head) == blockSection {
		ng := &pcapng{}
		r.name, r.format = "pcapng", ng
		err = ng.open(r)
	} else {
		old := &pcap{}
		r.name, r.format = "pcap", old
		err = old.open(r, head)
	}
	if compression != "" {
		r.name += " in " + compression
	}
	return err
}

// Close frees the memory of the decompression. It does not close the source.
func (r *Reader) Close() {
	r.free()
	r.free = func() {}
	if r.err == nil {
		r.err = errors.New("read packet: the reader is closed")
	}
}

// Format returns the format: "pcap", "pcapng" or "pcap in gzip".
func (r *Reader) Format() string { return r.name }

// Interfaces returns the interfaces so far: in pcapng more may follow.
func (r *Reader) Interfaces() []Interface { return r.interfaces }

// Packets returns the number of packets read: delivered, left out or not selected.
func (r *Reader) Packets() uint64 { return r.packets }

// Delivered returns the number of packets delivered.
func (r *Reader) Delivered() uint64 { return r.delivered }

// Offset returns where the record or block of the last packet begins in the unpacked
// file, in bytes.
func (r *Reader) Offset() int64 { return r.start }

// Next returns the next packet. The error is io.EOF at the end and wraps
// io.ErrUnexpectedEOF when the file is cut. It stays.
func (r *Reader) Next() (Packet, error) {
	var p Packet
	for r.err == nil {
		p = Packet{}
		skip, err := r.format.next(r, &p)
		switch {
		case err == io.EOF:
			r.err = err
		case err != nil:
			r.err = fmt.Errorf("packet %d, at byte %d: %w", r.packets+1, r.start, err)
			if errors.As(err, new(*StrictError)) {
				r.err = err
			}
		case !skip:
			r.delivered++
			return p, nil
		}
	}
	return Packet{}, r.err
}

// maxInterfaces and maxNames, in bytes, limit what a file's interfaces take.
const (
	maxInterfaces = 1 << 16
	maxNames      = 16 << 20
)

// describe adds an interface.
func (r *Reader) describe(i Interface) error {
	i.Number = len(r.interfaces)
	r.names += len(i.Name) + len(i.Description) + len(i.Filter) + len(i.OS)
	if i.Number == maxInterfaces || r.names > maxNames {
		return fmt.Errorf("damaged: more than %d interfaces, or %d bytes of their names", maxInterfaces, maxNames)
	}
	if i.Selected = i.Link == Ethernet; r.options.Select != nil {
		i.Selected = r.options.Select(&i)
	}
	r.interfaces = append(r.interfaces, i)
	return nil
}

// accept completes a packet whose Interface, Len and Data are set. fcs is the length
// of its frame check sequence in bytes.
func (r *Reader) accept(p *Packet, fcs int) error {
	if uint64(len(p.Data)) > uint64(p.Len) {
		if err := r.count(CapturedExcess, 0, p.Number, func() string {
			return fmt.Sprintf("%d captured of %d", len(p.Data), p.Len)
		}); err != nil {
			return err
		}
		p.Len = uint32(len(p.Data))
	}
	if fcs == 0 || p.Len < uint32(fcs) {
		return nil
	}
	cause := FCSRemoved
	if r.options.KeepFCS {
		cause = FCSKept
		p.FCS = fcs
	} else {
		p.Len -= uint32(fcs)
		p.Data = p.Data[:min(uint64(len(p.Data)), uint64(p.Len))]
	}
	return r.count(cause, p.Interface, p.Number, func() string {
		return fmt.Sprintf("%d bytes, %v", fcs, &r.interfaces[p.Interface])
	})
}

// other counts a packet of an interface that is not selected.
func (r *Reader) other(i *Interface, packet uint64) error {
	cause := NotEthernet
	if r.options.Select != nil {
		cause = NotSelected
	}
	return r.count(cause, i.Number, packet, func() string { return fmt.Sprintf("%v has link type %v", i, i.Link) })
}
