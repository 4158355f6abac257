package servertest

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/sim/server"
)

// Registers of BAR 0.
const (
	Counter  = 0x100 // cleared by reading
	Source   = 0x200 // 64 bits, IOVA
	Target   = 0x208 // 64 bits, IOVA
	Length   = 0x210 // bytes
	Command  = 0x214 // Copy or CopyByMessage starts the engine
	Status   = 0x218 // Done or Failed, 0 while it runs
	Refused  = 0x300 // accesses are answered with EPERM
	Doorbell = 0x1000

	DoorbellStride = 0x40
	BARSize        = 0x8000
)

// Values of Command and Status.
const (
	Copy          = 1 // through shared memory
	CopyByMessage = 2 // through Host.ReadDMA and WriteDMA
	RaiseOnly     = 3 // MSI-X vector 1, and INTx

	Done   = 1
	Failed = 2
)

// Vendor and Product are the function's IDs.
const (
	Vendor  = 0x1d1d
	Product = 0x82aa
)

// Device implements server.Device.
type Device struct {
	Bells int // doorbells, set before serving

	// mu is the device's lock: the engine holds it for a whole transfer, every
	// register access acquires it.
	mu     sync.Mutex
	bar    [BARSize]byte
	config [256]byte
	host   server.Host

	work   chan uint32
	ended  sync.WaitGroup
	shadow []byte
	fds    []int // shadow, then an eventfd per doorbell
	events []*os.File
	rings  chan Ring

	Attached  atomic.Int32 // calls of Attach less calls of Detach
	Resamples atomic.Int64 // calls of Resample
	Resets    atomic.Int32
	Errors    chan error // of the engine
}

// Ring is a doorbell that was rung.
type Ring struct {
	Bell  int
	Value uint32
}

// New returns a device with a number of doorbells. Close frees it.
func New(bells int) (*Device, error) {
	d := &Device{Bells: bells, work: make(chan uint32, 16), rings: make(chan Ring, 1024), Errors: make(chan error, 64)}
	binary.LittleEndian.PutUint16(d.config[0:], Vendor)
	binary.LittleEndian.PutUint16(d.config[2:], Product)
	copy(d.config[8:], []byte{1, 0x00, 0x00, 0x02}) // revision 1, class 020000
	binary.LittleEndian.PutUint16(d.config[0x2c:], 0x1111)
	binary.LittleEndian.PutUint16(d.config[0x2e:], 0x2222)

	fd, err := unix.MemfdCreate("shadow", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	d.fds = []int{fd}
	if err := unix.Ftruncate(fd, 4096); err != nil {
		return nil, err
	}
	if d.shadow, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, err
	}
	for i := range bells {
		e, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(e), "doorbell")
		d.fds, d.events = append(d.fds, e), append(d.events, f)
		d.ended.Add(1)
		go d.listen(i, f)
	}
	d.ended.Add(1)
	go d.engine()
	return d, nil
}

// Rings returns the channel of doorbells rung.
func (d *Device) Rings() <-chan Ring { return d.rings }

// Close ends the device's threads and frees its descriptors. The device must be
// detached.
func (d *Device) Close() {
	for _, f := range d.events {
		f.Close()
	}
	close(d.work)
	d.ended.Wait()
	unix.Munmap(d.shadow)
	unix.Close(d.fds[0])
}

// listen is the thread of one doorbell.
func (d *Device) listen(bell int, f *os.File) {
	defer d.ended.Done()
	var count [8]byte
	for {
		if _, err := f.Read(count[:]); err != nil {
			return
		}
		select {
		case d.rings <- Ring{bell, d.shadowValue(bell)}:
		default: // benchmarks do not read them
		}
	}
}

// engine is the DMA thread. It holds the lock for a transfer.
func (d *Device) engine() {
	defer d.ended.Done()
	for command := range d.work {
		d.mu.Lock()
		err := server.Recover(func() error { return d.transfer(command) })
		status := uint32(Done)
		if err != nil {
			status = Failed
			select {
			case d.Errors <- err:
			default:
			}
		}
		binary.LittleEndian.PutUint32(d.bar[Status:], status)
		if d.host != nil {
			d.host.Raise(2, 0)
		}
		d.mu.Unlock()
	}
}

