package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcappipe"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/ports"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/driver"
)

// port is one port being captured and stored.
type port struct {
	settings.Port
	log      *slog.Logger
	device   capture.Port
	engine   *capture.Engine
	filters  *ports.Filtering
	recorder *recorder.Recorder
	command  *fileCommand // nil: none
	ending   atomic.Bool  // run is told to end

	listeners int         // of other processes that each queue must have before the start
	waiting   atomic.Bool // for listeners of other processes, before the start

	ledger capture.Ledger // set when it has ended
	err    error
}

// openPort opens a port and attaches its storers. Its pollers avoid the cores in
// taken. After an error nothing is left open.
func (d *Daemon) openPort(s *settings.Port, taken []int) (_ *port, err error) {
	p := &port{Port: *s, log: d.log, listeners: d.started.Share.WaitListeners}
	if p.Name != "" {
		p.log = d.log.With("port", p.Name)
	}
	defer func() {
		if err != nil {
			err = errors.Join(p.named(err), p.close())
		}
	}()
	events := linkLog{log: p.log}
	pc := nic.Config{Queues: p.Queues, Pages: p.Pages.Size, Speed: p.Speed, AnyModule: p.AnyModule, OuterVLAN: uint16(p.OuterVLAN), KeepCRC: p.CRC, KeepBad: p.BadFrames, Clock: p.HardwareClock, Negotiate: p.Negotiate, VFs: p.VFs, OnEvent: events.onEvent}
	if p.Sleep {
		pc.Interrupts = driver.QueueInterrupts
	}
	plan, err := p.PlanFilters()
	if err != nil {
		return nil, err
	}
	pc.FlowDirector, pc.RSS.Fields = plan.FlowDirector, p.RSS.Fields
	pc.Chunks, pc.ChunkSize = p.Chunks, p.ChunkSize
	p.engine, p.device, err = ports.NewEngine(p.Device, ports.Config{Config: pc, ZeroCopy: p.ZeroCopy, OnNotice: func(text string) { p.log.Warn(text) }}, capture.Config{
		Buffer: int(p.Buffer), Segment: int64(p.Storage.Segment), SnapLen: p.SnapLen, Pages: p.Pages.Size,
		Cores: p.Cores, Taken: taken, FIFO: p.FIFO, Stamps: p.Stamps, Rules: p.Rules.Rules, Dedup: p.Dedup.Config, Logger: p.log, Count: d.config.Count,
	})
	if err != nil {
		return nil, err
	}
	if p.filters, err = ports.NewFiltering(p.device, p.engine, p.Filters.Rules, p.Rules.Rules); err != nil {
		return nil, err
	}
	p.logFilters()
	if err := p.mirror(); err != nil {
		return nil, err
	}
	if name := p.device.Name(); name != p.Device && !strings.HasPrefix(p.Device, name+",") { // options of it
		p.log.Info(fmt.Sprintf("%s is captured as %s", p.Device, name))
	}
	st := &p.Storage
	if st.Command != "" && p.Stores() {
		p.command = startFileCommand(st.Command, p.log)
	}
	closed := p.fileClosed(d.cleaner)
	c := recorder.Config{
		Dirs: st.Dirs, Queue: int(st.Queue), Segment: int64(st.Segment), Every: st.Rotate.Duration(), Linger: d.started.Share.Linger.Duration(), Logger: p.log,
		Store: rawstore.Config{
			Port: p.file(), Block: p.block(), Depth: st.InFlight, Flush: st.Flush.Duration(), Sync: st.Fsync, NoIndex: !st.Index, Closed: closed,
		},
	}
	switch {
	case d.pipe != nil:
		c.Dirs, c.NewStorer = []string{d.config.OutputName}, p.pipeStorer(d.pipe)
	case p.Stores() && st.Format != settings.Raw:
		if c.NewStorer, err = p.packets(closed); err != nil {
			return nil, err
		}
	}
	p.recorder, err = recorder.New(p.engine, c)
	return p, err
}

// mirror sets the port's mirror rules.
func (p *port) mirror() error {
	for i, r := range p.Mirrors {
		if err := p.device.(control.Offering).Mirror(i, r); err != nil { // checked: only an 82599 has rules
			return err
		}
	}
	return nil
}

// logFilters logs what of each filter is in the chip.
func (p *port) logFilters() {
	_, plan := p.filters.Filters()
	for _, s := range plan.Rules {
		p.log.Info("port filter " + s.String())
	}
}

