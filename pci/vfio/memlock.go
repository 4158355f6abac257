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

// explainMap says what stands behind the kernel's refusal to map.
func (s *space) explainMap(err error, iova, size uint64) error {
	err = fmt.Errorf("%w (%d bytes at IOVA %#x)", err, size, iova)
	switch {
	case errors.Is(err, syscall.ENOMEM):
		if text := s.h.lockLimit(size); text != "" {
			return fmt.Errorf("%w: %s", err, text)
		}
		return fmt.Errorf("%w: the kernel has no memory left for it", err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: %w", err, s.tooMany())
	case errors.Is(err, syscall.EEXIST):
		return fmt.Errorf("%w: something is mapped there already, by another user of this container", err)
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("%w: the IOMMU takes no such address or size", err)
	case errors.Is(err, syscall.EFAULT):
		return fmt.Errorf("%w: the memory cannot be pinned", err)
	}
	return err
}

// tooMany is the error of a container with all the mappings it may have.
func (s *space) tooMany() error {
	return fmt.Errorf("the container has all the mappings it may have: raise dma_entry_limit: "+
		"echo N | sudo tee %s/module/vfio_iommu_type1/parameters/dma_entry_limit, or use larger pages", s.h.sys)
}

// lockLimit explains the limit of locked memory to whom size more bytes were
// refused; "" when there is none.
func (h *host) lockLimit(size uint64) string {
	limit, locked := h.memlock()
	if limit == unix.RLIM_INFINITY {
		return ""
	}
	return fmt.Sprintf("RLIMIT_MEMLOCK lets this user lock %s, this process has locked %s, and this needs %s more: "+
		"raise it to %s or unlimited: sudo prlimit --pid $$ --memlock=unlimited in this shell, "+
		`"* - memlock unlimited" in /etc/security/limits.d/ixcap.conf for every login, LimitMEMLOCK=infinity for a systemd unit`,
		mebibytes(limit), mebibytes(locked), mebibytes(size), mebibytes(locked+size))
}

func mebibytes(n uint64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// readMemlock is the limit of locked memory and what counts against it: a
// container counts as locked memory, an IOAS as pinned memory, of which the
// kernel shows this process's part only (its limit is for all of the user's).
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
				return unix.RLIM_INFINITY, 0 // nothing is counted
			}
		}
	}
	return r.Cur, locked
}
