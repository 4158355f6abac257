package rawstore

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/store"
)

// sidecar is the index of a file being written. The indexer makes it, the file's
// finalizer writes it.
type sidecar struct {
	b   *index.Builder // of the indexer, and of the finalizer once the file ends
	fed int64          // bytes of the file that b has got
	off atomic.Bool    // it was given up

	mu      sync.Mutex    // guards pending
	pending []byte        // made and not written
	wake    chan struct{} // pending is not empty

	// Of the finalizer.
	fd    int // -1: not open
	spare []byte
}

func newSidecar() *sidecar {
	return &sidecar{b: index.NewBuilder(), wake: make(chan struct{}, 1), fd: -1}
}

// piece is how many bytes are indexed between two checks whether the sidecar was
// given up.
const piece = 64 << 10

// index makes sidecars of blocks that are written, in the order of the stream.
func (s *Storer) index() {
	for b := range s.toIndex {
		side := b.file.side
		for left := b.b; len(left) > 0 && !side.off.Load(); {
			n := min(len(left), piece)
			if err := s.digest(side, left[:n]); err != nil {
				side.off.Store(true) // no records; a stream never has such bytes
			}
			left = left[n:]
		}
		if !side.off.Load() {
			side.put(side.b.Encoded())
		}
		b.indexed <- struct{}{}
	}
}

// digest indexes the next bytes of the file.
func (x *sidecar) digest(p []byte) error {
	_, err := x.b.Write(p)
	x.fed += int64(len(p))
	return err
}

// put passes bytes to the finalizer.
func (x *sidecar) put(out []byte) {
	if len(out) == 0 {
		return
	}
	x.mu.Lock()
	x.pending = append(x.pending, out...)
	x.mu.Unlock()
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// write writes what is pending. An error gives up the sidecar only.
func (x *sidecar) write(f *file) {
	x.mu.Lock()
	out := x.pending
	x.pending, x.spare = x.spare[:0], out
	x.mu.Unlock()
	if x.off.Load() {
		return
	}
	if x.fd < 0 {
		fd, err := f.CreateBeside(archive.Index)
		if err != nil {
			x.off.Store(true)
			return
		}
		x.fd = fd
	}
	for len(out) > 0 {
		n, err := unix.Write(x.fd, out)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			x.off.Store(true)
			return
		}
		out = out[n:]
	}
}

// finish ends the sidecar of a file of size bytes, with the uncertainty of its stamps.
// It reports whether the file has one.
func (x *sidecar) finish(f *file, size int64, uncertainty time.Duration, sync store.Sync) bool {
	if !x.off.Load() {
		x.b.SetUncertainty(uncertainty)
		x.put(x.b.Finish(size))
		x.write(f)
	}
	if x.off.Load() || sync != store.SyncNever && unix.Fdatasync(x.fd) != nil {
		x.drop(f)
		return false
	}
	unix.Close(x.fd)
	return true
}

// drop gives up and removes the sidecar.
func (x *sidecar) drop(f *file) {
	if x.fd >= 0 {
		unix.Close(x.fd)
		x.fd = -1
		f.RemoveBeside(archive.Index)
	}
	x.off.Store(true)
}

// backoff decides which files get their sidecar while they are written. After one
// that was given up the next files go without, twice as many each time: a sidecar
// that is begun and given up costs time for nothing.
type backoff struct {
	left, skip int // files to go without
}

const maxSkip = 64

// next reports whether the next file gets a sidecar.
func (b *backoff) next() bool {
	if b.left > 0 {
		b.left--
		return false
	}
	return true
}

// ended adjusts b to what became of a sidecar.
func (b *backoff) ended(givenUp bool) {
	if !givenUp {
		b.skip = 0
		return
	}
	b.skip = min(max(2*b.skip, 1), maxSkip)
	b.left = b.skip
}
