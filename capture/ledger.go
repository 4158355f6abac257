package capture

import (
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/stream"
)

// Ledger is the account of a capture: it assigns every frame that reached the port,
// and every byte to be stored, to one counter. It is exact once the capture has
// ended (Engine.Stop). Until then it is Running: its counters are of different moments,
// a frame may be between two of them, and text and JSON have no verdict on the balance.
// docs/JSON.md describes its JSON form. Counts are frames unless their name says otherwise.
type Ledger struct {
	Port     string        `json:"port"`
	Duration time.Duration `json:"duration_ns"` // from Start until the port stopped
	Running  bool          `json:"running,omitempty"`
	Account  Account       `json:"account"`

	// LossCauses are the frames missed by the port, by what they were lost to.
	LossCauses []sched.LossCause `json:"loss_causes,omitempty"`

	Clock   ClockAccount    `json:"clock"`
	Queues  []QueueAccount  `json:"queues"`
	Storers []StorerAccount `json:"storers,omitempty"`
}

// ClockAccount holds the policy of the stamps and the accuracy of the clock.
type ClockAccount struct {
	Policy clock.Policy `json:"policy"`

	// StampedBy says who stamped the frames before the poll. Policy and Status then do not
	// concern their stamps, and the uncertainty of queues is not known, but 0.
	StampedBy string `json:"stamped_by,omitempty"`
	clock.Status

	// Device compares stamps with those of the device's clock; nil: it has none, or it is
	// not used.
	Device *DeviceComparison `json:"device,omitempty"`
}

// DeviceComparison compares the stamps of PTP event messages in the stream with those that
// the port's device took when the same frames began to arrive. Differences are stamp minus
// device's stamp, in ns.
type DeviceComparison struct {
	Messages    uint64 `json:"messages"`            // compared
	Unmatched   uint64 `json:"unmatched,omitempty"` // stamps of one side without the other
	Mean        int64  `json:"mean_ns"`
	Least       int64  `json:"min_ns"`
	Most        int64  `json:"max_ns"`
	Uncertainty int64  `json:"uncertainty_ns"` // largest of the device's stamps
}

// QueueAccount accounts for the frames that one queue received.
type QueueAccount struct {
	Queue         int               `json:"queue"`
	Polled        uint64            `json:"polled"`                  // frames taken from the queue
	Stored        uint64            `json:"stored"`                  // frames stored in the stream
	Bytes         uint64            `json:"bytes"`                   // of the frames polled, on the wire without CRC
	Cut           uint64            `json:"cut,omitempty"`           // stored in part
	Filtered      uint64            `json:"filtered,omitempty"`      // dropped by rules, or beyond Config.Count
	Duplicates    uint64            `json:"duplicates,omitempty"`    // removed as duplicates
	Refused       []Count           `json:"refused,omitempty"`       // lost, by cause
	Rules         []RuleCount       `json:"rules,omitempty"`         // frames by the rule that they matched
	Listeners     []ListenerAccount `json:"listeners,omitempty"`     // attached ones, then the last detached ones
	OlderDetached DetachedAccount   `json:"older_detached,omitzero"` // listeners detached before these

	// Groups are the fan-out groups of listeners, each with an account of its members.
	Groups []stream.GroupStats `json:"groups,omitempty"`

	// Pool is the queue's ring-buffer pool; nil: its frames are copied.
	Pool *PoolAccount `json:"pool,omitempty"`

	StoredBytes uint64 `json:"stored_bytes"` // of the frames stored, as stored: without what was cut
	StreamBytes uint64 `json:"stream_bytes"` // of the stream: stored bytes, headers and padding

	Core    int  `json:"core"`              // that the poller was pinned to, or AnyCore
	FIFO    int  `json:"fifo,omitempty"`    // its SCHED_FIFO priority
	Demoted bool `json:"demoted,omitempty"` // SCHED_FIFO was given up because nothing else of the program ran

	// Uncertainty is the longest time between a frame's arrival in host memory and its
	// stamp that the poller cannot exclude.
	Uncertainty time.Duration `json:"stamp_uncertainty_ns"`

	LongestGap    time.Duration  `json:"longest_gap_ns"`       // between two polls
	Gaps          []sched.Bucket `json:"gaps,omitempty"`       // histogram of the times between two polls
	ExcessiveGaps uint64         `json:"excessive_gaps"`       // gaps that exceeded the NIC buffer: frames may be lost
	WorstGaps     []sched.Gap    `json:"worst_gaps,omitempty"` // excessive ones first, then the longest

	Polls  uint64        `json:"polls"`
	Sleeps uint64        `json:"sleeps,omitempty"` // times the poller slept until an interrupt
	Slept  time.Duration `json:"slept_ns,omitempty"`
}

// ListenerAccount accounts for the frames stored since a listener attached.
type ListenerAccount struct {
	ID           uint64 `json:"id"` // unique in its queue
	Name         string `json:"name"`
	PID          int    `json:"pid"`
	UID          int    `json:"uid"`
	Policy       string `json:"policy"`
	DetachReason string `json:"detach_reason,omitempty"` // empty: it is attached
	Stored       uint64 `json:"stored"`                  // since it attached
	Read         uint64 `json:"read"`                    // delivered to it
	Overrun      uint64 `json:"overrun"`                 // overwritten before it read them
	Skipped      uint64 `json:"skipped,omitempty"`       // of other members of its fan-out group
	Unread       uint64 `json:"unread"`                  // not read yet
}

