package nic

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// Config holds the driver's settings. With Interrupts = driver.QueueInterrupts a
// capture's pollers sleep while no frames arrive.
type Config = driver.Config

// Port is an 82599 port as a capture.Port. It also implements capture.Stopper,
// capture.Placer and capture.Limited.
type Port struct {
	*driver.Port
	dev     pci.Device
	sources []capture.Source
	udp     bool // RSS hashes the ports of UDP, as it was opened

	gone chan struct{} // closed once the device is known to be gone
	quit chan struct{} // closed by Close
	once sync.Once     // for quit

	mu   sync.Mutex      // guards the following fields
	lost error           // why the device is gone; nil: it is there
	last capture.Account // the last one read from the device
}

var _ interface {
	capture.Port
	capture.Stopper
	capture.Placer
	capture.Limited
	capture.Counted
	capture.Spreader
	capture.StampTaker
} = (*Port)(nil)

var _ capture.Timed = (*driver.RxQueue)(nil)

// Open opens the device of that name (see pci.Open) and brings its port up,
// without reception. Close releases both.
func Open(name string, cfg Config) (*Port, error) {
	if err := checkFamily(name, pci.Host()); err != nil {
		return nil, fmt.Errorf("open device %s: %w", name, err)
	}
	dev, err := pci.Open(name)
	if err != nil {
		return nil, err
	}
	p, err := New(dev, cfg)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return p, nil
}

// New brings up the port of an opened device. Unless New fails, the Port owns the
// device.
func New(dev pci.Device, cfg Config) (*Port, error) {
	d, err := driver.Open(dev, cfg)
	if err != nil {
		return nil, err
	}
	p := &Port{Port: d, dev: dev, gone: make(chan struct{}), quit: make(chan struct{})}
	p.udp = d.Config().RSS.Fields&driver.HashUDPv4 != 0
	go func() {
		select {
		case <-dev.Done():
			_ = p.check()
		case <-p.quit:
		}
	}()
	for i := range d.RxQueues() {
		if pool := d.RxPool(i); pool != nil {
			p.sources = append(p.sources, newPooled(pool, d.Config()))
			continue
		}
		p.sources = append(p.sources, d.RxQueue(i))
	}
	return p, nil
}

// Device is the device behind the port.
func (p *Port) Device() pci.Device { return p.dev }

// Sources implements capture.Port.
func (p *Port) Sources() []capture.Source { return p.sources }

// check returns nil while the device is there. A removed device returns all ones
// for any read; a vendor ID cannot be 0xffff.
func (p *Port) check() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != nil {
		return p.lost
	}
	switch err := p.dev.Err(); {
	case err != nil:
		p.lost = err
	case p.dev.Config().Load32(0) == ^uint32(0):
		p.lost = errors.New("the device is gone from the bus: it reads as all ones")
	default:
		return nil
	}
	close(p.gone)
	return p.lost
}

// Account implements capture.Port. Frames that the driver dropped after the ring
// count as bad, not as received. Once the device is gone it returns the last
// account and an error.
func (p *Port) Account() (capture.Account, error) {
	s, err := p.Stats()
	gone := p.check() // checked after the read: then the device was there during it
	p.mu.Lock()
	defer p.mu.Unlock()
	if gone == nil && err == nil {
		p.last = account(s)
	}
	return p.last, cmp.Or(gone, err)
}

// account converts the driver's statistics.
func account(s driver.Stats) capture.Account {
	a := capture.Account{Wire: s.Wire, Received: s.Received, Filtered: s.Filtered, LinkDowns: s.LinkDowns}
	for _, c := range s.Missed {
		a.Missed = append(a.Missed, capture.Count{Cause: c.Register, Frames: c.Frames})
	}
	for _, c := range s.Bad {
		a.Bad = append(a.Bad, capture.Count{Cause: c.Register, Frames: c.Frames})
	}
	for _, c := range s.BadReceived {
		a.BadReceived = append(a.BadReceived, capture.Count{Cause: c.Register, Frames: c.Frames})
	}
	for i, q := range s.Queues {
		received := q.Received
		for _, d := range []struct {
			cause  string
			frames uint64
		}{
			{"more descriptors than the longest frame takes", q.Overlong},
			{"impossible length in a descriptor", q.Malformed},
		} {
			if d.frames != 0 {
				received -= d.frames
				a.Received -= d.frames
				a.Bad = append(a.Bad, capture.Count{Cause: fmt.Sprintf("%s (queue %d)", d.cause, i), Frames: d.frames})
			}
		}
		if len(s.Queues) <= driver.QueueCounters || i < driver.QueueCounters-1 {
			a.Queue = append(a.Queue, received) // the others share a counter
		}
	}
	return a
}

