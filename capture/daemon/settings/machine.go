package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/pci"
)

// Machine is what settings are checked against. The zero value is this machine.
type Machine struct {
	Cores  []int                     // that there are; nil: those online
	Device func(device string) error // why a device of a scheme cannot be opened; nil: pci.CheckName
}

// CheckMachine says what of checked settings this machine cannot do: folders that
// are not there or cannot be written, cores and devices that it does not have,
// addresses that are not its own. It changes nothing and opens no device. What a
// running capture has in use is no problem: it may be the one to be restarted.
func (s *Settings) CheckMachine(m Machine) []Problem {
	p := &problems{origin: s.origin}
	if m.Cores == nil {
		m.Cores = topology.Read("/").Online
	}
	for i := range s.Ports {
		port := &s.Ports[i]
		key := port.key()
		if err := m.device(port); err != nil {
			p.add(key("device"), "device %s: %v", port.Device, err)
		}
		if port.Mode == Kernel {
			continue
		}
		for _, c := range port.Cores {
			if len(m.Cores) > 0 && !slices.Contains(m.Cores, c) {
				p.add(key("cores"), "core %d: this machine has %s", c, topology.FormatList(m.Cores))
			}
		}
		if !port.Stores() {
			continue
		}
		for _, d := range port.Storage.Dirs {
			if err := writable(d); err != nil {
				p.add(key("storage.dirs"), "folder %v", err)
			}
		}
	}
	for key, dir := range map[string]string{"share.dir": s.Share.Dir, "data.dir": s.Data.Dir} {
		if dir == "" {
			continue
		}
		if err := writable(dir); err != nil {
			p.add(key, "folder %v", err)
		}
	}
	if a := s.Metrics.Listen; a != "" {
		if err := bindable(a); err != nil {
			p.add("metrics.listen", "address %s: %v", a, err)
		}
	}
	return p.sorted()
}

func (m Machine) device(p *Port) error {
	switch {
	case p.Mode == Kernel && !pci.Kernel(p.Device):
		return errors.New("only a port of this machine can be left to the kernel: name its PCI address or interface")
	case m.Device != nil && !pci.Kernel(p.Device):
		return m.Device(p.Device)
	}
	return pci.CheckName(p.Device)
}

// writable tells whether files can be made in a folder, or the folder itself if
// only the last part of its path is missing.
func writable(dir string) error {
	st, err := os.Stat(dir)
	made := ""
	if errors.Is(err, fs.ErrNotExist) {
		made = dir
		dir = filepath.Dir(filepath.Clean(dir))
		st, err = os.Stat(dir)
		if err != nil {
			return fmt.Errorf("%s: %w: make it with mkdir -p %s", made, bare(err), made)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", dir, bare(err))
	case !st.IsDir():
		return fmt.Errorf("%s: %w", dir, unix.ENOTDIR)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s: %w: let this user write there", dir, err)
	}
	return nil
}

// bare is an error without the path, which is in the message already.
func bare(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// bindable tells whether an address is one of this machine's.
func bindable(address string) error {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil
	}
	if e := (*net.OpError)(nil); errors.As(err, &e) {
		err = e.Err
	}
	if err != nil {
		return err
	}
	return l.Close()
}
