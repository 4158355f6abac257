package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/stream"
)

// visitor is a guest that is a process of its own.
type visitor struct {
	leaver
	command  *exec.Cmd
	stdin    io.Closer
	stdout   bytes.Buffer
	stderr   bytes.Buffer
	ended    chan struct{}
	err      error
	stopped  bool
	expected string // how it may end otherwise than in order: what was done to it
}

// invite starts a guest process.
func (h *house) invite(args ...string) error {
	q := h.chance.IntN(h.engine.Queues())
	h.number++
	g := &visitor{leaver: leaver{q, fmt.Sprintf("guest-%d", h.number)}, ended: make(chan struct{})}
	args = append([]string{guestWord, "--socket", socket(h.dir, q), "--name", g.name}, args...)
	g.command = exec.Command(h.self, args...)
	g.command.Stdout, g.command.Stderr = &g.stdout, &g.stderr
	// A guest outlives nobody: neither this process nor the terminal it was started from.
	g.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdin, err := g.command.StdinPipe()
	if err != nil {
		return err
	}
	g.stdin = stdin
	if err := g.command.Start(); err != nil {
		return fmt.Errorf("start a guest: %w", err)
	}
	go func() {
		g.err = g.command.Wait()
		close(g.ended)
	}()
	h.guests = append(h.guests, g)
	return nil
}

func (g *visitor) signal(s syscall.Signal) { _ = g.command.Process.Signal(s) }

// leave asks it to detach and end.
func (g *visitor) leave() { _ = g.stdin.Close() }

func (g *visitor) kill() {
	g.expected = "killed"
	g.signal(unix.SIGKILL)
}

func (g *visitor) stop() {
	g.stopped = true
	g.signal(unix.SIGSTOP)
}

func (g *visitor) wake() {
	g.stopped = false
	g.signal(unix.SIGCONT)
}

// reap says goodbye to those that have ended.
func (h *house) reap() {
	stay := h.guests[:0]
	for _, g := range h.guests {
		select {
		case <-g.ended:
			h.part(g)
		default:
			stay = append(stay, g)
		}
	}
	h.guests = stay
}

// part looks at how a guest ended.
func (h *house) part(g *visitor) {
	if g.err != nil {
		if g.expected == "" {
			h.fail(fmt.Errorf("%s of queue %d: %w: %s", g.name, g.queue, g.err, bytes.TrimSpace(g.stderr.Bytes())))
		}
		return
	}
	p := parting{leaver: g.leaver}
	lines := bytes.Split(bytes.TrimSpace(g.stdout.Bytes()), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &p.report); err != nil {
		h.fail(fmt.Errorf("%s of queue %d ended without a report: %q", g.name, g.queue, &g.stdout))
		return
	}
	if g.expected == "" {
		h.reported = append(h.reported, p)
	}
}

// dropIn starts a guest that is a goroutine, attached over the socket if one is
// named, and leaves after a while.
func (h *house) dropIn(socketPath string, queue int, o stream.Options, stay time.Duration) {
	h.number++
	name := fmt.Sprintf("thread-%d", h.number)
	h.threads.Go(func() {
		var l *stream.Listener
		var err error
		if socketPath != "" {
			l, err = stream.Attach(socketPath, name, o)
		} else {
			l, err = h.engine.Stream(queue).Listen(name, o)
		}
		if err != nil {
			h.fail(err)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), stay)
		defer cancel()
		var r reader
		err = errors.Join(r.run(ctx, l), l.Close())
		if err != nil {
			h.fail(fmt.Errorf("%s of queue %d: %w", name, queue, err))
		}
	})
}
