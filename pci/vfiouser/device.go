package vfiouser

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// ErrClosed is returned by Err after Close.
var ErrClosed = errors.New("device is closed")

var _ pci.Device = (*Device)(nil)

// Device is a PCI function behind a vfio-user server. All methods may be called
// from any goroutine, at the same time as Close.
type Device struct {
	name    string
	timeout time.Duration

	conn     *proto.Conn
	server   proto.Capabilities
	calls    calls
	received chan struct{} // closed when receive has ended

	id       pci.ID
	canReset bool
	vectors  [proto.PCIIRQs]int
	bars     [6]*region // nil: absent
	config   *region

	dma mapper

	done  chan struct{}
	lost  atomic.Bool // set before done is closed
	close sync.Once
	cerr  error
}

// Name implements pci.Device.
func (d *Device) Name() string { return d.name }

// Transport implements pci.Device.
func (d *Device) Transport() string { return "vfio-user" }

// ID implements pci.Device.
func (d *Device) ID() pci.ID { return d.id }

// NUMANode implements pci.Device. A socket has no NUMA node.
func (d *Device) NUMANode() int { return -1 }

// Config implements pci.Device.
func (d *Device) Config() pci.Region { return d.config }

// BAR implements pci.Device.
func (d *Device) BAR(n int) (pci.Region, error) {
	if n < 0 || n >= len(d.bars) {
		return nil, fmt.Errorf("%s: BAR %d: want 0 to %d", d.name, n, len(d.bars)-1)
	}
	if d.bars[n] == nil {
		return nil, fmt.Errorf("%s: BAR %d: the device has none", d.name, n)
	}
	return d.bars[n], nil
}

// DMA implements pci.Device.
func (d *Device) DMA() dma.Mapper { return &d.dma }

// Done implements pci.Device.
func (d *Device) Done() <-chan struct{} { return d.done }

// Err implements pci.Device.
func (d *Device) Err() error {
	d.calls.mu.Lock()
	defer d.calls.mu.Unlock()
	return d.calls.down
}

// Reset implements pci.Device.
func (d *Device) Reset() error {
	s := request{command: proto.DeviceReset}
	if !d.canReset {
		return s.wrap(errors.New("not supported by the server"))
	}
	m, err := d.call(s, nil)
	if err != nil {
		return err
	}
	d.recycle(m)
	return nil
}

// Close implements pci.Device. It unmaps all memory by message before it closes the
// connection, so that no DMA is active when it returns, if the server answers.
func (d *Device) Close() error {
	d.close.Do(func() {
		d.cerr = d.dma.close()
		d.fail(ErrClosed)
		<-d.received
		for _, r := range append(d.bars[:], d.config) {
			if r != nil {
				d.cerr = errors.Join(d.cerr, r.close())
			}
		}
	})
	return d.cerr
}
