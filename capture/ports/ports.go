package ports

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/packet"
	"github.com/ixcap/ixcap/capture/xdp"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
)

// Config holds the settings of a port of any kind. Those of nic.Config are for an 82599,
// except for two:
//
//   - Queues is the number of receive queues. 0 is 1 for an 82599, what the interface has
//     for xdp, and one socket for packet.
//   - Pages are those of the rings of an 82599 and of the UMEM of xdp.
type Config struct {
	nic.Config

	// ZeroCopy leaves frames where an 82599 has put them, in ring-buffer pools of Chunks and
	// ChunkSize; without Chunks a pool takes the memory of Buffer and of the receive
	// buffers. A port that can have none copies, and OnNotice gets the reason. Without
	// ZeroCopy frames are copied, and Chunks and ChunkSize have no effect.
	ZeroCopy bool

	// Buffer is the size in bytes that the stream of a queue has without a pool; 0: that of
	// the capture (NewEngine), or its default.
	Buffer int

	// OnNotice gets what the user should know of the port, a sentence each, while it is
	// opened; nil discards.
	OnNotice func(text string)
}

// NewEngine opens the port of a name (see Open) and returns an engine that captures from
// it. Closing the engine closes the port.
func NewEngine(name string, port Config, cfg capture.Config) (*capture.Engine, capture.Port, error) {
	port.Buffer = cmp.Or(cfg.Buffer, port.Buffer)
	p, err := Open(name, port)
	if err != nil {
		return nil, nil, err
	}
	e, err := capture.New(p, cfg)
	if err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return e, p, nil
}

// Open opens the port of a name. An interface's name alone is
//
//   - its 82599, if that is bound to vfio-pci;
//   - else xdp, if that works and the host itself does not use the interface: XDP takes
//     the frames from the host's stack;
//   - else packet.
//
// Port.Name then tells which. Interfaces are those of the calling thread's network
// namespace.
func Open(name string, cfg Config) (capture.Port, error) {
	if cfg.OnNotice == nil {
		cfg.OnNotice = func(string) {}
	}
	p, err := open(name, cfg)
	if err != nil {
		return nil, err
	}
	if n, ok := p.(capture.Noticer); ok {
		for _, text := range n.Notices() {
			cfg.OnNotice(text)
		}
	}
	return p, nil
}

func open(name string, cfg Config) (capture.Port, error) {
	switch kindOf(name) {
	case afXDP:
		return openXDP(name, cfg)
	case afPacket:
		return openPacket(name, cfg)
	case byInterface:
		return openInterface(name, cfg)
	}
	return openNIC(name, cfg)
}

// kind is what a name stands for.
type kind int

const (
	device kind = iota // an 82599 by its address, or a device of a scheme
	afXDP
	afPacket
	byInterface
)

func kindOf(name string) kind {
	_, notAddress := pci.ParseAddress(name)
	switch {
	case strings.HasPrefix(name, xdp.Scheme):
		return afXDP
	case strings.HasPrefix(name, packet.Scheme):
		return afPacket
	case name != "" && !strings.Contains(name, ":") && notAddress != nil:
		return byInterface
	}
	return device
}

// The functions below return an interface that is nil after an error.

func openNIC(name string, cfg Config) (capture.Port, error) {
	if cfg.ZeroCopy {
		p, err := openPools(name, cfg)
		if err == nil {
			return p, nil
		}
		if !nic.LacksPools(err) {
			return nil, withSockets(name, err)
		}
		cfg.OnNotice(fmt.Sprintf("%s copies its frames, without zero copy: %v.", name, err))
	}
	cfg.Chunks, cfg.ChunkSize = 0, 0
	p, err := nic.Open(name, cfg.Config)
	if err != nil {
		return nil, withSockets(name, err)
	}
	return p, nil
}

