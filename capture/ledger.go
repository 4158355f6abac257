package capture

import (
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/clock"
)

// Ledger is the account of a capture: what became of every frame that reached
// the port, and of every byte that was to be stored. It is exact once the
// capture has ended (Engine.Stop); before, frames are on their way from one
// account to the next.
type Ledger struct {
	Port    string          `json:"port"`
	Seconds float64         `json:"seconds"` // from Start until the port stopped
	Account Account         `json:"account"`
	Clock   ClockAccount    `json:"clock"`
	Queues  []QueueAccount  `json:"queues"`
	Storers []StorerAccount `json:"storers,omitempty"`
}

// ClockAccount says how frames were stamped, and how good the clock is.
type ClockAccount struct {
	Policy clock.Policy `json:"policy"`
	clock.Status
}

// QueueAccount says what became of the frames that one queue received.
type QueueAccount struct {
	Queue         int               `json:"queue"`
	Polled        uint64            `json:"polled"`                  // frames taken from the queue
	Stored        uint64            `json:"stored"`                  // frames stored in the stream
	Bytes         uint64            `json:"bytes"`                   // of the frames polled, on the wire without CRC
	Cut           uint64            `json:"cut,omitempty"`           // of those stored, not whole
	Filtered      uint64            `json:"filtered,omitempty"`      // left out on request
	Duplicates    uint64            `json:"duplicates,omitempty"`    // left out as copies
	Refused       []Count           `json:"refused,omitempty"`       // could not be stored, by cause
	Rules         []RuleCount       `json:"rules,omitempty"`         // what those in force met, and what came before
	Listeners     []ListenerAccount `json:"listeners,omitempty"`     // attached, then those that left last
	OlderDetached DetachedAccount   `json:"older_detached,omitzero"` // listeners that left before those

	StreamBytes uint64        `json:"stream_bytes"`   // put into the stream: stored bytes, headers and padding
	Longest     time.Duration `json:"longest_gap"`    // between two polls, ns
	Gaps        []Gap         `json:"gaps,omitempty"` // how often which time passed between two polls

	Core int `json:"core"`           // that the poller was pinned to, or AnyCore
	FIFO int `json:"fifo,omitempty"` // its SCHED_FIFO priority

	// FIFOGivenUp: it had SCHED_FIFO until nothing else of the program ran any more.
	FIFOGivenUp bool `json:"fifo_given_up,omitempty"`

	Risky uint64  `json:"risky"`           // times that it did not poll for so long that it could have cost frames
	Worst []Stall `json:"worst,omitempty"` // the longest times that it did not poll, those that were risky first

	Polls  uint64        `json:"polls"`
	Sleeps uint64        `json:"sleeps,omitempty"` // times the poller slept until an interrupt
	Slept  time.Duration `json:"slept,omitempty"`  // ns
}

// ListenerAccount says what became of the frames stored since a listener attached.
type ListenerAccount struct {
	ID           uint64 `json:"id"` // unique in its queue
	Name         string `json:"name"`
	PID          int    `json:"pid"`
	UID          int    `json:"uid"`
	Policy       string `json:"policy"`
	DetachReason string `json:"detach_reason,omitempty"` // why it is not attached any more; empty: it is
	Stored       uint64 `json:"stored"`                  // since it attached
	Read         uint64 `json:"read"`                    // frames delivered to it
	Overrun      uint64 `json:"overrun"`                 // frames it was too slow for
	Unread       uint64 `json:"unread"`                  // frames still to be read
}

// DetachedAccount is the sum of the accounts of listeners that left.
type DetachedAccount struct {
	Listeners uint64 `json:"listeners"`
	Stored    uint64 `json:"stored"`
	Read      uint64 `json:"read"`
	Overrun   uint64 `json:"overrun"`
	Unread    uint64 `json:"unread"`
}

// StorerAccount says what became of the bytes that a storer read from a stream.
type StorerAccount struct {
	Name     string      `json:"name"`
	Queue    int         `json:"queue"`
	Read     uint64      `json:"read"`               // bytes
	Written  uint64      `json:"written"`            // bytes
	Filtered uint64      `json:"filtered,omitempty"` // bytes of frames that the storer left out on request
	Cut      uint64      `json:"cut,omitempty"`      // bytes of frames' ends that it left out on request
	Failed   []ByteCount `json:"failed,omitempty"`
	Files    int         `json:"files"`
}

