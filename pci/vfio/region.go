package vfio

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/internal/access"
	"github.com/ixcap/ixcap/pci/internal/mmio"
)

const allOnes = math.MaxUint32

// region is a pci.Region: mapped memory where the kernel allows it, else accesses through
// the device's file.
type region struct {
	access.Region // Widest is that of accesses through the file
	d             *Device
	offset        int64 // in the device's file

	areas    []*mapped   // by first byte
	replaced atomic.Bool // areas are ordinary memory, not registers
}

// mapped is a mapped part of a region.
//
// Its addresses stay mapped while the region is reachable. When the device is lost or
// memory decoding is turned off, ordinary memory replaces the registers atomically. So a
// store needs no lock, no check and no recovery from a fault: it goes to the device or
// to memory that is not used. A load checks region.replaced afterwards.
type mapped struct {
	area
	offset int64 // in the device's file
	mem    []byte
}

// findRegion returns nil for a region of size 0.
func (d *Device) findRegion(index int) (*region, regionInfo, error) {
	room := uint32(regionInfoSize)
	for range 2 {
		b := make([]byte, room)
		copy(b, words(room, 0, uint32(index)))
		if _, err := d.file.ioctl(d.h.limits.quick, deviceGetRegion, b); err != nil {
			return nil, regionInfo{}, fmt.Errorf("%w (region %d)", err, index)
		}
		info, err := parseRegionInfo(b)
		if err != nil {
			return nil, info, fmt.Errorf("%v (region %d): %w", deviceGetRegion, index, err)
		}
		if info.argSize <= room {
			if info.size == 0 {
				return nil, info, nil
			}
			return &region{
				Region: access.Region{Device: d.name, Index: index, Size: int64(info.size), Widest: 8},
				d:      d, offset: int64(info.offset),
			}, info, nil
		}
		if room = info.argSize; room > 1<<20 {
			break
		}
	}
	return nil, regionInfo{}, fmt.Errorf("%v (region %d): %d bytes of result, too many", deviceGetRegion, index, room)
}

// findBARs maps the BARs.
func (d *Device) findBARs() error {
	for i := range bars {
		r, info, err := d.findRegion(i)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		d.bars[i] = r
		if info.flags&regionFlagMmap == 0 {
			continue
		}
		for _, a := range mappable(info, d.msixHole(i, info), uint64(unix.Getpagesize())) {
			at := r.offset + int64(a.first)
			mem, err := withTimeout(d.h.limits.quick, "mmap", func() ([]byte, error) {
				return d.h.mmap(d.file, at, int(a.size), nil)
			}, func(mem []byte) { _ = unmap(mem) })
			if err != nil {
				return fmt.Errorf("mmap BAR %d, bytes %#x to %#x: %w", i, a.first, a.first+a.size, err)
			}
			r.areas = append(r.areas, &mapped{area: a, offset: at, mem: mem})
			// Not in Close, which may run during an access.
			runtime.AddCleanup(r, func(mem []byte) { _ = unmap(mem) }, mem)
		}
	}
	return nil
}

// msixHole returns the part of BAR i that cannot be mapped because it has the MSI-X
// table, empty if there is none.
func (d *Device) msixHole(i int, info regionInfo) area {
	if d.msix.bar != i || info.withMSIX {
		return area{}
	}
	return area{d.msix.offset, d.msix.size}
}

// mappable returns the areas of a region that may be mapped, in whole pages and in
// ascending order.
func mappable(info regionInfo, hole area, page uint64) []area {
	offered := info.sparse
	if !info.isSparse {
		offered = []area{{0, info.size}}
	}
	var out []area
	add := func(first, end uint64) {
		first, end = (first+page-1)&^(page-1), end&^(page-1)
		if first < end && end-first <= math.MaxInt32 {
			out = append(out, area{first, end - first})
		}
	}
	for _, a := range offered {
		end := a.first + a.size
		if hole.size == 0 || hole.first >= end || hole.first+hole.size <= a.first {
			add(a.first, end)
			continue
		}
		// Without all pages of the hole.
		add(a.first, max(hole.first&^(page-1), a.first))
		add(min((hole.first+hole.size+page-1)&^(page-1), end), end)
	}
	return out
}

// find returns the mapped area of a 32-bit register, nil if it is not mapped.
func (r *region) find(off uint32) *mapped {
	for _, a := range r.areas {
		if uint64(off)-a.first < a.size {
			return a // the whole register, because areas are whole pages
		}
	}
	return nil
}

// Size implements pci.Region.
func (r *region) Size() int64 { return r.Region.Size }

