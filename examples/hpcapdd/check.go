package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// check says what is wrong with settings on this machine, or what they do.
func check(w io.Writer, o options, s *settings.Settings) error {
	errs := []error{settings.Join(s.CheckMachine(settings.Machine{Device: there}))}
	if err := policy(s).Check(folders(s)...); err != nil {
		errs = append(errs, fmt.Errorf("retention: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	what := "ok"
	if o.config != "" {
		what = o.config + ": ok"
	}
	_, err := fmt.Fprintf(w, "%s\n%s", what, s.Summary())
	return err
}

// there tells whether a device that is no function of this machine can be opened,
// without doing so.
func there(device string) error {
	scheme, rest, _ := strings.Cut(device, ":")
	switch scheme {
	case "sim":
		return model(rest)
	case "vfio-user":
		st, err := os.Stat(rest)
		if err == nil && st.Mode().Type() != os.ModeSocket {
			err = unix.ENOTSOCK
		}
		return err
	case "vfio-group", "vfio-iommufd":
		_, err := pci.Resolve(rest)
		return err
	}
	return errors.New("want a PCI address (0000:03:00.0), an interface name, vfio-user:SOCKET or sim:WIRE")
}

// model tells whether a software 82599 can be made of options.
func model(options string) error {
	all, err := wire.ParseOptions(options)
	if err != nil {
		return err
	}
	_, rest, err := sim.ParseConfig(all)
	if err != nil {
		return err
	}
	w, err := wire.Parse(rest)
	if err != nil {
		return err
	}
	return w.Close()
}
