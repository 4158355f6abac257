package xdp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/hugepage"
)

// Scheme is what a name of ParseSpec begins with.
const Scheme = "xdp:"

// MaxQueues is the largest number of receive queues of a port.
const MaxQueues = maxQueues

// Mode is the way frames take from the driver to a socket.
type Mode int

// Modes, the fastest first but for Auto.
const (
	Auto     Mode = iota // the first of the others that works
	ZeroCopy             // the device writes into the UMEM
	Copy                 // the driver runs the program, the kernel copies
	Generic              // the kernel runs the program on an skb and copies (SKB mode)
)

var modeNames = []string{"auto", "zerocopy", "copy", "generic"}

// String returns the name of the mode, as in a name of ParseSpec.
func (m Mode) String() string { return modeNames[m] }

// Limits of a Config.
const (
	minRing, maxRing = 64, 1 << 16
	maxQueues        = 256
	maxBusy          = time.Second
	defaultRing      = 32768
	leastRing        = 4096
	defaultBudget    = 64
)

// Config holds the settings of a port.
type Config struct {
	Interface string // name of the interface

	Mode Mode

	// Queues is the number of receive queues that the interface is set to, as
	// `ethtool -L` does, until Close; 0 leaves it as it is. Every queue has a socket.
	Queues int

	// Ring is the number of descriptors of a socket's rx ring, a power of two. 0 is 32768,
	// shared by the queues, but at least 4096 for each. The UMEM of a socket has a chunk
	// for each, and 4096 more.
	Ring int

	// Busy is for how long a system call polls the device (SO_BUSY_POLL, with
	// SO_PREFER_BUSY_POLL): an empty Poll then drives the queue instead of its interrupt.
	// 0 is off. Budget is the number of frames of one such call; 0 is 64.
	Busy   time.Duration
	Budget int

	// Take limits the capture to the frames that match one of the list, Pass leaves
	// those to the stack. At most one of the two is set; without any the port takes all.
	Take, Pass []Match

	// Symmetric sets the RSS key of the device until Close to one that hashes both
	// directions of a flow alike.
	Symmetric bool

	// DeviceStamps are stamps of the device's clock, not of the XDP program.
	DeviceStamps bool

	// Quiet leaves the interface out of promiscuous mode.
	Quiet bool

	// Pages are the pages of the UMEM and of the streams; 0 is ordinary ones.
	Pages hugepage.Size
}

// ParseSpec reads a name of the form
//
//	xdp:INTERFACE[,queues=N][,mode=zerocopy|copy|generic][,ring=N][,busy=DURATION][,budget=N]
//	             [,take=MATCH[+MATCH...]][,pass=MATCH[+MATCH...]][,rss=symmetric]
//	             [,stamps=kernel|device][,promisc=on|off]
//
// into cfg, which holds what the name does not set. ParseMatch describes MATCH.
func ParseSpec(spec string, cfg Config) (Config, error) {
	rest, ok := strings.CutPrefix(spec, Scheme)
	if !ok {
		return cfg, fmt.Errorf("device %q: does not begin with %s", spec, Scheme)
	}
	fields := strings.Split(rest, ",")
	if cfg.Interface = fields[0]; cfg.Interface == "" {
		return cfg, fmt.Errorf("device %q: no interface. Name one, as in xdp:eth0", spec)
	}
	seen := map[string]bool{}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		if seen[key] {
			return cfg, fmt.Errorf("device %q: %s is set twice", spec, key)
		}
		seen[key] = true
		if err := cfg.set(key, value); err != nil {
			return cfg, fmt.Errorf("device %q: %w", spec, err)
		}
	}
	if err := cfg.check(); err != nil {
		return cfg, fmt.Errorf("device %q: %w", spec, err)
	}
	return cfg, nil
}

