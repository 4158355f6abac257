package store

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
)

// sidecar is the index of a file being written. The indexer makes it, the file's
// keeper writes it.
type sidecar struct {
	b   *index.Builder // the indexer's, and the keeper's once the file ends
	fed int64          // bytes of the file that b was given
	off atomic.Bool    // it is not wanted any more

	mu      sync.Mutex
	pending []byte        // made and not written
	wake    chan struct{} // there is something pending

	// The keeper's.
	fd    int // -1: not open
	spare []byte
}

func newSidecar() *sidecar {
	return &sidecar{b: index.NewBuilder(), wake: make(chan struct{}, 1), fd: -1}
}

// piece is how much is indexed before somebody who waits is looked after, in bytes.
const piece = 64 << 10

// index makes sidecars: of blocks that are written, in the order of the stream.
func (s *Storer) index() {
	for b := range s.indexing {
		side := b.file.side
		for left := b.b; len(left) > 0 && !side.off.Load(); {
			n := min(len(left), piece)
			if err := s.digest(side, left[:n]); err != nil {
				side.off.Store(true) // no records: nothing that a stream gives
			}
			left = left[n:]
		}
		if !side.off.Load() {
			side.put(side.b.Take())
		}
		b.indexed <- struct{}{}
	}
}

// digest has the next bytes of the file indexed.
func (x *sidecar) digest(p []byte) error {
	_, err := x.b.Write(p)
	x.fed += int64(len(p))
	return err
}

// put hands bytes over to the keeper.
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

// write writes what is pending. A disk that does not take it costs the sidecar,
// and nothing else.
func (x *sidecar) write(f *file) {
	x.mu.Lock()
	out := x.pending
	x.pending, x.spare = x.spare[:0], out
	x.mu.Unlock()
	if x.off.Load() {
		return
	}
	if x.fd < 0 {
		fd, err := unix.Openat(f.folder, f.name+archive.Index, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
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

// finish ends the sidecar of a file of so many bytes, and tells whether there is
// one.
func (x *sidecar) finish(f *file, size int64, sync Sync) bool {
	if !x.off.Load() {
		x.put(x.b.Finish(size))
		x.write(f)
	}
	if x.off.Load() || sync != SyncNever && unix.Fdatasync(x.fd) != nil {
		x.drop(f)
		return false
	}
	unix.Close(x.fd)
	return true
}

// drop removes what there is of the sidecar.
func (x *sidecar) drop(f *file) {
	if x.fd >= 0 {
		unix.Close(x.fd)
		x.fd = -1
		_ = unix.Unlinkat(f.folder, f.name+archive.Index, 0)
	}
	x.off.Store(true)
}
