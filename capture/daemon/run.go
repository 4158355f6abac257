package daemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/daemon/hpcapmon"
	"github.com/ixcap/ixcap/capture/sched"
)

const (
	readyInterval    = 10 * time.Millisecond // between two checks whether every port receives, or has its listeners
	progressInterval = time.Second

	timerSlack = time.Millisecond // of all threads but pollers, where these sleep
)

// Run captures until every port has ended, Config.Duration is over or ctx is
// done. A port that fails does not end the others; its error is in Ledgers. Where
// ctx is not done, Run waits for the recovery of files that earlier runs left.
func (d *Daemon) Run(ctx context.Context) error {
	if !slices.ContainsFunc(d.ports, func(p *port) bool { return !p.Sleep }) {
		if err := sched.SetTimerSlack(timerSlack); err != nil {
			d.log.Debug(err.Error()) // it only costs processor time
		}
	}
	background, end := context.WithCancel(context.Background())
	var services sync.WaitGroup
	defer services.Wait()
	defer end()
	capturing, stop := context.WithCancel(ctx)
	defer stop()
	if d.hpcapmon != nil {
		services.Go(func() { d.hpcapmon.Run(background) })
	}
	if d.cleaner != nil {
		services.Go(func() { _ = d.cleaner.Run(background) }) // it ends with background only
	}
	recovered := make(chan struct{})
	services.Go(func() {
		defer close(recovered)
		for _, r := range retain.Recover(ctx, folders(d.started)...) {
			d.log.Info("left by an earlier run: " + r.String())
		}
	})
	services.Go(func() { d.manager.run(background) })
	services.Go(func() { d.announce(background, capturing) })
	if d.config.Progress != nil {
		services.Go(func() { d.progress(background) })
	}
	d.startOutput(background, stop, &services)
	d.capture(capturing, stop)
	d.endOutput()
	d.manager.notify(stopping)
	<-recovered
	if d.cleaner != nil {
		d.cleaner.Clean(background) // the files closed last count towards the limits
	}
	return nil
}

// capture runs every port until it ends. Config.Duration after the last of them has its
// listeners it calls stop, which ends ctx.
func (d *Daemon) capture(ctx context.Context, stop func()) {
	var running, attached sync.WaitGroup
	attached.Add(len(d.ports))
	for _, p := range d.ports {
		running.Go(func() {
			p.awaitListeners(ctx)
			attached.Done()
			p.run(ctx)
			if p.err != nil && len(d.ports) > 1 && !d.closedByReader(p.err) { // the others go on, perhaps for long
				p.log.Error(p.err.Error())
			}
		})
	}
	if attached.Wait(); d.config.Duration > 0 {
		defer time.AfterFunc(d.config.Duration, stop).Stop()
	}
	running.Wait()
}

// monitor makes the writer of HPCAP's monitoring files where the settings have a
// folder for them.
func (d *Daemon) monitor() (err error) {
	dir := d.started.Hpcapmon.Dir
	if dir == "" {
		return nil
	}
	cfg := hpcapmon.Config{Dir: dir, Logger: d.log}
	for _, p := range d.ports {
		cfg.Ports = append(cfg.Ports, hpcapmon.Port{Name: archive.Label(p.file()), Read: p.engine.Counters})
	}
	d.hpcapmon, err = hpcapmon.New(cfg)
	return err
}

// announce notifies the service manager once every port receives or waits for listeners,
// and when capturing is done.
func (d *Daemon) announce(ctx, capturing context.Context) {
	for state := ""; state != ready; {
		if state = d.state(); state != "" {
			d.manager.notify(state)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(readyInterval):
		}
	}
	select {
	case <-ctx.Done():
	case <-capturing.Done():
		d.manager.notify(stopping)
	}
}

// state is the daemon's state for the service manager: ready once every port has begun to
// receive, waiting while those that have not wait for listeners, else "". Services that
// start after this one may have the listeners, so waiting is no reason to delay them.
func (d *Daemon) state() string {
	state := ready
	for _, p := range d.ports {
		if began, _ := p.engine.Times(); !began.IsZero() {
			continue
		}
		if !p.waiting.Load() {
			return ""
		}
		state = waiting
	}
	return state
}

// progress calls Config.Progress every second until ctx is done.
func (d *Daemon) progress(ctx context.Context) {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for before := d.counters(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := d.counters()
		d.config.Progress(now.Since(before))
		before = now
	}
}

// counters are the sums over all ports, and the highest buffer fill.
func (d *Daemon) counters() (sum capture.Counters) {
	for _, p := range d.ports {
		r := p.engine.Counters()
		sum.At = r.At
		sum.Frames += r.Frames
		sum.StoredBytes += r.StoredBytes
		sum.Polled += r.Polled
		sum.Bytes += r.Bytes
		sum.Lost += r.Lost
		sum.Fill = max(sum.Fill, r.Fill)
	}
	return sum
}
