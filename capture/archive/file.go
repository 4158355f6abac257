package archive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Rename renames a file in an open folder. It never replaces a file: EEXIST.
func Rename(folder int, from, to string) error {
	err := unix.Renameat2(folder, from, folder, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // file system or kernel without the flag
		if Exists(folder, to) {
			return unix.EEXIST
		}
		err = unix.Renameat(folder, from, folder, to)
	}
	return err
}

// RenamePath is Rename with paths.
func RenamePath(from, to string) error {
	if err := Rename(unix.AT_FDCWD, from, to); err != nil {
		return fmt.Errorf("rename to %s: %w", filepath.Base(to), err)
	}
	return nil
}

// Exists reports whether an open folder has a name.
func Exists(folder int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(folder, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// maxInFlight is more than a storer writes at once after what it has written, in bytes.
const maxInFlight = 64 << 20

// Stored returns how many bytes from the start of a file of size bytes are on
// disk. A storer writes several blocks at once: until the first of them is written
// the file has a hole, which reads as zeros, even in the middle of a record.
func Stored(f *os.File, size int64) int64 {
	// Reserved space that was read is in the page cache, and counts as data there.
	// Those pages are clean and can be dropped.
	_ = unix.Fadvise(int(f.Fd()), max(0, size-maxInFlight)&^(1<<20-1), 0, unix.FADV_DONTNEED)
	hole, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE)
	if err != nil || hole > size { // a file system without SEEK_HOLE
		return size
	}
	return hole
}

// NoReadahead makes the kernel read no more of a file than requested.
func NoReadahead(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM) }
