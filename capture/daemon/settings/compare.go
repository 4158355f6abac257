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
	Live     bool // a running capture can apply it
}

func (c Change) String() string {
	return fmt.Sprintf("%s: %s instead of %s", c.Key, orNone(c.To), orNone(c.From))
}

func orNone(value string) string {
	if value == "" {
		return none
	}
	return value
}

// Compare returns what differs between the settings of a running capture and
// others. started are the settings that it was started with.
func Compare(started, running, next *Settings) []Change {
	var all []Change
	was, is := byName(running), byName(next)
	for _, p := range next.Ports {
		old := was[p.Name]
		if old == nil {
			all = append(all, Change{Key: "port." + p.Name, To: p.Device})
			continue
		}
		changes := compare("port."+p.Name+".", reflect.ValueOf(old).Elem(), reflect.ValueOf(&p).Elem())
		for i := range changes {
			c, first := &changes[i], byName(started)[p.Name]
			switch strings.TrimPrefix(c.Key, "port."+p.Name+".") {
			case "snaplen", "rules":
				_, err := p.LiveRules(first.SnapLen)
				c.Live = c.Live && err == nil
			case "port_filters":
				c.Live = c.Live && p.liveFilters(first) == nil
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
		{"hpcapmon.", &running.Hpcapmon, &next.Hpcapmon},
	} {
		all = append(all, compare(part.key, reflect.ValueOf(part.old).Elem(), reflect.ValueOf(part.new).Elem())...)
	}
	return all
}

func byName(s *Settings) map[string]*Port {
	all := map[string]*Port{}
	for i := range s.Ports {
		all[s.Ports[i].Name] = &s.Ports[i]
	}
	return all
}

// compare compares the fields of two structs that have a tag.
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

// text is the value of a field as a file has it.
func text(v reflect.Value) string {
	if s, ok := v.Addr().Interface().(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprint(v.Interface())
}

// Take applies what of next can change while the capture runs.
func (s *Settings) Take(started, next *Settings) {
	is := byName(next)
	for i := range s.Ports {
		p := &s.Ports[i]
		n := is[p.Name]
		if n == nil {
			continue
		}
		if _, err := n.LiveRules(byName(started)[p.Name].SnapLen); err == nil {
			p.Rules, p.SnapLen = n.Rules, n.SnapLen
		}
		if n.liveFilters(byName(started)[p.Name]) == nil {
			p.Filters = n.Filters
		}
		p.Storage.Rotate = n.Storage.Rotate
	}
	s.Retention = next.Retention
}

// LiveRules returns the rules of the port's frames for a capture that was started with a capture
// length. They keep at most the port's own length, which must not be greater than
// that. nil keeps everything. The frames that the port's filters leave to software are not
// among them.
func (p *Port) LiveRules(started int) (*rules.Rules, error) {
	switch {
	case p.SnapLen == started:
		return p.Rules.Rules, nil
	case started != 0 && (p.SnapLen == 0 || p.SnapLen > started):
		return nil, fmt.Errorf("snaplen %d: the capture was started with %d, and a longer one needs a restart", p.SnapLen, started)
	}
	list := p.Rules.Rules
	if list == nil {
		list, _ = rules.Parse("none") // keeps everything
	}
	less, ok := list.AtMost(p.SnapLen)
	if !ok {
		return nil, fmt.Errorf("snaplen %d: with a rule that keeps headers it needs a restart", p.SnapLen)
	}
	return less, nil
}
