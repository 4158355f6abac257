package wire

// Frame is one frame on the wire, without preamble and CRC.
type Frame struct {
	// Data are the frame's bytes, valid until the next Receive of the wire.
	// They may be fewer than 60: the port pads, as the sender's MAC would.
	Data []byte

	// At is when the frame's last bit reached the port: CLOCK_REALTIME
	// nanoseconds, the true arrival time that stamps are judged against.
	At int64
}

// Wire is what a port of the model is plugged into. One goroutine, the port's
// device thread, calls Receive and Send; Close may be called from another.
type Wire interface {
	// Receive fills frames with those that have arrived by now, oldest first,
	// and returns how many. It does not wait: 0 and nil mean that nothing has
	// arrived yet. After the last frame of a wire that ends it returns io.EOF,
	// from then on always. Another error is a fault of the wire itself.
	//
	// room is how many bytes the port's packet buffer can still take; a wire
	// that was told to hold (rather than overrun the port) stops there.
	Receive(frames []Frame, room int) (n int, err error)

	// Send carries one frame away from the port. The wire copies what it keeps.
	Send(data []byte) error

	// Up tells whether the other end is there (carrier).
	Up() bool

	// Close ends the wire and frees what it holds.
	Close() error
}

// CarrierSetter is a wire whose other end can see whether this port's transmitter is on,
// as the two ends of a fibre do. Without a word from the port it is.
type CarrierSetter interface {
	Wire

	// SetCarrier says whether it is. The device thread calls it.
	SetCarrier(on bool)
}
