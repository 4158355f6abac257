package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/sim"
)

// Logger returns a logger that writes one line for each message to p:
//
//	program: warning: PORT: queue N: message key=value key="two words"
//
// The attributes port and queue, if there are any, stand before the message.
// Informational messages have no level. Debug messages are written if verbose is set.
func Logger(p *Printer, program string, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(&lineHandler{Printer: p, program: program, level: level})
}

// lineHandler does not block (asynclog.NonBlocking).
type lineHandler struct {
	*Printer
	program string
	level   slog.Level
	attrs   []slog.Attr
}

func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level
}

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := slices.Clone(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	var before, after strings.Builder
	switch {
	case r.Level >= slog.LevelError:
		before.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		before.WriteString("warning: ")
	}
	for _, a := range attrs {
		switch text := a.Value.String(); a.Key {
		case "port":
			if text != "" {
				before.WriteString(text + ": ")
			}
		case "queue":
			before.WriteString("queue " + text + ": ")
		default:
			fmt.Fprintf(&after, " %s=%s", a.Key, valueText(a.Value))
		}
	}
	_, err := fmt.Fprintf(h, "%s: %s%s%s\n", h.program, before.String(), strings.ReplaceAll(r.Message, "\n", "; "), after.String())
	return err
}

// valueText returns a value without spaces: times in UTC with milliseconds, other values
// quoted if need be.
func valueText(v slog.Value) string {
	if v = v.Resolve(); v.Kind() == slog.KindTime {
		return v.Time().UTC().Format("2006-01-02T15:04:05.000Z")
	}
	text := v.String()
	if strings.ContainsAny(text, " \t\n\"=") {
		return strconv.Quote(text)
	}
	return text
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clone := *h
	clone.attrs = append(slices.Clone(h.attrs), attrs...)
	return &clone
}

func (h *lineHandler) WithGroup(string) slog.Handler { return h }

// Bar prints progress: on a terminal one line that is overwritten, elsewhere one line
// after the other. A rate is left out while the one before has not been written.
type Bar struct {
	W        *Printer
	Terminal bool
	shown    bool
}

// Print prints the rate of the last second.
func (b *Bar) Print(r capture.Rate) {
	if !b.W.Idle() {
		return
	}
	line := fmt.Sprintf("%v  buffer %.0f %%  lost %d (%.0f/s)", r, 100*r.Fill, r.Lost, r.LostPerSecond)
	if b.Terminal {
		fmt.Fprintf(b.W, "\r\x1b[K%s", line) // erases the line before
	} else {
		fmt.Fprintln(b.W, line)
	}
	b.shown = true
}

// End ends the line on a terminal, so that the next output begins on a new one.
func (b *Bar) End() {
	if b.shown && b.Terminal {
		fmt.Fprintln(b.W)
	}
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// WarnLate logs a warning if port is the model's and its wire was behind its schedule for
// more than 1 % of the duration of a capture: frames were sent at a lower rate than the
// requested one.
func WarnLate(log *slog.Logger, port capture.Port, duration time.Duration) {
	p, ok := port.(*nic.Port)
	if !ok {
		return
	}
	d, ok := p.Device().(*sim.Device)
	if !ok {
		return
	}
	if late := d.NIC().Late(); late > duration/100 {
		log.Warn(fmt.Sprintf("the model's wire was late by %v in %v: it sent fewer frames per second than requested",
			late.Round(time.Millisecond), duration.Round(time.Millisecond)))
	}
}
