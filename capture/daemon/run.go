package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/daemon/hpcapmon"
)

const (
	readyInterval    = 10 * time.Millisecond // between two checks whether every port receives
	progressInterval = time.Second
)

// Run captures until every port has ended, Config.Duration is over or ctx is
// done. A port that fails does not end the others; its error is in Ledgers. Where
// ctx is not done, Run waits for the recovery of files that earlier runs left.
func (d *Daemon) Run(ctx context.Context) error {
	background, end := context.WithCancel(context.Background())
	var services sync.WaitGroup
	defer services.Wait()
	defer end()
	capturing := ctx
	if d.config.Duration > 0 {
		var cancel context.CancelFunc
		capturing, cancel = context.WithTimeout(ctx, d.config.Duration)
		defer cancel()
	}
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
	d.capture(capturing)
	d.manager.notify(stopping)
	<-recovered
	if d.cleaner != nil {
		d.cleaner.Clean(background) // the files closed last count towards the limits
	}
	return nil
}

// capture runs every port until it ends.
func (d *Daemon) capture(ctx context.Context) {
	var running sync.WaitGroup
	for _, p := range d.ports {
		running.Go(func() {
			p.run(ctx)
			if p.err != nil && len(d.ports) > 1 { // the others go on, perhaps for long
				p.log.Error(p.err.Error())
			}
		})
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

// announce notifies the service manager once every port receives, and when
// capturing is done.
func (d *Daemon) announce(ctx, capturing context.Context) {
	for !d.receiving() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(readyInterval):
		}
	}
	d.manager.notify(ready)
	select {
	case <-ctx.Done():
	case <-capturing.Done():
		d.manager.notify(stopping)
	}
}

// receiving reports whether every port has begun to receive.
func (d *Daemon) receiving() bool {
	for _, p := range d.ports {
		if began, _ := p.engine.Times(); began.IsZero() {
			return false
		}
	}
	return true
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
