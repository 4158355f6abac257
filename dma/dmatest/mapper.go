package dmatest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
)

// Mapper is a dma.Mapper in memory. The zero value is ready. It may be used by
// several goroutines.
type Mapper struct {
	// Refuse, when set, is asked before each Map and fails it with its error.
	Refuse func(mem *hugepage.Memory) error

	mu     sync.Mutex
	alloc  *dma.Allocator
	mapped map[dma.IOVA]mapping
	maps   int
}

type mapping struct {
	mem    *hugepage.Memory
	access dma.Access
}

var _ dma.Mapper = (*Mapper)(nil)

// addresses begin above 4 GiB and end below 39 bits, as with a small IOMMU.
var addresses = dma.Range{First: 0x1_0000_0000, Last: 1<<39 - 1}

// Map makes mem translatable.
func (m *Mapper) Map(mem *hugepage.Memory, access dma.Access) (dma.IOVA, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Refuse != nil {
		if err := m.Refuse(mem); err != nil {
			return 0, err
		}
	}
	if access == 0 || access&^dma.DeviceReadsWrites != 0 {
		return 0, fmt.Errorf("map %s: access %#x", mem.Name(), uint8(access))
	}
	if mem.Bytes() == nil {
		return 0, fmt.Errorf("map %s: memory is closed", mem.Name())
	}
	if m.mapped == nil {
		m.alloc = dma.NewAllocator([]dma.Range{addresses}, nil)
		m.mapped = map[dma.IOVA]mapping{}
	}
	iova, err := m.alloc.Alloc(uint64(mem.Len()), uint64(mem.PageSize()))
	if err != nil {
		return 0, err
	}
	m.mapped[iova] = mapping{mem, access}
	m.maps++
	return iova, nil
}

// Unmap takes back what Map gave.
func (m *Mapper) Unmap(iova dma.IOVA) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.mapped[iova]
	if !ok {
		return fmt.Errorf("unmap %#x: not mapped", uint64(iova))
	}
	delete(m.mapped, iova)
	err := m.alloc.Free(iova)
	if old.mem.Bytes() == nil {
		err = errors.Join(err, fmt.Errorf("unmap %#x: memory %s was closed while the device could reach it", uint64(iova), old.mem.Name()))
	}
	return err
}

// At is the n bytes the device sees at iova, when they lie in one mapping that
// allows the access.
func (m *Mapper) At(iova dma.IOVA, n int, access dma.Access) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for first, mp := range m.mapped {
		// A bus access has no length that is negative, and none is longer than memory.
		if n < 0 || iova < first || uint64(iova-first) > uint64(mp.mem.Len()) || uint64(n) > uint64(mp.mem.Len())-uint64(iova-first) {
			continue
		}
		if mp.access&access != access {
			return nil, fmt.Errorf("DMA at %#x: access %#x to memory mapped with %#x", uint64(iova), uint8(access), uint8(mp.access))
		}
		at := int(iova - first)
		return mp.mem.Bytes()[at : at+n : at+n], nil
	}
	return nil, fmt.Errorf("DMA at %#x, %d bytes: not mapped", uint64(iova), n)
}

// Mapped is the number of mappings that were not taken back: the leaks, at the
// end of a test.
func (m *Mapper) Mapped() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.mapped)
}

// Maps is the number of mappings ever made.
func (m *Mapper) Maps() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.maps
}
