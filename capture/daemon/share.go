package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/stream"
)

// share opens a socket for each queue and the control socket, where the settings
// have a folder for them. It makes the folder if only the last part of its path is
// missing, and Close removes it again if it is empty then. Each socket has a mode
// of its own, so that of the folder restricts no one.
func (d *Daemon) share() error {
	cfg := d.started.Share
	if cfg.Dir == "" {
		return nil
	}
	switch err := os.Mkdir(cfg.Dir, 0o755); {
	case err == nil:
		d.closers = append(d.closers, func() error {
			_ = os.Remove(cfg.Dir) // another program may have files there
			return nil
		})
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("share: %w", err)
	}
	var controlled []control.Port
	for _, p := range d.ports {
		for q := range p.engine.Queues() {
			log := p.log.With("queue", q)
			sh, err := p.engine.Stream(q).Serve(stream.ServerConfig{
				Path: cfg.Queue(&p.Port, q), Mode: fs.FileMode(cfg.Mode),
				OnEvent: func(e stream.Event) { log.Info(e.String()) },
			})
			if err != nil {
				return err
			}
			d.closers = append(d.closers, sh.Close)
		}
		c := control.Port{Name: p.Name, Engine: p.engine, Awaited: p.awaited, Filtering: p.filters}
		c.Card, _ = p.device.(control.Card)
		c.Offering, _ = p.device.(control.Offering)
		if p.Stores() {
			c.Rotate, c.Retained = p.recorder.Rotate, d.cleaner.Stats
		}
		controlled = append(controlled, c)
	}
	server, err := control.ServePorts(controlled, cfg.Control(), control.Config{Fixed: fixed})
	if err != nil {
		return err
	}
	d.closers = append(d.closers, server.Close)
	return nil
}

// fixed returns why a listener can be neither detached nor changed: the stored
// files must have no holes. It returns "" for the others.
func fixed(l control.Listener) string {
	if l.Name == recorder.Listener && l.PID == os.Getpid() {
		return "it stores the capture; to end that, end the capturing program"
	}
	return ""
}