// DetachedAccount is the sum of the accounts of detached listeners.
type DetachedAccount struct {
	Listeners uint64 `json:"listeners"`
	Stored    uint64 `json:"stored"`
	Read      uint64 `json:"read"`
	Overrun   uint64 `json:"overrun"`
	Skipped   uint64 `json:"skipped,omitempty"`
	Unread    uint64 `json:"unread"`
}

// StorerAccount accounts for the bytes that a storer read from a stream.
type StorerAccount struct {
	Name     string      `json:"name"`
	Queue    int         `json:"queue"`
	Read     uint64      `json:"read_bytes"`
	Written  uint64      `json:"written_bytes"`
	Filtered uint64      `json:"filtered_bytes,omitempty"` // of frames that the storer's filter dropped
	Cut      uint64      `json:"cut_bytes,omitempty"`      // of frames' ends that it does not store
	Failed   []ByteCount `json:"failed,omitempty"`         // lost, by cause

	FailedFrames uint64 `json:"failed_frames,omitempty"` // of which not all bytes were written
	Files        int    `json:"files"`
}

// ByteCount is a number of bytes and its cause.
type ByteCount struct {
	Cause string `json:"cause"`
	Bytes uint64 `json:"bytes"`
}

// Lost is the number of frames that reached the port undamaged and are not in a
// stream, except those that rules dropped and duplicates.
func (l Ledger) Lost() uint64 {
	n := sum(l.Account.Missed)
	for _, q := range l.Queues {
		n += sum(q.Refused)
	}
	return n
}

// Unwritten is the number of bytes that storers read and could not write.
func (l Ledger) Unwritten() uint64 {
	var n uint64
	for _, s := range l.Storers {
		for _, f := range s.Failed {
			n += f.Bytes
		}
	}
	return n
}

// TotalLost is Lost and the frames that storers could not write completely. It
// counts a frame once for each storer that failed to write it.
func (l Ledger) TotalLost() uint64 {
	n := l.Lost()
	for _, s := range l.Storers {
		n += s.FailedFrames
	}
	return n
}

// OrderBound is how far the stamps of two frames from different queues can be in
// another order than the frames arrived in: the sum of the two largest uncertainties. A
// frame with a stamp that is later by more arrived later. It is 0 for one queue, whose
// stamps have the order of arrival.
func (l Ledger) OrderBound() time.Duration {
	var first, second time.Duration
	for _, q := range l.Queues {
		first, second = max(first, q.Uncertainty), max(second, min(first, q.Uncertainty))
	}
	if len(l.Queues) < 2 {
		return 0
	}
	return first + second
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

// received and stored are the mean rates of the frames polled, and of those stored, over
// all queues.
func (l Ledger) received() Throughput {
	var frames uint64
	for _, q := range l.Queues {
		frames += q.Polled
	}
	return throughput(frames, l.Bytes(), l.Duration.Seconds())
}

func (l Ledger) stored() Throughput {
	var bytes uint64
	for _, q := range l.Queues {
		bytes += q.StoredBytes
	}
	return throughput(l.Frames(), bytes, l.Duration.Seconds())
}

// ErrUnbalanced is wrapped by the errors of Balanced.
var ErrUnbalanced = errors.New("ledger does not balance")

// Balanced checks the ledger's equations, which hold once the capture has ended. The
// error contains each that fails, with its numbers, and wraps ErrUnbalanced.
func (l Ledger) Balanced() error {
	var wrong []error
	equal := func(what string, whole, parts uint64, terms string, args ...any) {
		if whole != parts {
			wrong = append(wrong, fmt.Errorf("%w: %s: %d is not %d = %s",
				ErrUnbalanced, what, whole, parts, fmt.Sprintf(terms, args...)))
		}
	}
	a := l.Account
	equal("wire", a.Wire, a.Received+a.Filtered+sum(a.Missed)+sum(a.Bad),
		"received %d + filtered %d + missed %d + bad %d", a.Received, a.Filtered, sum(a.Missed), sum(a.Bad))
	if len(l.LossCauses) != 0 {
		var judged uint64
		for _, c := range l.LossCauses {
			judged += c.Frames
		}
		equal("missed", sum(a.Missed), judged, "%d causes", len(l.LossCauses))
	}
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
			equal(fmt.Sprintf("queue %d polled", q.Queue), q.Polled, ruled, "matched by %d rules", len(q.Rules))
		}
		if q.Queue < len(a.Queue) {
			equal(fmt.Sprintf("queue %d received", q.Queue), a.Queue[q.Queue], q.Polled, "polled")
		}
		for _, r := range q.Listeners {
			equal(fmt.Sprintf("queue %d listener %q stored since it attached", q.Queue, r.Name), r.Stored,
				r.Read+r.Overrun+r.Skipped+r.Unread, "read %d + overrun %d + skipped %d + unread %d", r.Read, r.Overrun, r.Skipped, r.Unread)
		}
		f := q.OlderDetached
		equal(fmt.Sprintf("queue %d %d older listeners stored since they attached", q.Queue, f.Listeners), f.Stored,
			f.Read+f.Overrun+f.Skipped+f.Unread, "read %d + overrun %d + skipped %d + unread %d", f.Read, f.Overrun, f.Skipped, f.Unread)
		for i := range q.Groups {
			g := &q.Groups[i]
			equal(fmt.Sprintf("queue %d stored", q.Queue), q.Stored, g.Stored, "stored for group %d", g.Group)
			if err := g.Balanced(); err != nil {
				wrong = append(wrong, fmt.Errorf("%w: queue %d %w", ErrUnbalanced, q.Queue, err))
			}
		}
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
