package pcapfile

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/ring"
)

// Format is a file format for packets.
type Format string

const (
	Pcap   Format = "pcap"   // libpcap's, with nanoseconds
	Pcapng Format = "pcapng" // with nanoseconds
)

// Check returns an error if the format is unknown.
func (f Format) Check() error {
	if f != Pcap && f != Pcapng {
		return fmt.Errorf("format %q: must be %s or %s", string(f), Pcap, Pcapng)
	}
	return nil
}

// Application is the name of the writing program in files.
const Application = "ixcap"

// MaxPacket is the length in bytes of the longest packet, the limit of RAW.
const MaxPacket = 1<<16 - 1

// Packet is one captured frame.
type Packet struct {
	Nano int64  // stamp: ns since 1970, UTC
	Len  uint32 // bytes on the wire, without CRC unless Interface.CRC
	Data []byte // the bytes kept, at most Len

	// Pcapng only.
	Errors    Errors
	Dropped   uint64 // packets lost since the previous one; 0: none known
	Comment   string
	Interface uint32 // number of the interface, from 0; a Reader does not set it
}

// Errors are what is wrong with a frame, in the bits of the option epb_flags.
type Errors uint32

const (
	WrongCRC  Errors = 1 << 24
	TooShort  Errors = 1 << 26
	BadSymbol Errors = 1 << 31
)

// ErrorsOf returns what is wrong with a frame of a length in bytes, CRC included.
func ErrorsOf(i ring.Info, length uint32) Errors {
	switch i.Fault(length) {
	case ring.WrongCRC:
		return WrongCRC
	case ring.Undersize:
		return TooShort
	case ring.Fragment:
		return TooShort | WrongCRC
	case ring.BadSymbol:
		return BadSymbol
	}
	return 0
}

// Time returns the packet's stamp.
func (p *Packet) Time() time.Time { return time.Unix(0, p.Nano).UTC() }

// Interface describes the source of packets. Pcap has only Snaplen and CRC.
type Interface struct {
	Name        string // "eth2"
	Description string // "queue 0"
	Filter      string // pcap-filter expression that the packets match
	Speed       uint64 // bits a second; 0: not known
	Snaplen     uint32 // bytes kept of a packet, at most; 0: MaxPacket
	CRC         bool   // frames end in their CRC of 4 bytes
	OS          string // of the capturing machine
	Comment     string // about the file
}

// Statistics are the counters of an interface at the end of a pcapng file, from Start
// to End.
type Statistics struct {
	Interface  uint32
	Start, End time.Time

	Port              bool   // Received and Dropped are known
	Received, Dropped uint64 // packets that reached the port; of these, packets that it lost

	Accepted  uint64 // packets that matched the filter
	OSDropped uint64 // packets lost between port and writer
	Delivered uint64 // packets for this file

	// Uncertainty is the longest time between a packet's arrival in host memory and
	// its stamp that the capture could not exclude; 0: not known. It is a comment.
	Uncertainty time.Duration
}
