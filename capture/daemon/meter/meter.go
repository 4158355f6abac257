package meter

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
)

// NoGroup is the Thread.Group of a listener that is in none.
const NoGroup = -1

// Report is what the threads of a capture have read. Rates are means over the time since
// the report before; those of the first report are 0.
type Report struct {
	At      time.Time     `json:"at"`
	Over    time.Duration `json:"over_ns"`
	Ports   []Port        `json:"ports"`
	Threads []Thread      `json:"threads"`
}

// Port is a port of the capture.
type Port struct {
	Name       string  `json:"name,omitempty"` // of one of several
	Device     string  `json:"device"`
	Received   float64 `json:"received_fps"`
	Bits       float64 `json:"received_bps"`
	Lost       uint64  `json:"lost"` // by the port, since the capture began
	LostFrames float64 `json:"lost_fps"`
}

// Thread is one reader of a port: a listener of each of its queues, by their name and
// process, and in each queue by the order in which those of one name attached. Counters
// are sums since it attached.
type Thread struct {
	Port   string `json:"port,omitempty"` // name of one of several
	Group  int    `json:"group"`          // fan-out group; -1: none, it reads every frame
	Mode   string `json:"mode,omitempty"` // of the group
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	Handle int    `json:"handle"` // 1; 2 and so on: others of the same name, process and group
	Queues int    `json:"queues"` // that it reads

	first string // key of the first of its listeners

	Read     uint64  `json:"read"`       // frames
	Bytes    uint64  `json:"read_bytes"` // of these, as stored
	Lost     uint64  `json:"lost"`       // frames of its own that it was too slow for
	Unread   uint64  `json:"unread"`     // frames of its own that it has not read yet
	Frames   float64 `json:"read_fps"`
	Bits     float64 `json:"read_bps"`
	LostRate float64 `json:"lost_fps"`
	Share    float64 `json:"share"` // of the frames that its group read in this time, 0 to 1
}

// key is what a thread is known by in a report.
type key struct {
	port, name         string
	pid, group, handle int
}

func (t *Thread) key() key { return key{t.Port, t.Name, t.PID, t.Group, t.Handle} }

// attachment is what a thread is known by from one report to the next: its handles are
// counted anew when one detaches.
type attachment struct{ port, first string }

func (t *Thread) attachment() attachment { return attachment{t.Port, t.first} }

// Meter makes reports of the captures behind a control socket.
type Meter struct {
	client *control.Client
	before Report
}

// New returns a Meter that asks c.
func New(c *control.Client) *Meter { return &Meter{client: c} }

// Sample makes a report.
func (m *Meter) Sample(ctx context.Context) (Report, error) {
	there, err := m.client.Ports(ctx)
	if err != nil {
		return Report{}, err
	}
	r := Report{Ports: []Port{}, Threads: []Thread{}}
	for _, p := range there.Ports {
		c := m.client
		if p.Name != "" {
			c = c.Port(p.Name)
		}
		status, err := c.Status(ctx)
		if err != nil {
			return Report{}, err
		}
		listeners, err := c.Listeners(ctx)
		if err != nil {
			return Report{}, err
		}
		r.Ports = append(r.Ports, Port{
			Name: p.Name, Device: p.Device, Received: status.Rate.Received, Bits: status.Rate.ReceivedBits,
			Lost: status.Lost, LostFrames: status.Rate.LostPerSecond,
		})
		r.Threads = append(r.Threads, threads(p.Name, &listeners)...)
	}
	r.At = time.Now()
	r.rates(&m.before)
	m.before = r
	return r, nil
}

// threads sums the listeners of all queues of a port.
func threads(port string, all *control.Listeners) (sums []Thread) {
	attached := slices.SortedFunc(slices.Values(all.Attached), func(a, b control.Listener) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.ID, b.ID))
	})
	type inQueue struct {
		queue int
		key
	}
	handles := map[inQueue]int{}
	for i := range attached {
		l := &attached[i]
		one := Thread{
			Port: port, Group: NoGroup, Name: l.Name, PID: l.PID, Queues: 1, first: l.Key(),
			Read: l.Read, Bytes: l.ReadBytes - min(l.ReadBytes, stream.RecordHeader*l.Read), Lost: l.Overrun, Unread: l.Unread,
		}
		// The listener's own account does not tell whose frames it was overrun by.
		for i := range all.Groups {
			if g := &all.Groups[i]; g.Queue == l.Queue {
				one.member(l.ID, &g.Account)
			}
		}
		same := inQueue{l.Queue, one.key()}
		handles[same]++
		one.Handle = handles[same]
		at := slices.IndexFunc(sums, func(t Thread) bool { return t.key() == one.key() })
		if at < 0 {
			sums = append(sums, one)
			continue
		}
		sums[at].Queues++
		sums[at].Read += one.Read
		sums[at].Bytes += one.Bytes
		sums[at].Lost += one.Lost
		sums[at].Unread += one.Unread
	}
	slices.SortStableFunc(sums, func(a, b Thread) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Handle, b.Handle))
	})
	return sums
}

