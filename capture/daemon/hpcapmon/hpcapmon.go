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
	"github.com/ixcap/ixcap/internal/asynclog"
)

// Port is a port that a file is written for.
type Port struct {
	Name string                  // of the port and its file
	Read func() capture.Counters // returns its counters
}

// Config configures a Writer. Zero values are the defaults.
type Config struct {
	Dir   string // created if only the last part of its path is missing
	Ports []Port

	// Proc is where procfs is mounted; default /proc.
	Proc string
	// Logger gets one message when lines cannot be written, and one when they can be
	// written again; nil discards.
	Logger *slog.Logger
}

// Cpus is the name of the machine's file.
const Cpus = "cpus"

// Writer writes the files.
type Writer struct {
	cfg     Config
	ports   []*series
	machine machine
	failing bool
	missed  uint64 // lines not written since it is failing
}

// New returns a Writer to a folder, which it creates.
func New(cfg Config) (*Writer, error) {
	if err := os.Mkdir(cfg.Dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("hpcapmon: %w", err)
	}
	if st, err := os.Stat(cfg.Dir); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("hpcapmon: %s: not a folder; choose another", cfg.Dir)
	}
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	cfg.Logger, _ = asynclog.Wrap(cfg.Logger)
	w := &Writer{cfg: cfg, machine: machine{proc: cfg.Proc}}
	for _, p := range cfg.Ports {
		if p.Name == Cpus {
			return nil, fmt.Errorf("hpcapmon: port name %s: it is the name of the machine's file; rename the port", Cpus)
		}
		w.ports = append(w.ports, &series{read: p.Read, name: p.Name, before: p.Read()})
	}
	_, _ = w.machine.line() // a line is the difference to the one before
	return w, nil
}

// Run writes at each full second of the wall clock until ctx is done, also after
// that was set.
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
		// A clock that is slewed may not have reached the second yet.
		if now := time.Now(); now.Unix() != last {
			last = now.Unix()
			w.Write(now)
		}
	}
}

// Folder is the name of the folder for lines of a time.
func Folder(now time.Time) string {
	year, week := now.UTC().ISOWeek()
	return fmt.Sprintf("%04d-%02d", year, week)
}

// Write appends a line to each file: the rates since the last line. Lines that
// cannot be written are left out, and that is logged (Config.Logger).
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
	w.log(err, lines)
}

// log logs the first failure to write, and the first success after it.
func (w *Writer) log(err error, lines int) {
	switch {
	case err != nil:
		if !w.failing {
			w.cfg.Logger.Warn(fmt.Sprintf("hpcapmon: %v; no lines until it can be written again", err))
		}
		w.failing, w.missed = true, w.missed+uint64(lines)
	case w.failing:
		w.cfg.Logger.Warn(fmt.Sprintf("hpcapmon: writing again; up to %d lines left out", w.missed))
		w.failing, w.missed = false, 0
	}
}

// appendLine appends a whole line to a file, or nothing.
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

// series computes the rates of a port.
type series struct {
	name   string
	read   func() capture.Counters
	before capture.Counters
	mean   float64 // bits of a frame, in the last line with frames
}

// line returns the rates since the last line.
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
