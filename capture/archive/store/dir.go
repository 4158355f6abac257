package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// Dir is a folder that files are stored in. Several Storers may have one.
type Dir struct {
	path   string
	direct bool

	// below is the device of what the folder's file system is mounted on, if it
	// is mounted on anything.
	below   uint64
	mounted bool

	open func(folder int, name string, direct bool) (handle, error) // another one in tests
}

// OpenDir makes sure that files can be written in a folder, which it creates if
// only the last part of path is missing, and finds out whether they can be
// written with O_DIRECT. It leaves nothing behind but the folder.
func OpenDir(path string) (*Dir, error) {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("store in %s: %w", path, err)
	}
	direct, err := takesDirect(path)
	if err != nil {
		return nil, fmt.Errorf("store in %s: %w", path, err)
	}
	d := &Dir{path: path, direct: direct, open: openFile}
	d.below, d.mounted = mountedOn(path)
	return d, nil
}

// Path is the folder's path; Direct tells whether its file system takes
// O_DIRECT. Where it does not, files are written through the page cache.
func (d *Dir) Path() string { return d.path }

func (d *Dir) Direct() bool { return d.direct }

func takesDirect(dir string) (bool, error) {
	probe, err := os.CreateTemp(dir, archive.ProbePrefix)
	if err != nil {
		if errors.As(err, new(*os.PathError)) {
			err = errors.Unwrap(err) // the probe's name would only confuse
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

// mountedOn finds the device of the file system that the one of path is mounted
// on; false if that is the root's.
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

// folder opens the folder, and makes it again if somebody removed it. A disk that
// was unmounted is left alone: files would fill the one below.
func (d *Dir) folder() (fd int, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	var st unix.Stat_t
	fd, err = unix.Open(d.path, flags, 0)
	if err == unix.ENOENT {
		if unix.Stat(filepath.Dir(d.path), &st) == nil && d.gone(&st) {
			return -1, d.unmounted()
		}
		if err = unix.Mkdir(d.path, 0o755); err == nil || err == unix.EEXIST {
			fd, err = unix.Open(d.path, flags, 0)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", d.path, err)
	}
	if unix.Fstat(fd, &st) == nil && d.gone(&st) {
		unix.Close(fd)
		return -1, d.unmounted()
	}
	return fd, nil
}

func (d *Dir) gone(st *unix.Stat_t) bool { return d.mounted && uint64(st.Dev) == d.below }

func (d *Dir) unmounted() error {
	return fmt.Errorf("store in %s: what was mounted there is not any more: %w", d.path, unix.ENODEV)
}
