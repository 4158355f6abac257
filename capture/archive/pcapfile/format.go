package pcapfile

import (
	"fmt"
	"time"
)

// Format is a file format for packets.
type Format string

const (
	Pcap   Format = "pcap"   // libpcap's, with nanoseconds
	Pcapng Format = "pcapng" // with nanoseconds
)

// Check says what is wrong with a format.
func (f Format) Check() error {
	if f != Pcap && f != Pcapng {
		return fmt.Errorf("format %q: must be %s or %s", string(f), Pcap, Pcapng)
	}
	return nil
}

// Application is what files say that wrote them.
const Application = "ixcap"

// MaxPacket is the longest packet in bytes that is written: RAW's limit.
const MaxPacket = 1<<16 - 1

// Packet is one captured frame.
type Packet struct {
	Nano int64  // stamp: ns since 1970, UTC
	Len  uint32 // bytes on the wire, without CRC
	Data []byte // the bytes kept, at most Len

	// Pcapng only.
	Dropped uint64 // packets lost between the one before and this; 0: none known
	Comment string
}

// Time is the packet's stamp.
func (p *Packet) Time() time.Time { return time.Unix(0, p.Nano).UTC() }

// Interface says where packets come from. Pcap keeps Snaplen alone.
type Interface struct {
	Name        string // "eth2"
	Description string // "queue 0"
	Filter      string // what packets had to match, in pcap-filter's words
	Speed       uint64 // bits a second; 0: not known
	Snaplen     uint32 // bytes kept of a packet at most; 0: MaxPacket
	OS          string // that it was captured under
	Comment     string // on the file as a whole
}

// Statistics are the counters at a file's end, of the time from Start to End.
// Pcapng only.
type Statistics struct {
	Start, End time.Time

	Port              bool   // the port's two counters are known
	Received, Dropped uint64 // packets that reached the port; of these, those it lost

	Accepted  uint64 // packets that matched the filter
	OSDropped uint64 // packets lost between port and writer
	Delivered uint64 // packets that were to be written
}
