package wire

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrBusy is what Send returns when the wire cannot take the frame yet. The
// port keeps the frame and tries again, as a MAC waits for the line.
var ErrBusy = errors.New("wire busy")

// ErrClosed is what Receive and Send return once the wire has been closed.
var ErrClosed = errors.New("wire closed")

// Scheduled is a wire with a schedule: pcap and gen.
type Scheduled interface {
	Wire

	// Late is how far the schedule has been shifted in all, because the device
	// thread did not come for frames in time or the wire had to hold. It may be
	// called from any goroutine.
	Late() time.Duration
}

// External is a wire whose frames come from elsewhere, whether or not the port
// takes them in time. Its methods may be called from any goroutine.
type External interface {
	Wire

	// Dropped is how many frames were lost before the port could see them.
	Dropped() uint64
}

// The keys that each wire takes; the first one names it.
var (
	pcapKeys   = []string{"pcap", "rate", "loop", "backpressure", "cut", "burst"}
	genKeys    = []string{"gen", "rate", "size", "flows", "count", "proto", "vlan", "seed", "backpressure", "burst"}
	packetKeys = []string{"packet", "backpressure"}
)

// Parse makes the wire that options describe; see the package's documentation
// for the keys. Exactly one of pcap, gen and packet must be among them.
func Parse(options []Option) (Wire, error) {
	kinds := [][]string{pcapKeys, genKeys, packetKeys}
	var kind []string
	for _, o := range options {
		for _, k := range kinds {
			if k[0] != o.Key {
				continue
			}
			if kind != nil {
				return nil, fmt.Errorf("wire options %q and %q: a port has one wire, want one of pcap=FILE, gen, packet=IFACE", kind[0], o.Key)
			}
			kind = k
		}
	}
	if kind == nil {
		for _, o := range options {
			if !slices.ContainsFunc(kinds, func(k []string) bool { return slices.Contains(k, o.Key) }) {
				return nil, unknown(o, []string{"pcap", "gen", "packet"})
			}
		}
		return nil, errors.New("wire options: no wire is named, want one of pcap=FILE, gen, packet=IFACE")
	}
	for _, o := range options {
		if !slices.Contains(kind, o.Key) {
			return nil, unknown(o, kind)
		}
	}
	switch kind[0] {
	case "pcap":
		return parsePcap(options)
	case "gen":
		return parseGen(options)
	default:
		return parsePacket(options)
	}
}

func unknown(o Option, allowed []string) error {
	return fmt.Errorf("wire option %q: unknown key %q, want %s", o.String(), o.Key, strings.Join(allowed, ", "))
}

func parsePcap(options []Option) (Wire, error) {
	var (
		file      string
		cut       cutPolicy
		rate      = lineRate
		rounds    = int64(1)
		play      = play{burst: DefaultBurst}
		rateGiven Option
		err       error
	)
	for _, o := range options {
		switch o.Key {
		case "pcap":
			if file = o.Value; file == "" {
				err = bad(o, "the name of a pcap or pcapng file")
			}
		case "cut":
			cut, err = parseCut(o)
		case "rate":
			rateGiven = o
			rate, err = parseRate(o)
		case "loop":
			rounds, err = parseCount(o)
		case "backpressure":
			play.backpressure, err = parseBool(o)
		case "burst":
			play.burst, err = parseBurst(o)
		}
		if err != nil {
			return nil, err
		}
	}
	f, err := loadPcap(file, cut, maxArena)
	if err != nil {
		return nil, err
	}
	t, err := newTrain(f, rate)
	if err != nil {
		return nil, fmt.Errorf("wire option %s: %w", rateGiven, err)
	}
	play.total = forever
	if rounds < forever/int64(len(t.slots)) {
		play.total = rounds * int64(len(t.slots))
	}
	return newReplay(t, play, &systemClock{}), nil
}

func parseGen(options []Option) (Wire, error) {
	rest, play, err := splitPlay(options)
	if err != nil {
		return nil, err
	}
	g, err := NewGenerator(rest)
	if err != nil {
		return nil, err
	}
	play.total = g.Count()
	return newReplay(g.train, play, &systemClock{}), nil
}

// splitPlay takes out what the generator's frames do not depend on.
func splitPlay(options []Option) (rest []Option, p play, err error) {
	p.burst = DefaultBurst
	taken, rest := Take(options, "backpressure", "burst")
	for _, o := range taken {
		if o.Key == "backpressure" {
			p.backpressure, err = parseBool(o)
		} else {
			p.burst, err = parseBurst(o)
		}
		if err != nil {
			return nil, p, err
		}
	}
	return rest, p, nil
}

func parsePacket(options []Option) (Wire, error) {
	var name string
	var backpressure bool
	var err error
	for _, o := range options {
		switch o.Key {
		case "packet":
			if name = o.Value; name == "" {
				err = bad(o, "the name of a network interface")
			}
		case "backpressure":
			backpressure, err = parseBool(o)
		}
		if err != nil {
			return nil, err
		}
	}
	return openPacket(name, backpressure)
}

// forever is the number of frames or rounds of a wire that does not end.
const forever = math.MaxInt64

func parseCount(o Option) (int64, error) {
	if o.Value == "forever" {
		return forever, nil
	}
	n, err := strconv.ParseInt(o.Value, 10, 64)
	if err != nil || n < 1 {
		return 0, bad(o, "a whole number from 1, or forever")
	}
	return n, nil
}

func parseBool(o Option) (bool, error) {
	switch o.Value {
	case "", "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, bad(o, "no value, true or false")
}

func parseCut(o Option) (cutPolicy, error) {
	switch o.Value {
	case "pad":
		return cutPad, nil
	case "skip":
		return cutSkip, nil
	}
	return 0, bad(o, "pad or skip")
}

func parseBurst(o Option) (time.Duration, error) {
	d, err := time.ParseDuration(o.Value)
	if err != nil || d < time.Microsecond || d > time.Second {
		return 0, bad(o, "a duration from 1us to 1s")
	}
	return d, nil
}
