package packet

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Scheme is what a name of ParseSpec begins with.
const Scheme = "packet:"

// Config holds the settings of a port.
type Config struct {
	Interface    string // name of the interface
	Sockets      int    // that share the frames, each with a ring; 0 is 1
	Fanout       Fanout // which of them gets a frame
	Blocks       int    // MiB of the ring of each socket; 0 is 32
	Timeout      int    // ms after which the kernel passes on a block that is not full; 0 is 8
	Outgoing     bool   // frames that this host sends, too
	NoOffloads   bool   // switch GRO and LRO off until Close
	DeviceStamps bool   // stamps of the device's clock, not the kernel's
	Quiet        bool   // leave the interface out of promiscuous mode
}

// Fanout is the rule by which the kernel chooses one of several sockets.
type Fanout uint16

// Rules (PACKET_FANOUT in packet(7)).
const (
	FanoutHash Fanout = unix.PACKET_FANOUT_HASH // by flow, the same for both directions
	FanoutCPU  Fanout = unix.PACKET_FANOUT_CPU  // by the processor that received the frame
	FanoutQM   Fanout = unix.PACKET_FANOUT_QM   // by the receive queue of the card
)

var fanouts = map[string]Fanout{"hash": FanoutHash, "cpu": FanoutCPU, "qm": FanoutQM}

// MaxSockets is the largest number of sockets of a port.
const MaxSockets = 64

const (
	mebibyte   = 1 << 20
	smallBlock = mebibyte
	largeBlock = 4 * mebibyte
	manyBlocks = 8  // blocks of a ring at least
	longTime   = 50 // ms
)

// blockSize is the size of a block in bytes: every one that fills up wakes the poller. Where
// the timeout is long, blocks are large if the ring has enough of them.
func (c *Config) blockSize() int {
	if c.Timeout >= longTime && c.Blocks*mebibyte%largeBlock == 0 && c.Blocks*mebibyte/largeBlock >= manyBlocks {
		return largeBlock
	}
	return smallBlock
}

const (
	maxBlocks  = 4096
	maxTimeout = 1000
)

// ParseSpec reads a name of the form
//
//	packet:INTERFACE[,sockets=N][,fanout=hash|cpu|qm][,blocks=N][,timeout=MS]
//	                [,stamps=kernel|device][,outgoing][,offloads=keep|off][,promisc=on|off]
//
// into cfg, which holds what the name does not set.
func ParseSpec(name string, cfg Config) (Config, error) {
	rest, ok := strings.CutPrefix(name, Scheme)
	if !ok {
		return cfg, fmt.Errorf("device %q: does not begin with %s", name, Scheme)
	}
	fields := strings.Split(rest, ",")
	s := cfg
	s.Interface, s.Sockets, s.Blocks, s.Timeout = fields[0], cmp.Or(s.Sockets, 1), cmp.Or(s.Blocks, 32), cmp.Or(s.Timeout, 8)
	if s.Sockets < 1 || s.Sockets > MaxSockets {
		return cfg, fmt.Errorf("%d packet sockets: choose 1 to %d", s.Sockets, MaxSockets)
	}
	if n := len(s.Interface); n == 0 || n >= unix.IFNAMSIZ || strings.ContainsAny(s.Interface, "/: \t\n\x00") {
		return cfg, fmt.Errorf("device %q: no interface name after %s. `ip link` lists them", name, Scheme)
	}
	seen := map[string]bool{}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		if seen[key] {
			return cfg, fmt.Errorf("device %q: %s is set twice. Set it once", name, key)
		}
		seen[key] = true
		if err := s.set(key, value); err != nil {
			return cfg, fmt.Errorf("device %q: %w", name, err)
		}
	}
	return s, nil
}

func (s *Config) set(key, value string) error {
	switch key {
	case "sockets":
		return number(key, value, MaxSockets, &s.Sockets)
	case "blocks":
		if err := number(key, value, maxBlocks, &s.Blocks); err != nil || s.Blocks > 1 {
			return err
		}
		return fmt.Errorf("blocks=1: the kernel needs one block while another is read. Choose 2 to %d", maxBlocks)
	case "timeout":
		return number(key, value, maxTimeout, &s.Timeout)
	case "fanout":
		f, ok := fanouts[value]
		if !ok {
			return fmt.Errorf("fanout=%s: unknown. Choose hash, cpu or qm", value)
		}
		s.Fanout = f
		return nil
	case "outgoing":
		s.Outgoing = true
		return choice(key, value, "")
	case "offloads":
		s.NoOffloads = value == "off"
		return choice(key, value, "keep", "off")
	case "stamps":
		s.DeviceStamps = value == "device"
		return choice(key, value, "kernel", "device")
	case "promisc":
		s.Quiet = value == "off"
		return choice(key, value, "on", "off")
	}
	return fmt.Errorf("%s: unknown. Choose sockets=N, fanout=hash|cpu|qm, blocks=N, timeout=MS, stamps=kernel|device, outgoing, offloads=keep|off or promisc=on|off", key)
}

func number(key, value string, most int, to *int) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		return fmt.Errorf("%s=%s: choose 1 to %d", key, value, most)
	}
	*to = n
	return nil
}

func choice(key, value string, of ...string) error {
	for _, one := range of {
		if value == one {
			return nil
		}
	}
	if len(of) == 1 {
		return fmt.Errorf("%s=%s: %s has no value", key, value, key)
	}
	return fmt.Errorf("%s=%s: choose %s", key, value, strings.Join(of, " or "))
}
