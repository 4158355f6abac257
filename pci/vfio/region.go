package vfio

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/internal/mmio"
)

const allOnes = math.MaxUint32

// region is a pci.Region: mapped memory where the kernel allows it, accesses
// through the device's file elsewhere.
type region struct {
	d      *Device
	index  int
	size   int64
	offset int64 // in the device's file
	widest int   // bytes of one access through the file

	areas  []*mapped // by first byte
	parked atomic.Bool
}

// mapped is a part of a region that is this process's memory.
//
// Its addresses stay mapped for as long as anybody can reach the region. When the
// device goes away, or its memory is switched off, ordinary memory takes the
// place of the registers, in one step. So a store needs no lock, no check and no
// recovery from a fault: it meets either the device or memory that nobody looks
// at. Loads look at parked afterwards.
type mapped struct {
	area
	offset int64 // in the device's file
	mem    []byte
}

// findRegion gives nil for a region without size.
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
			return &region{d: d, index: index, size: int64(info.size), offset: int64(info.offset), widest: 8}, info, nil
		}
		if room = info.argSize; room > 1<<20 {
			break
		}
	}
	return nil, regionInfo{}, fmt.Errorf("%v (region %d): the kernel wants room for %d bytes", deviceGetRegion, index, room)
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
			mem, err := within(d.h.limits.quick, "mmap", func() ([]byte, error) {
				return d.h.mmap(d.file, at, int(a.size), nil)
			}, func(mem []byte) { _ = unmap(mem) })
			if err != nil {
				return fmt.Errorf("mmap BAR %d, bytes %#x to %#x: %w", i, a.first, a.first+a.size, err)
			}
			r.areas = append(r.areas, &mapped{area: a, offset: at, mem: mem})
			// Not at Close: an access may be under way then.
			runtime.AddCleanup(r, func(mem []byte) { _ = unmap(mem) }, mem)
		}
	}
	return nil
}

// msixHole is the part of BAR i with the MSI-X table, which the kernel keeps for
// itself unless it says that it may be mapped; empty when it is elsewhere.
func (d *Device) msixHole(i int, info regionInfo) area {
	if d.msix.bar != i || info.withMSIX {
		return area{}
	}
	return area{d.msix.offset, d.msix.size}
}

// mappable is the whole pages of a region that may be mapped, by first byte.
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
		// The hole's pages, whole.
		add(a.first, max(hole.first&^(page-1), a.first))
		add(min((hole.first+hole.size+page-1)&^(page-1), end), end)
	}
	return out
}

// find gives the mapped area that holds a 32-bit register, nil when none does.
func (r *region) find(off uint32) *mapped {
	for _, a := range r.areas {
		if uint64(off)-a.first < a.size {
			return a // areas are whole pages, so the register is all inside
		}
	}
	return nil
}

// Size implements pci.Region.
func (r *region) Size() int64 { return r.size }

// Store32 implements pci.Region. In a mapped area it is one store.
func (r *region) Store32(off uint32, v uint32) {
	r.check(off)
	if a := r.find(off); a != nil {
		mmio.Store32(register(a.mem, uint64(off)-a.first), v)
		runtime.KeepAlive(r) // and so a.mem
		return
	}
	// A store that fails vanishes, as on the bus. The system call orders it
	// behind the caller's earlier stores.
	_, _ = r.WriteAt(binary.LittleEndian.AppendUint32(nil, v), int64(off))
}