// set sets one option of a name.
func (c *Config) set(key, value string) (err error) {
	switch key {
	case "queues":
		c.Queues, err = number(key, value, 1, maxQueues)
	case "ring":
		c.Ring, err = number(key, value, minRing, maxRing)
	case "budget":
		c.Budget, err = number(key, value, 1, 1<<16-1)
	case "mode":
		c.Mode, err = parseMode(value)
	case "busy":
		if c.Busy, err = time.ParseDuration(value); err != nil {
			err = fmt.Errorf("busy=%s: not a duration. Write one like 50us", value)
		} else if c.Busy <= 0 {
			err = fmt.Errorf("busy=%s: must be positive. Leave busy out for no busy polling", value)
		}
	case "take":
		c.Take, err = parseMatches(key, value)
	case "pass":
		c.Pass, err = parseMatches(key, value)
	case "rss":
		if value != "symmetric" {
			return fmt.Errorf("rss=%s: must be symmetric", value)
		}
		c.Symmetric = true
	case "stamps":
		if value != "kernel" && value != "device" {
			return fmt.Errorf("stamps=%s: must be kernel or device", value)
		}
		c.DeviceStamps = value == "device"
	case "promisc":
		if value != "on" && value != "off" {
			return fmt.Errorf("promisc=%s: must be on or off", value)
		}
		c.Quiet = value == "off"
	default:
		return fmt.Errorf("%q: no such option. There are queues, mode, ring, busy, budget, take, pass, rss, stamps, promisc", key)
	}
	return err
}

func parseMode(value string) (Mode, error) {
	for m, name := range modeNames {
		if name == value {
			return Mode(m), nil
		}
	}
	return Auto, fmt.Errorf("mode=%s: must be one of %s", value, strings.Join(modeNames, ", "))
}

func number(key, value string, least, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s=%s: must be %d to %d", key, value, least, most)
	}
	return n, nil
}

// check returns an error if the settings cannot be used.
func (c *Config) check() error {
	switch ring := c.entries(1); {
	case c.Interface == "" || len(c.Interface) >= unix.IFNAMSIZ || strings.ContainsAny(c.Interface, "/: \t\n\x00"):
		return fmt.Errorf("%q is no name of an interface. `ip link` lists them", c.Interface)
	case c.Mode < Auto || c.Mode > Generic:
		return fmt.Errorf("mode %d: must be %d to %d", c.Mode, Auto, Generic)
	case c.DeviceStamps && c.Mode == Generic:
		return errors.New("stamps=device: not in generic mode, which has the driver run no program. Leave one of them out")
	case c.Queues < 0 || c.Queues > maxQueues:
		return fmt.Errorf("queues=%d: must be 1 to %d", c.Queues, maxQueues)
	case ring < minRing || ring > maxRing || ring&(ring-1) != 0:
		return fmt.Errorf("ring=%d: must be a power of two from %d to %d", ring, minRing, maxRing)
	case c.Busy < 0 || c.Busy > maxBusy || c.Busy%time.Microsecond != 0:
		return fmt.Errorf("busy=%v: must be whole microseconds, at most %v", c.Busy, maxBusy)
	case c.Budget < 0 || c.Budget >= 1<<16:
		return fmt.Errorf("budget=%d: must be 1 to %d", c.Budget, 1<<16-1)
	case c.Budget != 0 && c.Busy == 0:
		return errors.New("budget: has no effect without busy. Set busy, or leave budget out")
	case len(c.Take) != 0 && len(c.Pass) != 0:
		return errors.New("take and pass: only one of them can be set")
	case len(c.Take) > maxMatches || len(c.Pass) > maxMatches:
		return fmt.Errorf("take or pass: more than %d matches", maxMatches)
	}
	for _, list := range [][]Match{c.Take, c.Pass} {
		for _, m := range list {
			if err := m.check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries is the number of descriptors of each of so many rings.
func (c *Config) entries(queues int) int {
	if c.Ring == 0 {
		return max(leastRing, defaultRing/powerOfTwo(queues))
	}
	return c.Ring
}

func (c *Config) budget() int {
	if c.Budget == 0 {
		return defaultBudget
	}
	return c.Budget
}
