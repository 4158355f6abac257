package sim

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfiouser"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/wire"
)

func init() {
	pci.Register("sim", openScheme)
	pci.RegisterCheck("sim", check)
}

func openScheme(rest string) (pci.Device, error) { return Open(rest) }

// modelKeys are the options of the port. The others are the wire's.
var modelKeys = []string{"id", "mac", "sfp", "ddm", "start", "linkdelay", "clock", "peer", "vfs", "fault"}

// Device is a NIC in this process, accessed over the vfio-user protocol like one in
// another process, except registers.
type Device struct {
	*vfiouser.Device
	nic      *NIC
	function server.Device // the NIC, or one of its virtual functions
	virtual  bool
	server   *server.Server
	served   chan error

	once sync.Once
	err  error
}

var (
	_ pci.Ender   = (*Device)(nil)
	_ pci.Noticer = (*Device)(nil)

	_ pci.SendRecorder = (*Device)(nil)
)

// NIC is the model behind the device.
func (d *Device) NIC() *NIC { return d.nic }

// BAR implements pci.Device.
func (d *Device) BAR(i int) (pci.Region, error) {
	r, err := d.Device.BAR(i)
	if err != nil || i != regionRegisters {
		return r, err
	}
	r = registers{r, d.Device, d.function}
	if d.virtual || d.nic.cfg.Stepped {
		return r, nil // a stepped device knows the time of its next pass alone
	}
	return tailClock{r, d.nic}, nil
}

// Ended implements pci.Ender.
func (d *Device) Ended() <-chan struct{} { return d.nic.Ended() }

// RecordSent implements pci.SendRecorder.
func (d *Device) RecordSent(frames int) { d.nic.RecordSent(frames) }

// Sent implements pci.SendRecorder.
func (d *Device) Sent() ([]pci.SentFrame, uint64) { return d.nic.Sent() }

// Notices implements pci.Noticer.
func (d *Device) Notices() []string { return d.nic.Notices() }

// Close implements pci.Device. It also closes the model, unless the device is one of
// its virtual functions.
func (d *Device) Close() error {
	d.once.Do(func() {
		err := d.Device.Close()
		d.server.Close()
		<-d.served
		if !d.virtual {
			err = errors.Join(err, d.nic.Close())
		}
		d.err = err
	})
	return d.err
}

// Open starts a model with the options of a "sim:" name and opens it: those of the wire
// (wire.Usage) and those of the port (Usage).
func Open(options string) (*Device, error) {
	cfg, w, err := parse(options)
	if err != nil {
		return nil, fmt.Errorf("open sim: %w", err)
	}
	n, err := New(cfg, w)
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	d, err := Connect(n, "sim:"+options)
	if err != nil {
		_ = n.Close()
		return nil, err
	}
	return d, nil
}

// parse returns the model's configuration and the wire that options describe.
func parse(options string) (cfg Config, w wire.Wire, err error) {
	all, err := wire.ParseOptions(options)
	if err != nil {
		return cfg, nil, err
	}
	cfg, rest, err := ParseConfig(all)
	if err != nil {
		return cfg, nil, err
	}
	w, err = ParseWire(rest)
	return cfg, w, err
}

// check returns an error if options are invalid, without starting a model.
func check(options string) error {
	_, w, err := parse(options)
	if err != nil {
		return err
	}
	return w.Close()
}

// Connect opens a NIC in this process over a pair of sockets.
func Connect(n *NIC, name string) (*Device, error) { return connect(n, n, name) }

// ConnectVF opens virtual function i of a NIC in this process, counted from 0. Close
// it before the NIC.
func (n *NIC) ConnectVF(i int, name string) (*Device, error) {
	if i < 0 || i >= len(n.vfs) {
		return nil, fmt.Errorf("open %s: virtual function %d of %d: create the NIC with option vfs", name, i, len(n.vfs))
	}
	d, err := connect(n, n.vfs[i], name)
	if err == nil {
		d.virtual = true
	}
	return d, err
}

func connect(n *NIC, f server.Device, name string) (*Device, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	d := &Device{nic: n, function: f, server: server.New(f), served: make(chan error, 1)}
	go func() { d.served <- d.server.ServeConn(theirs) }()
	if d.Device, err = vfiouser.New(ours, name); err != nil {
		d.server.Close()
		<-d.served
		return nil, err
	}
	return d, nil
}

func socketPair() (a, b *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create socket pair: %w", err)
	}
	if a, err = unixConn(fds[0]); err != nil {
		_ = unix.Close(fds[1])
		return nil, nil, err
	}
	if b, err = unixConn(fds[1]); err != nil {
		_ = a.Close()
		return nil, nil, err
	}
	return a, b, nil
}

