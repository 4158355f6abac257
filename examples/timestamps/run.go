package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// setup is common to all runs of a measurement.
type setup struct {
	cores cores
	fifo  int           // priority of model and poller, 0: none; of the model alone if the poller shares its core
	limit time.Duration // of a run
	model int           // ID of the model's thread, once it runs
}

// result is the result of one run: one traffic, stamped by one policy.
type result struct {
	Traffic string       `json:"traffic"`
	Policy  clock.Policy `json:"policy"`
	Shared  bool         `json:"shared"` // a busy loop ran on the poller's core
	Pass    int          `json:"pass"`
	quality
	Noise  noise         `json:"noise"`
	Frames int           `json:"frames"`  // compared
	Lost   uint64        `json:"lost"`    // by the port; not compared
	Late   time.Duration `json:"late_ns"` // shift of the wire's schedule
	Gap    time.Duration `json:"gap_ns"`  // longest gap between two polls
	Steps  uint64        `json:"steps"`   // times that the machine's clock was set during the run

	errors, floor histogram
}

// measure makes one run. It compares the frames that the model wrote to the host with
// those in the stream, and checks that the ledger balances.
func (s *setup) measure(ctx context.Context, t traffic, p clock.Policy, shared bool) (r *result, err error) {
	options, err := wire.ParseOptions(t.Wire)
	if err != nil {
		return nil, err
	}
	w, err := wire.Parse(options)
	if err != nil {
		return nil, err
	}
	cfg := sim.Config{Arrivals: t.Frames}
	if s.fifo > 0 {
		cfg.Thread = func() error {
			s.model = unix.Gettid()
			return s.cores.modelThread(s.fifo)
		}
	}
	model, err := sim.New(cfg, w)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	dev, err := sim.Connect(model, "sim:"+t.Name)
	if err != nil {
		return nil, errors.Join(err, model.Close())
	}
	port, err := nic.New(dev, nic.Config{})
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	poller := s.fifo
	if shared && s.fifo > 0 {
		poller = s.fifo - 2 // until demote, which needs the higher priority
	}
	// The stream holds the whole run, so that no reader runs during it.
	engine, err := capture.New(port, capture.Config{
		Stamps: p, Buffer: ceiling(t.Bytes + int64(t.Frames)*stream.RecordHeader), Entries: ceiling(int64(t.Frames)),
		Cores: []int{s.cores.poller}, FIFO: poller, Idle: capture.IdleBusy,
	})
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	listener, err := engine.Stream(0).Listen("timestamps", stream.Options{Policy: stream.Lossless})
	if err != nil {
		return nil, err
	}
	defer listener.Close()

	if err := s.capture(ctx, engine, shared); err != nil {
		return nil, fmt.Errorf("%s, policy %v: %w", t.Title, p, err)
	}
	stream, err := readAll(ctx, listener, t.Frames)
	if err != nil {
		return nil, err
	}
	ledger, err := engine.Ledger()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(ledger.Balanced(), model.Stats().Balanced()); err != nil {
		return nil, err
	}
	arrivals, err := model.Arrivals()
	if err != nil {
		return nil, err
	}
	if err := match(arrivals, stream); err != nil {
		return nil, fmt.Errorf("%s, policy %v: %w", t.Title, p, err)
	}
	if lost := ledger.Lost(); uint64(len(arrivals))+lost != uint64(t.Frames) {
		return nil, fmt.Errorf("%s, policy %v: %d frames captured + %d lost is not %d sent", t.Title, p, len(arrivals), lost, t.Frames)
	}
	r = &result{
		Traffic: t.Name, Policy: p, Shared: shared, Frames: len(arrivals), Lost: ledger.Lost(),
		Late: model.Late(), Gap: ledger.Queues[0].LongestGap, Steps: engine.Clock().Status().Steps,
	}
	r.quality, r.Noise = evaluate(arrivals, stream, &r.errors, &r.floor)
	return r, nil
}

// capture runs the engine until the wire has ended.
func (s *setup) capture(ctx context.Context, engine *capture.Engine, shared bool) error {
	restore, err := s.cores.moveThreads(s.fifo)
	if err != nil {
		return err
	}
	defer restore()
	if shared {
		stop, err := busyLoop(s.cores.poller)
		if err != nil {
			return err
		}
		defer stop()
	}
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	if err := engine.Start(); err != nil {
		return err
	}
	if shared && s.fifo > 0 { // the priorities were for the start only
		if err := s.demote(); err != nil {
			return errors.Join(err, engine.Stop())
		}
	}
	err = engine.Wait(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("the wire has not ended: %w. Raise --limit", context.Cause(ctx))
	}
	return errors.Join(err, engine.Stop())
}

// demote puts all threads but the model's under SCHED_NORMAL, its own last. It repeats
// that, because a thread with a priority may be creating another.
func (s *setup) demote() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own := unix.Gettid()
	for range 10 {
		if err := everyThread(func(tid int) error {
			if tid == s.model || tid == own {
				return nil
			}
			return timeShared(tid)
		}); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return timeShared(own)
}

// readAll reads a finished stream.
func readAll(ctx context.Context, l *stream.Listener, frames int) ([]stamped, error) {
	all := make([]stamped, 0, frames)
	packets := make([]stream.Packet, 256)
	for {
		n, err := l.ReadBatch(ctx, packets)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range packets[:n] {
			p := &packets[i]
			all = append(all, stamped{stamp: p.UnixNano(), digest: sim.Digest(p.Data), len: uint32(p.Len)})
		}
	}
}

// ceiling returns the smallest power of two above n, at least 1 MiB.
func ceiling(n int64) int { return 1 << max(20, bits.Len64(uint64(n))) }
