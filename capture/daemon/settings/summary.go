package settings

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/ixcap/ixcap/capture/ports"
	"github.com/ixcap/ixcap/capture/units"
)

// Summary describes the settings in a few lines: one for each port, and one for
// what the ports share.
func (s *Settings) Summary() string {
	var b strings.Builder
	width := 0
	for i := range s.Ports {
		width = max(width, len(s.Ports[i].Label()))
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		fmt.Fprintf(&b, "%-*s  %s\n", width, p.Label(), p.summary())
	}
	var shared []string
	add := func(what, value string) {
		if value != "" {
			shared = append(shared, what+" "+value)
		}
	}
	add("retention", s.Retention.summary())
	add("sockets in", s.Share.Dir)
	add("metrics at", s.Metrics.Listen)
	add("hpcapmon files in", s.Hpcapmon.Dir)
	if len(shared) > 0 {
		fmt.Fprintln(&b, strings.Join(shared, "; "))
	}
	return b.String()
}

func (r Retention) summary() string {
	var limits []string
	for _, l := range []struct {
		set  bool
		text string
	}{{r.Size != 0, r.Size.String()}, {r.Age != 0, r.Age.String()}, {r.Free != 0, r.Free.String() + " free"}, {r.Files != 0, fmt.Sprint(r.Files) + " files"}} {
		if l.set {
			limits = append(limits, l.text)
		}
	}
	return strings.Join(limits, ", ")
}

func (p *Port) summary() string {
	if p.Mode == Kernel {
		return p.Device + ", left to the kernel"
	}
	queues := "default number of queues" // known once it is open
	if n := cmp.Or(p.Queues, ports.CapabilitiesOf(p.Device).Queues); n > 0 {
		queues = units.Plural(n, "queue")
	}
	switch {
	case len(p.Cores) == 1:
		queues += " on core " + p.Cores.String()
	case len(p.Cores) > 1:
		queues += " on cores " + p.Cores.String()
	}
	words := []string{p.Device, queues, p.buffer()}
	if p.Speed != 0 {
		words = append(words, fmt.Sprintf("%d Mb/s", p.Speed))
	}
	if p.SnapLen != 0 {
		words = append(words, fmt.Sprintf("%d bytes of a frame", p.SnapLen))
	}
	if p.Filters.Any() {
		words = append(words, "filters in the port")
	}
	if n := len(p.VFs); n > 0 {
		words = append(words, units.Plural(n, "virtual function"))
	}
	if p.Rules.Rules != nil {
		words = append(words, "filtered")
	}
	if p.Dedup.Config != nil {
		words = append(words, "without duplicates")
	}
	if !p.Stores() {
		return strings.Join(append(words, "nothing stored"), ", ")
	}
	return strings.Join(append(words, p.Storage.summary()), ", ")
}

// buffer describes the memory of each queue.
func (p *Port) buffer() string {
	if !p.ZeroCopy {
		return "buffer " + p.Buffer.String()
	}
	text := "zero copy"
	switch {
	case p.Chunks > 0 && p.ChunkSize > 0:
		text += fmt.Sprintf(", %d chunks of %d", p.Chunks, p.ChunkSize)
	case p.Chunks > 0:
		text += fmt.Sprintf(", %d chunks", p.Chunks)
	default:
		text += " in " + p.Buffer.String()
	}
	return text
}

func (s *Storage) summary() string {
	files := fmt.Sprintf("%s files of %v", &s.Format, s.Segment)
	if s.Zstd != 0 {
		files = "zstd " + files
	}
	if s.Rotate != 0 {
		files += fmt.Sprintf(" or %v", s.Rotate)
	}
	return files + " to " + strings.Join(s.Dirs, ", ")
}
