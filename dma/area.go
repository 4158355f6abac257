package dma

import (
	"errors"
	"fmt"

	"github.com/ixcap/ixcap/hugepage"
)

// Area is one block of memory that the device reads and writes, contiguous in its
// address space too. It begins on a page.
type Area struct {
	m     Mapper
	mem   *hugepage.Memory
	bytes []byte
	iova  IOVA

	unmapped bool
}

// NewArea allocates zeroed memory and maps it for m's device.
func NewArea(m Mapper, bytes int, o hugepage.Options) (*Area, error) {
	mem, err := hugepage.Alloc(bytes, o)
	if err != nil {
		return nil, err
	}
	iova, err := m.Map(mem, DeviceReadsWrites)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map %s for the device: %w", mem.Name(), err), mem.Close())
	}
	return &Area{m: m, mem: mem, bytes: mem.Bytes()[:bytes:bytes], iova: iova}, nil
}

// Bytes returns the memory as this process sees it, of the length asked for. It must
// not be used after Close.
func (a *Area) Bytes() []byte { return a.bytes }

// IOVA returns the device address of the first byte.
func (a *Area) IOVA() IOVA { return a.iova }

// Memory returns the memory of the area. The area owns it.
func (a *Area) Memory() *hugepage.Memory { return a.mem }

// Unmap takes the memory from the device; this process keeps it until Close. Again it does
// nothing.
func (a *Area) Unmap() error {
	if a.unmapped {
		return nil
	}
	a.unmapped = true
	if err := a.m.Unmap(a.iova); err != nil {
		return fmt.Errorf("unmap %s from the device: %w", a.mem.Name(), err)
	}
	return nil
}

// Close unmaps the memory from the device, then frees it. Closing again does nothing.
func (a *Area) Close() error {
	if a.bytes == nil {
		return nil
	}
	a.bytes = nil
	return errors.Join(a.Unmap(), a.mem.Close())
}
