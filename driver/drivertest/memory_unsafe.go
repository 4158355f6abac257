package drivertest

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20

// memory is a block outside the Go heap, on transparent huge pages if the kernel has
// them, so that benchmarks have the driver's page size without reserved pages.
type memory struct {
	mapping []byte
	bytes   []byte
}

func allocate(n int) (*memory, error) {
	room := n
	if n >= hugePage {
		room += hugePage
	}
	m, err := unix.Mmap(-1, 0, room, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil || n < hugePage {
		return &memory{mapping: m, bytes: m}, err
	}
	// Only the address is used, to begin on a huge page. The mapping lives until
	// close.
	skip := int(-uintptr(unsafe.Pointer(&m[0])) & (hugePage - 1))
	b := m[skip : skip+n : skip+n]
	// Without huge pages only speed differs, so an error is ignored.
	_ = unix.Madvise(m, unix.MADV_HUGEPAGE)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 0
	}
	return &memory{mapping: m, bytes: b}, nil
}

func (m *memory) close() error {
	if m.mapping == nil {
		return nil
	}
	b := m.mapping
	m.mapping, m.bytes = nil, nil
	return unix.Munmap(b)
}
