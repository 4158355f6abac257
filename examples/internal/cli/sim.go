package cli

import (
	"slices"
	"strings"

	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// CheckSim returns the error of wrong options of the model, sim:OPTIONS, and nil for
// other ports. It opens no file and no interface.
func CheckSim(port string) error {
	text, ok := strings.CutPrefix(port, "sim:")
	if !ok {
		return nil
	}
	options, err := wire.ParseOptions(text)
	if err != nil {
		return err
	}
	_, rest, err := sim.ParseConfig(options)
	if err != nil || opens(rest) {
		return err
	}
	w, err := sim.ParseWire(rest)
	if err != nil {
		return err
	}
	return w.Close()
}

// WireError makes an error of sim.ParseWire a usage error, unless the wire opens a file or
// an interface.
func WireError(options []wire.Option, err error) error {
	if opens(options) {
		return err
	}
	return UsageError{err}
}

func opens(options []wire.Option) bool {
	return slices.ContainsFunc(options, func(o wire.Option) bool { return o.Key == "pcap" || o.Key == "packet" })
}
