package pcapstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

// IsPartial tells whether a file's name is one of those that Recover is for:
// NAME.pcap.part, NAME.pcapng.part, NAME.pcap.zst.part, NAME.pcapng.zst.part.
func IsPartial(name string) bool {
	name, partly := strings.CutSuffix(name, partial)
	name, _ = strings.CutSuffix(name, pcapfile.Compressed)
	return partly && (strings.HasSuffix(name, "."+string(pcapfile.Pcap)) || strings.HasSuffix(name, "."+string(pcapfile.Pcapng)))
}

// Recover makes a whole file of one that a dead program left with its temporary
// name: it is cut after its last whole packet, or frame, and gets its final name,
// which is returned. One that holds no packet is removed; final is "" then. The
// error wraps unix.EWOULDBLOCK when its program lives, and pcapfile.ErrForeign when
// it is not one of ours; the file is left alone then.
func Recover(path string) (final string, part pcapfile.Part, err error) {
	if !IsPartial(path) {
		return "", part, fmt.Errorf("recover %s: its name is not that of a file being written", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", part, fmt.Errorf("recover: %w", err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return "", part, fmt.Errorf("recover %s: it is being written: %w", path, err)
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
	final = strings.TrimSuffix(path, partial)
	folder, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", part, fmt.Errorf("recover %s: %w", path, err)
	}
	defer unix.Close(folder)
	named := &file{name: filepath.Base(final), folder: folder}
	if err := named.rename(); err != nil {
		return "", part, fmt.Errorf("recover %s: rename: %w", path, err)
	}
	if err := unix.Fsync(folder); err != nil && !errors.Is(err, unix.EINVAL) {
		return final, part, fmt.Errorf("recover %s: %w", path, err)
	}
	return final, part, nil
}
