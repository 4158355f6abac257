package vfio

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
)

// backend is an address space in one of the two forms.
type backend interface {
	// device opens a function and attaches it to the space.
	device(f pci.Function) (*file, error)

	// info returns what can be mapped. A device must be attached.
	info() (iommuInfo, error)

	mapDMA(iova uint64, mem []byte, access dma.Access) error
	unmapDMA(iova, size uint64) (unmapped uint64, err error)
	mapCall() request
	unmapCall() request

	close() error
}

// space is the address space of an IOMMU group. The kernel allows one opener per group,
// so the functions of a group that this process opens (the two ports of a card, for
// example) share a space and can access each other's memory. The IOMMU could not
// isolate them anyway.
type space struct {
	h    *host
	key  spaceKey
	back backend

	users int // guarded by host.mu

	mu    sync.Mutex
	alloc *dma.Allocator // nil until the first device is attached
	pages uint64         // page sizes, one bit per size
	avail int            // mappings left, -1: no limit
	bytes uint64         // mapped, for messages
}

type spaceKey struct {
	form  form
	group int
}

// lowest is never allocated, so that a descriptor of zeros is not a valid address.
var lowest = dma.Range{First: 0, Last: 1<<20 - 1}

// Kernels before 5.4 do not report IOVA ranges. Assumed are 39 address bits, the least
// of real IOMMUs, without the interrupt window of x86.
var (
	assumed = []dma.Range{{First: 0, Last: 1<<39 - 1}}
	window  = dma.Range{First: 0xfee00000, Last: 0xfeefffff}
)

// attach opens a function in the space of its group, and creates the space if there is
// none. Call detach for the space.
func (h *host) attach(form form, f pci.Function) (_ *space, _ *file, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := spaceKey{form, f.Group}
	s := h.spaces[key]
	if s == nil {
		open := openGroup
		if form == formIOMMUFD {
			open = openIOMMUFD
		}
		back, err := open(h, f)
		if err != nil {
			return nil, nil, err
		}
		s = &space{h: h, key: key, back: back}
		h.spaces[key] = s
	}
	s.users++
	defer func() {
		if err != nil {
			err = errors.Join(err, h.detachLocked(s))
		}
	}()
	device, err := s.back.device(f)
	if err != nil {
		return nil, nil, err
	}
	if err = s.initAllocator(); err != nil {
		return nil, nil, errors.Join(err, device.close(h.limits.reset))
	}
	return s, device, nil
}

// detach releases the space, after the device is closed. The last call closes it.
func (h *host) detach(s *space) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.detachLocked(s)
}

func (h *host) detachLocked(s *space) error {
	if s.users--; s.users > 0 {
		return nil
	}
	delete(h.spaces, s.key)
	return s.back.close()
}

// initAllocator creates the allocator from the ranges that can be mapped.
func (s *space) initAllocator() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alloc != nil {
		return nil
	}
	info, err := s.back.info()
	if err != nil {
		return err
	}
	reserved := []dma.Range{lowest}
	if info.ranges == nil {
		info.ranges, reserved = assumed, append(reserved, window)
	}
	s.alloc = dma.NewAllocator(info.ranges, reserved)
	s.pages, s.avail = info.pageSizes, info.avail
	if s.pages == 0 {
		s.pages = ^uint64(4095)
	}
	return nil
}

// mapMemory maps memory at an IOVA that it allocates, a multiple of align.
func (s *space) mapMemory(mem []byte, align uint64, access dma.Access) (dma.IOVA, error) {
	call, size := s.back.mapCall(), uint64(len(mem))
	if smallest := s.pages & -s.pages; align%smallest != 0 || size%smallest != 0 {
		return 0, fmt.Errorf("%v: %d bytes in pages of %d: the IOMMU's smallest page is %d", call, size, align, smallest)
	}
	s.mu.Lock()
	if s.avail == 0 {
		s.mu.Unlock()
		return 0, fmt.Errorf("%v: %w", call, s.tooMany())
	}
	if s.avail > 0 {
		s.avail--
	}
	s.mu.Unlock()
	iova, err := s.alloc.Alloc(size, align)
	if err == nil {
		// Without the lock, because pinning takes long.
		if err = s.back.mapDMA(uint64(iova), mem, access); err == nil {
			s.account(0, size)
			return iova, nil
		}
		var timeout *TimeoutError
		if errors.As(err, &timeout) {
			return 0, err // the kernel may still map it: the IOVA stays allocated
		}
		err = errors.Join(s.explainMap(err, uint64(iova), size), s.alloc.Free(iova))
	} else {
		err = fmt.Errorf("%v: %w", call, err)
	}
	s.account(1, 0)
	return 0, err
}

// unmapMemory unmaps memory and checks that the kernel unmapped all of it.
func (s *space) unmapMemory(iova dma.IOVA, size uint64) error {
	call := s.back.unmapCall()
	got, err := s.back.unmapDMA(uint64(iova), size)
	if err != nil {
		return fmt.Errorf("%w (%d bytes at IOVA %#x)", err, size, uint64(iova))
	}
	if got != size {
		return fmt.Errorf("%v: the kernel unmapped %d bytes at IOVA %#x, want %d", call, got, uint64(iova), size)
	}
	s.account(1, -size)
	return s.alloc.Free(iova)
}

// account updates the numbers of mappings left and bytes mapped.
func (s *space) account(mappings int, bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.avail >= 0 {
		s.avail += mappings
	}
	s.bytes += bytes
}
