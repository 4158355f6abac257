package record

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/store"
	"github.com/ixcap/ixcap/capture/stream"
)

// Null is the folder that stands for none: frames are captured and dropped.
const Null = "null"

// Listener is the name of the listeners that Run attaches.
const Listener = "storer"

// AllQueues records every queue, each to its own files.
const AllQueues = -1

// MinBuffer is the smallest stream in bytes that can be stored from.
const MinBuffer = 2 * store.Block

// Config says what to record and where to.
type Config struct {
	Dir     string // folder, or Null
	Queue   int    // the queue, or AllQueues
	Segment int64  // bytes of a full file, as the engine's streams have it
	Store   store.Config

	// Progress is called every second while the capture runs, when set, with the
	// counters then and a second before.
	Progress func(before, now capture.Rates)

	// Linger is how long the end waits for listeners of others that have frames
	// left to read and read none; those that go on reading are waited for. 0: not at
	// all. The ledger is made after that.
	Linger time.Duration

	// Warn is called with what the user should know though the capture goes on.
	Warn func(string)
}

// recorder is one queue being recorded.
type recorder struct {
	queue    int
	listener *stream.Listener
	storer   *store.Storer // nil: discard
	read     uint64        // bytes discarded
	err      error
}

// Run starts the engine and records until the wire ends, ctx is done (which is
// no error) or something fails, and ends the capture in order. The ledger is
// good whatever the error. The engine is stopped then, and remains the caller's
// to close.
func Run(ctx context.Context, e *capture.Engine, cfg Config) (l capture.Ledger, err error) {
	all, err := attach(e, cfg)
	defer func() {
		for _, r := range all {
			err = errors.Join(err, r.listener.Close())
		}
	}()
	if err != nil {
		return l, err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	var storing sync.WaitGroup
	for _, r := range all {
		storing.Go(func() {
			if r.run(); r.err != nil {
				end() // the capture ends when a part of it cannot be kept
			}
		})
	}
	err = e.Start()
	if err == nil {
		ticking := make(chan struct{})
		if cfg.Progress != nil {
			storing.Go(func() { tick(e, cfg.Progress, ticking) })
		}
		err = e.Wait(ctx)
		close(ticking)
	}
	if stopped := e.Stop(); err == nil {
		err = stopped // after another failure it would say the same again
	}
	storing.Wait()
	linger(e, cfg.Linger)

	l, lerr := e.Ledger()
	if err == nil {
		err = lerr
	}
	for _, r := range all {
		r.enter(&l, cfg.Dir)
	}
	return l, errors.Join(err, failure(all, cfg.Dir))
}

// attach prepares a listener for every queue wanted, and where to store it.
func attach(e *capture.Engine, cfg Config) (all []*recorder, err error) {
	first, last := 0, e.Queues()-1
	if cfg.Queue != AllQueues {
		if cfg.Queue < 0 || cfg.Queue > last {
			return nil, fmt.Errorf("queue %d: the port has %d, numbered from 0", cfg.Queue, e.Queues())
		}
		first, last = cfg.Queue, cfg.Queue
	}
	var dir *store.Dir
	if cfg.Dir != Null {
		if dir, err = store.OpenDir(cfg.Dir); err != nil {
			return nil, err
		}
		if !dir.Direct() && cfg.Warn != nil {
			cfg.Warn(fmt.Sprintf("%s: the file system takes no O_DIRECT; writing through the page cache", cfg.Dir))
		}
	}
	for q := first; q <= last; q++ {
		r := &recorder{queue: q}
		if dir != nil {
			c := cfg.Store
			c.Queue, c.Segment = q, cfg.Segment
			if r.storer, err = dir.New(c); err != nil {
				return all, err
			}
		}
		r.listener, err = e.Stream(q).Listen(Listener, stream.Options{Policy: stream.Lossless, Start: stream.FromOldest, Aligned: true})
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

// run moves a queue's bytes until its stream ends. It does not listen to the
// capture's context: what was received is still to be stored when that is done.
func (r *recorder) run() {
	ctx := context.Background()
	if r.storer != nil {
		r.err = r.storer.Run(ctx, r.listener)
	} else {
		r.read, r.err = store.Discard(ctx, r.listener)
	}
	if r.err != nil {
		r.err = errors.Join(r.err, r.listener.Close()) // else it would hold the stream back
	}
}

// enter adds a recorder's accounts to the ledger.
func (r *recorder) enter(l *capture.Ledger, dir string) {
	a := capture.StorerAccount{Name: fmt.Sprintf("%s q%d", dir, r.queue), Queue: r.queue, Read: r.read, Written: r.read}
	if r.storer != nil {
		st := r.storer.Stats()
		a.Read, a.Written, a.Files = st.Read, st.Written, st.Files
		for cause, n := range st.Failed {
			a.Failed = append(a.Failed, capture.ByteCount{Cause: cause, Bytes: n})
		}
	}
	l.Storers = append(l.Storers, a)
}

// failure is one error for all recorders that failed: when a disk is full they
// all do, for the same reason.
func failure(all []*recorder, dir string) error {
	var first *recorder
	n := 0
	for _, r := range all {
		if r.err != nil {
			if n++; first == nil {
				first = r
			}
		}
	}
	switch {
	case n == 0:
		return nil
	case n == 1:
		return fmt.Errorf("queue %d: %w (what was stored before is kept)", first.queue, first.err)
	}
	return fmt.Errorf("queue %d, and %d others: %w (what was stored before is kept)", first.queue, n-1, first.err)
}

// linger waits until listeners have read what is left, or until for so long none of
// them has read anything.
func linger(e *capture.Engine, patience time.Duration) {
	read, at := uint64(0), time.Now()
	for nap := time.Millisecond; patience > 0; nap = min(2*nap, 20*time.Millisecond) {
		left, now := false, uint64(0)
		for q := range e.Queues() {
			s := e.Stream(q).Stats()
			now += s.Left // somebody who leaves is progress, too
			for _, l := range s.Listeners {
				left = left || l.Unread != 0
				now += l.Read + l.Overtaken
			}
		}
		if now != read {
			read, at = now, time.Now()
		}
		if !left || time.Since(at) >= patience {
			return
		}
		time.Sleep(nap)
	}
}

// tick reports the progress once a second until done.
func tick(e *capture.Engine, report func(before, now capture.Rates), done <-chan struct{}) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	before := e.Rates()
	for {
		select {
		case <-done:
			return
		case <-every.C:
		}
		now := e.Rates()
		report(before, now)
		before = now
	}
}
