package store

import "time"

// Handle is the open file that tests put something between.
type Handle = handle

// Wrap has what wrap makes of them written to in place of a folder's new files.
func (d *Dir) Wrap(wrap func(Handle) Handle) {
	open := d.open
	d.open = func(folder int, name string, direct bool) (handle, error) {
		h, err := open(folder, name, direct)
		if err == nil {
			h = wrap(h)
		}
		return h, err
	}
}

// SetRetry sets the time between two attempts at a folder that fails.
func (s *Storer) SetRetry(d time.Duration) { s.retry = d }

// StallIndex has the index get nowhere until it is told that it is not wanted, or
// released.
func (s *Storer) StallIndex(release <-chan struct{}) {
	s.digest = func(x *sidecar, p []byte) error {
		for !x.off.Load() {
			select {
			case <-release:
				return x.digest(p)
			case <-time.After(time.Millisecond):
			}
		}
		return nil
	}
}
