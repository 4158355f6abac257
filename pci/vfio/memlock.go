package vfio

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// explainMap adds the cause and the remedy to a failed mapping.
func (s *space) explainMap(err error, iova, size uint64) error {
	err = fmt.Errorf("%w (%d bytes at IOVA %#x)", err, size, iova)
	switch {
	case errors.Is(err, syscall.ENOMEM):
		if text := s.h.lockLimit(size); text != "" {
			return fmt.Errorf("%w: %s", err, text)
		}
		return fmt.Errorf("%w: out of memory", err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: %w", err, s.tooMany())
	case errors.Is(err, syscall.EEXIST):
		return fmt.Errorf("%w: already mapped by another user of this container", err)
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("%w: the IOMMU does not support this address or size", err)
	case errors.Is(err, syscall.EFAULT):
		return fmt.Errorf("%w: the memory cannot be pinned", err)
	}
	return err
}

// tooMany is the error of a container at its limit of mappings.
func (s *space) tooMany() error {
	return fmt.Errorf("the container is at its limit of mappings. Raise it (echo N | "+
		"sudo tee %s/module/vfio_iommu_type1/parameters/dma_entry_limit), or use larger pages", s.h.sys)
}

// lockLimit describes the limit of locked memory after a mapping of size bytes failed,
// "" if there is no limit.
func (h *host) lockLimit(size uint64) string {
	limit, locked := h.memlock()
	if limit == unix.RLIM_INFINITY {
		return ""
	}
	return fmt.Sprintf("RLIMIT_MEMLOCK is %s, locked are %s, needed are %s more. "+
		"Raise it to %s or unlimited: sudo prlimit --pid $$ --memlock=unlimited in this shell, "+
		`"* - memlock unlimited" in /etc/security/limits.d/ixcap.conf for every login, LimitMEMLOCK=infinity for a systemd unit`,
		mebibytes(limit), mebibytes(locked), mebibytes(size), mebibytes(locked+size))
}

func mebibytes(n uint64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// readMemlock returns the limit of locked memory and the bytes that count against it. A
// container counts as locked memory (VmLck), an IOAS as pinned memory (VmPin). The limit
// of pinned memory is per user, but the kernel shows only this process's share.
func readMemlock() (limit, locked uint64) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r); err != nil {
		return unix.RLIM_INFINITY, 0
	}
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return r.Cur, 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "VmLck", "VmPin":
			if kib, err := strconv.ParseUint(strings.TrimSuffix(value, " kB"), 10, 54); err == nil {
				locked += kib << 10
			}
		case "CapEff":
			if caps, err := strconv.ParseUint(value, 16, 64); err == nil && caps>>unix.CAP_IPC_LOCK&1 != 0 {
				return unix.RLIM_INFINITY, 0 // no limit
			}
		}
	}
	return r.Cur, locked
}
