package capture

import (
	"time"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

// This file holds every interface that a port or a receive queue satisfies: Port
// and Source, which are required, and optional ones for what only some ports and
// queues can do.
//
//	Port     Stopper, Noticer, Placer, Limited, Counted, Spreader (spread.go), StampTaker
//	Source   Ring, Sleeper, Stamped, Timed

// Source is one receive queue that a poller drains, for example a driver.RxQueue,
// an AF_XDP ring or a file. One goroutine at a time calls its methods.
type Source interface {
	// Poll fills frames with received frames, at most len(frames), and returns
	// their number. It neither blocks nor allocates. The memory of the frames
	// belongs to the caller until Release.
	Poll(frames []ring.Frame) int

	// Release returns the memory of all frames of earlier Polls to the source.
	Release()
}

// Ring is a Source with a descriptor ring of fixed size.
type Ring interface {
	Source

	// Size is the number of descriptors. A frame occupies at least one of them
	// until it is polled.
	Size() int
}

// Sleeper is a Source that can block the poller's thread until a frame arrives.
type Sleeper interface {
	Source

	// CanSleep reports whether Sleep can be used, for example whether the queue
	// has an interrupt. It does not change after the port was opened.
	CanSleep() bool

	// Sleep is called when Poll returned no frame. It blocks the calling thread
	// until a frame may have arrived, Wake is called, or limit has passed, and
	// reports whether it blocked: a queue under load may return at once, because
	// polling is cheaper than an interrupt. It does not allocate.
	Sleep(limit time.Duration) bool

	// Wake ends the current Sleep, or the next one, at once. Any goroutine may
	// call it.
	Wake()
}

// Stamped is a Source whose frames bear stamps from before the poll, such as those of
// the kernel. They are stored in place of the poller's.
type Stamped interface {
	Source

	// Stamps returns the stamps of the frames of the last Poll, in their order, and none
	// earlier than the one before. The memory belongs to the caller until the next Poll.
	Stamps() []clock.Stamp

	// StampedBy says who gave them, for the ledger: "kernel, at reception". Any goroutine
	// may call it.
	StampedBy() string
}

// Timed is a Source whose device takes time stamps of some frames, PTP event messages,
// which the port has (StampTaker).
type Timed interface {
	Source

	// Timed returns the frames of the last Poll of which the device has taken a stamp: the
	// Data of each.
	Timed() [][]byte
}

// StampTaker is a Port whose device stamps PTP event messages with its own clock.
type StampTaker interface {
	// HasClock reports whether the device's clock is used.
	HasClock() bool

	// TakeStamp returns the stamp that the device has taken and lets it take the next. It
	// returns false if there is none.
	TakeStamp() (DeviceStamp, bool)
}

// DeviceStamp is when a frame began to arrive, by the clock of the port's device.
type DeviceStamp struct {
	Sequence    uint16 // of the PTP message
	Time        int64  // CLOCK_REALTIME, ns since 1970
	Uncertainty int64  // of Time, ns
}

// Pooled is a Source whose frames may stay where the device has put them, in packet buffers
// of a pool, until they are recycled. Release does nothing. The frames of a Poll are a part
// of the pool.
type Pooled interface {
	Source

	// Pool describes the memory of the buffers.
	Pool() stream.Pool

	// Run returns the next descriptors, at most so many. Take takes the frames in the first n
	// of them, at least one. They are a part then, or are added to the last one, for which
	// Take returns true.
	Run(most int) ring.Run
	Take(n int) (added bool)

	// Needs returns how many more frames should be recycled for the device to have
	// buffers enough, 0 if none.
	Needs() int

	// Dry reports whether the device may have too few buffers for a frame, gets none before
	// Recycle, and has nothing left to poll.
	Dry() bool

	// Recycle returns the buffers of the n oldest parts, or of all, to the device.
	Recycle(n int)

	// Chunks and ChunkSize are R and M of the pool: its chunks, and the buffers of each.
	Chunks() int
	ChunkSize() int

	// Depth is how long the pool takes the shortest frames without a gap, at a line rate in
	// bits per second, if nothing is recycled.
	Depth(lineRate uint64) time.Duration
}

// Port is a network port: its receive queues and its frame counters.
type Port interface {
	// Name is the name of the port in messages and file headers.
	Name() string

	// Sources returns the receive queues in the order of their numbers. They are
	// the same in every call.
	Sources() []Source

	// Start enables reception. The port receives nothing before.
	Start() error

	// Account returns the port's counters since Start. Any goroutine may call it,
	// at any time until Close.
	Account() (Account, error)

	// Ended is closed when the wire has ended and no frame will follow. It is nil
	// for a wire that does not end.
	Ended() <-chan struct{}

	// Gone is closed when the device is no longer there; GoneErr then returns the
	// reason, and nil before.
	Gone() <-chan struct{}
	GoneErr() error

	// Close stops reception and releases the device.
	Close() error
}

// Stopper is a Port that can stop reception and still be asked for its Account.
// Without it, the ledger does not include frames that arrive while the capture
// stops.
type Stopper interface {
	// Stop disables reception. Frames that the port has accepted stay in the
	// queues until they are polled.
	Stop() error
}

// Noticer is implemented by ports whose device is not quite what its name says, such as
// a model that replays a part of a file.
type Noticer interface {
	// Notices returns what the user should know, a sentence each.
	Notices() []string
}

// Placer is a Port that prefers certain memory for the streams.
type Placer interface {
	Pages() hugepage.Size
	Node() int // NUMA node, or hugepage.AnyNode
}

// Limited is a Port with known hardware limits. The scheduling diagnosis computes
// from them for how long the port buffers arriving frames while a queue is not
// polled.
type Limited interface{ Limits() Limits }

// Counted is a Port with counters of its own: those of its device. Any goroutine may call
// Counters, at any time until Close.
type Counted interface{ Counters() ([]Counter, error) }

// Counter is one counter of a port's device.
type Counter struct {
	Name     string `json:"name"`               // as `ethtool -S` calls it, where that has it
	Register string `json:"register,omitempty"` // of the device, if it is known
	Value    uint64 `json:"value"`
}

// Limits are the hardware limits of a port. Zero values mean unknown or none.
type Limits struct {
	// LineRate is the highest bit rate of the wire, in bits per second.
	LineRate uint64

	// PacketBuffer is the size in bytes of the memory that stores received frames
	// while a descriptor ring is full, as far as one queue can use it. A frame
	// occupies its length with CRC, rounded up to a multiple of BufferStep bytes.
	PacketBuffer int
	BufferStep   int

	// Sleep is the longest sleep of a queue without frames, for devices whose interrupt
	// may be lost; 0: a second.
	Sleep time.Duration
}

// Account holds a port's frame counters:
// Wire = Received + Filtered + sum(Missed) + sum(Bad).
type Account struct {
	Wire     uint64  `json:"wire"`               // frames that reached the port
	Received uint64  `json:"received"`           // frames delivered to the host
	Filtered uint64  `json:"filtered,omitempty"` // dropped by filters of the port
	Missed   []Count `json:"missed"`             // lost for lack of buffers, by register
	Bad      []Count `json:"bad"`                // damaged on the wire, by register

	// BadReceived are damaged frames that a port delivers on request, by register: they are
	// among Received and Missed, and in no other count.
	BadReceived []Count  `json:"bad_received,omitempty"`
	Queue       []uint64 `json:"queue"` // received, by queue

	// Split is the number of super-frames (segments of a flow that the host's stack joined,
	// or did not split) of which the port made frames. Received counts the frames.
	Split uint64 `json:"split,omitempty"`

	// LinkDowns is how often the link was lost. Frames sent while the link is down
	// reach no port and are in no counter.
	LinkDowns uint64 `json:"link_downs,omitempty"`
}

// SumWire sets Wire for a port that does not count it itself: all that was received,
// missed or bad.
func (a *Account) SumWire() {
	a.Wire = a.Received + a.Filtered
	for _, list := range [][]Count{a.Missed, a.Bad} {
		for _, c := range list {
			a.Wire += c.Frames
		}
	}
}

// Count is a number of frames and their register or cause.
type Count struct {
	Cause  string `json:"cause"`
	Frames uint64 `json:"frames"`
}
