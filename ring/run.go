package ring

// Run is a row of receive descriptors, and the packet buffers of a pool that are attached to
// them, for a loop that polls them itself.
type Run struct {
	Descriptors []RxDescriptor // the device completes them one after the other
	Buffer      uint32         // of the first descriptor; the next one has the next buffer
	Limit       uint32         // longest packet of the fast path, in bytes
	Info        Info           // of all frames, besides that of DescribeFast

	// Next is the address with which the loop refills the first descriptor once it is polled,
	// and that of the next buffer the second, and so on; 0: it refills none.
	Next uint64
}
