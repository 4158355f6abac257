package capture

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/stream"
)

// WriteText writes the ledger as lines of a figure, its unit and what it counts.
func (l Ledger) WriteText(w io.Writer) error {
	t := ledgerText{tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)}
	t.port(l)
	for _, q := range l.Queues {
		t.queue(q)
	}
	for _, s := range l.Storers {
		t.storer(s)
	}
	t.rates(l)
	if bound := l.OrderBound(); bound != 0 {
		t.line(0, uint64(bound.Microseconds()), "us", fmt.Sprintf("between the stamps of two of the %d queues at most, against the order of arrival", len(l.Queues)))
	}
	t.clock(l.Clock)
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, l.verdict())
	return err
}

// verdict is whether the ledger balances, in words.
func (l Ledger) verdict() string {
	if l.Running {
		return "the capture runs: these counters are of different moments, the ledger is exact once it has ended"
	}
	if err := l.Balanced(); err != nil {
		return err.Error()
	}
	return "the ledger balances"
}

// ledgerText writes a ledger's lines in columns.
type ledgerText struct{ *tabwriter.Writer }

// line writes a figure with its unit, given in the plural, indented by depth.
func (t ledgerText) line(depth int, n uint64, unit, what string) {
	if n == 1 {
		unit = strings.TrimSuffix(unit, "s")
	}
	fmt.Fprintf(t, "%d\t%s\t  %s%s\n", n, unit, strings.Repeat("  ", depth), what)
}

// rates writes the mean rates of the frames received, and of those stored if they
// differ.
func (t ledgerText) rates(l Ledger) {
	s := l.Duration.Seconds()
	if s <= 0 {
		return
	}
	rate := func(r Throughput, what string) {
		fmt.Fprintf(t, "%.3f\tGb/s\t  %s\n", r.Gbps, what)
		fmt.Fprintf(t, "%.3f\tMpps\t  %s in %.3f s\n", r.Mpps, what, s)
	}
	received, stored := l.received(), l.stored()
	rate(received, "received")
	if differ(received.Gbps, stored.Gbps) || differ(received.Mpps, stored.Mpps) {
		rate(stored, "stored")
	}
}

// some is line without zeros.
func (t ledgerText) some(depth int, n uint64, unit, what string) {
	if n != 0 {
		t.line(depth, n, unit, what)
	}
}

// counts writes a line for each cause that is not zero.
func (t ledgerText) counts(depth int, all []Count, what string) {
	for _, c := range all {
		t.some(depth, c.Frames, "frames", what+": "+c.Cause)
	}
}

func (t ledgerText) port(l Ledger) {
	a := l.Account
	t.line(0, a.Wire, "frames", "on the wire of "+l.Port)
	t.line(1, a.Received, "frames", "received")
	t.some(2, a.Split, "super-frames", "split into frames")
	t.counts(2, a.BadReceived, "bad")
	t.some(1, a.Filtered, "frames", "dropped by filters of the port")
	t.line(1, sum(a.Missed), "frames", "missed")
	t.counts(2, a.Missed, "missed")
	for i := range l.LossCauses {
		c := &l.LossCauses[i]
		text := "lost to: " + string(c.Cause)
		if evidence := c.Text(); evidence != "" {
			text += ": " + evidence
		}
		t.line(2, c.Frames, "frames", text)
	}
	t.line(1, sum(a.Bad), "frames", "bad")
	t.counts(2, a.Bad, "bad")
	t.some(0, a.LinkDowns, "times", "link lost")
}

func (t ledgerText) queue(q QueueAccount) {
	t.line(0, q.Polled, "frames", fmt.Sprintf("received by queue %d", q.Queue))
	t.line(1, q.Stored, "frames", fmt.Sprintf("stored (%d bytes in the stream)", q.StreamBytes))
	t.some(2, q.Cut, "frames", "cut")
	if q.Pool != nil {
		t.line(2, uint64(q.Pool.Chunks), "chunks", "not copied: a pool of "+q.Pool.String())
	}
	t.some(1, q.Filtered, "frames", "filtered")
	t.some(1, q.Duplicates, "frames", "duplicates")
	t.counts(1, q.Refused, "refused")
	for _, r := range q.Rules {
		t.line(1, r.Frames, "frames", "matched rule: "+r.Rule)
	}
	t.gaps(q)
	for _, r := range q.Listeners {
		t.line(1, r.Stored, "frames", "stored for listener "+r.describe())
		t.read(r.Read, r.Overrun, r.Skipped, r.Unread)
	}
	if f := q.OlderDetached; f.Listeners != 0 {
		t.line(1, f.Stored, "frames", fmt.Sprintf("stored for older detached listeners (%d)", f.Listeners))
		t.read(f.Read, f.Overrun, f.Skipped, f.Unread)
	}
	for i := range q.Groups {
		t.group(&q.Groups[i])
	}
}

// group writes a fan-out group and its members.
func (t ledgerText) group(g *stream.GroupStats) {
	t.line(1, g.Stored, "frames", fmt.Sprintf("stored for fan-out group %d (%s)", g.Group, g.Mode))
	t.some(2, g.WithoutMembers, "frames", "without members")
	t.some(2, g.Unmatched, "frames", "matched no member")
	for i := range g.Members {
		m := &g.Members[i]
		t.member(m, "assigned to "+m.Name)
	}
	if g.DepartedMembers != 0 {
		t.member(&g.DepartedSum, fmt.Sprintf("assigned to departed members (%d)", g.DepartedMembers))
	}
	t.some(2, g.HandedUnread, "frames", "redistributed and not read yet")
	t.some(2, g.HandedLost, "frames", "redistributed and lost")
}

