package retain

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// lockedDir is a folder, identified by its inode.
type lockedDir struct {
	path       string
	dev, inode uint64
	lock       *os.File
}

// lockDirs waits until no other cleaner, of this or another program, scans any of
// the folders: two at once would delete too much. It returns without all locks when
// ctx is done. It skips folders that do not exist, and file systems without locks.
func lockDirs(ctx context.Context, dirs []string) (unlock func()) {
	var all []*lockedDir
	for _, dir := range dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil {
			all = append(all, &lockedDir{path: dir, dev: uint64(st.Dev), inode: st.Ino})
		}
	}
	// All cleaners lock in the same order, so there is no deadlock.
	slices.SortFunc(all, func(a, b *lockedDir) int { return cmp.Or(cmp.Compare(a.dev, b.dev), cmp.Compare(a.inode, b.inode)) })
	all = slices.CompactFunc(all, func(a, b *lockedDir) bool { return a.dev == b.dev && a.inode == b.inode })
	for _, p := range all {
		p.acquire(ctx)
	}
	return func() {
		for _, p := range all {
			if p.lock != nil {
				p.lock.Close()
			}
		}
	}
}

func (p *lockedDir) acquire(ctx context.Context) {
	f, err := os.OpenFile(p.path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			p.lock = f
			return
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || ctx.Err() != nil {
			f.Close()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}
