// Package cli holds what the example programs' command lines share: sizes with
// units, one line per error, and signals that end a program in order.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Exit statuses.
const (
	Failed = 1 // the work could not be done, or not all of it
	Usage  = 2 // the command line makes no sense
)

// UsageError is an error in the command line.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() + " (-h shows the usage)" }
func (e UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Main runs a program and exits with its status.
func Main(name string, run func(args []string) error) {
	err := run(os.Args[1:])
	if err == nil || errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	for _, line := range Lines(err) {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, line)
	}
	if errors.As(err, new(UsageError)) {
		os.Exit(Usage)
	}
	os.Exit(Failed)
}

// Processors makes room in the Go scheduler for threads that never pause: the
// pollers of a capture and the model's device thread. Each takes one of the
// scheduler's processors, and what is left must be enough for everything else.
// The kernel shares the cores between them. GOMAXPROCS in the environment wins.
func Processors(pollers int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.NumCPU() + pollers + 1)
	}
}

// Interrupted returns a context that the first SIGINT or SIGTERM cancels, for a
// program that then ends in order; a second one ends the program at once.
func Interrupted(name string) context.Context {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-signals
		cancel()
		again := <-signals
		fmt.Fprintf(os.Stderr, "%s: %v again: ending at once\n", name, again)
		os.Exit(128 + int(again.(unix.Signal)))
	}()
	return ctx
}

// Lines gives one line for each error joined in err.
func Lines(err error) []string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		if !strings.Contains(err.Error(), "\n") {
			return []string{err.Error()} // fmt.Errorf with several %w
		}
		var all []string
		for _, e := range joined.Unwrap() {
			all = append(all, Lines(e)...)
		}
		return all
	}
	return []string{strings.ReplaceAll(err.Error(), "\n", "; ")}
}

// Parse parses args into fs; usage is the text that -h prints before the flags.
func Parse(fs *flag.FlagSet, args []string, usage string) error {
	fs.Init(fs.Name(), flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stdout, usage)
		fs.SetOutput(os.Stdout)
		fs.PrintDefaults()
		return err
	}
	if err != nil {
		return UsageError{err}
	}
	return nil
}
