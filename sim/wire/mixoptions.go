package wire

import (
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// ParseMix makes the configuration of a mix wire's options, all but backpressure and
// burst.
func ParseMix(options []Option) (MixConfig, error) {
	c := MixConfig{Flows: mixOpenFlows, Rate: mixRate, Size: mixMeanSize, Seed: 1}
	for _, o := range options {
		if err := c.parse(o); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *MixConfig) parse(o Option) (err error) {
	switch o.Key {
	case "mix":
		if o.Value != "" {
			err = bad(o, "no value; flows=, rate=, count= and others describe the traffic")
		}
	case "flows":
		if c.Flows, err = strconv.Atoi(o.Value); err != nil || c.Flows < 0 || c.Flows > maxMixFlows {
			err = bad(o, "a whole number from 0 to 16777216")
		}
	case "rate":
		var r rate
		if r, err = parseRate(o); err != nil || r.kind != ratePackets {
			return bad(o, "a packet rate such as 1.65Mpps")
		}
		c.Rate = float64(r.per) / 1e6
	case "size":
		if c.Size, err = strconv.Atoi(o.Value); err != nil || c.Size < minMixSize || c.Size > maxMixSize {
			err = bad(o, "mean bytes without CRC, 200 to 850")
		}
	case "count":
		var n int64
		if n, err = parseCount(o); n != forever {
			c.Count = n
		}
	case "seed":
		if c.Seed, err = strconv.ParseUint(o.Value, 10, 64); err != nil {
			err = bad(o, "a whole number from 0")
		}
	case "day":
		if c.Day, err = time.ParseDuration(o.Value); err != nil || c.Day < time.Second || c.Day > maxMixDay {
			err = bad(o, "a duration from 1s, such as 24h")
		}
	case "swing":
		if c.Swing, err = strconv.ParseFloat(o.Value, 64); err != nil || !(c.Swing >= 0 && c.Swing <= 0.9) {
			err = bad(o, "a number from 0 to 0.9")
		}
	case "noise":
		if c.Noise, err = strconv.ParseFloat(o.Value, 64); err != nil || !(c.Noise >= 0 && c.Noise <= 0.3) {
			err = bad(o, "a number from 0 to 0.3")
		}
	case "dns":
		err = c.parseIncident(o, MixDNSRise)
	case "syn":
		err = c.parseIncident(o, MixSYNFlood)
	default:
		err = unknown(o, mixKeys)
	}
	return err
}

func (c *MixConfig) parseIncident(o Option, kind MixKind) error {
	i := Incident{Kind: kind}
	flows, span, _ := strings.Cut(o.Value, "@")
	start, duration, _ := strings.Cut(span, "+")
	var err [3]error
	i.Flows, err[0] = strconv.ParseUint(flows, 10, 64)
	i.Start, err[1] = time.ParseDuration(start)
	i.Duration, err[2] = time.ParseDuration(duration)
	if err != [3]error{} || i.check() != nil {
		return bad(o, "FLOWS@START+DURATION such as 50000@30s+60s, with 1 to 4294967296 flows")
	}
	c.Incidents = append(c.Incidents, i)
	return nil
}

func parseMix(options []Option) (Wire, error) {
	rest, play, err := splitPlayback(options)
	if err != nil {
		return nil, err
	}
	c, err := ParseMix(rest)
	if err != nil {
		return nil, err
	}
	m, err := NewMix(c)
	if err != nil {
		return nil, err
	}
	return newMixWire(m, play, &systemClock{}), nil
}

// mixWire sends a mix on schedule.
type mixWire struct {
	pacer
	mix  *Mix
	rest []Frame // made and not sent
}

func newMixWire(m *Mix, p playback, c clock) *mixWire {
	return &mixWire{pacer: newPacer(p, c), mix: m, rest: m.Next()}
}

// Receive implements Wire. It reads the clock once.
func (w *mixWire) Receive(frames []Frame, room int) (int, error) {
	if len(w.rest) == 0 {
		if w.rest = w.mix.Next(); len(w.rest) == 0 {
			return 0, io.EOF
		}
	}
	if w.closed.Load() {
		return 0, os.ErrClosed
	}
	now, arrived := w.due(w.rest[0].At*10, len(w.rest[0].Data), room)
	if !arrived {
		return 0, nil
	}
	n := 0
	for most := min(len(frames), len(w.rest)); n < most && w.rest[n].At*10 <= now; n++ {
		f := w.rest[n]
		if w.backpressure {
			if room -= len(f.Data); room < 0 {
				w.blocked = true
				break
			}
		}
		f.At += w.start + w.shift/10
		frames[n] = f
	}
	w.rest = w.rest[n:]
	return n, nil
}
