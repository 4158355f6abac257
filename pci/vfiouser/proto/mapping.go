package proto

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mapping is a part of a peer's file in this process's memory.
//
// The file's end is checked when it is mapped, but the peer may cut the file
// later: an access beyond the new end raises SIGBUS. Whoever touches Bytes
// decides what that means (see sim/server.Recover).
type Mapping struct {
	whole []byte // what munmap wants back
	bytes []byte
}

// Map maps size bytes of the regular file fd from offset, shared. Offset need
// not be a multiple of the file's page size. fd stays the caller's and may be
// closed at once.
func Map(fd int, offset, size uint64, prot int) (*Mapping, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("map: descriptor is no regular file: %w", syscall.EINVAL)
	}
	end := offset + size
	if size == 0 || end < offset || end > uint64(max(st.Size, 0)) {
		return nil, fmt.Errorf("map: %#x bytes at %#x of a file of %#x: %w", size, offset, st.Size, syscall.EINVAL)
	}
	page, err := pageSize(fd)
	if err != nil {
		return nil, err
	}
	// Huge pages are mapped and unmapped whole, so both ends are rounded
	// outwards; a huge file is a multiple of its pages, and an ordinary page
	// is whole in memory even where the file ends within it.
	lead := offset & (page - 1)
	length := (lead + size + page - 1) &^ (page - 1)
	if offset > math.MaxInt64 || length > math.MaxInt || length < size {
		return nil, fmt.Errorf("map: %#x bytes at %#x: %w", size, offset, syscall.EINVAL)
	}
	whole, err := unix.Mmap(fd, int64(offset-lead), int(length), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	// A dump of this process need not hold the peer's memory. Refusal is harmless.
	_ = unix.Madvise(whole, unix.MADV_DONTDUMP)
	return &Mapping{whole: whole, bytes: whole[lead : lead+size : lead+size]}, nil
}

// Bytes is the mapped part. It may be used until Close.
func (m *Mapping) Bytes() []byte { return m.bytes }

// Close unmaps. Nobody may use Bytes any more.
func (m *Mapping) Close() error {
	if m.whole == nil {
		return errors.New("unmap: mapping is closed")
	}
	err := unix.Munmap(m.whole)
	m.whole, m.bytes = nil, nil
	return err
}

const hugetlbfsMagic = 0x958458f6

// pageSize is the granule in which fd's file is mapped.
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