func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "vfio-user")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("use socket pair: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("use socket pair: got a %T", c)
	}
	return u, nil
}

// ParseConfig parses the options of the port, see Open, and returns the others,
// which are the wire's.
func ParseConfig(options []wire.Option) (cfg Config, rest []wire.Option, err error) {
	mine, rest := wire.SplitOptions(options, modelKeys...)
	cfg, err = parsePort(mine)
	return cfg, rest, err
}

// ParseWire makes the wire of the options that ParseConfig returns.
func ParseWire(rest []wire.Option) (wire.Wire, error) {
	w, err := wire.Parse(rest)
	if errors.Is(err, wire.ErrUnknownKey) {
		err = fmt.Errorf("%w, or one of the port: %s", err, strings.Join(modelKeys, ", "))
	}
	return w, err
}

func parsePort(options []wire.Option) (Config, error) {
	var cfg Config
	for _, o := range options {
		var err error
		switch o.Key {
		case "id":
			cfg.ID, err = parseID(o.Value)
		case "mac":
			err = parseMAC(o.Value, &cfg.MAC)
		case "sfp":
			m, known := moduleNames[o.Value]
			if cfg.Module = m; !known {
				err = errors.New("want sr, lr, da, sx, lrm or none")
			}
		case "ddm":
			m, known := monitoringNames[o.Value]
			if cfg.Monitoring = m; !known {
				err = errors.New("want internal, external or none")
			}
		case "start":
			cfg.StartAtLinkUp = o.Value == "link"
			if o.Value != "link" && o.Value != "rx" {
				err = errors.New("want rx or link")
			}
		case "linkdelay":
			cfg.LinkDelay, err = parseDuration(o.Value)
		case "clock":
			cfg.ClockError, err = strconv.Atoi(o.Value)
			if err != nil || max(cfg.ClockError, -cfg.ClockError) > maxClockError {
				err = fmt.Errorf("want -%d to %[1]d ppm", maxClockError)
			}
		case "peer":
			speed, known := map[string]int{"100m": 100, "1g": 1000, "10g": 10000}[o.Value]
			if cfg.PeerSpeed = speed; !known {
				err = errors.New("want 100m, 1g or 10g")
			}
		case "vfs":
			cfg.VFs, err = strconv.Atoi(o.Value)
			if err != nil || cfg.VFs < 1 || cfg.VFs > maxVFs {
				err = fmt.Errorf("want 1 to %d virtual functions", maxVFs)
			}
		case "fault":
			err = parseFaults(o.Value, &cfg.Faults)
		}
		if err != nil {
			return cfg, fmt.Errorf("option %s: %w", o, err)
		}
	}
	return cfg, nil
}

func parseMAC(s string, mac *[6]byte) error {
	a, err := net.ParseMAC(s)
	if err != nil || len(a) != 6 {
		return errors.New("want six bytes in hexadecimal, such as 02:00:00:00:00:01")
	}
	if a[0]&1 != 0 || [6]byte(a) == [6]byte{} {
		return errors.New("multicast or zero, want a station address")
	}
	*mac = [6]byte(a)
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q: want a time such as 5ms", s)
	}
	return d, nil
}

const faultNames = "flap:TIME, doorbell:N, remove:N, dma:N, crc:N, rxstall:N, txhang:N, pending:TIME, eeprom-checksum, no-writeback, rxdctl or no-msix"

// named returns the fault without a value of that name, nil if there is none.
func (f *Faults) named(name string) *bool {
	return map[string]*bool{
		"eeprom-checksum": &f.BadChecksum, "no-writeback": &f.NoWriteBack, "rxdctl": &f.NoEnable, "no-msix": &f.NoMSIX,
	}[name]
}

func parseFaults(s string, f *Faults) error {
	for fault := range strings.SplitSeq(s, "+") {
		if broken := f.named(fault); broken != nil {
			*broken = true
			continue
		}
		kind, value, _ := strings.Cut(fault, ":")
		if of := map[string]*time.Duration{"flap": &f.LinkFlap, "pending": &f.Pending}[kind]; of != nil {
			d, err := parseDuration(value)
			if err != nil {
				return err
			}
			*of = d
			continue
		}
		k, err := strconv.ParseUint(value, 10, 32)
		if err != nil || k == 0 {
			return fmt.Errorf("%q: want %s, N from 1", fault, faultNames)
		}
		switch kind {
		case "doorbell":
			f.LostDoorbell = int(k)
		case "remove":
			f.RemoveAfter = k
		case "dma":
			f.BadDMAAfter = k
		case "crc":
			f.BadCRC = k
		case "rxstall":
			f.RxStall = k
		case "txhang":
			f.TxHang = k
		default:
			return fmt.Errorf("%q: unknown; want %s", fault, faultNames)
		}
	}
	return nil
}
