package packet

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Scheme is the beginning of the names that Open accepts.
const Scheme = "packet:"

// Spec is what a name says, with the defaults.
type Spec struct {
	Interface string
	Sockets   int    // sockets that share the frames, each with a ring
	Fanout    Fanout // which of them gets a frame
	Blocks    int    // blocks of 1 MiB in the ring of each socket
	Timeout   int    // ms after which the kernel passes on a block that is not full
	Outgoing  bool   // frames that this host sends, too
	Offloads  bool   // keep GRO and LRO as they are
	Quiet     bool   // leave the interface out of promiscuous mode
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

const (
	maxSockets = 64
	maxBlocks  = 4096
	maxTimeout = 1000
)

// Parse parses packet:INTERFACE[,KEY=VALUE or KEY]...: sockets=N, fanout=hash|cpu|qm,
// blocks=N, timeout=MS, outgoing, offloads=keep|off, promisc=on|off.
func Parse(name string) (Spec, error) {
	rest, ok := strings.CutPrefix(name, Scheme)
	if !ok {
		return Spec{}, fmt.Errorf("device %q: the name of a packet socket begins with %s", name, Scheme)
	}
	fields := strings.Split(rest, ",")
	s := Spec{Interface: fields[0], Sockets: 1, Fanout: FanoutHash, Blocks: 32, Timeout: 8, Offloads: true}
	if n := len(s.Interface); n == 0 || n >= unix.IFNAMSIZ || strings.ContainsAny(s.Interface, "/: \t\n\x00") {
		return Spec{}, fmt.Errorf("device %q: no interface name after %s. `ip link` lists them", name, Scheme)
	}
	seen := map[string]bool{}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		if seen[key] {
			return Spec{}, fmt.Errorf("device %q: %s is set twice. Set it once", name, key)
		}
		seen[key] = true
		if err := s.set(key, value); err != nil {
			return Spec{}, fmt.Errorf("device %q: %w", name, err)
		}
	}
	return s, nil
}

func (s *Spec) set(key, value string) error {
	switch key {
	case "sockets":
		return number(key, value, maxSockets, &s.Sockets)
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
		s.Offloads = value == "keep"
		return choice(key, value, "keep", "off")
	case "promisc":
		s.Quiet = value == "off"
		return choice(key, value, "on", "off")
	}
	return fmt.Errorf("%s: unknown. Choose sockets=N, fanout=hash|cpu|qm, blocks=N, timeout=MS, outgoing, offloads=keep|off or promisc=on|off", key)
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
