package capture

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/stream"
)

// Ledger is the account of the capture so far. It is exact after Stop, and once
// the listeners have come to their end it is final. An error says that the port's
// counters could not be read; what was read last is in the ledger then.
func (e *Engine) Ledger() (Ledger, error) {
	e.mu.Lock()
	account, err := e.account, e.accountOK
	l := Ledger{Port: e.port.Name(), Clock: ClockAccount{Policy: e.cfg.Stamps, Status: e.clock.Status()}}
	over := !e.ended.IsZero()
	if !e.began.IsZero() {
		l.Seconds = time.Since(e.began).Seconds()
		if over {
			l.Seconds = e.ended.Sub(e.began).Seconds()
		}
	}
	abandoned := append([]uint64(nil), e.abandoned...)
	e.mu.Unlock()
	if !over && l.Seconds > 0 {
		account, err = e.read()
	}
	l.Account = account
	if err != nil {
		err = fmt.Errorf("account of %s: %w", e.port.Name(), err)
	}
	for q, s := range e.streams {
		a := queueAccount(q, e.pollers[q].counters(), s.Stats(), abandoned[q])
		a.Core, a.FIFO = e.choices[q].Core, e.cfg.FIFO
		if a.FIFOGivenUp = e.pollers[q].dog.bit.Load(); a.FIFOGivenUp {
			a.FIFO = 0
		}
		a.Rules = e.pollers[q].ruleCounts()
		if len(a.Rules) != 0 && abandoned[q] != 0 {
			a.Rules = append(a.Rules, RuleCount{Rule: NoRules, Frames: abandoned[q]})
		}
		a.Worst, a.Risky = e.pollers[q].stalls.book.read()
		l.Queues = append(l.Queues, a)
	}
	return l, err
}

func queueAccount(queue int, p PollerCounters, s stream.Stats, abandoned uint64) QueueAccount {
	a := QueueAccount{
		Queue: queue, Polled: p.Frames + abandoned, Stored: s.Frames, Bytes: p.Bytes,
		Filtered: p.Filtered, Duplicates: p.Duplicates, Cut: s.Truncated,
		Longest: p.Longest, StreamBytes: s.Bytes, Polls: p.Polls, Sleeps: p.Sleeps, Slept: p.Slept,
	}
	for _, g := range p.Gaps {
		if g.Count != 0 {
			a.Gaps = append(a.Gaps, g)
		}
	}
	refused := func(cause string, n uint64) {
		if n != 0 {
			a.Refused = append(a.Refused, Count{Cause: cause, Frames: n})
		}
	}
	refused("longer than a RAW record", s.TooLong)
	refused("parts do not add up", s.Inconsistent)
	refused("after the end", s.Late)
	refused("abandoned at the end", p.Abandoned+abandoned)
	for _, some := range [][]stream.ListenerStats{s.Listeners, s.RecentDetached} {
		for _, l := range some {
			a.Listeners = append(a.Listeners, ListenerAccount{
				ID: l.ID, Name: l.Name, PID: l.PID, UID: l.UID, Policy: l.Policy.String(), DetachReason: l.DetachReason,
				Stored: l.Stored, Read: l.Read, Overrun: l.Overrun, Unread: l.Unread,
			})
		}
	}
	f := s.OlderDetached
	a.OlderDetached = DetachedAccount{
		Listeners: s.DetachedTotal - uint64(len(s.RecentDetached)),
		Stored:    f.Stored, Read: f.Read, Overrun: f.Overrun, Unread: f.Unread,
	}
	return a
}

// Counters is what a capture does at a moment. Counters only grow; two readings and
// the time between them give rates.
type Counters struct {
	At     time.Time
	Frames uint64  // stored
	Polled uint64  // frames taken from the queues
	Bytes  uint64  // of those, on the wire without CRC
	Lost   uint64  // frames missed by the port, as of its last reading, at most a second old
	Fill   float64 // of the fullest stream's buffer, 0 to 1
}

// Counters reads the counters without touching the port: those of the port are at
// most a second old.
func (e *Engine) Counters() Counters {
	r := Counters{At: time.Now()}
	e.mu.Lock()
	r.Lost = sum(e.account.Missed)
	e.mu.Unlock()
	for i, s := range e.streams {
		st := s.Stats()
		r.Frames += st.Frames
		c := e.pollers[i].counters()
		r.Polled += c.Frames
		r.Bytes += c.Bytes
		r.Fill = max(r.Fill, float64(st.Fill)/float64(e.cfg.Buffer))
	}
	return r
}

// Rate is what a capture did between two moments.
type Rate struct {
	Gbps          float64 // 1e9 bits of frames a second, without CRC and gaps
	Mpps          float64 // 1e6 frames a second
	Fill          float64 // of the fullest stream's buffer at the end, 0 to 1
	Lost          uint64  // frames since the capture began
	LostPerSecond float64
}

// Since is what was done since an earlier reading.
func (r Counters) Since(before Counters) Rate {
	s := max(r.At.Sub(before.At).Seconds(), 1e-9)
	return Rate{
		Gbps: float64(r.Bytes-before.Bytes) * 8 / s / 1e9,
		Mpps: float64(r.Frames-before.Frames) / s / 1e6,
		Fill: r.Fill, Lost: r.Lost,
		LostPerSecond: float64(r.Lost-before.Lost) / s,
	}
}
