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

// lockTimeout limits the wait for the locks of folders. Any user may take them, for
// ever, and without retention the disk fills up.
const lockTimeout = 2 * time.Second

// errLocked is the error about a folder whose lock another process keeps.
var errLocked = errors.New("another process keeps it for longer than " + lockTimeout.String())

// lockDirs waits, for limit at most, until no other cleaner, of this or another
// program, scans any of the folders: two at once would delete too much. It returns the
// folders that stay locked. It skips folders that do not exist, and file systems
// without locks.
func lockDirs(ctx context.Context, dirs []string, limit time.Duration) (unlock func(), failed []string) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
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
		if !p.acquire(ctx) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			failed = append(failed, p.path)
		}
	}
	return func() {
		for _, p := range all {
			if p.lock != nil {
				p.lock.Close()
			}
		}
	}, failed
}

// acquire reports whether it has the lock, or there is none.
func (p *lockedDir) acquire(ctx context.Context) bool {
	f, err := os.OpenFile(p.path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return true
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			p.lock = f
			return true
		}
		if held := errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR); !held || ctx.Err() != nil {
			f.Close()
			return !held
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}
