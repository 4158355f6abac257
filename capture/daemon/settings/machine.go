package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/ports"
	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/pci"
)

// Machine is what settings are checked against. The zero value is this machine.
type Machine struct {
	Cores  []int                     // nil: those online
	Device func(device string) error // why a device of a scheme cannot be opened; nil: ports.CheckName
}

// CheckMachine returns what this machine cannot do of checked settings: folders
// that are missing or not writable, cores and devices that it does not have,
// addresses that are not its own. It changes nothing and opens no device. Devices
// and addresses in use are no problem: a running capture may have them, which is to
// be restarted.
func (s *Settings) CheckMachine(m Machine) []Problem {
	p := &problems{origin: s.origin}
	if m.Cores == nil {
		m.Cores = topology.Read("/").Online
	}
	for i := range s.Ports {
		port := &s.Ports[i]
		key := port.key()
		if err := m.device(port); err != nil {
			p.add(key("device"), "%s: %v", port.Device, err)
		}
		if port.Mode == Kernel {
			continue
		}
		for _, c := range port.Cores {
			if len(m.Cores) > 0 && !slices.Contains(m.Cores, c) {
				p.add(key("cores"), "core %d: this machine has the cores %s", c, topology.FormatList(m.Cores))
			}
		}
		if !port.Stores() {
			continue
		}
		if c := port.Storage.Command; c != "" {
			if _, err := exec.LookPath(c); err != nil {
				p.add(key("storage.command"), "%v: name an executable file", err)
			}
		}
		for _, d := range port.Storage.Dirs {
			if err := writable(d); err != nil {
				p.add(key("storage.dirs"), "%v", err)
			}
		}
	}
	for key, dir := range map[string]string{"share.dir": s.Share.Dir, "hpcapmon.dir": s.Hpcapmon.Dir} {
		if dir == "" {
			continue
		}
		if err := writable(dir); err != nil {
			p.add(key, "%v", err)
		}
	}
	if a := s.Metrics.Listen; a != "" {
		if err := bindable(a); err != nil {
			p.add("metrics.listen", "%s: %v", a, err)
		}
	}
	return p.sorted()
}

func (m Machine) device(p *Port) error {
	switch {
	case p.Mode == Kernel && !pci.Kernel(p.Device):
		return errors.New("only a port of this machine can be left to the kernel: name its PCI address or interface")
	case p.Mode == Kernel:
		return pci.CheckName(p.Device)
	case m.Device != nil && !pci.Kernel(p.Device):
		return m.Device(p.Device)
	}
	return ports.CheckName(p.Device)
}

// writable returns why files cannot be made in a folder, nor the folder itself
// where only the last part of its path is missing.
func writable(dir string) error {
	st, err := os.Stat(dir)
	made := ""
	if errors.Is(err, fs.ErrNotExist) {
		made = filepath.Clean(dir)
		dir = filepath.Dir(made)
		st, err = os.Stat(dir)
		if err != nil {
			return fmt.Errorf("%s: %w: create it with mkdir -p %s", made, bare(err), made)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", dir, bare(err))
	case !st.IsDir():
		return fmt.Errorf("%s: %w", dir, unix.ENOTDIR)
	}
	switch err := unix.Access(dir, unix.W_OK|unix.X_OK); {
	case err != nil && made != "":
		return fmt.Errorf("%s: does not exist and cannot be created in %s: %w: sudo mkdir %s, and allow this user to write there", made, dir, err, made)
	case err != nil:
		return fmt.Errorf("%s: %w: allow this user to write there", dir, err)
	}
	return nil
}

// bare strips the path from an error.
func bare(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// bindable returns why no socket can listen at an address. One that is in use is
// no error.
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
