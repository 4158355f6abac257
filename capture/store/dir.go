package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir is a folder that files are stored in.
type Dir struct {
	path   string
	direct bool
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
	return &Dir{path: path, direct: direct}, nil
}

// Path is the folder's path; Direct tells whether its file system takes
// O_DIRECT. Where it does not, files are written through the page cache.
func (d *Dir) Path() string { return d.path }

func (d *Dir) Direct() bool { return d.direct }

func takesDirect(dir string) (bool, error) {
	probe, err := os.CreateTemp(dir, ".ixcap-probe-")
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
