package retain

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// unlinked is a deleted file that a reader has open. The file system keeps its space
// until the last descriptor is closed, and the reader may be stopped for hours.
type unlinked struct {
	file  *os.File // open for writing
	path  string   // that it had
	bytes int64    // of disk space
	since time.Time
	until time.Time // after which its space is reclaimed
}

const (
	// readerTimeout is how long a reader may go on with a deleted file.
	readerTimeout = time.Minute

	// maxUnlinked limits the descriptors of deleted files. The oldest is reclaimed
	// first.
	maxUnlinked = 256

	// leastFree is the part of a file system, as its inverse, below which space is
	// reclaimed at once. So is half of what Policy.Free demands.
	leastFree = 50
)

// openUnlinked opens a file that is about to be deleted, so that its space can be
// reclaimed. It returns nil if no process has it open, or if it cannot be written.
func openUnlinked(in *os.File, f *File) *unlinked {
	if !inUse(in) {
		return nil
	}
	file, err := os.OpenFile(f.Path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	var st unix.Stat_t
	if unix.Fstat(int(file.Fd()), &st) != nil || uint64(st.Dev) != f.dev || st.Ino != f.inode {
		_ = file.Close()
		return nil
	}
	now := time.Now()
	return &unlinked{file: file, path: f.Path, bytes: st.Blocks * 512, since: now, until: now.Add(readerTimeout)}
}

// inUse reports whether another process, as far as that can be known, has a file open.
func inUse(f *os.File) bool {
	if used, known := archive.InUse(f); known {
		return used
	}
	return errors.Is(archive.LockExclusive(f), archive.ErrBusy)
}

// reclaim closes the deleted files that no reader has open any more, and takes the
// space of those whose time is over, or whose file system is short of space.
func (s *scan) reclaim(p Policy, now time.Time) {
	k := s.cleaner
	excess := len(k.unlinked) - maxUnlinked
	k.unlinked = slices.DeleteFunc(k.unlinked, func(u *unlinked) bool {
		used, due := !u.linked() && inUse(u.file), excess > 0 || now.After(u.until) || u.short(p)
		excess--
		if used && !due {
			return false
		}
		defer u.file.Close()
		if !used {
			return true
		}
		err := u.file.Truncate(0)
		if err == nil {
			k.countReclaimed(u)
		}
		s.emit(Event{Path: u.path, Bytes: u.bytes, Reclaimed: now.Sub(u.since), Err: err})
		return true
	})
	k.mu.Lock()
	k.stats.setOpen(k.unlinked)
	k.mu.Unlock()
}

// short reports whether the file system of a deleted file is short of space.
func (u *unlinked) short(p Policy) bool {
	s, err := statfs(filepath.Dir(u.path))
	return err == nil && s.Free < max(p.Free/2, s.Size/leastFree)
}

// linked reports whether the file has a name: a hard link, whose data must stay.
func (u *unlinked) linked() bool {
	var st unix.Stat_t
	return unix.Fstat(int(u.file.Fd()), &st) != nil || st.Nlink > 0
}
