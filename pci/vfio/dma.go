package vfio

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
)

// mapper is a device's dma.Mapper: its mappings in the group's space.
type mapper struct {
	d *Device

	mu   sync.Mutex
	maps map[dma.IOVA]uint64 // size by address
	gone bool                // release has begun and unmaps everything
}

// Map implements dma.Mapper.
func (m *mapper) Map(mem *hugepage.Memory, access dma.Access) (dma.IOVA, error) {
	if access == 0 || access&^dma.DeviceReadsWrites != 0 {
		return 0, fmt.Errorf("map %s: access %#x: want reads, writes or both", mem.Name(), uint8(access))
	}
	bytes := mem.Bytes()
	if bytes == nil {
		return 0, fmt.Errorf("map %s: memory is closed", mem.Name())
	}
	if err := m.d.Err(); err != nil {
		return 0, fmt.Errorf("map %s: %w", mem.Name(), err)
	}
	iova, err := m.d.space.mapMemory(bytes, uint64(mem.PageSize()), access)
	if err != nil {
		m.d.failOnTimeout(err)
		return 0, err
	}
	m.mu.Lock()
	gone := m.gone
	if !gone {
		m.maps[iova] = uint64(len(bytes))
	}
	m.mu.Unlock()
	if gone { // the device was lost during mapMemory
		return 0, errors.Join(fmt.Errorf("map %s: %w", mem.Name(), m.d.Err()), m.d.space.unmapMemory(iova, uint64(len(bytes))))
	}
	return iova, nil
}

// Unmap implements dma.Mapper. If the device is lost, release unmaps the memory and
// Unmap only waits for it.
func (m *mapper) Unmap(iova dma.IOVA) error {
	m.mu.Lock()
	size, ok := m.maps[iova]
	delete(m.maps, iova)
	gone := m.gone
	m.mu.Unlock()
	switch {
	case gone:
		// The caller may free the memory, so release must have ended.
		return m.d.waitReleased()
	case !ok:
		return fmt.Errorf("unmap IOVA %#x: nothing is mapped there", uint64(iova))
	}
	if err := m.d.space.unmapMemory(iova, size); err != nil {
		m.d.failOnTimeout(err)
		return err
	}
	return nil
}

// close unmaps everything. Mappings that cannot be unmapped end with the space. After
// one timeout the rest is left to that, because each would time out.
func (m *mapper) close() (err error) {
	m.mu.Lock()
	maps := m.maps
	m.maps, m.gone = nil, true
	m.mu.Unlock()
	var timeout *TimeoutError
	for iova, size := range maps {
		if err = errors.Join(err, m.d.space.unmapMemory(iova, size)); errors.As(err, &timeout) {
			break
		}
	}
	return err
}
