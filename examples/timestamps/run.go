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

// setup is what the runs of a measurement have in common.
type setup struct {
	places places
	fifo   int           // priority of model and poller, 0: none; of the model alone where the poller shares its core
	limit  time.Duration // of a run
	model  int           // the model's thread, once it has told
}

// result is one run: one traffic, stamped by one policy.
type result struct {
	Traffic string       `json:"traffic"`
	Policy  clock.Policy `json:"policy"`
	Shared  bool         `json:"shared"` // the poller's core, with a busy loop
	Pass    int          `json:"pass"`
	quality
	Noise  noise         `json:"noise"`
	Frames int           `json:"frames"` // compared
	Lost   uint64        `json:"lost"`   // by the port; the others are compared all the same
	Late   time.Duration `json:"late"`   // by which the wire's schedule had to be shifted
	Gap    time.Duration `json:"gap"`    // longest between two polls
	Steps  uint64        `json:"steps"`  // times that somebody set the machine's clock meanwhile

	errors, floor histogram
}

// measure makes one run. What the model wrote to the host and what the stream
// holds are compared frame by frame, and the ledger must balance.
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
			return s.places.modelThread(s.fifo)
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
		poller = s.fifo - 2 // until demote, which must come before it
	}
	// The stream holds the whole run, so that no reader is busy meanwhile.
	engine, err := capture.New(port, capture.Config{
		Stamps: p, Buffer: ceiling(t.Bytes + int64(t.Frames)*stream.RecordHeader), Entries: ceiling(int64(t.Frames)),
		Cores: []int{s.places.poller}, FIFO: poller, Idle: capture.IdleBusy,
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
	truth, err := model.Arrivals()
	if err != nil {
		return nil, err
	}
	if err := match(truth, stream); err != nil {
		return nil, fmt.Errorf("%s, policy %v: %w", t.Title, p, err)
	}
	if lost := ledger.Lost(); uint64(len(truth))+lost != uint64(t.Frames) {
		return nil, fmt.Errorf("%s, policy %v: %d frames captured and %d lost do not make the %d sent", t.Title, p, len(truth), lost, t.Frames)
	}
	r = &result{
		Traffic: t.Name, Policy: p, Shared: shared, Frames: len(truth), Lost: ledger.Lost(),
		Late: model.Late(), Gap: ledger.Queues[0].LongestGap, Steps: engine.Clock().Status().Steps,
	}
	r.quality, r.Noise = judge(truth, stream, &r.errors, &r.floor)
	return r, nil
}

// capture runs the engine until the wire has ended.
func (s *setup) capture(ctx context.Context, engine *capture.Engine, shared bool) error {
	restore, err := s.places.take(s.fifo)
	if err != nil {
		return err
	}
	defer restore()
	if shared {
		stop, err := hog(s.places.poller)
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
	if shared && s.fifo > 0 { // threads went first so that the poller would start in time
		if err := s.demote(); err != nil {
			return errors.Join(err, engine.Stop())
		}
	}
	err = engine.Wait(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("the wire has not ended: %w (-limit gives it longer)", context.Cause(ctx))
	}
	return errors.Join(err, engine.Stop())
}

// demote takes the priority from all threads but the model's, its own last. It
// looks several times: a thread may just be making another, as high as itself.
func (s *setup) demote() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own := unix.Gettid()
	for range 10 {
		if err := everyThread(func(tid int) error {
			if tid == s.model || tid == own {
				return nil
			}
			return ordinary(tid)
		}); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return ordinary(own)
}

// readAll reads a stream that has ended.
func readAll(ctx context.Context, l *stream.Listener, frames int) ([]seen, error) {
	all := make([]seen, 0, frames)
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
			all = append(all, seen{stamp: p.UnixNano(), digest: sim.Digest(p.Data), len: uint32(p.Len)})
		}
	}
}

// ceiling is the power of two that holds so many, from 1 MiB.
func ceiling(n int64) int { return 1 << max(20, bits.Len64(uint64(n))) }
