package wire

// Frame is one frame on the wire, without preamble and CRC.
type Frame struct {
	// Data are the frame's bytes, valid until the next Receive of the wire.
	// Fewer than 60 bytes are padded by the port, as by the sender's MAC, unless
	// Damage has Unpadded.
	Data []byte

	// At is the time at which the frame's last bit reached the port, CLOCK_REALTIME
	// ns: the reference for stamps.
	At int64

	// Damage is what is wrong with the frame, 0 for a good one.
	Damage Damage

	// CRC is the frame's CRC with BadCRC, as a receiver stores it: the byte that
	// comes first is the lowest. Otherwise the port computes the right one.
	CRC uint32
}

// Damage is a set of what can be wrong with a frame, apart from its length.
type Damage uint8

const (
	BadCRC      Damage = 1 << iota // Frame.CRC is not that of Data
	Unpadded                       // fewer than 60 bytes are not padded: a runt
	ErrorByte                      // an error symbol within the frame
	IllegalByte                    // an invalid code group within the frame
)

// Wire is the wire of a port of the model. One goroutine, the port's device thread,
// calls Receive and Send; Close may be called from another. After Close both return
// os.ErrClosed.
type Wire interface {
	// Receive fills frames with those that have arrived, oldest first, and returns
	// their number. It does not block. After the last frame of a wire it always
	// returns io.EOF. Another error is an error of the wire.
	//
	// room is the number of free bytes in the port's packet buffer; a wire with
	// backpressure stops there.
	Receive(frames []Frame, room int) (n int, err error)

	// Send sends one frame. The wire copies it.
	Send(data []byte) error

	// Up reports whether there is a carrier.
	Up() bool

	// Close closes the wire and frees its resources.
	Close() error
}

// Noticer is a wire that replays its source with changes.
type Noticer interface {
	Wire

	// Notices returns what is left out or changed, a sentence each.
	Notices() []string
}

// TimedSender is a wire that carries the times at which frames are sent, and frames with
// a wrong CRC. Other wires get each frame at its time, and no frame with a wrong CRC.
type TimedSender interface {
	Wire

	// SendAt sends one frame, whose last bit leaves the port at f.At. The wire copies
	// it.
	SendAt(f Frame) error
}

// CarrierSetter is a wire that carries the state of this port's transmitter to the other
// end, as a fibre does. It is on at first.
type CarrierSetter interface {
	Wire

	// SetCarrier sets the state. The device thread calls it.
	SetCarrier(on bool)
}