// Load32 implements pci.Region.
func (r *region) Load32(off uint32) uint32 {
	r.check(off)
	if a := r.find(off); a != nil {
		v := loadGuarded(register(a.mem, uint64(off)-a.first))
		if r.parked.Load() {
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

// loadGuarded is a load that gives all ones where the bus answers with an error
// that the processor reports (SIGBUS; on amd64 the bus itself gives all ones). A
// device read takes a microsecond, beside which the guard is nothing.
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

func (r *region) check(off uint32) {
	if off%4 != 0 || int64(off)+4 > r.size {
		panic(fmt.Sprintf("%s: region %d: register at %#x: want a multiple of 4 below %#x", r.d.name, r.index, off, r.size))
	}
}

// park puts ordinary memory in the registers' place.
func (r *region) park() {
	r.parked.Store(true)
	for _, a := range r.areas {
		// Mapping private memory over a mapping takes no new address space and
		// fails only where the kernel has no memory at all; the registers then
		// stay where they are until the device's file is closed.
		_, _ = mapAt(-1, 0, len(a.mem), a.mem, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	}
}

// unpark puts the registers back.
func (r *region) unpark() error {
	for _, a := range r.areas {
		if _, err := r.d.h.mmap(r.d.file, a.offset, len(a.mem), a.mem); err != nil {
			return fmt.Errorf("mmap BAR %d: %w", r.index, err)
		}
	}
	r.parked.Store(false)
	return nil
}

// mmap maps a part of a device's file.
func (h *host) mmap(f *file, off int64, length int, at []byte) ([]byte, error) {
	fd, err := f.enter()
	if err != nil {
		return nil, err
	}
	defer f.leave()
	return h.k.mmap(fd, off, length, at)
}

// ReadAt implements pci.Region. After an error the rest of p is all ones.
// Lengths of 1, 2, 4 and 8 that are aligned are one access (configuration space:
// at most 4); others become accesses of 4 bytes and what is left over at both
// ends. Mapped areas are read through the file as well.
func (r *region) ReadAt(p []byte, off int64) (n int, err error) {
	fits, err := r.bound(len(p), off)
	for n < fits && err == nil {
		w := r.width(len(p), off+int64(n), fits-n)
		if err = r.d.Err(); err != nil {
			break
		}
		b := make([]byte, w) // its own: a call that timed out may still write it
		if err = r.readAll(b, off+int64(n)); err != nil {
			r.d.failOnTimeout(err)
			break
		}
		n += copy(p[n:], b)
	}
	for i := range p[n:] {
		p[n+i] = 0xff
	}
	if n < len(p) && err == nil {
		err = io.EOF
	}
	return n, err
}

// WriteAt implements pci.Region. It splits as ReadAt does.
func (r *region) WriteAt(p []byte, off int64) (n int, err error) {
	fits, err := r.bound(len(p), off)
	for n < fits && err == nil {
		w := r.width(len(p), off+int64(n), fits-n)
		if err = r.d.Err(); err != nil {
			break
		}
		b := append([]byte(nil), p[n:n+w]...)
		if err = r.write(b, off+int64(n)); err != nil {
			r.d.failOnTimeout(err)
			break
		}
		n += w
	}
	if n < len(p) && err == nil {
		err = fmt.Errorf("%s: region %d: write of %d bytes at %#x: the region has %#x: %w", r.d.name, r.index, len(p), off, r.size, io.ErrShortWrite)
	}
	return n, err
}

// write is one access.
func (r *region) write(b []byte, off int64) error {
	if r.index == configRegion {
		if reaches, switchOff := r.d.switching(b, off); reaches {
			return r.d.writeSwitch(b, off, switchOff)
		}
	}
	return r.writeAll(b, off)
}

// bound gives how many of n bytes at off are in the region.
func (r *region) bound(n int, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%s: region %d: negative offset %d", r.d.name, r.index, off)
	}
	return int(min(int64(n), max(r.size-off, 0))), nil
}

// width is the length of the next access: as wide as alignment and what is left
// allow. Eight bytes at once only when the caller asked for just that, because
// registers of 32 bits are the rule.
func (r *region) width(asked int, off int64, left int) int {
	w := 4
	if asked == 8 && r.widest == 8 {
		w = 8
	}
	for w > left || off%int64(w) != 0 {
		w /= 2
	}
	return w
}

// readAll reads through the device's file.
func (r *region) readAll(b []byte, off int64) error {
	return r.transfer("pread", b, off, r.d.h.k.pread)
}

// writeAll writes through the device's file.
func (r *region) writeAll(b []byte, off int64) error {
	return r.transfer("pwrite", b, off, r.d.h.k.pwrite)
}

// transfer waits as long as for a reset: during one the kernel holds accesses to
// configuration space back.
func (r *region) transfer(call string, b []byte, off int64, f func(int, []byte, int64) (int, error)) error {
	name := fmt.Sprintf("%s (region %d, offset %#x, %d bytes)", call, r.index, off, len(b))
	n, err := r.d.file.call(r.d.h.limits.reset, name, func(fd int) (int, error) { return f(fd, b, r.offset+off) }, nil)
	if err == nil && n != len(b) {
		err = fmt.Errorf("%s: the kernel moved %d bytes: %w", name, n, io.ErrUnexpectedEOF)
	}
	return err
}
