package control

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/stream"
)

// States of a capture.
const (
	Idle    = "idle"    // not started
	Running = "running" // frames are received, or drained from the rings at the end
	Ended   = "ended"   // listeners may still be reading
)

// Status is the state of one port's capture. Counters without a unit are frames.
type Status struct {
	Name    string               `json:"name,omitempty"` // of the port, where there are several
	Port    string               `json:"port"`           // device, as ports.Open takes it
	State   string               `json:"state"`
	Awaited int                  `json:"wait_listeners,omitempty"`     // listeners of other processes that the port waits for at each queue before it starts
	Arrived int                  `json:"attached_listeners,omitempty"` // of these, attached at the queue that has fewest
	PID     int                  `json:"pid"`                          // of the capturing process
	Since   time.Time            `json:"since,omitzero"`               // of reception
	Ended   time.Time            `json:"ended,omitzero"`               // of reception
	Clock   capture.ClockAccount `json:"clock"`
	Rate    Rate                 `json:"rate"`    // over the last second
	Lost    uint64               `json:"lost"`    // undamaged frames that reached the port and were not stored, filtered ones and duplicates excepted
	Account capture.Account      `json:"account"` // the port's own counters; Account.Filtered: what its filters dropped

	// LossCauses are the frames missed by the port, by what they were lost to.
	LossCauses []sched.LossCause `json:"loss_causes,omitempty"`

	Filters []Filter `json:"port_filters,omitempty"` // those of the port itself, in order

	VFs     []VF     `json:"vfs,omitempty"`    // virtual functions that the port offers
	Mirrors []Mirror `json:"mirror,omitempty"` // its mirror rules

	Error  string  `json:"error,omitempty"` // why the port's counters could not be read; Account is older then
	Queues []Queue `json:"queues"`

	Retention *Retention `json:"retention,omitempty"` // of all ports; nil: nothing is stored
}

// Rate is a mean over about a second.
type Rate struct {
	Over          time.Duration `json:"over_ns"`
	ReceivedBits  float64       `json:"received_bps"` // of the frames taken from the queues, without CRC and gaps
	Received      float64       `json:"received_fps"`
	StoredBits    float64       `json:"stored_bps"` // of the frames stored, as stored
	Stored        float64       `json:"stored_fps"`
	LostPerSecond float64       `json:"lost_fps"`
}

// Text names both rates, as capture.Rate does.
func (r Rate) Text() string {
	return capture.Rate{
		Received: capture.Throughput{Gbps: r.ReceivedBits / 1e9, Mpps: r.Received / 1e6},
		Stored:   capture.Throughput{Gbps: r.StoredBits / 1e9, Mpps: r.Stored / 1e6},
	}.String()
}

// Queue is one receive queue and its stream, counted since the start:
//
//	Polled = Stored + Filtered + Duplicates + Refused    once the capture has ended
type Queue struct {
	Queue         int           `json:"queue"`
	Core          int           `json:"core"`           // of the poller; -1: not pinned
	FIFO          int           `json:"fifo,omitempty"` // SCHED_FIFO priority of the poller; 0: off
	Polled        uint64        `json:"polled"`
	Stored        uint64        `json:"stored"`
	Filtered      uint64        `json:"filtered"`
	Duplicates    uint64        `json:"duplicates"`
	Refused       uint64        `json:"refused"`
	BufferBytes   uint64        `json:"buffer_bytes"`
	FillBytes     uint64        `json:"fill_bytes"`     // not yet released by the slowest lossless listener
	LongestGap    time.Duration `json:"longest_gap_ns"` // between two polls
	ExcessiveGaps uint64        `json:"excessive_gaps"` // gaps that exceeded the NIC buffer

	Pool *capture.PoolAccount `json:"pool,omitempty"` // nil: frames are copied

	DetachedTotal uint64     `json:"detached_total"` // listeners detached since the start
	Rules         string     `json:"rules"`          // "none": every frame is kept whole
	Sockets       []Socket   `json:"sockets"`        // for listeners of other processes
	Listeners     []Listener `json:"listeners"`      // attached
}

// Socket is where listeners of other processes attach to a queue.
type Socket struct {
	Path string `json:"path"`
	Mode string `json:"mode"` // in octal digits
}

// Listeners are the listeners of all queues.
type Listeners struct {
	Attached      []Listener `json:"attached"`
	Detached      []Listener `json:"detached"`       // the last detached, oldest first for each queue
	DetachedTotal uint64     `json:"detached_total"` // detached since the start
	Groups        []Group    `json:"groups"`         // fan-out groups of listeners
}

// Group is a fan-out group of a queue's listeners.
type Group struct {
	Queue   int               `json:"queue"`
	Account stream.GroupStats `json:"account"` // as in the ledger
}

