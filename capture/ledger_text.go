package capture

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText writes the ledger for people to read.
func (l Ledger) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(depth int, n uint64, unit, what string) {
		fmt.Fprintf(t, "%d\t%s\t  %s%s\n", n, unit, strings.Repeat("  ", depth), what)
	}
	counts := func(depth int, all []Count, what string) {
		for _, c := range all {
			if c.Frames != 0 {
				line(depth, c.Frames, "frames", what+": "+c.Cause)
			}
		}
	}
	some := func(depth int, n uint64, what string) {
		if n != 0 {
			line(depth, n, "frames", what)
		}
	}
	line(0, l.Account.Wire, "frames", "on the wire of "+l.Port)
	line(1, l.Account.Received, "frames", "received")
	line(1, sum(l.Account.Missed), "frames", "missed")
	counts(2, l.Account.Missed, "missed")
	line(1, sum(l.Account.Bad), "frames", "bad")
	counts(2, l.Account.Bad, "bad")
	if n := l.Account.LinkDowns; n != 0 {
		line(0, n, "times", "the link was lost")
	}
	for _, q := range l.Queues {
		line(0, q.Polled, "frames", fmt.Sprintf("received by queue %d", q.Queue))
		line(1, q.Stored, "frames", fmt.Sprintf("stored (%d bytes in the stream)", q.StreamBytes))
		some(2, q.Cut, "cut")
		some(1, q.Filtered, "filtered")
		some(1, q.Duplicates, "duplicates")
		counts(1, q.Refused, "refused")
		for _, r := range q.Rules {
			line(1, r.Frames, "frames", "met rule: "+r.Rule)
		}
		q.stalls(line)
		for _, r := range q.Listeners {
			line(1, r.Stored, "frames", "stored for listener "+r.who())
			line(2, r.Read, "frames", "read")
			some(2, r.Overrun, "overrun")
			some(2, r.Unread, "unread")
		}
		if f := q.OlderDetached; f.Listeners != 0 {
			line(1, f.Stored, "frames", fmt.Sprintf("stored for %d more listeners, which left earlier", f.Listeners))
			line(2, f.Read, "frames", "read")
			some(2, f.Overrun, "overrun")
			some(2, f.Unread, "unread")
		}
	}
	for _, s := range l.Storers {
		line(0, s.Read, "bytes", fmt.Sprintf("read by storer %s", s.Name))
		line(1, s.Written, "bytes", fmt.Sprintf("written to %d files", s.Files))
		if s.Filtered != 0 {
			line(1, s.Filtered, "bytes", "filtered")
		}
		if s.Cut != 0 {
			line(1, s.Cut, "bytes", "cut")
		}
		for _, f := range s.Failed {
			line(1, f.Bytes, "bytes", "failed: "+f.Cause)
		}
	}
	if l.Seconds > 0 {
		fmt.Fprintf(t, "%.3f\tGb/s\t  captured\n", float64(l.Bytes())*8/l.Seconds/1e9)
		fmt.Fprintf(t, "%.3f\tMpps\t  captured in %.3f s\n", float64(l.Frames())/l.Seconds/1e6, l.Seconds)
	}
	if c := l.Clock; c.Source != "" {
		fmt.Fprintf(t, "%d\tns\t  stamps (%v) off CLOCK_REALTIME at the last of %d fits, at worst %d", c.Residual, c.Policy, c.Fits, c.Worst)
		switch c.Steps {
		case 0:
		case 1:
			fmt.Fprint(t, "; it was set once")
		default:
			fmt.Fprintf(t, "; it was set %d times", c.Steps)
		}
		fmt.Fprintf(t, " (clock: %s)\n", c.Source)
	}
	balance := "the ledger balances"
	if err := l.Balanced(); err != nil {
		balance = err.Error()
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, balance)
	return err
}

// WriteJSON writes the ledger as one JSON object, its verdict included: balanced
// is true, or unbalanced says which equations fail.
func (l Ledger) WriteJSON(w io.Writer) error {
	type fields Ledger // without methods
	out := struct {
		fields
		Lost       uint64 `json:"lost"`
		Balanced   bool   `json:"balanced"`
		Unbalanced string `json:"unbalanced,omitempty"`
	}{fields: fields(l), Lost: l.Lost()}
	if err := l.Balanced(); err != nil {
		out.Unbalanced = err.Error()
	} else {
		out.Balanced = true
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

// who is a listener, and why it has left if it has.
func (a ListenerAccount) who() string {
	who := fmt.Sprintf("%s (%s, pid %d)", a.Name, a.Policy, a.PID)
	if a.DetachReason != "" {
		who += ", detached: " + a.DetachReason
	}
	return who
}
