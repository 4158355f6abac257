package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/hwfilter"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/driver"
)

const (
	maxText = 1 << 20 // bytes of a file of text
	keepAll = "all"   // rules that keep every frame whole
	none    = "none"  // no rules, nothing left out
)

// Text returns an argument, or the content of FILE for @FILE.
func Text(arg string) (string, error) {
	name, file := strings.CutPrefix(arg, "@")
	if !file {
		return arg, nil
	}
	in, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxText+1))
	if err == nil && len(b) > maxText {
		err = fmt.Errorf("%s: more than 1 MiB of text", name)
	}
	return string(b), err
}

// ParseRules parses rules as package rules defines them, or "none". Rules that keep
// every frame whole are nil: the poller then evaluates nothing. An empty text is an
// error.
func ParseRules(text string) (*rules.Rules, error) {
	switch strings.TrimSpace(text) {
	case "":
		return nil, errors.New(`no rules: write "none" to keep every frame whole`)
	case none:
		return nil, nil
	}
	r, err := rules.Parse(text)
	if err != nil || r.String() == keepAll {
		return nil, err
	}
	return r, nil
}

// RulesText is the text of rules, "none" for nil.
func RulesText(r *rules.Rules) string {
	if r == nil {
		return none
	}
	return r.String()
}

// Rules say what is kept of which frames: the text of rules, @FILE or "none". nil
// keeps everything.
type Rules struct{ *rules.Rules }

// String implements flag.Value.
func (r *Rules) String() string { return RulesText(r.Rules) }

// Set implements flag.Value.
func (r *Rules) Set(arg string) error {
	text, err := Text(arg)
	if err != nil {
		return err
	}
	parsed, err := ParseRules(text)
	if err == nil {
		r.Rules = parsed
	}
	return err
}

// Type implements pflag.Value.
func (*Rules) Type() string { return "RULES" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rules) UnmarshalText(text []byte) error { return r.Set(string(text)) }

// RSS is what an 82599 hashes to select a frame's queue: "ports", "tcp-ports" or
// "addresses".
type RSS struct{ Fields driver.HashFields }

// rssNames are the settings of RSS. UDP hashed by addresses keeps fragments with their
// flow.
var rssNames = []struct {
	name   string
	fields driver.HashFields
}{
	{"ports", 0},
	{"tcp-ports", driver.AllFields &^ (driver.HashUDPv4 | driver.HashUDPv6)},
	{"addresses", driver.HashIPv4 | driver.HashIPv6},
}

// String implements flag.Value.
func (r *RSS) String() string {
	for _, x := range rssNames {
		if x.fields == r.Fields {
			return x.name
		}
	}
	return fmt.Sprintf("%#x", uint8(r.Fields))
}

// Set implements flag.Value.
func (r *RSS) Set(text string) error {
	for _, x := range rssNames {
		if x.name == text {
			r.Fields = x.fields
			return nil
		}
	}
	return fmt.Errorf("%q: must be ports, tcp-ports or addresses", text)
}

// Type implements pflag.Value.
func (*RSS) Type() string { return "FIELDS" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *RSS) UnmarshalText(text []byte) error { return r.Set(string(text)) }

// Filters are the filters of an 82599: the text of package hwfilter, @FILE or "none".
type Filters struct{ hwfilter.Rules }

// String implements flag.Value.
func (f *Filters) String() string { return f.Rules.String() }

// Set implements flag.Value.
func (f *Filters) Set(arg string) error {
	text, err := Text(arg)
	if err != nil {
		return err
	}
	parsed, err := hwfilter.Parse(text)
	if err == nil {
		f.Rules = parsed
	}
	return err
}

// Type implements pflag.Value.
func (*Filters) Type() string { return "FILTERS" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Filters) UnmarshalText(text []byte) error { return f.Set(string(text)) }

// PlanFilters returns what the chip does of the port's filters.
func (p *Port) PlanFilters() (hwfilter.Plan, error) {
	return p.Filters.Plan(max(p.Queues, 1), uint16(p.OuterVLAN))
}

// liveFilters returns an error if a capture that was started with other settings cannot
// have the port's filters before it is restarted.
func (p *Port) liveFilters(started *Port) error {
	was, err := started.PlanFilters()
	if err != nil {
		return err
	}
	_, err = p.Filters.PlanOpen(driver.Config{Queues: max(started.Queues, 1), FlowDirector: was.FlowDirector, OuterVLAN: uint16(started.OuterVLAN)})
	return err
}

// Dedup configures duplicate removal: true, false, "none", or
// window=200ms,records=32768,pools=8,ignore=vlan+ttl. nil keeps duplicates.
type Dedup struct{ *dedup.Config }

// String implements pflag.Value. Settings that are not given are printed as their
// defaults.
func (c *Dedup) String() string {
	if c.Config == nil {
		return none
	}
	d, err := c.WithDefaults()
	if err != nil {
		d = *c.Config
	}
	return fmt.Sprintf("window=%v,records=%d,pools=%d,index=%v,bytes=%d,ignore=%v",
		units.Duration(d.Window), d.Records, d.Pools, d.Index, d.Bytes, d.Ignore)
}

// Set implements flag.Value.
func (c *Dedup) Set(text string) (err error) {
	var d dedup.Config
	switch text {
	case "true":
		c.Config = &d
		return nil
	case "false", none:
		c.Config = nil
		return nil
	}
	for setting := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(setting, "=")
		switch name {
		case "window":
			var window units.Duration
			window, err = units.ParseDuration(value)
			if d.Window = window.Duration(); err == nil && d.Window == 0 {
				err = errors.New("choose more than 0, or leave it out for the default")
			}
		case "records":
			d.Records, err = positive(value)
		case "pools":
			d.Pools, err = positive(value)
		case "bytes":
			d.Bytes, err = strconv.Atoi(value)
		case "index":
			d.Index, err = dedup.ParseIndex(value)
		case "ignore":
			d.Ignore, err = dedup.ParseFields(value)
		default:
			return fmt.Errorf("%q: must be window=DURATION, records=N, pools=N, index=content|rss, bytes=N or ignore=vlan+ttl+checksum+mac", setting)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", setting, err)
		}
	}
	if err := d.Check(); err != nil {
		return err
	}
	c.Config = &d
	return nil
}

// positive parses a number of 1 or more: 0 is the default in dedup.Config.
func positive(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && n < 1 {
		err = errors.New("choose 1 or more, or leave it out for the default")
	}
	return n, err
}

// Type implements pflag.Value.
func (*Dedup) Type() string { return "SETTINGS" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Dedup) UnmarshalText(text []byte) error { return c.Set(string(text)) }
