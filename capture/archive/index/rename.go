package index

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Rename gives a file in an open folder another name, never that of another file:
// EEXIST says that there is one.
func Rename(folder int, from, to string) error {
	err := unix.Renameat2(folder, from, folder, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // file system or kernel without the flag
		var st unix.Stat_t
		if unix.Fstatat(folder, to, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			return unix.EEXIST
		}
		err = unix.Renameat(folder, from, folder, to)
	}
	return err
}

// renameAt is Rename of paths.
func renameAt(from, to string) error {
	if err := Rename(unix.AT_FDCWD, from, to); err != nil {
		return fmt.Errorf("rename to %s: %w", filepath.Base(to), err)
	}
	return nil
}
