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

// ErrBusy is the error of Send while the line is busy. The port tries again later.
var ErrBusy = errors.New("wire busy")

// ErrUnknownKey is wrapped by the error of Parse for an option that the wire does not have.
var ErrUnknownKey = errors.New("unknown key")

// Scheduled is a wire with a schedule: pcap, gen and mix.
type Scheduled interface {
	Wire

	// Late is the total delay of the schedule: by late calls of Receive, and by
	// backpressure. It may be called from any goroutine.
	Late() time.Duration

	// Early is how long before the arrival of the next frame Receive was called last, 0 if
	// one has arrived or that is not known.
	Early() time.Duration

	// Backpressure reports whether frames wait for room in the port.
	Backpressure() bool
}

// External is a wire whose frames come from another sender, at times that do not depend
// on the port. Its methods may be called from any goroutine.
type External interface {
	Wire

	// Dropped is the number of frames that were lost before the port received them.
	Dropped() uint64
}

// The keys of each wire. The first one selects it.
var (
	pcapKeys   = []string{"pcap", "rate", "loop", "backpressure", "cut", "interface", "other", "burst", "fcs"}
	genKeys    = []string{"gen", "rate", "size", "flows", "count", "proto", "vlan", "seed", "backpressure", "burst"}
	mixKeys    = []string{"mix", "rate", "size", "flows", "count", "seed", "day", "swing", "noise", "dns", "syn", "backpressure", "burst"}
	packetKeys = []string{"packet", "backpressure"}
	sinkKeys   = []string{"sink"}
)

// Parse makes a wire of options, see the package's documentation. Exactly one of pcap,
// gen, mix, packet and sink must be among them.
func Parse(options []Option) (Wire, error) {
	kinds := [][]string{pcapKeys, genKeys, mixKeys, packetKeys, sinkKeys}
	var kind []string
	for _, o := range options {
		for _, k := range kinds {
			if k[0] != o.Key {
				continue
			}
			if kind != nil {
				return nil, fmt.Errorf("wire options %q and %q: a port has one wire, want one of pcap=FILE, gen, mix, packet=IFACE, sink", kind[0], o.Key)
			}
			kind = k
		}
	}
	if kind == nil {
		for _, o := range options {
			if !slices.ContainsFunc(kinds, func(k []string) bool { return slices.Contains(k, o.Key) }) {
				return nil, unknown(o, []string{"pcap", "gen", "mix", "packet", "sink"})
			}
		}
		return nil, errors.New("wire options: no wire, want one of pcap=FILE, gen, mix, packet=IFACE, sink")
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
	case "mix":
		return parseMix(options)
	case "sink":
		return &sink{name: options[0].Value}, nil
	default:
		return parsePacket(options)
	}
}

func unknown(o Option, allowed []string) error {
	return fmt.Errorf("wire option %q: %w %q, want %s", o.String(), ErrUnknownKey, o.Key, strings.Join(allowed, ", "))
}

func parsePcap(options []Option) (Wire, error) {
	var (
		file      string
		how       = loading{most: maxArena}
		rate      = lineRate
		rounds    = int64(1)
		play      = playback{burst: DefaultBurst}
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
			how.cut, err = parseCut(o)
		case "interface":
			if how.iface = o.Value; how.iface == "" {
				err = bad(o, "the name of an interface in the file, or its number")
			}
		case "other":
			if how.other = o.Value == "skip"; !how.other {
				err = bad(o, "skip")
			}
		case "fcs":
			if how.fcs = o.Value == "file"; !how.fcs {
				err = bad(o, "file")
			}
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
	f, err := loadPcap(file, how)
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
	r := newReplay(t, play, &systemClock{})
	for _, text := range f.notices {
		r.notices = append(r.notices, fmt.Sprintf("pcap=%s: %s", file, text))
	}
	return r, nil
}

func parseGen(options []Option) (Wire, error) {
	rest, play, err := splitPlayback(options)
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

// splitPlayback splits off the options that are not the generator's.
func splitPlayback(options []Option) (rest []Option, p playback, err error) {
	p.burst = DefaultBurst
	taken, rest := SplitOptions(options, "backpressure", "burst")
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

// forever is the number of frames or rounds of a wire without end.
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
