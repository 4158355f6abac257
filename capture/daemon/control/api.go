package control

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
)

// State of a capture.
const (
	Idle    = "idle"    // no frame has been let in yet
	Running = "running" // frames are being received, or taken out of the rings at the end
	Ended   = "ended"   // listeners may still be reading
)

// Status is a capture at a moment.
type Status struct {
	Name    string          `json:"name,omitempty"` // of the port among several
	Port    string          `json:"port"`
	State   string          `json:"state"`
	PID     int             `json:"pid"`             // of the process that captures
	Since   time.Time       `json:"since,omitzero"`  // when frames were let in
	Ended   time.Time       `json:"ended,omitzero"`  // when the last had been taken
	Clock   Clock           `json:"clock"`           // what frames are stamped by
	Rate    Rate            `json:"rate"`            // over the last second
	Lost    uint64          `json:"lost"`            // frames that reached the port undamaged and were not stored, but for those left out on request
	Account capture.Account `json:"account"`         // the port's own
	Error   string          `json:"error,omitempty"` // why the port could not be asked: Account is older then
	Queues  []Queue         `json:"queues"`
}

// Clock is what stamps are made of.
type Clock struct {
	Policy      string  `json:"policy"`         // which frames get their stamp from the clock: as hpcapdd --stamps
	Source      string  `json:"source"`         // tsc, cntvct or clock_gettime
	Hertz       float64 `json:"hertz"`          // of the counter
	Residual    int64   `json:"residual_ns"`    // stamps minus CLOCK_REALTIME when they were compared last
	Worst       int64   `json:"worst_ns"`       // the largest such, steps left out
	Uncertainty int64   `json:"uncertainty_ns"` // of the residual
	Steps       uint64  `json:"steps"`          // times that somebody set CLOCK_REALTIME
}

func clockOf(s capture.ClockAccount) Clock {
	return Clock{
		Policy: s.Policy.String(), Source: s.Source, Hertz: s.Hertz,
		Residual: s.Residual, Worst: s.Worst, Uncertainty: s.Uncertainty, Steps: s.Steps,
	}
}

// Rate is what was captured in a time of about a second.
type Rate struct {
	Over            time.Duration `json:"over_ns"`         // what it is the mean over
	BitsPerSecond   float64       `json:"bits_per_second"` // of frames, without CRC and gaps
	FramesPerSecond float64       `json:"frames_per_second"`
	LostPerSecond   float64       `json:"lost_per_second"` // frames
}

// Queue is one receive queue and its stream. Frames are counted since the
// capture began.
type Queue struct {
	Queue         int           `json:"queue"`
	Core          int           `json:"core"`           // that the poller is pinned to; -1: none
	FIFO          int           `json:"fifo,omitempty"` // SCHED_FIFO priority of the poller; 0: off
	Polled        uint64        `json:"polled"`         // frames; polled = stored + filtered + duplicates + refused, once it has ended
	Stored        uint64        `json:"stored"`
	Filtered      uint64        `json:"filtered"`
	Duplicates    uint64        `json:"duplicates"`
	Refused       uint64        `json:"refused"`
	BufferBytes   uint64        `json:"buffer_bytes"`
	FillBytes     uint64        `json:"fill_bytes"`     // what the slowest lossless listener has still to give back
	LongestGap    time.Duration `json:"longest_gap_ns"` // between two polls
	RiskyGaps     uint64        `json:"risky_gaps"`     // gaps that could have cost frames
	DetachedTotal uint64        `json:"detached_total"` // listeners that were attached and are detached
	Filter        string        `json:"filter"`         // rules; empty: every frame is kept whole
	Sockets       []Socket      `json:"sockets"`        // at which it is shared
	Listeners     []Listener    `json:"listeners"`      // attached now
}

// Socket is where other processes attach to a queue.
type Socket struct {
	Path string `json:"path"`
	Mode string `json:"mode"` // in octal digits: who may attach
}

// Listeners are those of all queues.
type Listeners struct {
	Attached      []Listener `json:"attached"`
	Detached      []Listener `json:"detached"` // the last detached, oldest first for each queue
	DetachedTotal uint64     `json:"detached_total"`
}

// Listener is one listener.
//
//	Stored = Read + Overrun + Unread
type Listener struct {
	Queue       int           `json:"queue"`
	ID          uint64        `json:"id"` // unique in its queue
	Name        string        `json:"name"`
	PID         int           `json:"pid"`
	UID         int           `json:"uid"`
	User        string        `json:"user"` // the UID's name, or its number where it has none
	Policy      string        `json:"policy"`
	DetachAfter time.Duration `json:"detach_after_ns"` // 0: never
	Since       time.Time     `json:"since"`

	Stored       uint64 `json:"stored"`  // frames since it attached
	Read         uint64 `json:"read"`    // frames
	Overrun      uint64 `json:"overrun"` // frames missed
	Unread       uint64 `json:"unread"`  // frames of lag
	ReadBytes    uint64 `json:"read_bytes"`
	OverrunBytes uint64 `json:"overrun_bytes"`

	LagBytes     uint64        `json:"lag_bytes"`
	Lag          time.Duration `json:"lag_ns"` // age of the oldest frame not given back
	DetachReason string        `json:"detach_reason,omitempty"`
}

// Key is the word that names the listener among all: QUEUE:ID.
func (l Listener) Key() string { return fmt.Sprintf("%d:%d", l.Queue, l.ID) }

// listenerOf is a stream's account of a listener.
func listenerOf(queue int, s stream.ListenerStats) Listener {
	return Listener{
		Queue: queue, ID: s.ID, Name: s.Name, PID: s.PID, UID: s.UID, User: userName(s.UID),
		Policy: s.Policy.String(), DetachAfter: s.DetachAfter, Since: s.Since,
		Stored: s.Stored, Read: s.Read, Overrun: s.Overrun, Unread: s.Unread,
		ReadBytes: s.ReadBytes, OverrunBytes: s.OverrunBytes,
		LagBytes: s.LagBytes, Lag: s.Lag, DetachReason: s.DetachReason,
	}
}

// policyRequest changes a listener's policy.
type policyRequest struct {
	Policy string `json:"policy"` // see ParsePolicy
}

// Filters are the rules of all queues.
type Filters struct {
	Queues []Filter `json:"queues"`
}

// Filter is the rules of one queue, in the words of package filter, and what
// they and those before them met.
type Filter struct {
	Queue    int                 `json:"queue"`
	Rules    string              `json:"rules"`    // empty: every frame is kept whole
	Filtered uint64              `json:"filtered"` // frames left out, by these rules and those before
	Hits     []capture.RuleCount `json:"hits"`     // as in capture.QueueAccount; none where there are no rules
}

// filterRequest changes the rules.
type filterRequest struct {
	Rules *string `json:"rules"`
}

// rulesText is the text of rules that may be none.
func rulesText(r *rules.Rules) string {
	if r == nil {
		return ""
	}
	return r.String()
}
