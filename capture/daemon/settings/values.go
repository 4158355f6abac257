package settings

import (
	"fmt"
	"io/fs"
	"runtime"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/hugepage"
)

// Pages is a page size. Zero selects the one that suits the port.
type Pages struct{ Size hugepage.Size }

// String implements flag.Value.
func (p *Pages) String() string {
	switch p.Size {
	case hugepage.Ordinary:
		return "ordinary"
	case hugepage.Size2M:
		return "2MiB"
	case hugepage.Size1G:
		return "1GiB"
	}
	return ""
}

// Set implements flag.Value.
func (p *Pages) Set(text string) error {
	for _, size := range []hugepage.Size{hugepage.Ordinary, hugepage.Size2M, hugepage.Size1G} {
		if q := (Pages{size}); q.String() == text {
			*p = q
			return nil
		}
	}
	return fmt.Errorf("%q: must be 2MiB, 1GiB or ordinary", text)
}

// Type implements pflag.Value.
func (*Pages) Type() string { return "PAGES" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Pages) UnmarshalText(text []byte) error { return p.Set(string(text)) }

// Cores is a list of processor cores: "2,3".
type Cores []int

// String implements flag.Value.
func (c *Cores) String() string {
	words := make([]string, len(*c))
	for i, n := range *c {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

// Set implements flag.Value.
func (c *Cores) Set(text string) error {
	var cores Cores
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 0 {
			return fmt.Errorf("core %q: must be a list of numbers from 0, such as 2,3 (this machine has %d cores)", word, runtime.NumCPU())
		}
		cores = append(cores, n)
	}
	*c = cores
	return nil
}

// Type implements pflag.Value.
func (*Cores) Type() string { return "CORES" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Cores) UnmarshalText(text []byte) error { return c.Set(string(text)) }

// FileMode is the mode of a file or socket in octal digits: "0660".
type FileMode fs.FileMode

// String implements flag.Value.
func (m *FileMode) String() string { return fmt.Sprintf("%04o", uint32(*m)) }

// Set implements flag.Value.
func (m *FileMode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return fmt.Errorf("%q: must be a file mode in octal digits, such as 0660", text)
	}
	*m = FileMode(n)
	return nil
}

// Type implements pflag.Value.
func (*FileMode) Type() string { return "MODE" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *FileMode) UnmarshalText(text []byte) error { return m.Set(string(text)) }

// Mode is what a port is used for.
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
		return fmt.Errorf("%q: must be capture, or kernel for a port that is left to the kernel's driver", text)
	}
	return nil
}

// Format is a file format.
type Format string

// Formats of files.
const (
	Raw    Format = "" // "raw": HPCAP's, the stream byte by byte
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
		return fmt.Errorf("%q: must be raw, pcap or pcapng", text)
	}
	return nil
}

// Type implements pflag.Value.
func (*Format) Type() string { return "FORMAT" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Format) UnmarshalText(text []byte) error { return f.Set(string(text)) }

// Dirs are folders that files go to in turn.
type Dirs []string

// String implements flag.Value.
func (d *Dirs) String() string { return strings.Join(*d, ",") }

// Set implements flag.Value. Each call adds a folder.
func (d *Dirs) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		return fmt.Errorf("%q: must be the path of a folder, or null to store nothing", text)
	}
	*d = append(*d, text)
	return nil
}

// Type implements pflag.Value.
func (*Dirs) Type() string { return "DIR" }

// Queue is the number of a queue, or capture.AllQueues.
type Queue int

// String implements flag.Value.
func (q *Queue) String() string {
	if *q == capture.AllQueues {
		return "all"
	}
	return strconv.Itoa(int(*q))
}

// Set implements flag.Value.
func (q *Queue) Set(text string) error {
	n, err := strconv.Atoi(text)
	switch {
	case text == "all":
		*q = capture.AllQueues
	case err != nil || n < 0:
		return fmt.Errorf("%q: must be a number from 0, or all", text)
	default:
		*q = Queue(n)
	}
	return nil
}

// Type implements pflag.Value.
func (*Queue) Type() string { return "QUEUE" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (q *Queue) UnmarshalText(text []byte) error { return q.Set(string(text)) }
