package pci

import (
	"fmt"
	"io"

	"github.com/ixcap/ixcap/dma"
)

// Device is an open PCI function, accessed through the kernel's VFIO or the vfio-user
// protocol.
//
// A device can be lost at any time (hot-unplug, end of a server). As on the bus, loads
// then return all ones and stores are discarded; Done is closed and Err returns the
// reason.
type Device interface {
	// Name is the name that the device was opened with.
	Name() string

	// Transport is "vfio" or "vfio-user".
	Transport() string

	// ID is the identity from configuration space.
	ID() ID

	// NUMANode is the NUMA node of the device, -1 if it is not known.
	NUMANode() int

	// Config is the configuration space.
	Config() Region

	// BAR returns the region of base address register n (0-5), the same one every
	// time.
	BAR(n int) (Region, error)

	// DMA maps memory for this device.
	DMA() dma.Mapper

	// Vectors returns the number of interrupt vectors of a kind, 0 if the device
	// does not support it.
	Vectors(kind IRQKind) (int, error)

	// SetVectors connects vectors first, first+1, ... of a kind to eventfds; the
	// device adds 1 to an eventfd for each interrupt. -1 disconnects a vector,
	// an empty slice all vectors of the kind. The caller owns the descriptors.
	SetVectors(kind IRQKind, first int, eventfds []int) error

	// MaskVector masks or unmasks a vector.
	MaskVector(kind IRQKind, vector int, masked bool) error

	// Reset resets the function: registers have their defaults, DMA stops. Connected
	// eventfds stay connected.
	Reset() error

	// Done is closed when the device is lost or closed.
	Done() <-chan struct{}

	// Err is nil while the device works, then the reason why Done was closed.
	Err() error

	// Close stops the device's DMA, unmaps all memory and releases the function.
	Close() error
}

// Region is a BAR or the configuration space of a device. Offsets are in bytes from its
// start. ReadAt and WriteAt with an aligned length of 1, 2, 4 or 8 bytes are a single
// access; other lengths are split.
type Region interface {
	io.ReaderAt
	io.WriterAt

	// Size is the size in bytes.
	Size() int64

	// Load32 is one 32-bit read, all ones if the device is lost. It panics unless
	// off is a multiple of 4 below Size.
	Load32(off uint32) uint32

	// Store32 is one 32-bit write, ordered after all earlier stores of the caller to
	// memory that the device reads. It panics as Load32 does.
	Store32(off uint32, v uint32)
}

// IRQKind is an interrupt mechanism; the values are VFIO's interrupt indices.
type IRQKind int

const (
	INTx     IRQKind = 0
	MSI      IRQKind = 1
	MSIX     IRQKind = 2
	ErrorIRQ IRQKind = 3 // the device reports an uncorrectable error
	Request  IRQKind = 4 // the kernel requests the release of the device
)

// ID identifies the kind of a function.
type ID struct {
	Vendor, Device       uint16
	SubVendor, SubDevice uint16
	Class                uint32 // 24 bits: class, subclass, programming interface
	Revision             uint8
}

func (id ID) String() string { return fmt.Sprintf("%04x:%04x", id.Vendor, id.Device) }
