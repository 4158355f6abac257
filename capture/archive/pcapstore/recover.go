package pcapstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

// Recover closes a file that a killed program left under its temporary name: it is
// cut after its last whole packet, or zstd frame, and gets its final name, which is
// returned. A file without packets is removed; final is "" then. The error wraps
// archive.ErrBusy if the file is being written, and pcapfile.ErrForeign if no Storer
// wrote it; it stays unchanged then.
func Recover(path string) (final string, part pcapfile.Part, err error) {
	if !archive.IsPacketPart(path) {
		return "", part, fmt.Errorf("recover %s: its name is not that of a file being written", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", part, fmt.Errorf("recover: %w", err)
	}
	defer f.Close()
	if err := archive.LockExclusive(f); err != nil {
		return "", part, fmt.Errorf("recover: %w", err)
	}
	if part, err = pcapfile.Repair(f); err != nil {
		return "", part, fmt.Errorf("recover %s: %w", path, err)
	}
	if part.Packets == 0 {
		return "", part, os.Remove(path)
	}
	if err := f.Sync(); err != nil {
		return "", part, fmt.Errorf("recover: %w", err)
	}
	final = archive.FinalName(path)
	folder, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", part, fmt.Errorf("recover %s: %w", path, err)
	}
	defer unix.Close(folder)
	if err := archive.Rename(folder, filepath.Base(path), filepath.Base(final)); err != nil {
		return "", part, fmt.Errorf("recover %s: rename: %w", path, err)
	}
	if err := unix.Fsync(folder); err != nil && !errors.Is(err, unix.EINVAL) {
		return final, part, fmt.Errorf("recover %s: %w", path, err)
	}
	return final, part, nil
}
