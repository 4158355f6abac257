package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
)

// timeout limits every wait, on a busy machine.
const timeout = 2 * time.Minute

// harness is a capture with its clients.
type harness struct {
	engine *capture.Engine
	dir    string
	o      options
	chance *rand.Rand
	self   string // this program

	servers    []*stream.Server
	references []*reference
	processes  []*process // running
	number     int        // of the last client
	counts     eventCounts

	threads  sync.WaitGroup // clients that are goroutines
	mu       sync.Mutex     // guards the fields below
	failed   []error
	detached map[clientKey]stream.ListenerStats // the last one of each name
	reported []finalReport
}

// referenceName is the name of the reference readers.
const referenceName = "reference"

// clientKey identifies a listener.
type clientKey struct {
	queue int
	name  string
}

// finalReport is the report of a client process that ended in order.
type finalReport struct {
	clientKey
	report
}

// reference is the reference reader of a queue: it reads every frame.
type reference struct {
	reader
	listener *stream.Listener
	done     chan struct{} // closed when run has returned
	err      error
}

func newHarness(e *capture.Engine, dir string, o options) *harness {
	return &harness{
		engine: e, dir: dir, o: o, chance: rand.New(rand.NewPCG(o.seed, 0)),
		detached: make(map[clientKey]stream.ListenerStats), counts: eventCounts{},
	}
}

// start starts the reference readers and the servers.
func (h *harness) start() (err error) {
	if h.self, err = os.Executable(); err != nil {
		return err
	}
	for q := range h.engine.Queues() {
		s := h.engine.Stream(q)
		w := &reference{done: make(chan struct{})}
		if w.listener, err = s.Listen(referenceName, stream.Options{Policy: stream.Lossless}); err != nil {
			return err
		}
		h.references = append(h.references, w)
		go func() {
			defer close(w.done)
			w.err = w.run(context.Background(), w.listener)
		}()
		server, err := s.Serve(stream.ServerConfig{Path: socket(h.dir, q)})
		if err != nil {
			return err
		}
		h.servers = append(h.servers, server)
	}
	return nil
}

// run makes events until ctx is done, or fails.
func (h *harness) run(ctx context.Context, progress io.Writer) error {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	before, began := h.engine.Counters(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-second.C:
			now := h.engine.Counters()
			r := now.Since(before)
			before = now
			fmt.Fprintf(progress, "%4.0f s  received %6.3f Mpps  buffer %3.0f %%  lost %d  clients %d  %v\n",
				time.Since(began).Seconds(), r.Received.Mpps, 100*r.Fill, r.Lost, len(h.processes), h.counts)
		case <-time.After(time.Duration(1+h.chance.IntN(30)) * time.Millisecond):
		}
		for _, w := range h.references {
			select {
			case <-w.done:
				return errors.Join(errors.New("the stream of a reference reader ended early"), w.err)
			default:
			}
		}
		if err := h.event(); err != nil {
			return err
		}
		h.collect()
		h.collectDetached()
		if err := h.failure(); err != nil {
			return err
		}
	}
}

// collectDetached keeps the final counters of detached listeners.
func (h *harness) collectDetached() {
	for q := range h.engine.Queues() {
		for _, s := range h.engine.Stream(q).Stats().RecentDetached {
			h.mu.Lock()
			key := clientKey{q, s.Name}
			if h.detached[key].ID < s.ID {
				h.detached[key] = s
			}
			h.mu.Unlock()
		}
	}
}

func (h *harness) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = append(h.failed, err)
}

func (h *harness) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(h.failed...)
}

// resumeAll resumes stopped processes, so that the capture can end in order.
func (h *harness) resumeAll() error {
	for _, g := range h.processes {
		g.resume()
	}
	return nil
}

// close waits until all clients have ended, and closes servers and reference readers.
func (h *harness) close() error {
	end := time.Now().Add(timeout)
	for len(h.processes) > 0 {
		h.collect()
		if time.Now().After(end) {
			for _, g := range h.processes {
				h.fail(fmt.Errorf("%s has not ended %v after its stream", g.name, timeout))
				g.kill()
			}
		}
		time.Sleep(time.Millisecond)
	}
	h.threads.Wait()
	h.awaitEmpty()
	h.collectDetached()
	var errs []error
	for _, s := range h.servers {
		errs = append(errs, s.Close())
	}
	for _, w := range h.references {
		errs = append(errs, w.listener.Close())
		<-w.done
		errs = append(errs, w.err)
	}
	return errors.Join(append(errs, h.failure())...)
}

// awaitEmpty waits until the streams have detached all clients.
func (h *harness) awaitEmpty() {
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n := 0
		for q := range h.engine.Queues() {
			n += len(h.engine.Stream(q).Stats().Listeners) - 1
		}
		if n <= 0 {
			return
		}
	}
	h.fail(fmt.Errorf("clients that ended were still attached after %v", timeout))
}

// verify compares the counters of clients and streams.
func (h *harness) verify() error {
	var errs []error
	for q, w := range h.references {
		if stored := h.engine.Stream(q).Stats().Frames; w.Read != stored {
			errs = append(errs, fmt.Errorf("queue %d: the reference reader read %d frames of %d stored", q, w.Read, stored))
		}
	}
	compared := 0
	for _, p := range h.reported {
		if !p.Out && p.Read != p.Account.Read {
			errs = append(errs, fmt.Errorf("%s of queue %d read %d frames, its counter is %d", p.name, p.queue, p.Read, p.Account.Read))
		}
		s, ok := h.detached[p.clientKey]
		if !ok {
			continue // the stream keeps only the last ones
		}
		switch {
		case s.DetachReason == "corrupt cursor":
			errs = append(errs, fmt.Errorf("%s of queue %d was detached for a corrupt cursor", p.name, p.queue))
			continue
		case s.DetachReason != "closed":
			continue // detached by the capture: its own counters can be higher
		}
		compared++
		if s.Read != p.Account.Read || s.Overrun != p.Account.Overrun {
			errs = append(errs, fmt.Errorf("%s of queue %d read %d and missed %d frames, the stream counted %d and %d (%s)",
				p.name, p.queue, p.Account.Read, p.Account.Overrun, s.Read, s.Overrun, s.DetachReason))
		}
	}
	for key, s := range h.detached {
		if err := s.Balanced(); err != nil {
			errs = append(errs, fmt.Errorf("queue %d: %s: %w", key.queue, key.name, err))
		}
	}
	h.counts["accounts compared"] = compared
	return errors.Join(errs...)
}
