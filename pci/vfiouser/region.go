package vfiouser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/internal/access"
	"github.com/ixcap/ixcap/pci/internal/mmio"
	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// infoRoom is the size for the reply in a first DEVICE_GET_REGION_INFO or
// DEVICE_GET_REGION_IO_FDS. A second request follows if the reply is larger.
const infoRoom = 16 << 10

const allOnes = math.MaxUint32

// region is a pci.Region: accesses by message, except for mapped areas and doorbells.
type region struct {
	access.Region
	d *Device

	areas []*area              // by offset
	bells map[uint32]*doorbell // by offset; constant once the device is open
	files *doorbellFiles       // of the doorbells
}

// area is a mapped part of a region.
type area struct {
	first, size uint64
	gate        gate
	mem         *proto.Mapping
}

// findRegions opens the BARs and the configuration space.
func (d *Device) findRegions(count uint32) error {
	for i := range uint32(len(d.bars)) {
		r, err := d.findRegion(i)
		if err != nil {
			return err
		}
		if r != nil {
			d.bars[i] = r
			if err := r.findDoorbells(); err != nil {
				return err
			}
		}
	}
	r, err := d.findRegion(proto.ConfigRegion)
	if err != nil {
		return err
	}
	if r == nil || r.Size() < 64 {
		return errors.New("no configuration space")
	}
	d.config = r
	r.Widest = 4
	return nil
}

// findRegion returns nil for a region of size 0.
func (d *Device) findRegion(index uint32) (*region, error) {
	s := request{command: proto.GetRegionInfo, what: "region", index: uint64(index)}
	info, fds, err := d.regionInfo(s, infoRoom)
	if err == nil && info.ArgSize > infoRoom {
		closeAll(fds)
		room := info.ArgSize
		if info, fds, err = d.regionInfo(s, room); err == nil && info.ArgSize > room {
			closeAll(fds)
			err = s.wrap(fmt.Errorf("reply still larger than the %d bytes requested", room))
		}
	}
	if err != nil {
		return nil, err
	}
	defer closeAll(fds)
	if info.Size > math.MaxInt64 {
		return nil, s.wrap(fmt.Errorf("%#x bytes", info.Size))
	}
	if info.Size == 0 {
		return nil, nil
	}
	r := &region{d: d, Region: access.Region{Device: d.name, Index: int(index), Size: int64(info.Size), Widest: 8}}
	if info.Flags&proto.RegionFlagMmap == 0 || len(fds) == 0 {
		return r, nil
	}
	if err := r.mapAreas(info, fds[0]); err != nil {
		return nil, s.wrap(errors.Join(err, r.close()))
	}
	return r, nil
}

func (d *Device) regionInfo(s request, room uint32) (proto.RegionInfo, []int, error) {
	if room > proto.MaxTransfer {
		return proto.RegionInfo{}, nil, s.wrap(fmt.Errorf("%d bytes of description, too many", room))
	}
	m, err := d.call(s, nil, proto.RegionInfo{ArgSize: room, Index: uint32(s.index)}.Append(nil))
	if err != nil {
		return proto.RegionInfo{}, nil, err
	}
	defer d.recycle(m)
	info, err := proto.ParseRegionInfo(m.Body)
	if err == nil && info.Index != uint32(s.index) {
		err = fmt.Errorf("reply for region %d", info.Index)
	}
	if err != nil {
		return proto.RegionInfo{}, nil, s.wrap(err)
	}
	return info, m.TakeFDs(), nil
}

// mapAreas maps the areas of the sparse capability, or the whole region if there is no
// capability. Configuration space is never mapped.
func (r *region) mapAreas(info proto.RegionInfo, fd int) error {
	if r.Index == proto.ConfigRegion {
		return nil
	}
	areas := info.Sparse
	if len(areas) == 0 {
		if info.Flags&proto.RegionFlagCaps != 0 {
			return nil // no capability allows a mapping
		}
		areas = []proto.Area{{Offset: 0, Size: info.Size}}
	}
	page := uint64(unix.Getpagesize())
	end := uint64(0)
	for _, a := range areas {
		switch {
		case a.Size == 0:
			continue
		case a.Offset%page != 0 || a.Offset < end:
			return fmt.Errorf("mappable area %#x+%#x does not start on its own page", a.Offset, a.Size)
		case a.Offset > info.Size || a.Size > info.Size-a.Offset:
			return fmt.Errorf("mappable area %#x+%#x is outside the region's %#x bytes", a.Offset, a.Size, info.Size)
		case info.Offset%page != 0 || info.Offset > math.MaxInt64-a.Offset:
			return fmt.Errorf("mappable area at %#x of the file", info.Offset)
		}
		mem, err := proto.Map(fd, info.Offset+a.Offset, a.Size, unix.PROT_READ|unix.PROT_WRITE)
		if err != nil {
			return fmt.Errorf("mappable area %#x+%#x: %w", a.Offset, a.Size, err)
		}
		r.areas = append(r.areas, &area{first: a.Offset, size: a.Size, mem: mem})
		end = a.Offset + a.Size
	}
	return nil
}

