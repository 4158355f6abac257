package daemon

import (
	"cmp"
	"errors"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/settings"
)

// Reload loads the settings again (Config.Load) and applies what can change while
// the capture runs; it logs what changed and what needs a restart. An error means
// that the settings have a mistake and nothing has changed. It may be called from
// any goroutine while Run runs.
func (d *Daemon) Reload() error {
	if d.config.Load == nil {
		return errors.New("nothing to reload: the settings come from no file")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.manager.notify(reloading())
	defer func() { d.manager.notify(cmp.Or(d.state(), ready)) }()
	next, err := d.config.Load()
	if err == nil {
		err = policy(next).Check(folders(d.started)...)
	}
	if err != nil {
		return err
	}
	changes := settings.Compare(d.started, d.running, next)
	if len(changes) == 0 {
		d.log.Info("reload: no setting has changed")
		return nil
	}
	if err := d.apply(next, changes); err != nil {
		d.log.Error("reload: " + err.Error())
	}
	for _, change := range changes {
		if change.Live {
			d.log.Info("reload: " + change.String())
		} else {
			d.log.Warn("reload: needs a restart: " + change.String())
		}
	}
	d.running.Take(d.started, next)
	return nil
}

// apply changes what can change in a running capture.
func (d *Daemon) apply(next *settings.Settings, changes []settings.Change) (err error) {
	live := map[string]bool{}
	for _, change := range changes {
		live[change.Key] = change.Live
	}
	byName := map[string]*settings.Port{}
	for i := range next.Ports {
		byName[next.Ports[i].Name] = &next.Ports[i]
	}
	for _, p := range d.ports {
		n := byName[p.Name]
		if n == nil {
			continue
		}
		// Rules that were set over the control socket stay where the file has not
		// changed.
		if live["port."+p.Name+".rules"] || live["port."+p.Name+".snaplen"] {
			rules, bad := n.LiveRules(p.SnapLen)
			if bad == nil {
				bad = p.filters.SetRules(capture.AllQueues, rules)
			}
			err = errors.Join(err, p.named(bad))
		}
		if live["port."+p.Name+".port_filters"] {
			bad := p.filters.SetFilters(n.Filters.Rules)
			if bad == nil {
				p.logFilters()
			}
			err = errors.Join(err, p.named(bad))
		}
		err = errors.Join(err, p.named(p.recorder.SetEvery(n.Storage.Rotate.Duration())))
	}
	if d.cleaner != nil {
		err = errors.Join(err, d.cleaner.Set(policy(next)))
	}
	return err
}
