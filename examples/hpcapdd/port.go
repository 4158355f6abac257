package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver"
)

// port is one port being captured and stored.
type port struct {
	settings.Port
	device   capture.Port
	engine   *capture.Engine
	recorder *recorder.Recorder

	ledger capture.Ledger // once it has ended
	err    error
}

// prefix is what lines about one of several ports begin with.
func (p *port) prefix() string {
	if p.Name == "" {
		return ""
	}
	return p.Name + ": "
}

func (p *port) logger() *slog.Logger { return logger.With("port", p.Name) }

// open opens a port and attaches its storers. Cores are taken that other ports'
// pollers have; closed is told of each file that is complete.
func (p *port) open(taken []int, linger time.Duration, closed func(path string)) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(p.named(err), p.close())
		}
	}()
	n := &notices{port: p.prefix()}
	pc := nic.Config{Queues: p.Queues, Pages: p.Pages.Size, Speed: p.Speed, OnEvent: n.tell}
	if p.Sleep {
		pc.Interrupts = driver.QueueInterrupts
	}
	device, err := nic.Open(p.Device, pc)
	if err != nil {
		return err
	}
	p.device = device
	engine, err := capture.New(p.device, capture.Config{
		Buffer: int(p.Buffer), Segment: int64(p.Storage.Segment), CapLen: p.CapLen, Pages: p.Pages.Size,
		Cores: p.Cores, Taken: taken, FIFO: p.FIFO, Stamps: p.Stamps, Filter: p.Filter.Rules, Dedup: p.Dedup.Config, Logger: p.logger(),
	})
	if err != nil {
		return errors.Join(err, p.device.Close())
	}
	p.engine = engine
	st := &p.Storage
	c := recorder.Config{
		Dirs: st.Dirs, Queue: int(st.Queue), Segment: int64(st.Segment), Every: st.Rotate.Duration(), Linger: linger, Logger: p.logger(),
		Store: store.Config{
			Port: p.file(), Block: int(st.Block), Depth: st.InFlight, Flush: st.Flush.Duration(), Sync: st.Fsync, NoIndex: !st.Index, Closed: closed,
		},
	}
	if p.Stores() && st.Format != settings.Raw {
		if c.Storer, err = p.packets(closed); err != nil {
			return err
		}
	}
	p.recorder, err = recorder.New(p.engine, c)
	return err
}

// file is the port's name in those of files.
func (p *port) file() string { return cmp.Or(p.Name, p.device.Name()) }

// packets makes storers that write packet by packet (HPCAP's hpcapdd_p).
func (p *port) packets(closed func(path string)) (func(queue int, s *stream.Stream) (recorder.Storer, error), error) {
	st := &p.Storage
	match, err := pcapfilter.Compile(st.StoreFilter)
	if err != nil {
		return nil, err
	}
	if st.StoreFilter == "" {
		match = nil
	}
	var dirs []*store.Dir
	for _, path := range st.Dirs {
		d, err := store.OpenDir(path)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, d)
	}
	c := pcapstore.Config{
		Port: p.file(), Format: pcapfile.Format(st.Format), Level: st.Zstd, Size: int64(st.Segment), Every: st.Rotate.Duration(),
		Filter: match, Sync: st.Fsync, Flush: st.Flush.Duration(), Speed: uint64(p.Speed) * 1e6,
		Counters: func() pcapstore.Counters {
			r := p.engine.Counters()
			return pcapstore.Counters{Received: r.Polled + r.Lost, Dropped: r.Lost}
		},
		Closed: closed, Logger: p.logger(),
	}
	return func(queue int, _ *stream.Stream) (recorder.Storer, error) {
		one := c
		one.Queue = queue
		return pcapstore.New(one, dirs...)
	}, nil
}

// named says which of several ports an error is of.
func (p *port) named(err error) error {
	if err == nil || p.Name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", p.Name, err)
}

// close gives everything back; what was never run, too.
func (p *port) close() error {
	var errs []error
	if p.recorder != nil {
		errs = append(errs, p.recorder.Close())
	}
	if p.engine != nil {
		errs = append(errs, p.engine.Close())
	}
	return p.named(errors.Join(errs...))
}
