package pcapstore

import (
	"context"
	"time"
)

// Handle and Source let tests stand in for files and streams.
type (
	Handle = handle
	Source = source
)

// OpenFile makes a file as a Storer does.
func OpenFile(folder int, name string) (Handle, error) { return openFile(folder, name) }

// SetOpen has files made by another, and failing folders tried again sooner.
func (s *Storer) SetOpen(open func(folder int, name string) (Handle, error), again time.Duration) {
	if open != nil {
		s.open = open
	}
	s.again = again
}

// RunSource is Run with any source.
func (s *Storer) RunSource(ctx context.Context, src Source) error { return s.run(ctx, src) }
