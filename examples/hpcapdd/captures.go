package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/daemon/hpcapmon"
	"github.com/ixcap/ixcap/capture/daemon/metrics"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// captures are all ports, and what they have in common.
type captures struct {
	options options
	started *settings.Settings // when the program was
	running *settings.Settings // with what was taken over since
	ports   []*port
	keeper  *retain.Keeper // nil: nothing is stored
	closers []func() error // last first
	working sync.WaitGroup // what goes on beside the captures
}

// folders are those that files go to.
func folders(s *settings.Settings) (all []string) {
	for i := range s.Ports {
		if p := &s.Ports[i]; p.Stores() {
			for _, d := range p.Storage.Dirs {
				if !slices.Contains(all, d) {
					all = append(all, d)
				}
			}
		}
	}
	return all
}

// policy is what retention keeps to.
func policy(s *settings.Settings) retain.Policy {
	r := s.Retention
	return retain.Policy{Size: int64(r.Size), Age: r.Age.Duration(), Free: int64(r.Free)}
}

// open opens everything; close gives it back, also after an error.
func open(o options, s *settings.Settings) (c *captures, err error) {
	running := *s
	running.Ports = slices.Clone(s.Ports)
	c = &captures{options: o, started: s, running: &running}
	closed := func(string) {}
	if dirs := folders(s); len(dirs) > 0 {
		told := func(e retain.Event) {
			if e.Err != nil {
				say("warning: %v", e)
			}
		}
		if c.keeper, err = retain.New(retain.Config{Dirs: dirs, Policy: policy(s), Told: told}); err != nil {
			return c, err
		}
		closed = c.keeper.Closed
	}
	var taken []int
	for _, p := range s.Ports {
		taken = append(taken, p.Cores...)
	}
	for i := range s.Ports {
		if s.Ports[i].Mode == settings.Kernel {
			continue
		}
		p := &port{Port: s.Ports[i]}
		others := slices.DeleteFunc(slices.Clone(taken), func(core int) bool { return slices.Contains(p.Cores, core) })
		if err := p.open(others, s.Share.Linger.Duration(), closed); err != nil {
			return c, err
		}
		c.closers = append(c.closers, p.close)
		c.ports = append(c.ports, p)
		for _, core := range p.engine.Cores() {
			if core != capture.AnyCore {
				taken = append(taken, core)
			}
		}
	}
	return c, c.serve(s)
}

// serve lets others see the captures, before the first frame.
func (c *captures) serve(s *settings.Settings) error {
	if s.Share.Dir != "" {
		sh, err := share(c.ports, s.Share)
		if err != nil {
			return err
		}
		c.closers = append(c.closers, sh.close)
	}
	if s.Metrics.Listen == "" {
		return nil
	}
	var ports []metrics.Port
	for _, p := range c.ports {
		m := metrics.Port{Name: p.Label(), Device: p.Device, Engine: p.engine}
		if p.Stores() {
			m.Stored = p.recorder.Stats
		}
		ports = append(ports, m)
	}
	var retained func() retain.Stats
	if c.keeper != nil {
		retained = c.keeper.Stats
	}
	server, err := metrics.Serve(s.Metrics.Listen, metrics.New(ports, retained))
	if err != nil {
		return err
	}
	say("metrics are served at http://%s/metrics", server.Address())
	c.closers = append(c.closers, server.Close)
	return nil
}

// close gives everything back, last first.
func (c *captures) close() (err error) {
	for _, f := range slices.Backward(c.closers) {
		err = errors.Join(err, f())
	}
	return err
}

// run captures until every port has ended, or ctx is done. It waits for the
// recovery of what earlier runs left, unless it is interrupted.
func (c *captures) run(ctx, interrupted context.Context, signals <-chan os.Signal) error {
	beside, end := context.WithCancel(context.Background())
	defer c.working.Wait()
	defer end()
	if err := c.data(beside); err != nil {
		return err
	}
	if c.keeper != nil {
		c.working.Go(func() { _ = c.keeper.Run(beside) })
	}
	recovering := make(chan struct{})
	c.working.Go(func() {
		defer close(recovering)
		for _, r := range retain.Recover(interrupted, folders(c.started)...) {
			say("left by an earlier run: %v", r)
		}
	})
	c.working.Go(func() { c.hangups(beside, signals) })
	c.working.Go(func() { c.announce(beside, ctx) })
	c.working.Go(func() { c.progress(beside) })

	var capturing sync.WaitGroup
	for _, p := range c.ports {
		capturing.Go(func() {
			p.ledger, p.err = p.recorder.Run(ctx)
			if p.err != nil && len(c.ports) > 1 { // the others go on
				say("%v", p.named(p.err))
			}
		})
	}
	capturing.Wait()
	c.tell(stopping)
	<-recovering
	if c.keeper != nil {
		c.keeper.Keep(beside) // what was closed last counts, too
	}
	return nil
}

// data writes HPCAP's data files.
func (c *captures) data(ctx context.Context) error {
	if c.started.Data.Dir == "" {
		return nil
	}
	cfg := hpcapmon.Config{Dir: c.started.Data.Dir, Logger: logger}
	for _, p := range c.ports {
		cfg.Ports = append(cfg.Ports, hpcapmon.Port{Name: archive.Label(p.file()), Read: p.engine.Counters})
	}
	w, err := hpcapmon.New(cfg)
	if err != nil {
		return err
	}
	c.working.Go(func() { w.Run(ctx) })
	return nil
}

// tell notifies the service manager; that it cannot be reached is said once.
func (c *captures) tell(state string) {
	if err := notify(state); err != nil {
		say("warning: %v", err)
		_ = os.Unsetenv("NOTIFY_SOCKET")
	}
}

// announce tells the service manager once every port lets frames in.
func (c *captures) announce(ctx, stop context.Context) {
	for {
		waiting := false
		for _, p := range c.ports {
			began, _ := p.engine.Times()
			waiting = waiting || began.IsZero()
		}
		if !waiting {
			c.tell(ready)
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	select {
	case <-ctx.Done():
	case <-stop.Done():
		c.tell(stopping)
	}
}

// progress prints what all ports together do, a line a second.
func (c *captures) progress(ctx context.Context) {
	bar := cli.Bar{W: os.Stderr, Terminal: cli.IsTerminal(os.Stderr)}
	if !bar.Terminal && !c.options.progress {
		return
	}
	defer bar.End()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for before := c.rates(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := c.rates()
		bar.Print(now.Since(before))
		before = now
	}
}

// rates are the sums of all ports, and the fullest buffer.
func (c *captures) rates() (sum capture.Counters) {
	for _, p := range c.ports {
		r := p.engine.Counters()
		sum.At = r.At
		sum.Frames += r.Frames
		sum.Polled += r.Polled
		sum.Bytes += r.Bytes
		sum.Lost += r.Lost
		sum.Fill = max(sum.Fill, r.Fill)
	}
	return sum
}
