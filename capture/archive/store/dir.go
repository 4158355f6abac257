package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// Dir is a folder that files are stored in. Several storers may share one.
type Dir struct {
	path   string
	direct bool

	// below is the device of the file system on which the folder's one is mounted.
	below   uint64
	mounted bool // false: the folder is in the root file system

	open func(folder int, name string, direct bool) (Handle, error) // replaced in tests
}

// OpenDir checks that files can be written in a folder, and whether with O_DIRECT.
// It creates the folder if only the last part of path is missing.
func OpenDir(path string) (*Dir, error) {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("store in %s: %w", path, err)
	}
	direct, err := supportsDirect(path)
	if err != nil {
		return nil, fmt.Errorf("store in %s: %w", path, err)
	}
	d := &Dir{path: path, direct: direct, open: OpenFile}
	d.below, d.mounted = mountedOn(path)
	return d, nil
}

// Path returns the folder's path.
func (d *Dir) Path() string { return d.path }

// Direct reports whether the folder's file system supports O_DIRECT. Otherwise
// files are written through the page cache.
func (d *Dir) Direct() bool { return d.direct }

func supportsDirect(dir string) (bool, error) {
	probe, err := os.CreateTemp(dir, archive.ProbePrefix)
	if err != nil {
		if errors.As(err, new(*os.PathError)) {
			err = errors.Unwrap(err) // drops the probe's name
		}
		return false, err
	}
	defer os.Remove(probe.Name())
	defer probe.Close()
	fd, err := unix.Open(filepath.Clean(probe.Name()), unix.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, nil
	}
	return true, unix.Close(fd)
}

// mountedOn returns the device of the file system on which the one of path is
// mounted. mounted is false if path is in the root file system.
func mountedOn(path string) (dev uint64, mounted bool) {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	var own, st unix.Stat_t
	if err != nil || unix.Stat(real, &own) != nil {
		return 0, false
	}
	for real != "/" {
		real = filepath.Dir(real)
		if unix.Stat(real, &st) != nil {
			return 0, false
		}
		if st.Dev != own.Dev {
			return uint64(st.Dev), true
		}
	}
	return 0, false
}

// openFolder opens the folder, and makes it again if it was removed. It fails if the
// disk was unmounted: files would fill the file system below.
func (d *Dir) openFolder() (fd int, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	var st unix.Stat_t
	fd, err = unix.Open(d.path, flags, 0)
	if err == unix.ENOENT {
		if unix.Stat(filepath.Dir(d.path), &st) == nil && d.isBelow(&st) {
			return -1, d.unmounted()
		}
		if err = unix.Mkdir(d.path, 0o755); err == nil || err == unix.EEXIST {
			fd, err = unix.Open(d.path, flags, 0)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", d.path, err)
	}
	if unix.Fstat(fd, &st) == nil && d.isBelow(&st) {
		unix.Close(fd)
		return -1, d.unmounted()
	}
	return fd, nil
}

func (d *Dir) isBelow(st *unix.Stat_t) bool { return d.mounted && uint64(st.Dev) == d.below }

func (d *Dir) unmounted() error {
	return fmt.Errorf("store in %s: its file system is not mounted any more: %w", d.path, unix.ENODEV)
}

// Wrap replaces the handles of files made from now on by what wrap returns, to
// inject faults in tests.
func (d *Dir) Wrap(wrap func(Handle) Handle) {
	open := d.open
	d.open = func(folder int, name string, direct bool) (Handle, error) {
		h, err := open(folder, name, direct)
		if err == nil {
			h = wrap(h)
		}
		return h, err
	}
}
