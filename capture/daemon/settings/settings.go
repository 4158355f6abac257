package settings

import (
	"time"

	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/units"
)

// Settings are what a capture program is told to do. A field's tag is its key in
// a file; `live` marks what can change while the capture runs.
type Settings struct {
	Ports     []Port
	Retention Retention `toml:"retention"`
	Share     Share     `toml:"share"`
	Metrics   Metrics   `toml:"metrics"`
	Data      Data      `toml:"data"`

	origin origin // where it was read
}

// Port is one port, and where what it receives is stored.
type Port struct {
	Name    string       // "": the one port of a command line
	Device  string       `toml:"device"` // as pci.Open takes it
	Mode    Mode         `toml:"mode"`
	Queues  int          `toml:"queues"`            // receive queues that frames are spread over
	Cores   Cores        `toml:"cores"`             // of the queues' polling threads; none: chosen
	Speed   int          `toml:"speed"`             // Mb/s: 1000, 10000; 0: what the module can
	CapLen  int          `toml:"caplen" live:"yes"` // bytes kept of a frame; 0: all
	Buffer  units.Size   `toml:"buffer"`            // of each queue, a power of two
	Pages   Pages        `toml:"pages"`
	FIFO    int          `toml:"fifo"`  // SCHED_FIFO priority; 0: off
	Sleep   bool         `toml:"sleep"` // until an interrupt, while nothing arrives
	Stamps  clock.Policy `toml:"stamps"`
	Filter  Rules        `toml:"filter" live:"yes"`
	Dedup   Dedup        `toml:"dedup"`
	Storage Storage      `toml:"storage"`
}

// Label is the port's name, or its device's where it has none.
func (p Port) Label() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Device
}

// Stores tells whether anything is stored.
func (p Port) Stores() bool {
	return p.Mode == Capture && len(p.Storage.Dirs) > 0 && p.Storage.Dirs[0] != Null
}

// Null is the folder that stands for none: frames are captured and dropped.
const Null = "null"

// AllQueues stores every queue, each to its own files.
const AllQueues = -1

// Storage is where files go and what they are like.
type Storage struct {
	Dirs        Dirs           `toml:"dirs"`         // folders, in turn; or Null
	Queue       Queue          `toml:"queue"`        // the only one stored, or AllQueues
	Format      Format         `toml:"format"`       //
	Zstd        int            `toml:"zstd"`         // level 1 to 22 of compression; 0: none; not with raw
	StoreFilter string         `toml:"store_filter"` // pcap-filter expression; "": everything; not with raw
	Segment     units.Size     `toml:"segment"`      // of a file
	Block       units.Size     `toml:"block"`        // written at once
	InFlight    int            `toml:"in_flight"`    // blocks written at once to each folder
	Flush       units.Duration `toml:"flush"`        // what waits longer is written
	Fsync       store.Sync     `toml:"fsync"`
	Index       bool           `toml:"index"`             // write a sidecar beside each file
	Rotate      units.Duration `toml:"rotate" live:"yes"` // a new file at multiples of it since midnight UTC; 0: never
}

// Retention is what is kept of the files in all folders; zeros set no limit.
type Retention struct {
	Size units.Size     `toml:"size" live:"yes"` // of all files
	Age  units.Duration `toml:"age" live:"yes"`  // of their frames
	Free units.Size     `toml:"free" live:"yes"` // left on each file system
}

// Any tells whether there is a limit.
func (r Retention) Any() bool { return r != Retention{} }

// Share is what other programs can reach.
type Share struct {
	Dir    string         `toml:"dir"` // folder of the sockets; "": none
	Mode   FileMode       `toml:"mode"`
	Linger units.Duration `toml:"linger"` // for which the end waits for listeners that read nothing
}

// Metrics are served to Prometheus.
type Metrics struct {
	Listen string `toml:"listen"` // host:port; "": not at all
}

// Data are the files with a line a second.
type Data struct {
	Dir string `toml:"dir"` // "": none
}

// Defaults are the settings of a port that says nothing.
func Defaults() Port {
	return Port{
		Queues: 1, Buffer: 256 << 20,
		Storage: Storage{
			Queue: AllQueues, Segment: 2 << 30, Block: 1 << 20, InFlight: 4, Flush: units.Duration(time.Second), Index: true,
		},
	}
}

// New are settings without a port.
func New() *Settings { return &Settings{Share: defaultShare} }

var defaultShare = Share{Mode: 0o600, Linger: units.Duration(5 * time.Second)}

// File is the path of the file that the settings were read from; empty for those
// of a command line.
func (s *Settings) File() string { return s.origin.file }