// openPools opens a port whose queues have ring-buffer pools.
func openPools(name string, cfg Config) (capture.Port, error) {
	c, err := nic.WithPools(cfg.Config, cmp.Or(cfg.Buffer, capture.DefaultBuffer))
	if err != nil {
		return nil, fmt.Errorf("open device %s: %w", name, err)
	}
	p, err := nic.Open(name, c)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openXDP(name string, cfg Config) (capture.Port, error) {
	if err := checkSockets(name, cfg); err != nil {
		return nil, err
	}
	p, err := xdp.Open(name, xdp.Config{Queues: cfg.Queues, Pages: cfg.Pages})
	if err != nil {
		return nil, err
	}
	noticeCopies(name, cfg)
	return p, nil
}

func openPacket(name string, cfg Config) (capture.Port, error) {
	if err := checkSockets(name, cfg); err != nil {
		return nil, err
	}
	p, err := packet.Open(name, packet.Config{Sockets: cfg.Queues})
	if err != nil {
		return nil, err
	}
	noticeCopies(name, cfg)
	return p, nil
}

// noticeCopies says that a port of the kernel has no pools.
func noticeCopies(name string, cfg Config) {
	if cfg.ZeroCopy {
		cfg.OnNotice(fmt.Sprintf("%s copies its frames, without zero copy: the kernel owns its buffers. An 82599 bound to vfio-pci leaves frames in place.", name))
	}
}

// checkSockets returns an error for settings that only an 82599 has.
func checkSockets(name string, cfg Config) error {
	switch {
	case cfg.Speed != 0:
		return fmt.Errorf("open device %s: speed %d Mb/s: only an 82599 is set to a speed. Leave it out, and use ethtool -s", name, cfg.Speed)
	case cfg.RSS.Key != nil || cfg.RSS.Fields != 0 || cfg.RSS.Table != nil:
		return fmt.Errorf("open device %s: RSS: only an 82599 has one. Leave it out; xdp has rss=symmetric", name)
	case cfg.OuterVLAN != 0:
		return fmt.Errorf("open device %s: outer VLAN tag: only an 82599 is told of it. Leave it out", name)
	case cfg.Clock:
		return fmt.Errorf("open device %s: hardware clock: only that of an 82599 is read. Leave it out; stamps=device of a packet port takes the stamps of a device", name)
	case len(cfg.VFs) > 0:
		return fmt.Errorf("open device %s: virtual functions: only an 82599 that this program drives has them. Leave them out", name)
	case cfg.KeepCRC || cfg.KeepBad:
		return fmt.Errorf("open device %s: CRC and bad frames: the kernel passes on neither. Leave them out; an 82599 that vfio-pci has keeps them", name)
	}
	return nil
}

// Capabilities are the limits of the settings of a port, as far as its name tells them.
type Capabilities struct {
	Name      string // of the kind, for messages: "the 82599"
	MaxQueues int
	MaxReason string // why there are no more; empty: it has no more
	Queues    int    // without a setting; 0: known once it is open
	Speeds    []int  // Mb/s
}

// maxReason says why a capture has at most driver.MaxRSSQueues queues of driver.MaxQueues.
const maxReason = "its RSS spreads frames over 16, and a further queue, with its thread and buffer, would get only what a filter names"

// CapabilitiesOf returns the limits of the port of a name, without asking the machine: an
// interface's name alone has those of an 82599, but an unknown number of queues.
func CapabilitiesOf(name string) Capabilities {
	switch kindOf(name) {
	case afXDP:
		c, _ := xdp.ParseSpec(name, xdp.Config{})
		return Capabilities{Name: "an xdp port", MaxQueues: xdp.MaxQueues, Queues: c.Queues}
	case afPacket:
		c, _ := packet.ParseSpec(name, packet.Config{})
		return Capabilities{Name: "a packet port", MaxQueues: packet.MaxSockets, Queues: c.Sockets}
	}
	c := driver.Limits()
	limits := Capabilities{Name: "the " + c.Name, MaxQueues: driver.MaxRSSQueues, MaxReason: maxReason, Queues: 1, Speeds: c.Speeds}
	if kindOf(name) == byInterface {
		limits.Queues = 0 // xdp opens all
	}
	return limits
}
