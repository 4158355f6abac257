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
	// Refuse, if not nil, is called before each Map; Map fails with its error.
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

// addresses begin at 4 GiB and end at 39 bits, as with a small IOMMU.
var addresses = dma.Range{First: 0x1_0000_0000, Last: 1<<39 - 1}

// Map implements dma.Mapper.
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

// Unmap implements dma.Mapper.
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

// At returns the n bytes that the device sees at iova. They must lie in one mapping
// that allows the access.
func (m *Mapper) At(iova dma.IOVA, n int, access dma.Access) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for first, mp := range m.mapped {
		// The comparisons cannot overflow.
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

// Mapped returns the number of mappings that were not unmapped: the leaks, at the
// end of a test.
func (m *Mapper) Mapped() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.mapped)
}

// Maps returns the number of calls of Map that succeeded.
func (m *Mapper) Maps() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.maps
}