func (t ledgerText) member(m *stream.MemberStats, what string) {
	t.line(2, m.Assigned, "frames", what)
	t.line(3, m.Read, "frames", "read")
	t.some(3, m.Overrun, "frames", "overrun")
	t.some(3, m.Unread, "frames", "unread")
	t.some(3, m.InHand, "frames", "in hand when it died or was detached")
	t.some(3, m.Redistributed, "frames", "redistributed")
	t.some(2, m.Handed, "frames", "read of what others left")
}

func (t ledgerText) read(read, overrun, skipped, unread uint64) {
	t.line(2, read, "frames", "read")
	t.some(2, overrun, "frames", "overrun")
	t.some(2, skipped, "frames", "skipped: of other members of its group")
	what := "unread"
	if skipped != 0 {
		what = "unread: of all members of its group"
	}
	t.some(2, unread, "frames", what)
}

// shownGaps is the maximum number of gaps in the text; JSON contains all.
const shownGaps = 3

// gaps writes the excessive gaps.
func (t ledgerText) gaps(q QueueAccount) {
	t.some(1, q.ExcessiveGaps, "poll gaps", "exceeded the NIC buffer")
	for i, g := range q.WorstGaps {
		if i == shownGaps || !g.Excessive {
			return
		}
		cause := string(g.Cause)
		if evidence := g.Text(); evidence != "" {
			cause += ": " + evidence
		}
		t.line(2, uint64(g.Length.Microseconds()), "us", fmt.Sprintf("%s, capacity %v, end %s", cause, sched.Short(g.Capacity), g.End.Format("15:04:05.000")))
	}
}

func (t ledgerText) storer(s StorerAccount) {
	t.line(0, s.Read, "bytes", "read by storer "+s.Name)
	files := "files"
	if s.Files == 1 {
		files = "file"
	}
	written := fmt.Sprintf("written to %d %s", s.Files, files)
	if s.Files == 0 && s.Written != 0 { // a pipe, or null
		written = "written, to no file"
	}
	t.line(1, s.Written, "bytes", written)
	t.some(1, s.Filtered, "bytes", "filtered")
	t.some(1, s.Cut, "bytes", "cut")
	for _, f := range s.Failed {
		t.line(1, f.Bytes, "bytes", "failed: "+f.Cause)
	}
	t.some(1, s.FailedFrames, "frames", "not written completely")
}

func (t ledgerText) clock(c ClockAccount) {
	if c.Source == "" {
		return
	}
	if c.StampedBy != "" {
		fmt.Fprintf(t, "\t\t  stamps: %s\n", c.StampedBy)
		return
	}
	fits := "fits"
	if c.Fits == 1 {
		fits = "fit"
	}
	fmt.Fprintf(t, "%d\tns\t  clock error (max %d ns) vs CLOCK_REALTIME, %d %s, policy %v, source %s", c.Residual, c.Worst, c.Fits, fits, c.Policy, c.Source)
	if c.Steps != 0 {
		fmt.Fprintf(t, ", CLOCK_REALTIME steps: %d", c.Steps)
	}
	fmt.Fprintln(t)
	if d := c.Device; d != nil {
		if d.Messages == 0 {
			fmt.Fprintf(t, "\t\t  no PTP message to compare stamps with the device's clock\n")
			return
		}
		fmt.Fprintf(t, "%d\tns\t  stamps after those of the device's clock (min %d ns, max %d ns, uncertainty %d ns), PTP messages: %d\n",
			d.Mean, d.Least, d.Most, d.Uncertainty, d.Messages)
	}
}

// WriteJSON writes the ledger as one JSON object (docs/JSON.md).
func (l Ledger) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(l.document())
}

// ledgerFields is a Ledger without its methods.
type ledgerFields Ledger

// ledgerDocument is what WriteJSON encodes.
type ledgerDocument struct {
	ledgerFields
	Lost       uint64        `json:"lost"`
	OrderBound time.Duration `json:"order_bound_ns"`
	Unwritten  uint64        `json:"unwritten_bytes"`
	Balanced   *bool         `json:"balanced,omitempty"`   // nil while the capture runs
	Unbalanced string        `json:"unbalanced,omitempty"` // the equations that fail
}

func (l Ledger) document() ledgerDocument {
	d := ledgerDocument{ledgerFields: ledgerFields(l), OrderBound: l.OrderBound(), Lost: l.Lost(), Unwritten: l.Unwritten()}
	if l.Running {
		return d
	}
	err := l.Balanced()
	balanced := err == nil
	d.Balanced = &balanced
	if err != nil {
		d.Unbalanced = err.Error()
	}
	return d
}

// describe returns a listener's name, policy and process, and why it was detached.
func (a ListenerAccount) describe() string {
	text := fmt.Sprintf("%s (%s, pid %d)", a.Name, a.Policy, a.PID)
	if a.DetachReason != "" {
		text += ", detached: " + a.DetachReason
	}
	return text
}