// member takes what a group knows of its member, if the listener is one.
func (t *Thread) member(id uint64, g *stream.GroupStats) {
	for i := range g.Members {
		if m := &g.Members[i]; m.ID == id {
			t.Group, t.Mode = g.Group, g.Mode
			t.Lost, t.Unread = m.Overrun+m.InHand, m.Unread
			t.Read += m.Handed
		}
	}
}

// rates computes rates and shares since an earlier report.
func (r *Report) rates(before *Report) {
	if before.At.IsZero() {
		return
	}
	r.Over = r.At.Sub(before.At)
	earlier := map[attachment]Thread{}
	for _, t := range before.Threads {
		earlier[t.attachment()] = t
	}
	type group struct {
		port   string
		number int
	}
	sums := map[group]float64{}
	seconds := max(r.Over.Seconds(), 1e-9)
	for i := range r.Threads {
		t := &r.Threads[i]
		b, ok := earlier[t.attachment()]
		if !ok || b.Read > t.Read { // it attached since then
			b = Thread{}
		}
		t.Frames = float64(t.Read-b.Read) / seconds
		t.Bits = 8 * float64(t.Bytes-min(b.Bytes, t.Bytes)) / seconds
		t.LostRate = float64(t.Lost-min(b.Lost, t.Lost)) / seconds
		sums[group{t.Port, t.Group}] += t.Frames
	}
	for i := range r.Threads {
		if t := &r.Threads[i]; t.Group != NoGroup && sums[group{t.Port, t.Group}] > 0 {
			t.Share = t.Frames / sums[group{t.Port, t.Group}]
		}
	}
}

// WriteText writes a line for each port and a table of the threads. The frames of a group
// have a sum.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, p := range r.Ports {
		rate := capture.Throughput{Gbps: p.Bits / 1e9, Mpps: p.Received / 1e6}
		fmt.Fprintf(&b, "%s  %s  received %v  lost %s, %.0f/s\n",
			r.At.Format(time.TimeOnly), cmp.Or(p.Name, p.Device), rate, units.Plural(p.Lost, "frame"), p.LostFrames)
	}
	if r.Over == 0 {
		fmt.Fprintln(&b, "rates and shares: from the next page on")
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GROUP\tTHREAD\tPID\tREAD\tRATE\tSHARE\tLOST\tLOST/S\tUNREAD")
	sum := Thread{Group: NoGroup}
	members := 0
	end := func() {
		if members > 1 {
			sum.row(t, fmt.Sprintf("%d", sum.Group), fmt.Sprintf("sum of %d", members), "", "")
		}
		sum, members = Thread{Group: NoGroup}, 0
	}
	for i := range r.Threads {
		one := &r.Threads[i]
		if one.Group != sum.Group || one.Port != sum.Port {
			end()
		}
		group, share := "-", ""
		if one.Group != NoGroup {
			group, share = fmt.Sprintf("%d %s", one.Group, one.Mode), fmt.Sprintf("%.1f %%", 100*one.Share)
			sum.Group, sum.Port = one.Group, one.Port
			sum.add(one)
			members++
		}
		name := one.Name
		if one.Handle > 1 {
			name = fmt.Sprintf("%s (%d)", name, one.Handle)
		}
		one.row(t, group, name, fmt.Sprint(one.PID), share)
	}
	end()
	_ = t.Flush() // into memory
	_, err := io.WriteString(w, b.String())
	return err
}

// row writes a row of the table.
func (t *Thread) row(w io.Writer, group, name, pid, share string) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%v\t%s\t%d\t%.0f\t%d\n", group, name, pid, t.Read,
		capture.Throughput{Gbps: t.Bits / 1e9, Mpps: t.Frames / 1e6}, share, t.Lost, t.LostRate, t.Unread)
}

// add adds the counters and rates of another thread.
func (t *Thread) add(o *Thread) {
	t.Read += o.Read
	t.Bytes += o.Bytes
	t.Lost += o.Lost
	t.Unread += o.Unread
	t.Frames += o.Frames
	t.Bits += o.Bits
	t.LostRate += o.LostRate
}
