package settings

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/rules"
)

// maxText is the most bytes that a file of text may have.
const maxText = 1 << 20

// keepAll is the text of rules that keep every frame whole.
const keepAll = "all"

// Text is an argument, or what is in FILE if it is @FILE.
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

// Rules are what is kept of which frames, in the words of package filter, or
// @FILE; nil keeps everything.
type Rules struct{ *rules.Rules }

func (r *Rules) String() string {
	if r == nil || r.Rules == nil {
		return ""
	}
	return r.Rules.String()
}

// Set implements flag.Value.
func (r *Rules) Set(arg string) error {
	text, err := Text(arg)
	if err != nil {
		return err
	}
	parsed, err := rules.Parse(text)
	if err != nil {
		return err
	}
	if r.Rules = parsed; parsed.String() == keepAll {
		r.Rules = nil // the poller need not ask
	}
	return nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rules) UnmarshalText(text []byte) error { return r.Set(string(text)) }

// Dedup are the settings of duplicate removal: true, false, or
// window=200ms,records=32768,pools=4,bytes=96; nil leaves duplicates in.
type Dedup struct{ *dedup.Config }

// IsBoolFlag lets the value be left out.
func (c *Dedup) IsBoolFlag() bool { return true }

func (c *Dedup) String() string {
	if c == nil || c.Config == nil {
		return ""
	}
	return fmt.Sprintf("window=%v,records=%d,pools=%d,bytes=%d,index=%v", c.Window, c.Records, c.Pools, c.Bytes, c.Index)
}

// Set implements flag.Value.
func (c *Dedup) Set(text string) (err error) {
	var d dedup.Config
	switch text {
	case "true":
		c.Config = &d
		return nil
	case "false":
		c.Config = nil
		return nil
	}
	for setting := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(setting, "=")
		switch name {
		case "window":
			d.Window, err = time.ParseDuration(value)
		case "records":
			d.Records, err = strconv.Atoi(value)
		case "pools":
			d.Pools, err = strconv.Atoi(value)
		case "bytes":
			d.Bytes, err = strconv.Atoi(value)
		case "index":
			d.Index, err = dedup.ParseIndex(value)
		default:
			return fmt.Errorf("setting %q: choose window=TIME, records=N, pools=N, bytes=N or index=content|rss", setting)
		}
		if err != nil {
			return fmt.Errorf("setting %q: %w", setting, err)
		}
	}
	if err := d.Check(); err != nil {
		return err
	}
	c.Config = &d
	return nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Dedup) UnmarshalText(text []byte) error { return c.Set(string(text)) }
