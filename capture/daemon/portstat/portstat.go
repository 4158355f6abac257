package portstat

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ixcap/ixcap/capture/daemon/control"
)

// Report has the counters of ports. Rates are means over the time since the report
// before; those of the first report are 0.
type Report struct {
	At    time.Time     `json:"at"`
	Over  time.Duration `json:"over_ns"`
	Ports []Port        `json:"ports"`
}

// Port is a port and its counters.
type Port struct {
	Name     string    `json:"name,omitempty"` // of one of several
	Device   string    `json:"device"`
	Counters []Counter `json:"counters"`
}

// Counter is a counter of a port's device.
type Counter struct {
	Name     string  `json:"name"`
	Register string  `json:"register,omitempty"`
	Value    uint64  `json:"value"`
	Rate     float64 `json:"per_second"`
}

// Meter computes reports of a source.
type Meter struct {
	source Source
	before []control.Counters
}

// New returns a meter of a source.
func New(s Source) *Meter { return &Meter{source: s} }

// Sample reads the source.
func (m *Meter) Sample(ctx context.Context) (Report, error) {
	now, err := m.source.Read(ctx)
	if err != nil {
		return Report{}, err
	}
	r := Report{At: time.Now(), Ports: []Port{}}
	for i := range now {
		before := m.of(&now[i])
		over := now[i].At.Sub(before.At)
		if before.At.IsZero() || over < 0 {
			over = 0
		}
		r.Over = over
		r.Ports = append(r.Ports, port(&now[i], before, over))
	}
	m.before = now
	return r, nil
}

// of returns the counters that a port had before, an empty value if there are none.
func (m *Meter) of(now *control.Counters) *control.Counters {
	for i := range m.before {
		if b := &m.before[i]; b.Name == now.Name && b.Port == now.Port {
			return b
		}
	}
	return &control.Counters{}
}

// port compares two readings of a port.
func port(now, before *control.Counters, over time.Duration) Port {
	p := Port{Name: now.Name, Device: now.Port, Counters: []Counter{}}
	for i, c := range now.Counters {
		one := Counter{Name: c.Name, Register: c.Register, Value: c.Value}
		// A counter that has become smaller began anew.
		if over > 0 && i < len(before.Counters) && before.Counters[i].Name == c.Name && before.Counters[i].Value <= c.Value {
			one.Rate = float64(c.Value-before.Counters[i].Value) / over.Seconds()
		}
		p.Counters = append(p.Counters, one)
	}
	return p
}

// WriteText writes a table for each port: name, value, rate, register. Counters that are
// 0 are left out unless all is set.
func (r *Report) WriteText(w io.Writer, all bool) error {
	for i, p := range r.Ports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, strings.TrimSpace(p.Name+" "+p.Device))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		shown := 0
		for _, c := range p.Counters {
			if c.Value == 0 && !all {
				continue
			}
			shown++
			fmt.Fprintf(t, "  %s\t%d", c.Name, c.Value)
			if r.Over > 0 {
				fmt.Fprintf(t, "\t%.0f/s", c.Rate)
			}
			if c.Register != "" {
				fmt.Fprintf(t, "\t%s", c.Register)
			}
			fmt.Fprintln(t)
		}
		if shown == 0 {
			fmt.Fprintf(t, "  all %d counters are 0\n", len(p.Counters))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// WritePrometheus writes the counters in the text format of Prometheus, under the name
// that a capture's own endpoint has for them. Counters of one name are added up.
func (r *Report) WritePrometheus(w io.Writer) error {
	text := new(strings.Builder)
	const name = "ixcap_port_device_events_total"
	fmt.Fprintf(text, "# HELP %s A counter of the device of the port, by its name in ethtool -S where that has it.\n# TYPE %s counter\n", name, name)
	for _, p := range r.Ports {
		label := p.Name
		if label == "" {
			label = p.Device
		}
		sums, order := map[string]uint64{}, []string{}
		for _, c := range p.Counters {
			if _, twice := sums[c.Name]; !twice {
				order = append(order, c.Name)
			}
			sums[c.Name] += c.Value
		}
		for _, c := range order {
			fmt.Fprintf(text, "%s{port=\"%s\",counter=\"%s\"} %d\n", name, escape(label), escape(c), sums[c])
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// escape quotes the value of a label.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}
