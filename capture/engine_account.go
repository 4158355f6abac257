package capture

import (
	"fmt"
	"math"
	"time"

	"github.com/ixcap/ixcap/capture/stream"
)

// Ledger returns the account of the capture so far. It is Running until Stop is done,
// then exact, and final once the listeners have read to their end. If the port's counters cannot be
// read, it returns an error and a ledger with the last ones.
func (e *Engine) Ledger() (Ledger, error) {
	e.mu.Lock()
	account, err := e.account, e.accountErr
	l := Ledger{Port: e.port.Name(), Clock: ClockAccount{Policy: e.cfg.Stamps, StampedBy: stampedBy(e.sources), Status: e.clock.Status(), Device: e.device.account()}}
	over := !e.ended.IsZero()
	if !e.began.IsZero() {
		select {
		case <-e.stopped:
		default:
			l.Running = true
		}
		l.Duration = time.Since(e.began)
		if over {
			l.Duration = e.ended.Sub(e.began)
		}
	}
	abandoned := append([]uint64(nil), e.abandoned...)
	e.mu.Unlock()
	if !over && l.Duration > 0 {
		account, err = e.read()
	}
	l.Account = account
	l.LossCauses = e.reporter.Losses(sum(account.Missed))
	if err != nil {
		err = fmt.Errorf("account of %s: %w", e.port.Name(), err)
	}
	for q, s := range e.streams {
		a := queueAccount(q, e.pollers[q].counters(), s.Stats(), abandoned[q])
		a.Pool = e.Pool(q)
		a.Core, a.FIFO = e.choices[q].Core, e.cfg.FIFO
		if a.Demoted = e.pollers[q].monitor.Demoted(); a.Demoted {
			a.FIFO = 0
		}
		a.Rules = e.pollers[q].ruleCounts()
		if len(a.Rules) != 0 && abandoned[q] != 0 {
			a.Rules = append(a.Rules, RuleCount{Rule: NoRules, Frames: abandoned[q]})
		}
		a.WorstGaps, a.ExcessiveGaps = e.pollers[q].monitor.Worst()
		l.Queues = append(l.Queues, a)
	}
	return l, err
}

func queueAccount(queue int, p PollerCounters, s stream.Stats, abandoned uint64) QueueAccount {
	a := QueueAccount{
		Queue: queue, Polled: p.Frames + abandoned, Stored: s.Frames, Bytes: p.Bytes,
		Filtered: p.Filtered, Duplicates: p.Duplicates, Cut: s.Truncated,
		Uncertainty: s.Uncertainty, LongestGap: p.Longest, StoredBytes: s.FrameBytes, StreamBytes: s.Bytes, Polls: p.Polls, Sleeps: p.Sleeps, Slept: p.Slept,
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
				Stored: l.Stored, Read: l.Read, Overrun: l.Overrun, Skipped: l.Skipped, Unread: l.Unread,
			})
		}
	}
	a.Groups = s.Groups
	f := s.OlderDetached
	a.OlderDetached = DetachedAccount{
		Listeners: s.DetachedTotal - uint64(len(s.RecentDetached)),
		Stored:    f.Stored, Read: f.Read, Overrun: f.Overrun, Skipped: f.Skipped, Unread: f.Unread,
	}
	return a
}

// Counters are the sums of all queues. All but At and Fill only grow. Since computes
// rates from two readings.
type Counters struct {
	At          time.Time
	Frames      uint64  // stored
	StoredBytes uint64  // of these, as stored: without what a snaplen or a rule cuts
	Polled      uint64  // frames taken from the queues
	Bytes       uint64  // of these, on the wire without CRC
	Lost        uint64  // frames missed by the port, when it was last read
	Fill        float64 // of the fullest stream's buffer, 0 to 1
}

// Counters returns the counters. It does not access the port, whose counters may be
// up to a second old.
func (e *Engine) Counters() Counters {
	r := Counters{At: time.Now()}
	e.mu.Lock()
	r.Lost = sum(e.account.Missed)
	e.mu.Unlock()
	for i, s := range e.streams {
		st := s.Stats()
		r.Frames += st.Frames
		r.StoredBytes += st.FrameBytes
		c := e.pollers[i].counters()
		r.Polled += c.Frames
		r.Bytes += c.Bytes
		r.Fill = max(r.Fill, float64(st.Fill)/float64(s.BufferBytes()))
	}
	return r
}

// Throughput is frames and the bits of the same frames per second.
type Throughput struct {
	Gbps float64 // 1e9 bits per second, without CRC and gaps between frames
	Mpps float64 // 1e6 frames per second
}

// throughput is that of so many frames and their bytes in a time.
func throughput(frames, bytes uint64, seconds float64) Throughput {
	return Throughput{Gbps: float64(bytes) * 8 / seconds / 1e9, Mpps: float64(frames) / seconds / 1e6}
}

// String is "9.871 Gb/s 14.881 Mpps".
func (t Throughput) String() string { return fmt.Sprintf("%.3f Gb/s %.3f Mpps", t.Gbps, t.Mpps) }

// Rate is the difference of two Counters per second.
type Rate struct {
	Received      Throughput // of the frames taken from the queues
	Stored        Throughput // of the frames stored, as stored
	Fill          float64    // of the fullest stream's buffer at the end, 0 to 1
	Lost          uint64     // frames since the capture began
	LostPerSecond float64
}

// String is "received RATE", with "stored RATE" where filters, duplicates, a snaplen or
// a loss make the two differ. Counters of frames in between differ by less than 1 %.
func (r Rate) String() string {
	text := "received " + r.Received.String()
	if differ(r.Received.Gbps, r.Stored.Gbps) || differ(r.Received.Mpps, r.Stored.Mpps) {
		text += "  stored " + r.Stored.String()
	}
	return text
}

func differ(a, b float64) bool { return math.Abs(a-b) > 0.01*max(a, b) }

// Since returns the rates since an earlier reading.
func (r Counters) Since(before Counters) Rate {
	s := max(r.At.Sub(before.At).Seconds(), 1e-9)
	return Rate{
		Received: throughput(r.Polled-before.Polled, r.Bytes-before.Bytes, s),
		Stored:   throughput(r.Frames-before.Frames, r.StoredBytes-before.StoredBytes, s),
		Fill:     r.Fill, Lost: r.Lost,
		LostPerSecond: float64(r.Lost-before.Lost) / s,
	}
}

// PortCounters reads the counters of the port's device. It is an error if the port has
// none.
func (e *Engine) PortCounters() ([]Counter, error) {
	c, ok := e.port.(Counted)
	if !ok {
		return nil, fmt.Errorf("counters of %s: the port has none beyond its account (Ledger)", e.port.Name())
	}
	return c.Counters()
}