// Store32 implements pci.Region, with a single store instruction in a mapped area.
func (r *region) Store32(off uint32, v uint32) {
	r.Check(off)
	if a := r.find(off); a != nil {
		mmio.Store32(register(a.mem, uint64(off)-a.first), v)
		runtime.KeepAlive(r) // keeps a.mem mapped
		return
	}
	// A store that fails is discarded, as on the bus. The system call orders it
	// after the caller's earlier stores.
	_, _ = r.WriteAt(binary.LittleEndian.AppendUint32(nil, v), int64(off))
}

// Load32 implements pci.Region.
func (r *region) Load32(off uint32) uint32 {
	r.Check(off)
	if a := r.find(off); a != nil {
		v := loadGuarded(register(a.mem, uint64(off)-a.first))
		if r.replaced.Load() {
			return allOnes
		}
		runtime.KeepAlive(r)
		return v
	}
	b := make([]byte, 4)
	if _, err := r.ReadAt(b, int64(off)); err != nil {
		return allOnes
	}
	return binary.LittleEndian.Uint32(b)
}

// loadGuarded is a load that returns all ones after SIGBUS, by which some processors
// report a bus error (on amd64 the bus itself returns all ones). The cost of the guard is
// small compared with a device read, which takes a microsecond.
func loadGuarded(p *uint32) (v uint32) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			v = allOnes
		}
	}()
	return mmio.Load32(p)
}

// replaceRegisters maps ordinary memory at the addresses of the registers.
func (r *region) replaceRegisters() {
	r.replaced.Store(true)
	for _, a := range r.areas {
		// This needs no new address space and fails only if the kernel has no memory;
		// then the registers stay mapped until the device's file is closed.
		_, _ = mapAt(-1, 0, len(a.mem), a.mem, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	}
}

// restoreRegisters maps the registers again.
func (r *region) restoreRegisters() error {
	for _, a := range r.areas {
		if _, err := r.d.h.mmap(r.d.file, a.offset, len(a.mem), a.mem); err != nil {
			return fmt.Errorf("mmap BAR %d: %w", r.Index, err)
		}
	}
	r.replaced.Store(false)
	return nil
}

// mmap maps a part of a device's file.
func (h *host) mmap(f *file, off int64, length int, at []byte) ([]byte, error) {
	fd, err := f.acquire()
	if err != nil {
		return nil, err
	}
	defer f.release()
	return h.k.mmap(fd, off, length, at)
}

// ReadAt implements pci.Region, see access.Region.Read. It reads mapped areas through
// the device's file as well.
func (r *region) ReadAt(p []byte, off int64) (int, error) {
	return r.Read(p, off, func(p []byte, off int64) error {
		if err := r.d.Err(); err != nil {
			return err
		}
		b := make([]byte, len(p)) // not p: a call that timed out may still write it
		if err := r.readAll(b, off); err != nil {
			r.d.failOnTimeout(err)
			return err
		}
		copy(p, b)
		return nil
	})
}

// WriteAt implements pci.Region, see access.Region.Write.
func (r *region) WriteAt(p []byte, off int64) (int, error) {
	return r.Write(p, off, func(p []byte, off int64) error {
		err := r.d.Err()
		if err == nil {
			err = r.write(slices.Clone(p), off) // a call that timed out may still read it
			r.d.failOnTimeout(err)
		}
		return err
	})
}

// write makes one access.
func (r *region) write(b []byte, off int64) error {
	if r.Index == configRegion {
		if reaches, switchOff := r.d.affectsBARs(b, off); reaches {
			return r.d.writeBARControl(b, off, switchOff)
		}
	}
	return r.writeAll(b, off)
}

// readAll reads through the device's file, in one access.
func (r *region) readAll(b []byte, off int64) error {
	return r.transfer("pread", b, off, r.d.h.k.pread)
}

// writeAll writes through the device's file, in one access.
func (r *region) writeAll(b []byte, off int64) error {
	return r.transfer("pwrite", b, off, r.d.h.k.pwrite)
}

// transfer makes one access. Its timeout is that of a reset, because the kernel blocks
// accesses to configuration space during a reset.
func (r *region) transfer(call string, b []byte, off int64, f func(int, []byte, int64) (int, error)) error {
	name := fmt.Sprintf("%s (region %d, offset %#x, %d bytes)", call, r.Index, off, len(b))
	n, err := r.d.file.call(r.d.h.limits.reset, name, func(fd int) (int, error) { return f(fd, b, r.offset+off) }, nil)
	if err == nil && n != len(b) {
		err = fmt.Errorf("%s: the kernel transferred %d bytes: %w", name, n, io.ErrUnexpectedEOF)
	}
	return err
}