// ByteCount is a number of bytes and what it stands for.
type ByteCount struct {
	Cause string `json:"cause"`
	Bytes uint64 `json:"bytes"`
}

// Lost is the number of frames that reached the port undamaged and were not stored,
// those left out on request excepted.
func (l Ledger) Lost() uint64 {
	n := sum(l.Account.Missed)
	for _, q := range l.Queues {
		n += sum(q.Refused)
	}
	return n
}

// Frames is the number of frames stored, over all queues.
func (l Ledger) Frames() uint64 {
	var n uint64
	for _, q := range l.Queues {
		n += q.Stored
	}
	return n
}

// Bytes is the number of bytes on the wire, without CRC, of the frames polled,
// over all queues.
func (l Ledger) Bytes() uint64 {
	var n uint64
	for _, q := range l.Queues {
		n += q.Bytes
	}
	return n
}

// ErrUnbalanced is wrapped by what Balanced returns.
var ErrUnbalanced = errors.New("ledger does not balance")

// Balanced checks the ledger's equations. Its error names each that fails, with
// its numbers.
func (l Ledger) Balanced() error {
	var wrong []error
	equal := func(what string, whole, parts uint64, terms string, args ...any) {
		if whole != parts {
			wrong = append(wrong, fmt.Errorf("%w: %s: %d is not %d = %s",
				ErrUnbalanced, what, whole, parts, fmt.Sprintf(terms, args...)))
		}
	}
	a := l.Account
	equal("wire", a.Wire, a.Received+sum(a.Missed)+sum(a.Bad),
		"received %d + missed %d + bad %d", a.Received, sum(a.Missed), sum(a.Bad))
	var polled uint64
	for _, q := range l.Queues {
		polled += q.Polled
		equal(fmt.Sprintf("queue %d polled", q.Queue), q.Polled, q.Stored+q.Filtered+q.Duplicates+sum(q.Refused),
			"stored %d + filtered %d + duplicates %d + refused %d", q.Stored, q.Filtered, q.Duplicates, sum(q.Refused))
		if len(q.Rules) != 0 {
			var ruled uint64
			for _, r := range q.Rules {
				ruled += r.Frames
			}
			equal(fmt.Sprintf("queue %d polled", q.Queue), q.Polled, ruled, "met by %d rules", len(q.Rules))
		}
		if q.Queue < len(a.Queue) {
			equal(fmt.Sprintf("queue %d received", q.Queue), a.Queue[q.Queue], q.Polled, "polled")
		}
		for _, r := range q.Listeners {
			equal(fmt.Sprintf("queue %d listener %q stored since it attached", q.Queue, r.Name), r.Stored,
				r.Read+r.Overrun+r.Unread, "read %d + overrun %d + unread %d", r.Read, r.Overrun, r.Unread)
		}
		f := q.OlderDetached
		equal(fmt.Sprintf("queue %d %d more listeners stored since they attached", q.Queue, f.Listeners), f.Stored,
			f.Read+f.Overrun+f.Unread, "read %d + overrun %d + unread %d", f.Read, f.Overrun, f.Unread)
	}
	equal("received", a.Received, polled, "polled from %d queues", len(l.Queues))
	for _, s := range l.Storers {
		var failed uint64
		for _, f := range s.Failed {
			failed += f.Bytes
		}
		what, left := fmt.Sprintf("storer %s bytes read", s.Name), s.Filtered+s.Cut
		if left == 0 {
			equal(what, s.Read, s.Written+failed, "written %d + failed %d", s.Written, failed)
		} else {
			equal(what, s.Read, s.Written+failed+left, "written %d + failed %d + filtered %d + cut %d", s.Written, failed, s.Filtered, s.Cut)
		}
	}
	return errors.Join(wrong...)
}

func sum(counts []Count) uint64 {
	var n uint64
	for _, c := range counts {
		n += c.Frames
	}
	return n
}