// Counters implements capture.Counted: every statistics register.
func (p *Port) Counters() ([]capture.Counter, error) {
	var all []capture.Counter
	list, err := p.Port.Counters()
	for _, c := range list {
		all = append(all, capture.Counter(c))
	}
	return all, err
}

// HasClock implements capture.StampTaker.
func (p *Port) HasClock() bool { return p.Clock() != nil }

// TakeStamp implements capture.StampTaker.
func (p *Port) TakeStamp() (capture.DeviceStamp, bool) {
	s, err := p.Clock().Received()
	return capture.DeviceStamp{Sequence: s.Sequence, Time: s.Host.UnixNano(), Uncertainty: s.Uncertainty.Nanoseconds()}, err == nil
}

// Stop implements capture.Stopper.
func (p *Port) Stop() error {
	if err := p.Port.Stop(); err != nil {
		return cmp.Or(p.check(), err)
	}
	return nil
}

// Ended implements capture.Port, for devices whose wire can end.
func (p *Port) Ended() <-chan struct{} {
	if e, ok := p.dev.(pci.Ender); ok {
		return e.Ended()
	}
	return nil
}

// Notices implements capture.Noticer: what a virtual function cannot do, and the notices
// of the device.
func (p *Port) Notices() []string {
	list := p.Restrictions()
	if n, ok := p.dev.(pci.Noticer); ok {
		list = append(list, n.Notices()...)
	}
	return list
}

// Gone implements capture.Port. If the transport does not report a removed device,
// the next Account does.
func (p *Port) Gone() <-chan struct{} { return p.gone }

// GoneErr implements capture.Port.
func (p *Port) GoneErr() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Pages implements capture.Placer: the streams use pages of the rings' size.
func (p *Port) Pages() hugepage.Size { return p.Config().Pages }

// Node implements capture.Placer.
func (p *Port) Node() int { return *p.Config().Node }

// sleepLimit bounds how long frames wait in a ring after an interrupt was lost.
const sleepLimit = 50 * time.Millisecond

// Spread implements capture.Spreader: what the chip hashes (datasheet 7.1.2.8).
func (p *Port) Spread(f *ring.Frame) capture.Spread {
	const (
		vlan, svlan, svlan9100 = 0x8100, 0x88a8, 0x9100
		mpls, mplsMulticast    = 0x8847, 0x8848
		pppoe, ipv4            = 0x8864, 0x0800
		udp                    = 17
	)
	at := 12
	if f.Info&ring.HasVLAN != 0 && f.Info&ring.Stripped == 0 {
		at += 4
	}
	if len(f.Data) < at+12 {
		return capture.ByFlow
	}
	switch binary.BigEndian.Uint16(f.Data[at:]) {
	case vlan, svlan, svlan9100, mpls, mplsMulticast, pppoe:
		if f.Info&ring.HasHash == 0 {
			return capture.Encapsulated
		}
	case ipv4:
		ip := f.Data[at+2:]
		if p.udp && ip[9] == udp && binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return capture.FragmentOfFlow
		}
	}
	return capture.ByFlow
}

// Limits implements capture.Limited.
func (p *Port) Limits() capture.Limits {
	c := p.Capabilities()
	return capture.Limits{LineRate: c.LineRate, PacketBuffer: c.PacketBuffer, BufferStep: c.PacketBufferStep, Sleep: sleepLimit}
}

// Close stops and releases the port and its device. A device that is gone cannot be
// stopped, which is no error.
func (p *Port) Close() error {
	p.once.Do(func() { close(p.quit) })
	gone := p.check()
	err := p.Port.Close()
	if gone != nil {
		err = nil
	}
	return errors.Join(err, p.dev.Close())
}
