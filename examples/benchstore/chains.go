package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim/wire"
)

// chain stores the frames of a producer without a rate limit. If dir is "", the frames
// are read and discarded.
func chain(o options, dir string, size int) (result, error) {
	s, err := stream.New(stream.Config{Interface: "bench", Size: int(o.buffer), Segment: int64(o.segment), Node: hugepage.AnyNode})
	if err != nil {
		return result{}, err
	}
	defer s.Close()
	l, err := s.Listen("storer", stream.Options{Policy: stream.Lossless, Start: stream.FromOldest, Aligned: true})
	if err != nil {
		return result{}, err
	}
	defer l.Close()
	var storer *rawstore.Storer
	if dir != "" {
		d, err := store.OpenDir(dir)
		if err != nil {
			return result{}, err
		}
		storer, err = rawstore.New(rawstore.Config{
			Port: "bench", Segment: int64(o.segment), Block: int(o.block), Depth: o.depth,
			NoIndex: o.noIndex, Grow: o.grow, Buffer: int(o.buffer), Rotate: s.Rotate,
		}, d)
		if err != nil {
			return result{}, err
		}
	}
	c := clock.New()
	defer c.Close()
	stamper, err := c.Stamper(clock.PerPacket)
	if err != nil {
		return result{}, err
	}
	frames, err := generated(size)
	if err != nil {
		return result{}, err
	}
	count := int(uint64(o.bytes) / uint64(size+rawfile.HeaderLen))
	return timed(func() (uint64, int, error) {
		produced := make(chan struct{})
		go func() {
			defer close(produced)
			p := s.Producer()
			for remaining, at := count, 0; remaining > 0; {
				stamper.Update()
				n := p.AppendBatch(stamper, frames[at:min(at+64, at+remaining)], 0)
				if p.Publish(); n == 0 {
					time.Sleep(100 * time.Microsecond) // a spinning poller would be measured, too
				}
				remaining -= n
				at = (at + n) % (len(frames) - 64)
			}
			p.Finish()
		}()
		defer func() { <-produced }()
		if storer == nil {
			n, err := rawstore.Discard(context.Background(), l)
			return n, 0, errors.Join(err, l.Close())
		}
		err := errors.Join(storer.Run(context.Background(), l), l.Close())
		st := storer.Stats()
		return st.Written, st.Unindexed, err
	})
}

// generated returns frames of the model's generator, of 1024 flows.
func generated(size int) ([]ring.Frame, error) {
	options, err := wire.ParseOptions(fmt.Sprintf("gen,flows=1024,size=%d", size))
	if err != nil {
		return nil, err
	}
	g, err := wire.NewGenerator(options)
	if err != nil {
		return nil, err
	}
	frames := make([]ring.Frame, 4096)
	for i := range frames {
		data := g.Append(nil, uint64(i))
		frames[i] = ring.Frame{Data: data, Len: uint32(len(data))}
	}
	return frames, nil
}

// model stores frames of the software 82599, whose wire has backpressure.
func model(o options, dir string, size int) (r result, err error) {
	count := uint64(o.bytes) / uint64(size+rawfile.HeaderLen)
	device := fmt.Sprintf("sim:gen,flows=1024,size=%d,count=%d,backpressure", size, count)
	var port nic.Config
	if o.zeroCopy {
		if port, err = nic.WithPools(port, int(o.buffer)); err != nil {
			return r, err
		}
	}
	engine, _, err := nic.NewEngine(device, port, capture.Config{Buffer: int(o.buffer), Segment: int64(o.segment)})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	recorder, err := recorder.New(engine, recorder.Config{
		Dirs: []string{dir}, Queue: capture.AllQueues, Segment: int64(o.segment),
		Store: rawstore.Config{Port: "bench", Block: int(o.block), Depth: o.depth, NoIndex: o.noIndex, Grow: o.grow},
	})
	if err != nil {
		return r, err
	}
	return timed(func() (uint64, int, error) {
		l, err := recorder.Run(context.Background())
		if err == nil {
			err = l.Balanced()
		}
		st := recorder.Stats()[0].Store
		return st.Written, st.Unindexed, err
	})
}
