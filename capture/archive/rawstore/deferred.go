package rawstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/store"
)

// deferred makes the sidecars that were left out, when there is little to store.
type deferred struct {
	mu    sync.Mutex // guards paths
	paths []string
	more  chan struct{} // a path was added
	stop  chan struct{}
	done  chan struct{}
}

// maxDeferred bounds the list. Other files have no sidecar until they are repaired.
const maxDeferred = 4096

func newDeferred() *deferred {
	return &deferred{more: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

func (d *deferred) add(path string) {
	d.mu.Lock()
	if len(d.paths) < maxDeferred {
		d.paths = append(d.paths, path)
	}
	d.mu.Unlock()
	select {
	case d.more <- struct{}{}:
	default:
	}
}

func (d *deferred) next() (path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.paths) > 0 {
		path, d.paths = d.paths[0], d.paths[1:]
	}
	return path
}

// runDeferred makes sidecars until it is stopped, at the lowest I/O priority.
func (s *Storer) runDeferred() {
	d := s.deferred
	defer close(d.done)
	runtime.LockOSThread() // never unlocked: the thread ends with its priority
	const thisThread, idle = 1, 3 << 13
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, thisThread, 0, idle)
	for {
		for path := d.next(); path != ""; path = d.next() {
			if made, err := s.build(path); err == nil && made {
				s.stat.unindexed.Add(-1)
				s.stat.indexed.Add(1)
			}
			select {
			case <-d.stop:
				return
			default:
			}
		}
		select {
		case <-d.stop:
			return
		case <-d.more:
		}
	}
}

// build makes a file's sidecar, under a temporary name first.
func (s *Storer) build(path string) (made bool, err error) {
	in, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer in.Close()
	_ = archive.LockShared(in) // no repair changes it now
	name := archive.SidecarName(path)
	out, err := os.CreateTemp(filepath.Dir(name), filepath.Base(archive.TempIndexPrefix(name)))
	if err != nil {
		return false, err
	}
	defer func() {
		if !made {
			os.Remove(out.Name())
		}
	}()
	defer out.Close()
	if err := out.Chmod(0o644); err != nil {
		return false, err
	}
	b := index.NewBuilder()
	buf := make([]byte, rawfile.Block)
	size := int64(0)
	for {
		began := time.Now()
		n, err := in.ReadAt(buf, size)
		if _, e := b.Write(buf[:n]); e != nil {
			return false, e
		}
		if _, e := out.Write(b.Encoded()); e != nil {
			return false, e
		}
		_ = unix.Fadvise(int(in.Fd()), size, int64(n), unix.FADV_DONTNEED)
		size += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
		if !s.pause(time.Since(began)) {
			return false, nil
		}
	}
	if _, err := out.Write(b.Finish(size)); err != nil {
		return false, err
	}
	if s.cfg.Sync != store.SyncNever {
		if err := out.Sync(); err != nil {
			return false, err
		}
	}
	if err := os.Rename(out.Name(), name); err != nil {
		return false, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) { // retention deleted the file
		return false, errors.Join(err, os.Remove(name))
	}
	return true, nil
}

// pause sleeps for as long as the processor was used, and while there is much to
// store. It returns false if the storer is stopping.
func (s *Storer) pause(worked time.Duration) bool {
	for wait := worked; ; wait = 20 * time.Millisecond {
		select {
		case <-s.deferred.stop:
			return false
		case <-time.After(wait):
		}
		if s.unreleased.Load() <= int64(s.cfg.Buffer/8) {
			return true
		}
	}
}