// find returns the mapped area of a 32-bit register, nil if it is not mapped.
func (r *region) find(off uint32) *area {
	for _, a := range r.areas {
		if uint64(off)-a.first < a.size && uint64(off)-a.first+4 <= a.size {
			return a
		}
	}
	return nil
}

// Size implements pci.Region.
func (r *region) Size() int64 { return r.Region.Size }

// Load32 implements pci.Region.
func (r *region) Load32(off uint32) uint32 {
	r.Check(off)
	if a := r.find(off); a != nil {
		if !a.gate.enter() {
			return allOnes
		}
		v := mmio.Load32(register(a.mem.Bytes(), uint64(off)-a.first))
		a.gate.leave()
		if r.d.lost.Load() {
			return allOnes
		}
		return v
	}
	var b [4]byte
	if err := r.read(b[:], int64(off)); err != nil {
		return allOnes
	}
	return binary.LittleEndian.Uint32(b[:])
}

// Store32 implements pci.Region. For doorbells see the package documentation.
func (r *region) Store32(off uint32, v uint32) {
	r.Check(off)
	if b := r.bells[off]; b != nil {
		b.ring(v)
		return
	}
	if a := r.find(off); a != nil {
		if a.gate.enter() {
			mmio.Store32(register(a.mem.Bytes(), uint64(off)-a.first), v)
			a.gate.leave()
		}
		return
	}
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	// A store that fails is discarded, as on the bus. The lock in Send orders it
	// after the caller's earlier stores.
	_ = r.write(b[:], int64(off))
}

// ReadAt implements pci.Region, see access.Region.Read. It reads mapped areas by
// message as well.
func (r *region) ReadAt(p []byte, off int64) (int, error) { return r.Read(p, off, r.read) }

// WriteAt implements pci.Region, see access.Region.Write.
func (r *region) WriteAt(p []byte, off int64) (int, error) { return r.Write(p, off, r.write) }

// read makes one access by message.
func (r *region) read(p []byte, off int64) error {
	s := request{command: proto.RegionRead, what: "region", index: uint64(r.Index), off: uint64(off), n: len(p)}
	a := proto.RegionAccess{Offset: uint64(off), Region: uint32(r.Index), Count: uint32(len(p))}
	m, err := r.d.call(s, nil, a.Append(make([]byte, 0, proto.RegionAccessSize)))
	if err != nil {
		return err
	}
	defer r.d.recycle(m)
	got, data, err := proto.ParseRegionAccess(m.Body)
	switch {
	case err != nil:
	case got != a:
		err = fmt.Errorf("reply for %d bytes of region %d at %#x", got.Count, got.Region, got.Offset)
	default:
		err = got.HasData(data)
	}
	if err != nil {
		return s.wrap(err)
	}
	copy(p, data)
	return nil
}

// write makes one access by message. It returns after the server has done it.
func (r *region) write(p []byte, off int64) error {
	s := request{command: proto.RegionWrite, what: "region", index: uint64(r.Index), off: uint64(off), n: len(p)}
	a := proto.RegionAccess{Offset: uint64(off), Region: uint32(r.Index), Count: uint32(len(p))}
	m, err := r.d.call(s, nil, a.Append(make([]byte, 0, proto.RegionAccessSize)), p)
	if err != nil {
		return err
	}
	defer r.d.recycle(m)
	got, _, err := proto.ParseRegionAccess(m.Body)
	if err == nil && got != a {
		err = fmt.Errorf("reply for %d bytes of region %d at %#x", got.Count, got.Region, got.Offset)
	}
	if err != nil {
		return s.wrap(err)
	}
	return nil
}
