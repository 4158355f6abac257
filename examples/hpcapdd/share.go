package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/capture/stream"
)

// sharing is what others can reach of a capture: a socket for each queue and one
// for control.
type sharing struct {
	dir     string
	made    bool // the folder is ours
	control *control.Server
	shares  []*stream.Server
}

// share opens the sockets in a folder, which it makes if only the last part of
// the path is missing. Nobody is told to keep out by the folder: each socket has
// its mode.
func share(ports []*port, cfg settings.Share) (_ *sharing, err error) {
	s := &sharing{dir: cfg.Dir}
	switch err := os.Mkdir(s.dir, 0o755); {
	case err == nil:
		s.made = true
	case !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("share: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	var controlled []control.Port
	for _, p := range ports {
		for q := range p.engine.Queues() {
			sh, err := p.engine.Stream(q).Serve(stream.ServerConfig{
				Path: cfg.Queue(&p.Port, q), Mode: fs.FileMode(cfg.Mode),
				OnEvent: func(event stream.Event) { say("%squeue %d: %v", p.prefix(), q, event) },
			})
			if err != nil {
				return s, err
			}
			s.shares = append(s.shares, sh)
		}
		c := control.Port{Name: p.Name, Engine: p.engine}
		if p.Stores() {
			c.Rotate = p.recorder.Rotate
		}
		controlled = append(controlled, c)
	}
	s.control, err = control.ServePorts(controlled, cfg.Control(), control.Config{Fixed: fixed})
	return s, err
}

// fixed says why a listener must stay as it is: what is being stored must
// neither have holes nor end early.
func fixed(l control.Listener) string {
	if l.Name == recorder.Listener && l.PID == os.Getpid() {
		return "it stores the capture; to end that, end hpcapdd"
	}
	return ""
}

// close lets everybody go and removes the sockets, and the folder if nothing is left in it.
func (s *sharing) close() error {
	var errs []error
	if s.control != nil {
		errs = append(errs, s.control.Close())
	}
	for _, sh := range s.shares {
		errs = append(errs, sh.Close())
	}
	if s.made {
		_ = os.Remove(s.dir) // somebody may have put something there
	}
	return errors.Join(errs...)
}
