package hpcapmon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ixcap/ixcap/capture"
)

// Port is a port that a file is written about.
type Port struct {
	Name string                  // of the file
	Read func() capture.Counters // its counters now
}

// Config says what to write. Zero values stand for the defaults.
type Config struct {
	Dir   string // made if only the last part of its path is missing
	Ports []Port

	// Proc is where the kernel's proc is mounted; default /proc.
	Proc string
	// Logger gets one message when lines cannot be written, and one when they can be
	// written again; nil discards.
	Logger *slog.Logger
}

// Cpus is the name of the file about the machine.
const Cpus = "cpus"

// Writer writes the files.
type Writer struct {
	cfg     Config
	ports   []*series
	machine machine
	failing bool
	missed  uint64 // lines, since it fails
}

// New makes sure that the folder is there.
func New(cfg Config) (*Writer, error) {
	if err := os.Mkdir(cfg.Dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("data files: %w", err)
	}
	if st, err := os.Stat(cfg.Dir); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("data files: %s is no folder: name another one", cfg.Dir)
	}
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Writer{cfg: cfg, machine: machine{proc: cfg.Proc}}
	for _, p := range cfg.Ports {
		if p.Name == Cpus {
			return nil, fmt.Errorf("data files: a port cannot have the name %s, which is the machine's file", Cpus)
		}
		w.ports = append(w.ports, &series{read: p.Read, name: p.Name, before: p.Read()})
	}
	_, _ = w.machine.line() // lines are the difference to the one before
	return w, nil
}

// Run writes at each full second of the clock, also after that was set, until ctx
// is done.
func (w *Writer) Run(ctx context.Context) {
	for last := time.Now().Unix(); ; {
		now := time.Now()
		next := time.NewTimer(now.Truncate(time.Second).Add(time.Second).Sub(now))
		select {
		case <-ctx.Done():
			next.Stop()
			return
		case <-next.C:
		}
		// A clock that is being slowed down is not there yet.
		if now := time.Now(); now.Unix() != last {
			last = now.Unix()
			w.Write(now)
		}
	}
}

// Folder is the folder of a moment's lines.
func Folder(now time.Time) string {
	year, week := now.UTC().ISOWeek()
	return fmt.Sprintf("%04d-%02d", year, week)
}

// Write adds a line to each file: what has come since the last one, and the time
// now. Lines that cannot be written are left out and logged (Config.Logger).
func (w *Writer) Write(now time.Time) {
	dir := filepath.Join(w.cfg.Dir, Folder(now))
	err := os.MkdirAll(dir, 0o755)
	lines := 0
	add := func(name, line string, problem error) {
		lines++
		if err == nil {
			err = problem
		}
		if err == nil {
			err = appendLine(filepath.Join(dir, name), fmt.Sprintf("%d %s\n", now.Unix(), line))
		}
	}
	for _, p := range w.ports {
		add(p.name, p.line(), nil)
	}
	line, problem := w.machine.line()
	add(Cpus, line, problem)
	w.tell(err, lines)
}

// tell warns when it begins to fail, and when that is over.
func (w *Writer) tell(err error, lines int) {
	switch {
	case err != nil:
		if !w.failing {
			w.cfg.Logger.Warn(fmt.Sprintf("data files: %v; lines are left out until it works again", err))
		}
		w.failing, w.missed = true, w.missed+uint64(lines)
	case w.failing:
		w.cfg.Logger.Warn(fmt.Sprintf("data files: written again, after up to %d lines that were left out", w.missed))
		w.failing, w.missed = false, 0
	}
}

// appendLine adds a whole line to a file, or nothing.
func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		var n int
		if n, err = f.WriteString(line); err != nil && n > 0 {
			err = errors.Join(err, f.Truncate(st.Size()))
		}
	}
	return errors.Join(err, f.Close())
}

// series is what a port's counters do from second to second.
type series struct {
	name   string
	read   func() capture.Counters
	before capture.Counters
	mean   float64 // bits of a frame, as received last
}

// line is what has come since the last one, as rates.
func (s *series) line() string {
	now := s.read()
	seconds := max(now.At.Sub(s.before.At).Seconds(), 1e-9)
	frames, lost := float64(now.Polled-s.before.Polled), float64(now.Lost-s.before.Lost)
	bits := 8 * float64(now.Bytes-s.before.Bytes)
	if frames > 0 {
		s.mean = bits / frames
	}
	s.before = now
	return fmt.Sprintf("%.0f %.0f %.0f %.0f", bits/seconds, frames/seconds, lost*s.mean/seconds, lost/seconds)
}
