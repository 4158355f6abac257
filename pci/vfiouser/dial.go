package vfiouser

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

func init() {
	pci.Register("vfio-user", func(path string) (pci.Device, error) {
		d, err := Dial(path)
		if err != nil {
			return nil, err
		}
		return d, nil
	})
	pci.RegisterCheck("vfio-user", checkSocket)
}

// checkSocket returns why no server can be reached at path, without connecting.
func checkSocket(path string) error {
	st, err := os.Stat(path)
	if err == nil && st.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s: %w", path, syscall.ENOTSOCK)
	}
	return err
}

// DefaultTimeout is the timeout of requests to the server.
const DefaultTimeout = 5 * time.Second

// Option is an option of Dial and New.
type Option func(*Device)

// Timeout replaces DefaultTimeout. The device is lost if a request is not answered in
// time, including a reset, which may be slow on some servers.
func Timeout(d time.Duration) Option { return func(dev *Device) { dev.timeout = d } }

// PrivateDMA keeps memory mapped for DMA private: its descriptors are not sent, and the
// server reads and writes it by message, within the bounds and rights of the mapping.
func PrivateDMA() Option { return func(dev *Device) { dev.dma.private = true } }

// Dial connects to the vfio-user server at path.
func Dial(path string, options ...Option) (*Device, error) {
	name := "vfio-user:" + path
	fail := func(format string, a ...any) (*Device, error) {
		return nil, fmt.Errorf("open %s: %w", name, fmt.Errorf(format, a...))
	}
	if path == "" {
		return fail("no path: want vfio-user:/path/to/socket")
	}
	d := newDevice(name, options)
	c, err := net.DialTimeout("unix", path, d.timeout)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		return fail("no such socket: the server is not running (%w)", syscall.ENOENT)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail("no server listens: it has ended, or this is not a socket (%w)", syscall.ECONNREFUSED)
	case errors.Is(err, syscall.EAGAIN):
		return fail("the server is busy with other clients%s (%w)", served(path), syscall.EAGAIN)
	default:
		return fail("%w", err)
	}
	if err := d.open(c.(*net.UnixConn)); err != nil {
		if who := served(path); who != "" && errors.Is(err, syscall.ETIMEDOUT) {
			return fail("no answer within %v: the server has one client at a time%s (%w)", d.timeout, who, syscall.EBUSY)
		}
		return fail("%w", err)
	}
	return d, nil
}

// served names the clients of the server at path, for messages.
func served(path string) string {
	clients := clientsOf(path)
	if len(clients) == 0 {
		return ""
	}
	return ", now " + strings.Join(clients, ", ")
}

// New returns the device of the server at the other end of conn. It owns conn, even if it
// fails. The name is for messages.
func New(conn *net.UnixConn, name string, options ...Option) (*Device, error) {
	d := newDevice(name, options)
	if err := d.open(conn); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return d, nil
}

func newDevice(name string, options []Option) *Device {
	d := &Device{name: name, timeout: DefaultTimeout, done: make(chan struct{}), received: make(chan struct{})}
	d.dma.init(d)
	d.calls.pending = map[uint16]*call{}
	for _, o := range options {
		o(d)
	}
	return d
}

// open negotiates the protocol and reads the device's constant properties.
func (d *Device) open(uc *net.UnixConn) (err error) {
	d.conn = proto.NewConn(uc, d.timeout)
	go d.receive()
	defer func() {
		if err != nil {
			d.fail(err)
			_ = d.Close()
		}
	}()
	if err := d.negotiate(); err != nil {
		return err
	}
	info, err := d.deviceInfo()
	if err != nil {
		return err
	}
	d.canReset = info.Flags&proto.DeviceFlagReset != 0
	if err := d.findVectors(info.IRQs); err != nil {
		return err
	}
	if err := d.findRegions(info.Regions); err != nil {
		return err
	}
	return d.readID()
}

func (d *Device) negotiate() error {
	proposal := proto.Proposal()
	proposal.Capabilities.WriteMultiple = false // never sent by this package
	m, err := d.call(request{command: proto.Version}, nil, proposal.Append(nil))
	if err != nil {
		if errors.Is(err, syscall.ETIMEDOUT) {
			return fmt.Errorf("no answer: the server serves another client, or is not a vfio-user server: %w", err)
		}
		return fmt.Errorf("not a vfio-user server, or it rejects this client: %w", err)
	}
	defer d.recycle(m)
	v, err := proto.ParseVersion(m.Body)
	if err == nil {
		err = proto.CheckReply(v)
	}
	if err != nil {
		return fmt.Errorf("not a vfio-user server of protocol %d.%d: %w", proto.Major, proto.Minor, err)
	}
	d.server = v.Capabilities
	return nil
}

func (d *Device) deviceInfo() (proto.DeviceInfo, error) {
	s := request{command: proto.GetInfo}
	m, err := d.call(s, nil, proto.DeviceInfo{ArgSize: proto.DeviceInfoSize}.Append(nil))
	if err != nil {
		return proto.DeviceInfo{}, err
	}
	defer d.recycle(m)
	info, err := proto.ParseDeviceInfo(m.Body)
	switch {
	case err != nil:
		return info, s.wrap(err)
	case info.Flags&proto.DeviceFlagPCI == 0:
		return info, s.wrap(errors.New("not a PCI device"))
	case info.Regions <= proto.ConfigRegion:
		return info, s.wrap(fmt.Errorf("%d regions, no configuration space", info.Regions))
	}
	return info, nil
}

// findVectors reads the number of vectors of each interrupt kind.
func (d *Device) findVectors(kinds uint32) error {
	for kind := range min(kinds, proto.PCIIRQs) {
		s := request{command: proto.GetIRQInfo, what: "interrupt kind", index: uint64(kind)}
		m, err := d.call(s, nil, proto.IRQInfo{ArgSize: proto.IRQInfoSize, Index: kind}.Append(nil))
		if err != nil {
			return err
		}
		info, err := proto.ParseIRQInfo(m.Body)
		d.recycle(m)
		switch {
		case err != nil:
			return s.wrap(err)
		case info.Index != kind:
			return s.wrap(fmt.Errorf("reply for kind %d", info.Index))
		case info.Count > maxVectors:
			return s.wrap(fmt.Errorf("%d vectors, want at most %d", info.Count, maxVectors))
		}
		d.vectors[kind] = int(info.Count)
	}
	return nil
}

// readID reads the function's identity (PCI Local Bus 3.0, section 6.2.1).
func (d *Device) readID() error {
	var h [0x30]byte
	if _, err := d.config.ReadAt(h[:], 0); err != nil {
		return err
	}
	le16 := func(at int) uint16 { return uint16(h[at]) | uint16(h[at+1])<<8 }
	d.id = pci.ID{
		Vendor: le16(0x00), Device: le16(0x02), Revision: h[0x08],
		Class:     uint32(h[0x09]) | uint32(h[0x0a])<<8 | uint32(h[0x0b])<<16,
		SubVendor: le16(0x2c), SubDevice: le16(0x2e),
	}
	return nil
}
