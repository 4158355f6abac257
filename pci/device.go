package pci

import (
	"fmt"
	"io"

	"github.com/ixcap/ixcap/dma"
)

// Device is one opened PCI function, whatever carries its transactions: the
// kernel's VFIO or the vfio-user protocol. A driver sees nothing else.
//
// A device can go away at any time (hot-unplug, the peer of a socket dying).
// As on the bus itself, loads then return all ones and stores vanish; Done is
// closed and Err says what happened.
type Device interface {
	// Name is the device's name as the user wrote it, for messages.
	Name() string

	// Transport is "vfio" or "vfio-user".
	Transport() string

	// ID is read from configuration space when the device is opened.
	ID() ID

	// NUMANode is the node the device is attached to, -1 where there is none.
	NUMANode() int

	// Config is the configuration space.
	Config() Region

	// BAR returns base address register n (0-5). Asking twice gives the same Region.
	BAR(n int) (Region, error)

	// DMA maps memory for this device.
	DMA() dma.Mapper

	// Vectors is the number of interrupt vectors of a kind, 0 for a kind the
	// device lacks.
	Vectors(kind IRQKind) (int, error)

	// SetVectors connects vectors first, first+1, ... of a kind to eventfds; the
	// device adds 1 to an eventfd for each interrupt. -1 disconnects a vector,
	// an empty slice all vectors of the kind. The caller keeps the descriptors.
	SetVectors(kind IRQKind, first int, eventfds []int) error

	// MaskVector holds a vector's interrupts back, or lets them through again.
	MaskVector(kind IRQKind, vector int, masked bool) error

	// Reset is a function-level reset: registers return to their defaults, DMA
	// stops, connected eventfds stay connected.
	Reset() error

	// Done is closed once the device is gone or closed.
	Done() <-chan struct{}

	// Err is nil while the device works, then the reason why it does not.
	Err() error

	// Close stops the device's DMA, unmaps and gives everything back.
	Close() error
}

// Region is a window on a device: a BAR or configuration space. Offsets are
// bytes from its start. ReadAt and WriteAt make single accesses of 1, 2, 4 or 8
// aligned bytes; other lengths are split by the transport.
type Region interface {
	io.ReaderAt
	io.WriterAt

	// Size in bytes.
	Size() int64

	// Load32 is one 32-bit device read; all ones when the device is gone.
	// off must be a multiple of 4 below Size, else Load32 panics.
	Load32(off uint32) uint32

	// Store32 is one 32-bit device write, ordered after all earlier stores of
	// the caller to memory the device reads. Same rule for off.
	Store32(off uint32, v uint32)
}

// IRQKind names an interrupt mechanism; the values are VFIO's interrupt indices.
type IRQKind int

const (
	INTx     IRQKind = 0
	MSI      IRQKind = 1
	MSIX     IRQKind = 2
	ErrorIRQ IRQKind = 3 // the device reports an uncorrectable error
	Request  IRQKind = 4 // the system asks for the device back
)

// ID identifies a function's kind.
type ID struct {
	Vendor, Device       uint16
	SubVendor, SubDevice uint16
	Class                uint32 // 24 bits: class, subclass, programming interface
	Revision             uint8
}

func (id ID) String() string { return fmt.Sprintf("%04x:%04x", id.Vendor, id.Device) }
