package pcapstore

import (
	"context"
	"time"

	"github.com/ixcap/ixcap/capture/archive/store"
)

// Source lets tests replace streams.
type Source = source

// Wrap replaces the handles of files in a folder by what wrap returns; "" means
// every folder.
func (s *Storer) Wrap(folder string, wrap func(store.Handle) store.Handle) {
	for _, w := range s.dirs.Writers() {
		if folder == "" || w.Dir().Path() == folder {
			w.Dir().Wrap(wrap)
		}
	}
}

// SetRetry sets the time between two attempts at a folder that fails.
func (s *Storer) SetRetry(d time.Duration) { s.dirs.SetRetry(d) }

// RunSource is Run with any source.
func (s *Storer) RunSource(ctx context.Context, src Source) error { return s.run(ctx, src) }
