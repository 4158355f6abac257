package forward

import (
	"fmt"
	"io"
	"time"

	"github.com/ixcap/ixcap/capture"
)

// Report is what became of the frames, by direction.
type Report struct {
	Directions []Direction   `json:"directions"`
	Elapsed    time.Duration `json:"elapsed_ns"`
}

// Direction is what became of the frames that one port has received.
//
//	Received.Received = Frames, unless Lost
//	Forwarded         = Sent + Refused + Discarded + Unsent
type Direction struct {
	From     string          `json:"from"`
	To       string          `json:"to"`
	Received capture.Account `json:"received"` // by the counters of the port From

	Counts

	Sent      uint64 `json:"sent"`                // by the counter of the port To (GPTC)
	Refused   uint64 `json:"refused,omitempty"`   // longer than the port To sends
	Discarded uint64 `json:"discarded,omitempty"` // in the ring of the port To when it was reset
	Unsent    uint64 `json:"unsent,omitempty"`    // left in the port To: its link was down, or it is gone

	// Lost: the device of From is gone, and its counters are those of the last reading.
	Lost bool `json:"lost,omitempty"`
}

// direction returns what became of the frames that the port has received.
func (p *port) direction() Direction {
	d := Direction{From: p.Name(), To: p.out.Name(), Counts: p.counted(), Lost: p.GoneErr() != nil}
	d.Received, _ = p.Account() // of a device that is gone: the last one
	s, _ := p.out.Stats()
	d.Sent = s.Sent - p.out.sent
	for _, path := range p.paths {
		d.Refused += path.tx.Refused()
		d.Discarded += path.tx.Discarded()
	}
	if gone := d.Sent + d.Refused + d.Discarded; gone < d.Forwarded {
		d.Unsent = d.Forwarded - gone
	}
	return d
}

func (b *Bridge) report(elapsed time.Duration) Report {
	r := Report{Elapsed: elapsed}
	for _, p := range b.ports {
		r.Directions = append(r.Directions, p.direction())
	}
	return r
}

// Balanced returns an error unless each frame that reached a port is accounted for, over both
// ports.
func (r *Report) Balanced() error {
	for i := range r.Directions {
		if err := r.Directions[i].balanced(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Direction) balanced() error {
	a := &d.Received
	missed, bad := sum(a.Missed), sum(a.Bad)
	if all := a.Received + a.Filtered + missed + bad; a.Wire != all && !d.Lost {
		return fmt.Errorf("%s: %d frames on the wire, but %d received + %d filtered + %d missed + %d bad = %d", d.From, a.Wire, a.Received, a.Filtered, missed, bad, all)
	}
	if a.Received != d.Frames && !d.Lost {
		return fmt.Errorf("%s: the port has received %d frames, and %d were read", d.From, a.Received, d.Frames)
	}
	if all := d.Forwarded + d.Filtered + d.Full + d.Down; d.Frames != all {
		return fmt.Errorf("%s to %s: %d frames read, but %d forwarded + %d filtered + %d without room + %d without a link = %d", d.From, d.To, d.Frames, d.Forwarded, d.Filtered, d.Full, d.Down, all)
	}
	if all := d.Sent + d.Refused + d.Discarded + d.Unsent; d.Forwarded != all {
		return fmt.Errorf("%s to %s: %d frames forwarded, but %d sent + %d refused + %d discarded + %d left = %d", d.From, d.To, d.Forwarded, d.Sent, d.Refused, d.Discarded, d.Unsent, all)
	}
	return nil
}

func sum(counts []capture.Count) (n uint64) {
	for _, c := range counts {
		n += c.Frames
	}
	return n
}

// WriteText writes the report: a figure, a unit and what it is on each line.
func (r *Report) WriteText(w io.Writer) error {
	var err error
	line := func(n uint64, what string) {
		if err == nil {
			_, err = fmt.Fprintf(w, "%12d  frames  %s\n", n, what)
		}
	}
	cause := func(n uint64, what string) {
		if n > 0 {
			line(n, "  "+what)
		}
	}
	for i := range r.Directions {
		d := &r.Directions[i]
		lost := ""
		if d.Lost {
			lost = ", by the last reading of its counters: the device is gone"
		}
		line(d.Received.Wire, "reached "+d.From+lost)
		for _, c := range d.Received.Missed {
			cause(c.Frames, "missed, "+c.Cause)
		}
		for _, c := range d.Received.Bad {
			cause(c.Frames, "bad, "+c.Cause)
		}
		cause(d.Received.Filtered, "dropped by filters of the port")
		line(d.Frames, "received")
		cause(d.Filtered, "dropped by the filter")
		cause(d.Full, "dropped: the transmit ring of "+d.To+" was full")
		cause(d.Down, "dropped: "+d.To+" had no link")
		line(d.Forwarded, "forwarded to "+d.To)
		cause(d.Refused, "longer than it sends")
		cause(d.Discarded, "in its ring when it was reset")
		cause(d.Unsent, "left in it at the end: its link was down, or it is gone")
		line(d.Sent, "sent")
	}
	verdict := "the counters of the ports balance"
	if bad := r.Balanced(); bad != nil {
		verdict = bad.Error()
	}
	if err == nil {
		_, err = fmt.Fprintln(w, verdict)
	}
	return err
}
