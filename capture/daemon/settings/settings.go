package settings

import (
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/units"
)

// Settings configure a capture. The tag of a field is its key in a file; the tag
// live marks what can change while the capture runs.
type Settings struct {
	Ports     []Port
	Retention Retention `toml:"retention"`
	Share     Share     `toml:"share"`
	Metrics   Metrics   `toml:"metrics"`
	Hpcapmon  Hpcapmon  `toml:"hpcapmon"`

	origin origin // where each was read
}

// Port is one port, and where the frames that it receives are stored.
type Port struct {
	Name          string       // empty for the only port of a command line
	Device        string       `toml:"device"` // as ports.Open takes it
	Mode          Mode         `toml:"mode"`
	Queues        int          `toml:"queues"`             // receive queues that frames are spread over; 0: the port's own number
	Cores         Cores        `toml:"cores"`              // of the polling threads, one for each queue; none: chosen
	Speed         int          `toml:"speed"`              // Mb/s; 0: the module's fastest
	AnyModule     bool         `toml:"any_module"`         // accept an SFP+ module that is not known to work
	Negotiate     bool         `toml:"negotiate"`          // at 1 Gb/s
	OuterVLAN     int          `toml:"outer_vlan"`         // EtherType of the outer tag that all frames have; 0: none
	CRC           bool         `toml:"crc"`                // keep the CRC at the end of frames
	BadFrames     bool         `toml:"bad_frames"`         // receive bad frames, too; with the CRC
	HardwareClock bool         `toml:"hardware_clock"`     // compare stamps with those that the device takes of PTP messages
	SnapLen       int          `toml:"snaplen" live:"yes"` // bytes kept of a frame; 0: all
	Buffer        units.Size   `toml:"buffer"`             // of each queue, a power of two
	ZeroCopy      bool         `toml:"zero_copy"`          // frames stay in ring-buffer pools, if the port can have them
	Chunks        int          `toml:"chunks"`             // of each queue's pool; 0: as many as Buffer has room for
	ChunkSize     int          `toml:"chunk_size"`         // packet buffers of a chunk; 0: the driver's default
	Pages         Pages        `toml:"pages"`
	FIFO          int          `toml:"fifo"`  // SCHED_FIFO priority of the polling threads; 0: off
	Sleep         bool         `toml:"sleep"` // until an interrupt, while nothing arrives
	Stamps        clock.Policy `toml:"stamps"`
	Rules         Rules        `toml:"rules" live:"yes"`
	RSS           RSS          `toml:"rss"`                     // what the hash that selects a frame's queue has
	Filters       Filters      `toml:"port_filters" live:"yes"` // what the port drops or sends to a queue before memory
	VFs           VFs          `toml:"vfs"`                     // virtual functions that the port offers
	Mirrors       Mirrors      `toml:"mirror"`                  // what it copies to one of them, or to itself
	Dedup         Dedup        `toml:"dedup"`
	Storage       Storage      `toml:"storage"`
}

// KeepsCRC reports whether the port's frames end in their CRC.
func (p Port) KeepsCRC() bool { return p.CRC || p.BadFrames }

// Label is the port's name, or its device's where it has none.
func (p Port) Label() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Device
}

// Stores reports whether frames are stored.
func (p Port) Stores() bool {
	return p.Mode == Capture && len(p.Storage.Dirs) > 0 && p.Storage.Dirs[0] != recorder.Null
}

// Storage is where files go and how they are written.
type Storage struct {
	Dirs        Dirs           `toml:"dirs"`         // folders, in turn; recorder.Null: nothing is stored
	Queue       Queue          `toml:"queue"`        // the only one stored, or capture.AllQueues
	Format      Format         `toml:"format"`       //
	Zstd        int            `toml:"zstd"`         // compression level, 1 to 22; 0: none; not with raw
	StoreFilter string         `toml:"store_filter"` // pcap-filter expression; empty: everything; not with raw
	Segment     units.Size     `toml:"segment"`      // of a file
	Block       units.Size     `toml:"block"`        // of one write; 0: the daemon chooses
	InFlight    int            `toml:"in_flight"`    // writes at the same time to each folder
	Flush       units.Duration `toml:"flush"`        // after which an incomplete block is written
	Fsync       store.Sync     `toml:"fsync"`
	Command     string         `toml:"command"`           // program run with the path of each finished file; empty: none
	Index       bool           `toml:"index"`             // write a sidecar beside each file
	Rotate      units.Duration `toml:"rotate" live:"yes"` // new files at its multiples since midnight UTC; 0: never
}

// Retention is what is kept of the files in all folders. Zero sets no limit.
type Retention struct {
	Size units.Size     `toml:"size" live:"yes"` // of all files
	Age  units.Duration `toml:"age" live:"yes"`  // of their frames
	Free units.Size     `toml:"free" live:"yes"` // left on each file system

	Files int `toml:"files" live:"yes"` // number of all files
}

// Any reports whether there is a limit.
func (r Retention) Any() bool { return r != Retention{} }

// Share configures the sockets for other programs.
type Share struct {
	Dir    string         `toml:"dir"`    // folder of the sockets; empty: none
	Mode   FileMode       `toml:"mode"`   // of the queues' sockets
	Linger units.Duration `toml:"linger"` // for which the end waits for listeners that do not read

	// WaitListeners is how many listeners of other processes each queue of a port must
	// have before the port starts; 0: none.
	WaitListeners int `toml:"wait_listeners"`
}

// Metrics configures the endpoint for Prometheus.
type Metrics struct {
	Listen string `toml:"listen"` // host:port; empty: none
}

// Hpcapmon configures HPCAP's monitoring files, a line a second.
type Hpcapmon struct {
	Dir string `toml:"dir"` // empty: none
}

// Defaults are the settings of a port that sets nothing.
func Defaults() Port {
	return Port{
		Buffer: 256 << 20,
		Storage: Storage{
			Queue: capture.AllQueues, Segment: 2 << 30, InFlight: 4, Flush: units.Duration(time.Second), Index: true,
		},
	}
}

// New returns settings without a port.
func New() *Settings {
	return &Settings{Share: Share{Mode: 0o600, Linger: units.Duration(5 * time.Second)}}
}

// File is the path of the file that the settings were read from; empty for those
// of a command line.
func (s *Settings) File() string { return s.origin.file }