func (d *Device) transfer(command uint32) error {
	src, dst := binary.LittleEndian.Uint64(d.bar[Source:]), binary.LittleEndian.Uint64(d.bar[Target:])
	n := int(binary.LittleEndian.Uint32(d.bar[Length:]))
	if d.host == nil {
		return fmt.Errorf("no host")
	}
	switch command {
	case Copy:
		from, to := d.host.Bytes(src, n, false), d.host.Bytes(dst, n, true)
		if from == nil || to == nil {
			return fmt.Errorf("copy %d bytes from %#x to %#x: not shared", n, src, dst)
		}
		copy(to, from)
	case CopyByMessage:
		if n > BARSize*64 {
			return fmt.Errorf("copy %d bytes: too many", n)
		}
		buffer := make([]byte, n)
		if err := d.host.ReadDMA(src, buffer); err != nil {
			return err
		}
		return d.host.WriteDMA(dst, buffer)
	case RaiseOnly:
		d.host.Raise(2, 1)
		d.host.Raise(0, 0)
	}
	return nil
}

// Layout implements server.Device.
func (d *Device) Layout() server.Layout {
	bar := server.Region{Size: BARSize, Readable: true, Writable: true}
	for i := range d.Bells {
		bar.Doorbells = append(bar.Doorbells, server.Doorbell{
			Offset: Doorbell + uint64(i)*DoorbellStride, EventFD: d.fds[1+i], ShadowFD: d.fds[0], Shadow: uint64(i) * 64,
		})
	}
	l := server.Layout{Regions: make([]server.Region, 8), Vectors: []int{1, 4, 64, 1, 1}}
	l.Regions[0] = bar
	l.Regions[2] = server.Region{Size: 0x100, Readable: true}
	l.Regions[7] = server.Region{Size: uint64(len(d.config)), Readable: true, Writable: true}
	return l
}

// ReadRegion implements server.Device.
func (d *Device) ReadRegion(region int, off uint64, p []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if region == 7 {
		copy(p, d.config[off:])
		return nil
	}
	if region == 0 && off == Refused {
		return fmt.Errorf("refused: %w", syscall.EPERM)
	}
	if region == 0 && off == Counter && len(p) == 4 {
		n := binary.LittleEndian.Uint32(d.bar[Counter:])
		binary.LittleEndian.PutUint32(p, n)
		binary.LittleEndian.PutUint32(d.bar[Counter:], 0)
		return nil
	}
	copy(p, d.bar[off:])
	return nil
}

// WriteRegion implements server.Device.
func (d *Device) WriteRegion(region int, off uint64, p []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if region == 7 {
		copy(d.config[off:], p)
		return nil
	}
	if off == Refused {
		return fmt.Errorf("refused: %w", syscall.EPERM)
	}
	copy(d.bar[off:], p)
	binary.LittleEndian.PutUint32(d.bar[Counter:], binary.LittleEndian.Uint32(d.bar[Counter:])+1)
	if off == Command && len(p) == 4 {
		binary.LittleEndian.PutUint32(d.bar[Status:], 0)
		select {
		case d.work <- binary.LittleEndian.Uint32(p):
		default:
			return fmt.Errorf("engine: %w", syscall.EBUSY)
		}
	}
	return nil
}

// Attach implements server.Device.
func (d *Device) Attach(h server.Host) {
	d.Attached.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.host = h
}

// Detach implements server.Device.
func (d *Device) Detach() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.host = nil
	d.Attached.Add(-1)
}

// Quiesce implements server.Device.
func (d *Device) Quiesce(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// Resample implements server.Device.
func (d *Device) Resample() { d.Resamples.Add(1) }

// Reset implements server.Device.
func (d *Device) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.bar[:])
	d.Resets.Add(1)
}

// Registers returns a copy of BAR 0.
func (d *Device) Registers() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.bar[:])
}