// file is the port's name in file names.
func (p *port) file() string { return cmp.Or(p.Name, p.device.Name()) }

// block is the size of a write: large where pollers sleep, since each write wakes threads.
func (p *port) block() int {
	const large, enough = 4 * units.MiB, 64 * units.MiB // enough: of buffer
	if p.Storage.Block == 0 && p.Sleep && p.Buffer >= enough {
		return int(large)
	}
	return int(p.Storage.Block)
}

// packets returns a maker of storers that write packet by packet (HPCAP's
// hpcapdd_p). closed is called with the path of each complete file.
func (p *port) packets(closed func(path string)) (func(queue int, s *stream.Stream) (recorder.Storer, error), error) {
	st := &p.Storage
	var match *pcapfilter.Filter
	if st.StoreFilter != "" {
		var err error
		if match, err = pcapfilter.Compile(st.StoreFilter); err != nil {
			return nil, err
		}
	}
	var dirs []*store.Dir
	for _, path := range st.Dirs {
		dir, err := store.OpenDir(path)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	c := pcapstore.Config{
		Port: p.file(), Format: pcapfile.Format(st.Format), Level: st.Zstd, Size: int64(st.Segment), Every: st.Rotate.Duration(),
		Filter: match, Sync: st.Fsync, Flush: st.Flush.Duration(), Speed: uint64(p.Speed) * 1e6, CRC: p.KeepsCRC(),
		Counters: func() pcapstore.Counters {
			r := p.engine.Counters()
			return pcapstore.Counters{Received: r.Polled + r.Lost, Dropped: r.Lost}
		},
		Closed: closed, Logger: p.log,
	}
	return func(queue int, _ *stream.Stream) (recorder.Storer, error) {
		one := c
		one.Queue = queue
		return pcapstore.New(one, dirs...)
	}, nil
}

// pipeStorer returns a maker of storers that write to a pipe.
func (p *port) pipeStorer(pipe *pcappipe.Pipe) func(queue int, s *stream.Stream) (recorder.Storer, error) {
	return func(queue int, _ *stream.Stream) (recorder.Storer, error) {
		source := pcappipe.Source{
			Interface: pcapfile.Interface{Name: p.file(), Description: fmt.Sprintf("queue %d", queue), Speed: uint64(p.Speed) * 1e6, CRC: p.KeepsCRC()},
			Ended: func() bool {
				if p.ending.Load() {
					return true
				}
				_, ended := p.engine.Times()
				return !ended.IsZero()
			},
		}
		if queue == 0 {
			source.Counters = func() (received, dropped uint64) {
				r := p.engine.Counters()
				return r.Polled + r.Lost, r.Lost
			}
		}
		return pipe.NewStorer(source), nil
	}
}

// fileClosed returns the function that storers call with each finished file.
func (p *port) fileClosed(cleaner *retain.Cleaner) func(path string) {
	return func(path string) {
		if cleaner != nil {
			cleaner.Closed(path)
		}
		if p.command != nil {
			p.command.closed(path)
		}
	}
}

// run captures until the wire ends or ctx is done. A port that was waiting for listeners
// then is not started; its ledger is empty.
func (p *port) run(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { p.ending.Store(true) })()
	if p.listeners == 0 || ctx.Err() == nil {
		p.ledger, p.err = p.recorder.Run(ctx)
		return
	}
	p.err = p.engine.Stop()
	p.ledger, _ = p.engine.Ledger() // the port has counted nothing
}

// named puts the name of one of several ports before an error.
func (p *port) named(err error) error {
	if err == nil || p.Name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", p.Name, err)
}

// close detaches the storers and closes engine and device, as far as they are
// open.
func (p *port) close() error {
	var errs []error
	if p.recorder != nil {
		errs = append(errs, p.recorder.Close())
	}
	if p.engine != nil {
		errs = append(errs, p.engine.Close())
	}
	if p.command != nil {
		p.command.stop()
	}
	return p.named(errors.Join(errs...))
}

// linkLog logs a port's events. The link coming up for the first time is none
// that needs a line.
type linkLog struct {
	log  *slog.Logger
	down bool
}

// onEvent is called by one goroutine at a time.
func (l *linkLog) onEvent(e driver.Event) {
	if e.Kind == driver.LinkChanged {
		if e.Link.Up && !l.down {
			return
		}
		l.down = !e.Link.Up
	}
	l.log.Warn(e.Text, "at", e.Time)
}
