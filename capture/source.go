package capture

import "github.com/ixcap/ixcap/ring"

// Source is one receive queue that a poller drains. driver.RxQueue is one; so
// may be an AF_XDP ring or a file. A Source is used by one goroutine at a time.
type Source interface {
	// Poll fills frames with what has been received, at most len(frames), and
	// returns how many. It never blocks and never allocates. The frames' memory
	// belongs to the caller until Release.
	Poll(frames []ring.Frame) int

	// Release gives the memory of all frames of earlier Polls back to the source.
	Release()
}

// Port is a network port: its queues, and the account of what reached it.
type Port interface {
	// Name is the port's name, for messages and file headers.
	Name() string

	// Sources are the port's receive queues, by queue number.
	Sources() []Source

	// Start lets frames in. Nothing is received before.
	Start() error

	// Account is the port's side of the ledger since Start. It may be called
	// from any goroutine, at any time until Close.
	Account() (Account, error)

	// Ended is closed when no frame will ever come again because the wire has
	// ended; nil for a wire that does not end.
	Ended() <-chan struct{}

	// Gone is closed when the port's device is gone; GoneErr then says why.
	Gone() <-chan struct{}
	GoneErr() error

	// Close stops reception and gives the device back.
	Close() error
}

// Account is a port's side of the ledger: what became of every frame that
// reached it. Wire = Received + sum(Missed) + sum(Bad).
type Account struct {
	Wire     uint64   `json:"wire"`     // frames that reached the port
	Received uint64   `json:"received"` // frames handed to the host
	Missed   []Count  `json:"missed"`   // lost for want of room, by register
	Bad      []Count  `json:"bad"`      // damaged on the wire, by register
	Queue    []uint64 `json:"queue"`    // received, by queue

	// LinkDowns is how often the link was lost. What was sent meanwhile reached
	// no port and is in no account.
	LinkDowns uint64 `json:"link_downs,omitempty"`
}

// Count is a number of frames and the register or cause that it stands for.
type Count struct {
	Cause  string `json:"cause"`
	Frames uint64 `json:"frames"`
}
