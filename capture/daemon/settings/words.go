package settings

import (
	"fmt"
	"strconv"
	"strings"
)

// Mode is what becomes of a port.
type Mode string

// Modes of a port.
const (
	Capture Mode = ""       // "capture", in HPCAP's files 2
	Kernel  Mode = "kernel" // left to the kernel's driver; in HPCAP's files 1
)

// String implements flag.Value.
func (m *Mode) String() string {
	if *m == Capture {
		return "capture"
	}
	return string(*m)
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) error {
	switch string(text) {
	case "capture", "2":
		*m = Capture
	case "kernel", "1":
		*m = Kernel
	default:
		return fmt.Errorf("mode %q: want capture, or kernel for a port that is left to the kernel's driver", text)
	}
	return nil
}

// Format is what files are written in.
type Format string

// Formats of files.
const (
	Raw    Format = "" // "raw": HPCAP's, the stream as it is
	Pcap   Format = "pcap"
	Pcapng Format = "pcapng"
)

// String implements flag.Value.
func (f *Format) String() string {
	if *f == Raw {
		return "raw"
	}
	return string(*f)
}

// Set implements flag.Value.
func (f *Format) Set(text string) error {
	switch Format(text) {
	case "raw":
		*f = Raw
	case Pcap, Pcapng:
		*f = Format(text)
	default:
		return fmt.Errorf("format %q: want raw, pcap or pcapng", text)
	}
	return nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Format) UnmarshalText(text []byte) error { return f.Set(string(text)) }

// Dirs are folders that files go to in turn.
type Dirs []string

// String implements flag.Value.
func (d *Dirs) String() string { return strings.Join(*d, ",") }

// Set implements flag.Value: each adds a folder.
func (d *Dirs) Set(text string) error {
	*d = append(*d, text)
	return nil
}

// Queue is the number of a queue, or AllQueues.
type Queue int

// String implements flag.Value.
func (q *Queue) String() string {
	if *q == AllQueues {
		return "all"
	}
	return strconv.Itoa(int(*q))
}

// Set implements flag.Value.
func (q *Queue) Set(text string) error {
	n, err := strconv.Atoi(text)
	switch {
	case text == "all":
		*q = AllQueues
	case err != nil || n < 0:
		return fmt.Errorf("queue %q: want a number from 0, or all", text)
	default:
		*q = Queue(n)
	}
	return nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (q *Queue) UnmarshalText(text []byte) error { return q.Set(string(text)) }
