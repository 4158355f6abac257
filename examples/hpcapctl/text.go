package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
)

type (
	status    struct{ control.Status }
	listeners struct{ control.Listeners }
	ruleSets  struct{ control.Rules }
	ledger    struct{ capture.Ledger }
	listener  struct {
		control.Listener
		action string
	}
)

// table writes rows as aligned columns; the first row is the heading.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// deviceClockText compares the stamps with those of the device's clock.
func deviceClockText(d *capture.DeviceComparison) string {
	return fmt.Sprintf("stamps %s after those of its clock, %s to %s, uncertain by %s, of %s", span(time.Duration(d.Mean)),
		span(time.Duration(d.Least)), span(time.Duration(d.Most)), span(time.Duration(d.Uncertainty)), units.Plural(d.Messages, "PTP message"))
}

func (s status) text(w io.Writer) error {
	state := s.State
	switch {
	case !s.Ended.IsZero():
		state = fmt.Sprintf("ended %s ago, after %s", span(time.Since(s.Ended)), span(s.Ended.Sub(s.Since)))
	case !s.Since.IsZero():
		state = "running for " + span(time.Since(s.Since))
	case s.Awaited > 0:
		state = fmt.Sprintf("waiting for %s at each queue, %d attached", units.Plural(s.Awaited, "listener"), s.Arrived)
	}
	var missed, bad uint64
	for _, c := range s.Account.Missed {
		missed += c.Frames
	}
	for _, c := range s.Account.Bad {
		bad += c.Frames
	}
	wire := fmt.Sprintf("%d frames: %d received, %d missed, %d bad", s.Account.Wire, s.Account.Received, missed, bad)
	if n := s.Account.Filtered; n > 0 {
		wire += fmt.Sprintf(", %d dropped by filters of the port", n)
	}
	c := s.Clock
	stamps := cmp.Or(c.StampedBy, c.Policy.String())
	rows := [][]string{
		{"port", s.Port},
		{"state", fmt.Sprintf("%s, pid %d", state, s.PID)},
		{"rate", s.Rate.Text() + "  over " + span(s.Rate.Over)},
		{"lost", fmt.Sprintf("%d frames, %.0f/s", s.Lost, s.Rate.LostPerSecond)},
		{"wire", wire},
		{"clock", fmt.Sprintf("%s at %.3f GHz, %s from CLOCK_REALTIME, at worst %s; stamps: %s",
			c.Source, c.Hertz/1e9, span(time.Duration(c.Residual)), span(time.Duration(c.Worst)), stamps)},
	}
	if len(s.Queues) > 0 && s.Queues[0].Pool != nil {
		rows = append(rows, []string{"zero copy", "each queue has a pool of " + s.Queues[0].Pool.String()})
	}
	if d := c.Device; d != nil && d.Messages > 0 {
		rows = append(rows, []string{"device", deviceClockText(d)})
	}
	if r := s.Retention; r != nil {
		rows = append(rows, []string{"retention", retentionText(r)})
	}
	for i := range s.LossCauses {
		c := &s.LossCauses[i]
		rows = append(rows, []string{"lost to", strings.TrimSuffix(fmt.Sprintf("%s: %s: %s", units.Plural(c.Frames, "frame"), c.Cause, c.Text()), ": ")})
	}
	if s.Error != "" {
		rows = append(rows, []string{"error", s.Error})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := s.chipText(w); err != nil {
		return err
	}
	rows = [][]string{{"QUEUE", "CORE", "BUFFER FULL", "STORED", "FILTERED", "DUPLICATES", "REFUSED", "LONGEST GAP", "LISTENERS", "SOCKET"}}
	var attached []control.Listener
	for _, q := range s.Queues {
		core := "any"
		if q.Core >= 0 {
			core = fmt.Sprint(q.Core)
		}
		var sockets []string
		for _, s := range q.Sockets {
			sockets = append(sockets, fmt.Sprintf("%s (mode %s)", s.Path, s.Mode))
		}
		attached = append(attached, q.Listeners...)
		rows = append(rows, []string{
			fmt.Sprint(q.Queue), core, fmt.Sprintf("%s of %s", size(q.FillBytes), size(q.BufferBytes)),
			fmt.Sprint(q.Stored), fmt.Sprint(q.Filtered), fmt.Sprint(q.Duplicates), fmt.Sprint(q.Refused),
			span(q.LongestGap), fmt.Sprintf("%d, %d detached", len(q.Listeners), q.DetachedTotal), cmp.Or(strings.Join(sockets, ", "), "-"),
		})
	}
	if err := table(w, rows); err != nil || len(attached) == 0 {
		return err
	}
	fmt.Fprintln(w)
	return listeners{control.Listeners{Attached: attached}}.text(w)
}

// retentionText returns what was deleted and why, and what was not.
func retentionText(r *control.Retention) string {
	text := fmt.Sprintf("%s kept, %s", units.Plural(r.KeptFiles, "file"), size(r.KeptBytes))
	for _, d := range r.Removed {
		if d.Reason == string(retain.ForFree) {
			d.Reason = "free space"
		}
		text += fmt.Sprintf("; %d deleted for %s, %s", d.Files, d.Reason, size(d.Bytes))
	}
	if r.OpenFiles > 0 {
		text += fmt.Sprintf("; %d deleted but open in a reader, %s", r.OpenFiles, size(r.OpenBytes))
	}
	if r.ReclaimedFiles > 0 {
		text += fmt.Sprintf("; %d reclaimed from readers, %s", r.ReclaimedFiles, size(r.ReclaimedBytes))
	}
	if r.Spared > 0 {
		text += fmt.Sprintf("; %d spared: being written", r.Spared)
	}
	var failed uint64
	for _, n := range r.Failed {
		failed += n
	}
	if failed > 0 {
		text += "; " + units.Plural(failed, "error")
	}
	return text
}

func (l listeners) text(w io.Writer) error {
	rows := [][]string{{"LISTENER", "NAME", "PID", "USER", "POLICY", "SINCE", "LAG", "READ", "MISSED"}}
	for _, a := range l.Attached {
		rows = append(rows, append(identity(a),
			span(time.Since(a.Since)),
			fmt.Sprintf("%s, %s, %s", size(a.LagBytes), units.Plural(a.Unread, "frame"), span(a.Lag)),
			fmt.Sprint(a.Read), missed(a)))
	}
	err := table(w, rows)
	if err == nil && len(l.Groups) > 0 {
		fmt.Fprintln(w)
		err = groupsText(w, l.Groups)
	}
	if err != nil || len(l.Detached) == 0 {
		return err
	}
	fmt.Fprintln(w)
	rows = [][]string{{"DETACHED", "NAME", "PID", "USER", "POLICY", "READ", "MISSED", "UNREAD", "REASON"}}
	for _, g := range l.Detached {
		rows = append(rows, append(identity(g), fmt.Sprint(g.Read), missed(g), fmt.Sprint(g.Unread), g.DetachReason))
	}
	if more := l.DetachedTotal - uint64(len(l.Detached)); more > 0 {
		rows = append(rows, []string{fmt.Sprintf("and %d earlier", more)})
	}
	return table(w, rows)
}

// groupsText writes the members of fan-out groups, and of each group what belongs to no
// attached member.
func groupsText(w io.Writer, groups []control.Group) error {
	rows := [][]string{{"GROUP", "MODE", "MEMBER", "LISTENER", "ASSIGNED", "READ", "MISSED", "UNREAD", "IN HAND", "REDISTRIBUTED", "TAKEN OVER"}}
	for _, g := range groups {
		a := &g.Account
		row := func(name, listener string, m *stream.MemberStats) {
			cells := []string{fmt.Sprintf("%d:%d", g.Queue, a.Group), a.Mode, name, listener}
			for _, n := range []uint64{m.Assigned, m.Read, m.Overrun, m.Unread, m.InHand, m.Redistributed, m.Handed} {
				cells = append(cells, fmt.Sprint(n))
			}
			rows = append(rows, cells)
		}
		for i := range a.Members {
			m := &a.Members[i]
			row(m.Name, fmt.Sprintf("%d:%d", g.Queue, m.ID), m)
		}
		if a.DepartedMembers > 0 {
			row(fmt.Sprintf("(%d departed)", a.DepartedMembers), "-", &a.DepartedSum)
		}
		if a.Unmatched > 0 {
			row("(matched by none)", "-", &stream.MemberStats{Assigned: a.Unmatched})
		}
		if a.WithoutMembers > 0 {
			row("(without members)", "-", &stream.MemberStats{Assigned: a.WithoutMembers})
		}
		if a.HandedLost > 0 {
			row("(lost when handed over)", "-", &stream.MemberStats{Overrun: a.HandedLost})
		}
	}
	return table(w, rows)
}

// identity returns the cells that identify a listener.
func identity(l control.Listener) []string {
	return []string{l.Key(), l.Name, fmt.Sprint(l.PID), l.User, control.PolicyText(l.Policy, l.DetachAfter)}
}

func missed(l control.Listener) string {
	if l.Overrun == 0 {
		return "0"
	}
	return fmt.Sprintf("%s, %s", units.Plural(l.Overrun, "frame"), size(l.OverrunBytes))
}

func (l listener) text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s (%s, pid %d, %s): %s; read %d of %d frames, missed %d\n",
		l.Key(), l.Name, l.PID, l.User, l.action, l.Read, l.Stored, l.Overrun)
	return err
}

