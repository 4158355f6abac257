package settings

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/ixcap/ixcap/capture/rules"
)

// Change is a setting that differs.
type Change struct {
	Key      string
	From, To string
	Live     bool // a running capture can take it over
}

func (c Change) String() string {
	return fmt.Sprintf("%s: %s instead of %s", c.Key, shown(c.To), shown(c.From))
}

func shown(value string) string {
	if value == "" {
		return "none"
	}
	return value
}

// Compare says what differs between the settings of a running capture and others.
// started are those that it was started with.
func Compare(started, running, next *Settings) []Change {
	var all []Change
	was, is := ports(running), ports(next)
	for _, p := range next.Ports {
		old := was[p.Name]
		if old == nil {
			all = append(all, Change{Key: "port." + p.Name, To: p.Device})
			continue
		}
		changes := compare("port."+p.Name+".", reflect.ValueOf(old).Elem(), reflect.ValueOf(&p).Elem())
		for i := range changes {
			if c := &changes[i]; c.Key == "port."+p.Name+".caplen" || c.Key == "port."+p.Name+".filter" {
				_, err := p.Rules(ports(started)[p.Name].CapLen)
				c.Live = c.Live && err == nil
			}
		}
		all = append(all, changes...)
	}
	for _, p := range running.Ports {
		if is[p.Name] == nil {
			all = append(all, Change{Key: "port." + p.Name, From: p.Device})
		}
	}
	for _, part := range []struct {
		key      string
		old, new any
	}{
		{"retention.", &running.Retention, &next.Retention},
		{"share.", &running.Share, &next.Share},
		{"metrics.", &running.Metrics, &next.Metrics},
		{"data.", &running.Data, &next.Data},
	} {
		all = append(all, compare(part.key, reflect.ValueOf(part.old).Elem(), reflect.ValueOf(part.new).Elem())...)
	}
	return all
}

func ports(s *Settings) map[string]*Port {
	all := map[string]*Port{}
	for i := range s.Ports {
		all[s.Ports[i].Name] = &s.Ports[i]
	}
	return all
}

// compare walks two structs with tags.
func compare(prefix string, a, b reflect.Value) (all []Change) {
	for i := range a.NumField() {
		tag := a.Type().Field(i).Tag
		name := tag.Get("toml")
		if name == "" {
			continue
		}
		x, y := a.Field(i), b.Field(i)
		if x.Kind() == reflect.Struct && !isText(x) {
			all = append(all, compare(prefix+name+".", x, y)...)
			continue
		}
		if from, to := text(x), text(y); from != to {
			all = append(all, Change{Key: prefix + name, From: from, To: to, Live: tag.Get("live") == "yes"})
		}
	}
	return all
}

// text is a field as a file would have it.
func text(v reflect.Value) string {
	if s, ok := v.Addr().Interface().(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprint(v.Interface())
}

// Take takes over what of next can change while the capture runs.
func (s *Settings) Take(started, next *Settings) {
	is := ports(next)
	for i := range s.Ports {
		p := &s.Ports[i]
		n := is[p.Name]
		if n == nil {
			continue
		}
		if _, err := n.Rules(ports(started)[p.Name].CapLen); err == nil {
			p.Filter, p.CapLen = n.Filter, n.CapLen
		}
		p.Storage.Rotate = n.Storage.Rotate
	}
	s.Retention = next.Retention
}

// Rules are the rules for a capture that was started with a capture length: they
// keep no more than the port's own, which must not be greater. nil: everything.
func (p *Port) Rules(started int) (*rules.Rules, error) {
	switch {
	case p.CapLen == started:
		return p.Filter.Rules, nil
	case started != 0 && (p.CapLen == 0 || p.CapLen > started):
		return nil, fmt.Errorf("capture length %d: the capture was started with %d, and a longer one needs a restart", p.CapLen, started)
	}
	r := p.Filter.Rules
	if r == nil {
		r, _ = rules.Parse("") // keeps everything
	}
	less, ok := r.AtMost(p.CapLen)
	if !ok {
		return nil, fmt.Errorf("capture length %d: beside a rule that keeps headers it needs a restart", p.CapLen)
	}
	return less, nil
}

// Summary says in a few lines what the settings do.
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
	var more []string
	add := func(what, value string) {
		if value != "" {
			more = append(more, what+" "+value)
		}
	}
	if r := s.Retention; r.Any() {
		var limits []string
		for _, l := range []struct {
			set  bool
			text string
		}{{r.Size != 0, r.Size.String()}, {r.Age != 0, r.Age.String()}, {r.Free != 0, r.Free.String() + " left free"}} {
			if l.set {
				limits = append(limits, l.text)
			}
		}
		add("kept:", strings.Join(limits, ", "))
	}
	add("shared over", s.Share.Dir)
	add("metrics at", s.Metrics.Listen)
	add("data files in", s.Data.Dir)
	if len(more) > 0 {
		fmt.Fprintln(&b, strings.Join(more, "; "))
	}
	return b.String()
}

func (p *Port) summary() string {
	if p.Mode == Kernel {
		return p.Device + ", left to the kernel"
	}
	words := []string{p.Device}
	queues := fmt.Sprintf("%d queue", p.Queues)
	if p.Queues > 1 {
		queues += "s"
	}
	if len(p.Cores) > 0 {
		queues += " on core " + p.Cores.String()
	}
	words = append(words, queues, "buffer "+p.Buffer.String())
	if p.Speed != 0 {
		words = append(words, fmt.Sprintf("%d Mb/s", p.Speed))
	}
	if p.CapLen != 0 {
		words = append(words, fmt.Sprintf("%d bytes of a frame", p.CapLen))
	}
	if p.Filter.Rules != nil {
		words = append(words, "filtered")
	}
	if p.Dedup.Config != nil {
		words = append(words, "without duplicates")
	}
	if !p.Stores() {
		return strings.Join(append(words, "nothing stored"), ", ")
	}
	st := &p.Storage
	files := fmt.Sprintf("%s files of %v", &st.Format, st.Segment)
	if st.Zstd != 0 {
		files = "zstd " + files
	}
	if st.Rotate != 0 {
		files += fmt.Sprintf(" or %v", st.Rotate)
	}
	return strings.Join(append(words, files+" to "+strings.Join(st.Dirs, ", ")), ", ")
}