// Listener is one listener, counted since it attached:
//
//	Stored = Read + Overrun + Skipped + Unread
type Listener struct {
	Queue       int           `json:"queue"`
	ID          uint64        `json:"id"` // unique in its queue
	Name        string        `json:"name"`
	PID         int           `json:"pid"`
	UID         int           `json:"uid"`
	User        string        `json:"user"` // name of the UID, or its number
	Policy      string        `json:"policy"`
	DetachAfter time.Duration `json:"detach_after_ns"` // 0: never
	Since       time.Time     `json:"since"`

	Stored       uint64 `json:"stored"`
	Read         uint64 `json:"read"`
	Overrun      uint64 `json:"overrun"` // missed because the listener was too slow
	Skipped      uint64 `json:"skipped"` // of other members of its fan-out group
	Unread       uint64 `json:"unread"`
	ReadBytes    uint64 `json:"read_bytes"`
	OverrunBytes uint64 `json:"overrun_bytes"`

	LagBytes     uint64        `json:"lag_bytes"`
	Lag          time.Duration `json:"lag_ns"` // age of the oldest frame not released
	DetachReason string        `json:"detach_reason,omitempty"`
}

// Key identifies the listener among those of all queues: QUEUE:ID.
func (l Listener) Key() string { return fmt.Sprintf("%d:%d", l.Queue, l.ID) }

func listenerOf(queue int, s stream.ListenerStats) Listener {
	return Listener{
		Queue: queue, ID: s.ID, Name: s.Name, PID: s.PID, UID: s.UID, User: userName(s.UID),
		Policy: s.Policy.String(), DetachAfter: s.DetachAfter, Since: s.Since,
		Stored: s.Stored, Read: s.Read, Overrun: s.Overrun, Skipped: s.Skipped, Unread: s.Unread,
		ReadBytes: s.ReadBytes, OverrunBytes: s.OverrunBytes,
		LagBytes: s.LagBytes, Lag: s.Lag, DetachReason: s.DetachReason,
	}
}

// policyRequest is the body of PUT /v1/listeners/{listener}/policy.
type policyRequest struct {
	Policy string `json:"policy"` // see ParsePolicy
}

// Rules are the rules of all queues.
type Rules struct {
	Queues []QueueRules `json:"queues"`
}

// QueueRules is the rules of one queue and their counters.
type QueueRules struct {
	Queue    int                 `json:"queue"`
	Rules    string              `json:"rules"`    // "none": every frame is kept whole
	Filtered uint64              `json:"filtered"` // frames, by these rules and earlier ones
	Hits     []capture.RuleCount `json:"hits"`     // of each rule, in order
}

// rulesRequest is the body of PUT /v1/rules.
type rulesRequest struct {
	Rules *string `json:"rules"`
}

// Filters are the filters of a port itself, which drop frames before host memory or select
// their queue (package hwfilter).
type Filters struct {
	Name     string   `json:"name,omitempty"` // of the port, where there are several
	Port     string   `json:"port"`           // device, as ports.Open takes it
	Filters  string   `json:"filters"`        // their text; "none": none
	Filtered uint64   `json:"filtered"`       // frames that the port has dropped, by these filters and earlier ones
	Rules    []Filter `json:"rules"`          // in order
}

// Filter is one filter of a port: what of it is in the chip.
type Filter struct {
	Rule     string       `json:"rule"`
	Chip     []FilterKind `json:"chip"`     // filters of the chip that it takes
	Software []string     `json:"software"` // what it matches and the chip does not, and why
	Dropped  uint64       `json:"dropped"`  // frames of these that software dropped since the rules of the queues were last set
}

// FilterKind is a number of filters of one kind.
type FilterKind struct {
	Kind    string `json:"kind"` // "EtherType filter", "SYN filter", "5-tuple filter" or "Flow Director filter"
	Filters int    `json:"filters"`
}

// filtersRequest is the body of PUT /v1/filters.
type filtersRequest struct {
	Filters *string `json:"filters"`
}

// Ports are the ports that are captured.
type Ports struct {
	Ports []PortName `json:"ports"`
}

// PortName identifies a port.
type PortName struct {
	Name   string `json:"name"`   // empty for a port without one
	Device string `json:"device"` // as ports.Open takes it
}

// Counters are the counters of a port's device.
type Counters struct {
	Name     string            `json:"name,omitempty"` // of the port, where there are several
	Port     string            `json:"port"`           // device, as ports.Open takes it
	At       time.Time         `json:"at"`
	Counters []capture.Counter `json:"counters"`
}

// failure is the answer to a request that failed.
type failure struct {
	Error string `json:"error"`
}
