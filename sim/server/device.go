package server

// Device is a PCI function that a Server offers to its client. The server calls
// its methods from one goroutine per connection, one at a time.
type Device interface {
	// Layout describes the function. It is asked once per connection.
	Layout() Layout

	// ReadRegion and WriteRegion are the client's accesses to a region that is
	// not memory-mapped. off+len(p) is within the region. An error is sent to
	// the client as the errno it wraps (EINVAL when it wraps none).
	ReadRegion(region int, off uint64, p []byte) error
	WriteRegion(region int, off uint64, p []byte) error

	// Attach gives the device its host, when a client has connected; Detach
	// takes it away again. After Detach returns the device must not use it.
	Attach(h Host)
	Detach()

	// Quiesce runs f while the device makes no access through its Host. The
	// server changes the DMA map and the interrupt eventfds only within f.
	Quiesce(f func())

	// Resample is called when INTx has been connected or unmasked: a device whose
	// line is still asserted raises it again, as the level of a line does by itself.
	Resample()

	// Reset is the function-level reset.
	Reset()
}

// Host is what a connected client has given to the device: its memory and its
// interrupts. Only the device's own thread calls it, and never inside Quiesce.
type Host interface {
	// Bytes gives direct access to n bytes of the client's memory, nil when
	// [iova, iova+n) is not within one mapping that is shared and allows it.
	// The slice may be used until the next Quiesce.
	Bytes(iova uint64, n int, write bool) []byte

	// ReadDMA and WriteDMA copy from and to the client's memory, by message
	// where it is not shared. An address that is not mapped is an error, at once.
	// The client hears of it all the same: the server sends it the access
	// afterwards, without waiting, so that an IOMMU of the client's can report
	// the fault; what it answers changes nothing.
	ReadDMA(iova uint64, p []byte) error
	WriteDMA(iova uint64, p []byte) error

	// Raise signals an interrupt vector of VFIO index irq (0 INTx, 1 MSI, 2 MSI-X).
	// A vector that is not connected is not signalled, one that is masked is
	// signalled once when it is unmasked. INTx masks itself when signalled, until
	// the client unmasks it (VFIO's AUTOMASKED).
	Raise(irq, vector int)
}

// Layout describes a function's regions and interrupts.
type Layout struct {
	Regions []Region // by VFIO index: BAR 0-5, ROM, configuration space, VGA
	Vectors []int    // interrupt vectors by VFIO index: INTx, MSI, MSI-X, error, request
}

// Region describes one region; size 0 means absent.
type Region struct {
	Size      uint64
	Readable  bool
	Writable  bool
	Doorbells []Doorbell
}

// Doorbell is a register whose writes the client may deliver through shared
// memory and an eventfd (shadow ioeventfd) instead of a message: the client
// stores the value at byte Shadow of the memory behind ShadowFD, then signals
// EventFD. The device takes EventFD's counter and then loads the value from
// there. Doorbells may share both descriptors, which stay the device's. Other
// clients write the register by message, so WriteRegion must understand it too.
type Doorbell struct {
	Offset   uint64 // of the register in its region, 4 bytes
	EventFD  int
	ShadowFD int
	Shadow   uint64 // offset of the value in the shadow memory, a multiple of 4
}
