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

// process is a client process.
type process struct {
	clientKey
	command  *exec.Cmd
	stdin    io.Closer
	stdout   bytes.Buffer
	stderr   bytes.Buffer
	ended    chan struct{}
	err      error
	stopped  bool
	expected string // reason for which it may end with an error
}

// startProcess starts a client process.
func (h *harness) startProcess(args ...string) error {
	q := h.chance.IntN(h.engine.Queues())
	h.number++
	g := &process{clientKey: clientKey{q, fmt.Sprintf("process-%d", h.number)}, ended: make(chan struct{})}
	args = append([]string{clientWord, "--socket", socket(h.dir, q), "--name", g.name}, args...)
	g.command = exec.Command(h.self, args...)
	g.command.Stdout, g.command.Stderr = &g.stdout, &g.stderr
	// It is killed when this process ends, and gets no signals of the terminal.
	g.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdin, err := g.command.StdinPipe()
	if err != nil {
		return err
	}
	g.stdin = stdin
	if err := g.command.Start(); err != nil {
		return fmt.Errorf("start a client: %w", err)
	}
	go func() {
		g.err = g.command.Wait()
		close(g.ended)
	}()
	h.processes = append(h.processes, g)
	return nil
}

func (g *process) signal(s syscall.Signal) { _ = g.command.Process.Signal(s) }

// detach makes it detach and end.
func (g *process) detach() { _ = g.stdin.Close() }

func (g *process) kill() {
	g.expected = "killed"
	g.signal(unix.SIGKILL)
}

func (g *process) stop() {
	g.stopped = true
	g.signal(unix.SIGSTOP)
}

func (g *process) resume() {
	g.stopped = false
	g.signal(unix.SIGCONT)
}

// collect removes processes that have ended.
func (h *harness) collect() {
	running := h.processes[:0]
	for _, g := range h.processes {
		select {
		case <-g.ended:
			h.finish(g)
		default:
			running = append(running, g)
		}
	}
	h.processes = running
}

// finish checks how a process ended.
func (h *harness) finish(g *process) {
	if g.err != nil {
		if g.expected == "" {
			h.fail(fmt.Errorf("%s of queue %d: %w: %s", g.name, g.queue, g.err, bytes.TrimSpace(g.stderr.Bytes())))
		}
		return
	}
	p := finalReport{clientKey: g.clientKey}
	lines := bytes.Split(bytes.TrimSpace(g.stdout.Bytes()), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &p.report); err != nil {
		h.fail(fmt.Errorf("%s of queue %d ended without a report: %q", g.name, g.queue, &g.stdout))
		return
	}
	if g.expected == "" {
		h.reported = append(h.reported, p)
	}
}

// startThread starts a client goroutine that detaches after a while. With a socketPath
// it attaches over the socket.
func (h *harness) startThread(socketPath string, queue int, o stream.Options, stay time.Duration) {
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
