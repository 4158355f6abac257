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

// patience is how long anything that must happen may take on a busy machine.
const patience = 2 * time.Minute

// house is a capture with its guests.
type house struct {
	engine *capture.Engine
	dir    string
	o      options
	chance *rand.Rand
	self   string // this program

	shares    []*stream.Server
	witnesses []*witness
	guests    []*visitor // there now
	number    int        // of the next guest
	done      troubles

	threads  sync.WaitGroup // guests that are goroutines
	mu       sync.Mutex     // guards what follows
	failed   []error
	left     map[leaver]stream.ListenerStats // by name, who attached last under it
	reported []parting
}

// leaver is a listener that is gone.
type leaver struct {
	queue int
	name  string
}

// parting is what a guest that left in order said last.
type parting struct {
	leaver
	report
}

// witness sees every frame of a queue.
type witness struct {
	reader
	listener *stream.Listener
	over     chan struct{}
	err      error
}

func newHouse(e *capture.Engine, dir string, o options) *house {
	return &house{
		engine: e, dir: dir, o: o, chance: rand.New(rand.NewPCG(o.seed, 0)),
		left: make(map[leaver]stream.ListenerStats), done: troubles{},
	}
}

// open lets witnesses in, then opens the doors.
func (h *house) open() (err error) {
	if h.self, err = os.Executable(); err != nil {
		return err
	}
	for q := range h.engine.Queues() {
		s := h.engine.Stream(q)
		w := &witness{over: make(chan struct{})}
		if w.listener, err = s.Listen("witness", stream.Options{Policy: stream.Lossless}); err != nil {
			return err
		}
		h.witnesses = append(h.witnesses, w)
		go func() {
			defer close(w.over)
			w.err = w.run(context.Background(), w.listener)
		}()
		share, err := s.Serve(stream.ServerConfig{Path: socket(h.dir, q)})
		if err != nil {
			return err
		}
		h.shares = append(h.shares, share)
	}
	return nil
}

// run makes trouble until ctx is done, a witness is, or the capture is in trouble itself.
func (h *house) run(ctx context.Context, progress io.Writer) error {
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
			fmt.Fprintf(progress, "%4.0f s  %6.3f Mpps  buffer %3.0f %%  lost %d  guests %d  %v\n",
				time.Since(began).Seconds(), r.Mpps, 100*r.Fill, r.Lost, len(h.guests), h.done)
		case <-time.After(time.Duration(1+h.chance.IntN(30)) * time.Millisecond):
		}
		for _, w := range h.witnesses {
			select {
			case <-w.over:
				return errors.Join(errors.New("a witness saw the stream end before its time"), w.err)
			default:
			}
		}
		if err := h.trouble(); err != nil {
			return err
		}
		h.reap()
		h.note()
		if err := h.failure(); err != nil {
			return err
		}
	}
}

// note keeps what the streams say of those that left.
func (h *house) note() {
	for q := range h.engine.Queues() {
		for _, s := range h.engine.Stream(q).Stats().RecentDetached {
			h.mu.Lock()
			who := leaver{q, s.Name}
			if h.left[who].ID < s.ID {
				h.left[who] = s
			}
			h.mu.Unlock()
		}
	}
}

func (h *house) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = append(h.failed, err)
}

func (h *house) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(h.failed...)
}

// settle lets those that are stopped go on, so that the capture can end in order.
func (h *house) settle() error {
	for _, g := range h.guests {
		g.wake()
	}
	return nil
}

// close waits until everybody has left, and shuts the doors.
func (h *house) close() error {
	end := time.Now().Add(patience)
	for len(h.guests) > 0 {
		h.reap()
		if time.Now().After(end) {
			for _, g := range h.guests {
				h.fail(fmt.Errorf("%s did not see the end of the stream within %v", g.name, patience))
				g.kill()
			}
		}
		time.Sleep(time.Millisecond)
	}
	h.threads.Wait()
	h.awaitEmpty()
	h.note()
	var errs []error
	for _, s := range h.shares {
		errs = append(errs, s.Close())
	}
	for _, w := range h.witnesses {
		errs = append(errs, w.listener.Close())
		<-w.over
		errs = append(errs, w.err)
	}
	return errors.Join(append(errs, h.failure())...)
}

// awaitEmpty waits until the streams have noticed that their guests are gone.
func (h *house) awaitEmpty() {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n := 0
		for q := range h.engine.Queues() {
			n += len(h.engine.Stream(q).Stats().Listeners) - 1
		}
		if n <= 0 {
			return
		}
	}
	h.fail(fmt.Errorf("guests that ended were still attached %v later", patience))
}

// verify compares everybody's account with what the streams say.
func (h *house) verify() error {
	var errs []error
	for q, w := range h.witnesses {
		if stored := h.engine.Stream(q).Stats().Frames; w.Read != stored {
			errs = append(errs, fmt.Errorf("queue %d: the witness read %d frames of %d stored", q, w.Read, stored))
		}
	}
	compared := 0
	for _, p := range h.reported {
		if !p.Out && p.Read != p.Account.Read {
			errs = append(errs, fmt.Errorf("%s of queue %d saw %d frames, its account says %d", p.name, p.queue, p.Read, p.Account.Read))
		}
		s, ok := h.left[p.leaver]
		if !ok {
			continue // more left at once than a stream remembers
		}
		switch {
		case s.DetachReason == "corrupt cursor":
			errs = append(errs, fmt.Errorf("%s of queue %d was detached for a corrupt cursor", p.name, p.queue))
			continue
		case s.DetachReason != "closed":
			continue // let go: its own account may have gone on
		}
		compared++
		if s.Read != p.Account.Read || s.Overrun != p.Account.Overrun {
			errs = append(errs, fmt.Errorf("%s of queue %d read %d and missed %d frames, the stream says %d and %d (%s)",
				p.name, p.queue, p.Account.Read, p.Account.Overrun, s.Read, s.Overrun, s.DetachReason))
		}
	}
	for who, s := range h.left {
		if err := s.Balanced(); err != nil {
			errs = append(errs, fmt.Errorf("queue %d: %s: %w", who.queue, who.name, err))
		}
	}
	h.done["accounts compared"] = compared
	return errors.Join(errs...)
}
