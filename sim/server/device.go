package server

// Device is a PCI function that a Server serves. The server calls its methods from
// one goroutine per connection, one at a time.
type Device interface {
	// Layout describes the function. It is called once per connection.
	Layout() Layout

	// ReadRegion and WriteRegion are the client's accesses to a region that is
	// not memory-mapped. off+len(p) is within the region. The client gets the errno
	// that an error wraps (EINVAL if none).
	ReadRegion(region int, off uint64, p []byte) error
	WriteRegion(region int, off uint64, p []byte) error

	// Attach passes the host of a client that has connected. The device must not
	// use it after Detach has returned.
	Attach(h Host)
	Detach()

	// Quiesce runs f while the device makes no access through its Host. The server
	// changes the DMA map and the interrupt eventfds only in f.
	Quiesce(f func())

	// Resample is called when INTx has been connected or unmasked. A device whose
	// line is still asserted must raise it again.
	Resample()

	// Reset is the function-level reset.
	Reset()
}

// Host is the memory and the interrupts of a connected client. Only the device's own
// thread calls it, and never inside Quiesce.
type Host interface {
	// Bytes returns n bytes of the client's memory, nil unless [iova, iova+n) lies
	// in one shared mapping that allows the access. The slice is valid until the
	// next Quiesce.
	Bytes(iova uint64, n int, write bool) []byte

	// ReadDMA and WriteDMA copy from and to the client's memory, by message where
	// it is not shared. An unmapped address is an error at once. The server then
	// sends the access to the client, so that an emulated IOMMU can report the
	// fault, and ignores the reply.
	ReadDMA(iova uint64, p []byte) error
	WriteDMA(iova uint64, p []byte) error

	// Raise signals an interrupt vector of VFIO index irq (0 INTx, 1 MSI, 2 MSI-X).
	// A vector that is not connected is ignored; one that is masked is signalled
	// once when it is unmasked. Signalling INTx masks it until the client unmasks it
	// (VFIO's AUTOMASKED).
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

// Doorbell is a register whose writes can come through shared memory and an eventfd
// (shadow ioeventfd) instead of a message: the client stores the value at byte
// Shadow of ShadowFD's memory, then signals EventFD. The device reads EventFD, then
// loads the value. Doorbells may share both descriptors, which the device owns.
// Other clients write the register by message, so WriteRegion must handle it too.
type Doorbell struct {
	Offset   uint64 // of the register in its region, 4 bytes
	EventFD  int
	ShadowFD int
	Shadow   uint64 // offset of the value in the shadow memory, a multiple of 4
}
