package main

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// hangups reloads and rotates at each SIGHUP until ctx is done.
func (c *captures) hangups(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		if c.options.config != "" {
			c.tell(reloading())
			c.reload()
			c.tell(ready)
		}
		for _, p := range c.ports {
			if p.Stores() {
				p.recorder.Rotate()
			}
		}
		say("SIGHUP: new files begin with what comes next")
	}
}

// hangup is the channel of SIGHUP.
func hangup() chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGHUP)
	return signals
}

// reload takes over what can change while capturing. A file with a mistake changes
// nothing.
func (c *captures) reload() {
	next, err := settings.Load(c.options.config)
	if err == nil {
		err = policy(next).Check(folders(c.started)...)
	}
	if err != nil {
		for _, line := range cli.Lines(err) {
			say("reload: %s", line)
		}
		say("reload: nothing has changed: mend that and send SIGHUP again")
		return
	}
	changes := settings.Compare(c.started, c.running, next)
	if len(changes) == 0 {
		say("reload: %s says the same as before", c.options.config)
		return
	}
	if err := c.take(next); err != nil {
		say("reload: %v", err)
	}
	for _, change := range changes {
		if change.Live {
			say("reload: %v", change)
		} else {
			say("reload: needs a restart: %v", change)
		}
	}
	c.running.Take(c.started, next)
}

// take changes what can change.
func (c *captures) take(next *settings.Settings) (err error) {
	is := map[string]*settings.Port{}
	for i := range next.Ports {
		is[next.Ports[i].Name] = &next.Ports[i]
	}
	changed := map[string]bool{}
	for _, change := range settings.Compare(c.started, c.running, next) {
		changed[change.Key] = change.Live
	}
	for _, p := range c.ports {
		n := is[p.Name]
		if n == nil {
			continue
		}
		// What hpcapctl has set since stays where the file says what it said.
		if changed["port."+p.Name+".filter"] || changed["port."+p.Name+".caplen"] {
			rules, bad := n.Rules(p.CapLen)
			if bad == nil {
				bad = p.engine.SetFilter(capture.AllQueues, rules)
			}
			err = errors.Join(err, p.named(bad))
		}
		err = errors.Join(err, p.named(p.recorder.SetEvery(n.Storage.Rotate.Duration())))
	}
	if c.keeper != nil {
		err = errors.Join(err, c.keeper.Set(policy(next)))
	}
	return err
}
