package proto

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mapping is a mapped part of a peer's file.
//
// Map checks the file's size, but the peer may truncate the file later. An access to Bytes
// beyond the new end then raises SIGBUS, which the caller must handle (see
// sim/server.Recover).
type Mapping struct {
	whole []byte // for munmap
	bytes []byte
}

// Map maps size bytes of the regular file fd from offset, shared. offset need not be a
// multiple of the page size. The caller owns fd and may close it at once.
func Map(fd int, offset, size uint64, prot int) (*Mapping, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("map: descriptor is not a regular file: %w", syscall.EINVAL)
	}
	end := offset + size
	if size == 0 || end < offset || end > uint64(max(st.Size, 0)) {
		return nil, fmt.Errorf("map: %#x bytes at %#x of a file of %#x: %w", size, offset, st.Size, syscall.EINVAL)
	}
	page, err := pageSize(fd)
	if err != nil {
		return nil, err
	}
	// Both ends are rounded to pages, because huge pages cannot be mapped in part. A
	// hugetlbfs file is a multiple of its pages, and an ordinary page is completely
	// mapped even if the file ends in it.
	lead := offset & (page - 1)
	length := (lead + size + page - 1) &^ (page - 1)
	if offset > math.MaxInt64 || length > math.MaxInt || length < size {
		return nil, fmt.Errorf("map: %#x bytes at %#x: %w", size, offset, syscall.EINVAL)
	}
	whole, err := unix.Mmap(fd, int64(offset-lead), int(length), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	// Core dumps do not need the peer's memory. An error does not matter.
	_ = unix.Madvise(whole, unix.MADV_DONTDUMP)
	return &Mapping{whole: whole, bytes: whole[lead : lead+size : lead+size]}, nil
}

// Bytes returns the mapped memory, valid until Close.
func (m *Mapping) Bytes() []byte { return m.bytes }

// Close unmaps the memory. Bytes must not be used after it.
func (m *Mapping) Close() error {
	if m.whole == nil {
		return errors.New("unmap: mapping is closed")
	}
	err := unix.Munmap(m.whole)
	m.whole, m.bytes = nil, nil
	return err
}

const hugetlbfsMagic = 0x958458f6

// pageSize returns the page size of fd's file.
func pageSize(fd int) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, fmt.Errorf("map: %w", err)
	}
	page := uint64(unix.Getpagesize())
	if uint32(fs.Type) == hugetlbfsMagic && fs.Bsize > 0 && fs.Bsize&(fs.Bsize-1) == 0 {
		page = max(page, uint64(fs.Bsize))
	}
	return page, nil
}
