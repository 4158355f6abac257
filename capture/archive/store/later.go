package store

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// later makes the sidecars that were left out, when there is little to store.
type later struct {
	mu    sync.Mutex
	paths []string
	more  chan struct{} // there may be some
	stop  chan struct{}
	done  chan struct{}
}

// laterMost is how many files are remembered. Of others the sidecars are missing
// until somebody repairs them.
const laterMost = 4096

func newLater() *later {
	return &later{more: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

func (l *later) add(path string) {
	l.mu.Lock()
	if len(l.paths) < laterMost {
		l.paths = append(l.paths, path)
	}
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *later) next() (path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.paths) > 0 {
		path, l.paths = l.paths[0], l.paths[1:]
	}
	return path
}

// catchUp runs until stopped, at the lowest I/O priority.
func (s *Storer) catchUp() {
	defer close(s.later.done)
	runtime.LockOSThread() // and never unlocked: the thread ends with its priority
	const thisThread, idle = 1, 3 << 13
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, thisThread, 0, idle)
	for {
		for path := s.later.next(); path != ""; path = s.later.next() {
			if made, err := s.build(path); err == nil && made {
				s.stat.unindexed.Add(-1)
				s.stat.indexed.Add(1)
			}
			select {
			case <-s.later.stop:
				return
			default:
			}
		}
		select {
		case <-s.later.stop:
			return
		case <-s.later.more:
		}
	}
}

// build makes a file's sidecar, under a temporary name first. A file that is gone
// needs none.
func (s *Storer) build(path string) (made bool, err error) {
	in, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer in.Close()
	_ = unix.Flock(int(in.Fd()), unix.LOCK_SH|unix.LOCK_NB) // whoever deletes files spares it meanwhile
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
		if _, e := out.Write(b.Take()); e != nil {
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
		if !s.rest(time.Since(began)) {
			return false, nil
		}
	}
	if _, err := out.Write(b.Finish(size)); err != nil {
		return false, err
	}
	if s.cfg.Sync != SyncNever {
		if err := out.Sync(); err != nil {
			return false, err
		}
	}
	if err := os.Rename(out.Name(), name); err != nil {
		return false, err
	}
	return true, nil
}

// rest leaves the processor to others for as long as it was used, and for as long
// as there is much to store. False: it is time to stop.
func (s *Storer) rest(worked time.Duration) bool {
	for nap := worked; ; nap = 20 * time.Millisecond {
		select {
		case <-s.later.stop:
			return false
		case <-time.After(nap):
		}
		if s.held.Load() <= int64(s.cfg.Buffer/8) {
			return true
		}
	}
}
