package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/asynclog"
)

const (
	// lastLines is how long a program waits at its end for a standard error that is not
	// read.
	lastLines = 2 * time.Second
	// lastWords is the same for its second signal.
	lastWords = 100 * time.Millisecond
)

// printTimeout is how long Print waits for a standard output that is not read.
var printTimeout = 5 * time.Second

// Stderr is standard error. Programs write to it, never to os.Stderr: a terminal that
// was stopped with Ctrl-S, or a pipe that is not read, would hold the writer.
var Stderr = NewPrinter(os.Stderr, filepath.Base(os.Args[0]))

// Stdout is standard output of programs that write to it all the time. A write waits for a
// reader, as is usual, until a signal ends the program (Interrupted).
var Stdout = &Output{File: os.Stdout}

// blocked is when the write to standard output began that is under way, in nanoseconds
// since 1970; 0: none is.
var blocked atomic.Int64

// Write writes to the output.
func (o *Output) Write(b []byte) (n int, err error) {
	if o.File != os.Stdout {
		n, err = o.File.Write(b)
		if at := new(fs.PathError); o.name != "" && errors.As(err, &at) {
			at.Path = o.name // not that of the hidden file
		}
		o.err = cmp.Or(o.err, err)
		return n, err
	}
	blocked.Store(time.Now().UnixNano())
	defer blocked.Store(0)
	return o.File.Write(b)
}

// exitUnread ends the program with a status once a write to standard output has been
// blocked for lastLines. It is called when the program was told to end.
func exitUnread(name string, status int) {
	told := time.Now()
	for range time.Tick(lastLines / 20) {
		since := blocked.Load()
		if since != 0 && time.Since(time.Unix(0, since)) > lastLines && time.Since(told) > lastLines {
			fmt.Fprintf(Stderr, "%s: standard output was not read for %v: exiting\n", name, lastLines)
			Stderr.Flush(lastWords)
			discardUnnamed()
			os.Exit(status)
		}
	}
}

// Printer writes lines in the background. Each Write is a line, or several that belong
// together. Lines for which there is no room are dropped, and counted as log messages.
type Printer struct {
	*asynclog.Queue
	w io.Writer
}

// NewPrinter returns a Printer to w. program is the prefix of its own messages.
func NewPrinter(w io.Writer, program string) *Printer {
	note := func(dropped uint64, over time.Duration) error {
		_, err := fmt.Fprintf(w, "%s: warning: %s\n", program, asynclog.Note(dropped, over))
		return err
	}
	return &Printer{asynclog.NewQueue(note), w}
}

// Write does not block and returns no error.
func (p *Printer) Write(b []byte) (int, error) {
	line := bytes.Clone(b)
	p.Add(len(line), func() error {
		_, err := p.w.Write(line)
		return err
	})
	return len(b), nil
}

// Print writes to standard output what a capture prints at its end. It returns an error if
// that is not read for 5 s.
func Print(write func(w io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	written, out := make(chan error, 1), os.Stdout
	go func() {
		_, err := out.Write(b.Bytes())
		written <- err
	}()
	timeout := time.NewTimer(printTimeout)
	defer timeout.Stop()
	select {
	case err := <-written:
		return err
	case <-timeout.C:
		return fmt.Errorf("write standard output: it was not read for %v: what was to be printed is lost", printTimeout)
	}
}

// PrintStderr is Print for programs that write packets to standard output.
func PrintStderr(write func(w io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	_, err := Stderr.Write(b.Bytes())
	return err
}

// IsStdout reports whether f is standard output, by any descriptor.
func IsStdout(f *os.File) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stdout.Stat()
	return err == nil && os.SameFile(a, b)
}

// unread reports whether err is only that the reader of standard output has gone.
func unread(err error) bool {
	for _, e := range each(err) {
		var at *fs.PathError
		if !errors.As(e, &at) || at.Path != os.Stdout.Name() || !errors.Is(at, unix.EPIPE) {
			return false
		}
	}
	return true
}