func (f ruleSets) text(w io.Writer) error {
	for _, q := range f.Queues {
		if q.Rules == "none" {
			fmt.Fprintf(w, "queue %d: no rules; %s filtered before\n", q.Queue, units.Plural(q.Filtered, "frame"))
			continue
		}
		fmt.Fprintf(w, "queue %d: %s filtered\n", q.Queue, units.Plural(q.Filtered, "frame"))
		if len(q.Hits) == 0 { // set a moment ago
			fmt.Fprintf(w, "  in force from the next batch: %s\n", q.Rules)
			continue
		}
		rows := [][]string{{"  FRAMES", "BYTES", "RULE"}}
		for _, h := range q.Hits {
			rows = append(rows, []string{fmt.Sprintf("  %d", h.Frames), size(h.Bytes), h.Rule})
		}
		if err := table(w, rows); err != nil {
			return err
		}
	}
	return nil
}

func (l ledger) text(w io.Writer) error { return l.WriteText(w) }

// MarshalJSON returns the document that hpcapdd --json prints.
func (l ledger) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := l.WriteJSON(&b)
	return b.Bytes(), err
}

// ports are the captured ports; action is what was done to them, or "".
type ports struct {
	control.Ports
	action string
}

func (p ports) text(w io.Writer) error {
	for _, one := range p.Ports.Ports {
		name := one.Name
		if name == "" {
			name = one.Device
		} else if p.action == "" {
			name += "  " + one.Device
		}
		if _, err := fmt.Fprintln(w, name+p.action); err != nil {
			return err
		}
	}
	return nil
}

// several are the answers of several ports, by name.
type several []named

type named struct {
	port string
	answer
}

func (s several) text(w io.Writer) error {
	for i, a := range s {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s:\n", a.port)
		if err := a.answer.text(w); err != nil {
			return err
		}
	}
	return nil
}

// MarshalJSON gives an object with an answer for each port.
func (s several) MarshalJSON() ([]byte, error) {
	all := map[string]answer{}
	for _, a := range s {
		all[a.port] = a.answer
	}
	return json.Marshal(all)
}
