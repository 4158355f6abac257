package rawstore

import "time"

// SetRetry sets the time between two attempts at a folder that fails.
func (s *Storer) SetRetry(d time.Duration) { s.dirs.SetRetry(d) }

// StallIndex makes the indexer stall until its sidecar is given up, or release is
// closed.
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
