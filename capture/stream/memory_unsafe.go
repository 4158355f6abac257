package stream

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// The layouts of other packages' structures, for the assembly (through go_asm.h).
//
//lint:file-ignore U1000 used by batch_amd64.s
const (
	frameBytes   = unsafe.Sizeof(ring.Frame{})
	frameData    = unsafe.Offsetof(ring.Frame{}.Data)
	frameDataLen = frameData + unsafe.Sizeof(uintptr(0))
	frameLen     = unsafe.Offsetof(ring.Frame{}.Len)
	frameHash    = unsafe.Offsetof(ring.Frame{}.Hash)
	frameVLAN    = unsafe.Offsetof(ring.Frame{}.VLAN) // Info follows

	fastMask  = uint64(ring.FastMask)
	fastValue = uint64(ring.FastValue)
	pktETQF   = uint64(ring.PktETQF)

	lineTick = unsafe.Offsetof(clock.Line{}.Tick)
	lineRate = unsafe.Offsetof(clock.Line{}.Rate)
	lineBase = unsafe.Offsetof(clock.Line{}.Base)
	lineLast = unsafe.Offsetof(clock.Line{}.Last)
	lineSec  = unsafe.Offsetof(clock.Line{}.Sec)
)

// controlView is a control memory as typed tables. It is valid as long as the
// mapping behind it. All types hold only integers, so the garbage collector never
// follows them, and their alignment (8) divides the alignment of their places.
type controlView struct {
	header  *header
	cursors *cursors
	starts  []start
	index   []Entry
}

// viewControl lays the types over mem, which is page-aligned and at least tableAt
// long, with the tables where h says. h has passed check, or is the header that
// the memory will get.
func viewControl(mem []byte, h *header) controlView {
	base := unsafe.Pointer(unsafe.SliceData(mem))
	return controlView{
		header:  (*header)(base),
		cursors: (*cursors)(unsafe.Add(base, cursorsAt)),
		starts:  unsafe.Slice((*start)(unsafe.Add(base, h.StartsAt)), h.Starts),
		index:   unsafe.Slice((*Entry)(unsafe.Add(base, h.IndexAt)), h.Entries),
	}
}

// viewHeader returns the header alone, for check. mem is page-aligned and at least
// one page long.
func viewHeader(mem []byte) *header { return (*header)(unsafe.Pointer(unsafe.SliceData(mem))) }

// viewCursor returns a listener's page; mem is page-aligned and one page long.
func viewCursor(mem []byte) *cursor { return (*cursor)(unsafe.Pointer(unsafe.SliceData(mem))) }

// mapping is memory mapped from a descriptor. It must not be used after unmap.
type mapping struct {
	base  unsafe.Pointer // the reservation, which unmap frees
	total uintptr
	mem   []byte // the part in use
}

// mapShared maps length bytes of fd copies times in a row. page is the page
// size of the memory behind fd, to which the addresses must be aligned.
//
//	reserved: ...[ fd 0..length ][ fd 0..length ]...
func mapShared(fd, length, copies, page, prot int) (_ mapping, err error) {
	total := uintptr(copies*length + page)
	base, err := unix.MmapPtr(-1, 0, nil, total, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return mapping{}, fmt.Errorf("reserve %d bytes of addresses: %w", total, err)
	}
	m := mapping{base: base, total: total}
	defer func() {
		if err != nil {
			m.unmap()
		}
	}()
	// base lies outside the Go heap, so the garbage collector does not care about
	// arithmetic on it; the sum stays inside the reservation.
	off := (uintptr(page) - uintptr(base)%uintptr(page)) % uintptr(page)
	first := unsafe.Add(base, off)
	for i := range copies {
		at := unsafe.Add(first, i*length)
		flags := unix.MAP_SHARED | unix.MAP_FIXED | unix.MAP_POPULATE
		if _, err = unix.MmapPtr(fd, 0, at, uintptr(length), prot, flags); err != nil {
			return mapping{}, fmt.Errorf("map %d bytes: %w", length, err)
		}
	}
	m.mem = unsafe.Slice((*byte)(first), copies*length)
	return m, nil
}

// unmap frees the addresses. Further calls do nothing.
func (m *mapping) unmap() {
	if m.base == nil {
		return
	}
	// munmap cannot fail: the reservation is whole.
	_ = unix.MunmapPtr(m.base, m.total)
	*m = mapping{}
}

// releaseStore stores v with release order. atomic.Uint64 holds a uint64 and
// nothing else, with its alignment.
func releaseStore(p *atomic.Uint64, v uint64) { storeRelease((*uint64)(unsafe.Pointer(p)), v) }
