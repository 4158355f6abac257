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

// place is a folder, whatever it is called.
type place struct {
	path       string
	dev, inode uint64
	lock       *os.File
}

// turn waits until no other keeper, of this or another program, is at work in any
// of the folders: two that delete at once would each delete in place of what the
// other is about to. It ends without them all when ctx is done. Folders that
// cannot be locked, as they are not there or their file system knows no locks, are
// not waited for.
func turn(ctx context.Context, dirs []string) (done func()) {
	var all []*place
	for _, dir := range dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil {
			all = append(all, &place{path: dir, dev: uint64(st.Dev), inode: st.Ino})
		}
	}
	// All in the same order, or two keepers would wait for each other.
	slices.SortFunc(all, func(a, b *place) int { return cmp.Or(cmp.Compare(a.dev, b.dev), cmp.Compare(a.inode, b.inode)) })
	all = slices.CompactFunc(all, func(a, b *place) bool { return a.dev == b.dev && a.inode == b.inode })
	for _, p := range all {
		p.take(ctx)
	}
	return func() {
		for _, p := range all {
			if p.lock != nil {
				p.lock.Close()
			}
		}
	}
}

func (p *place) take(ctx context.Context) {
	f, err := os.OpenFile(p.path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	for nap := time.Millisecond; ; nap = min(2*nap, 50*time.Millisecond) {
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
		case <-time.After(nap):
		}
	}
}
