package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// sameSignal is how long after the first signal a further one is a repetition of it:
// timeout(1), terminals and shells signal both a process and its group.
const sameSignal = time.Second

// Interrupted returns a context that the first SIGINT, SIGTERM or SIGHUP cancels. A
// signal more than a second later exits with status 128 plus its number; so does the first
// one if standard output (Stdout) is then not read for 2 s. Signals that the
// program handles itself are left to it (own), and a SIGHUP that nohup(1) ignores stays
// ignored.
func Interrupted(name string, own ...os.Signal) context.Context {
	// A terminal with "stty tostop" stops a job in the background that writes to it.
	signal.Ignore(unix.SIGTTOU)
	ending := []os.Signal{unix.SIGINT, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) && !slices.Contains(own, os.Signal(unix.SIGHUP)) {
		ending = append(ending, unix.SIGHUP)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, ending...)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended := <-signals
		first := time.Now()
		cancel()
		go exitUnread(name, 128+int(ended.(unix.Signal)))
		for again := range signals {
			if time.Since(first) > sameSignal {
				fmt.Fprintf(Stderr, "%s: second %v: exiting at once\n", name, again)
				Stderr.Flush(lastWords)
				discardUnnamed()
				os.Exit(128 + int(again.(unix.Signal)))
			}
		}
	}()
	return ctx
}

// receiveEPIPE makes a write to standard output or error whose reader has gone return
// EPIPE. Without it the signal ends the program, capture and all. Other than with an
// ignored signal, programs that this one starts get the default.
func receiveEPIPE() { signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) }

// removeOnSignal makes SIGINT, SIGTERM and SIGHUP remove outputs that do not have their
// names yet, before they end the program as they usually do. Signals that are ignored stay
// ignored.
func removeOnSignal() {
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	go func() {
		ended := (<-signals).(unix.Signal)
		discardUnnamed()
		signal.Reset(ended)
		_ = unix.Kill(unix.Getpid(), ended)
	}()
}
