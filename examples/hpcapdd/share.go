package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/control"
	"github.com/ixcap/ixcap/capture/record"
	"github.com/ixcap/ixcap/capture/stream"
)

// sharing is what others can reach of a capture: a socket for each queue and one
// for control.
type sharing struct {
	dir     string
	made    bool // the folder is ours
	control *control.Server
	shares  []*stream.Share
}

// share opens the sockets in a folder, which it makes if only the last part of
// the path is missing. Nobody is told to keep out by the folder: each socket has
// its mode.
func share(e *capture.Engine, o options) (_ *sharing, err error) {
	s := &sharing{dir: o.share}
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
	for q := range e.Queues() {
		sh, err := e.Stream(q).Share(stream.Sharing{
			Path: filepath.Join(s.dir, fmt.Sprintf("queue%d.sock", q)), Mode: fs.FileMode(o.shareMode),
			Tell: func(event stream.ShareEvent) { fmt.Fprintf(os.Stderr, "hpcapdd: queue %d: %v\n", q, event) },
		})
		if err != nil {
			return s, err
		}
		s.shares = append(s.shares, sh)
	}
	s.control, err = control.Serve(e, filepath.Join(s.dir, "control.sock"), control.Config{Fixed: fixed})
	return s, err
}

// fixed says why a listener must stay as it is: what is being stored must
// neither have holes nor end early.
func fixed(l control.Listener) string {
	if l.Name == record.Listener && l.PID == os.Getpid() {
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
