package vfio

import (
	"fmt"
	"iter"
	"math"

	"github.com/ixcap/ixcap/dma"
)

// capability is an entry of a structure's capability chain: struct
// vfio_info_cap_header and all that follows it in the structure.
type capability struct {
	id      uint16
	version uint16
	body    []byte
}

const capHeaderSize = 8

// chain iterates over the capabilities of a structure, from the offset of the first. A
// chain with a loop, or with an offset beyond the structure, is an error.
func chain(b []byte, first uint32) iter.Seq2[capability, error] {
	return func(yield func(capability, error) bool) {
		for at, left := first, len(b)/capHeaderSize; at != 0; left-- {
			if at%4 != 0 || uint64(at)+capHeaderSize > uint64(len(b)) {
				yield(capability{}, fmt.Errorf("capability at byte %d of %d", at, len(b)))
				return
			}
			if left == 0 {
				yield(capability{}, fmt.Errorf("loop in the capability chain"))
				return
			}
			c := capability{order.Uint16(b[at:]), order.Uint16(b[at+2:]), b[at+capHeaderSize:]}
			next := word(b, int(at)+4)
			if !yield(c, nil) {
				return
			}
			at = next
		}
	}
}

// pairs decodes an array of pairs of 64-bit values. The body starts with the 32-bit
// length of the array and 32 unused bits.
func (c capability) pairs() ([][2]uint64, error) {
	if len(c.body) < 8 {
		return nil, fmt.Errorf("capability %d: %d bytes", c.id, len(c.body))
	}
	n := word(c.body, 0)
	list := c.body[8:]
	if uint64(n)*16 > uint64(len(list)) {
		return nil, fmt.Errorf("capability %d: %d entries in %d bytes", c.id, n, len(list))
	}
	out := make([][2]uint64, n)
	for i := range out {
		out[i] = [2]uint64{order.Uint64(list[16*i:]), order.Uint64(list[16*i+8:])}
	}
	return out, nil
}

// area is a part of a region: bytes first to first+size.
type area struct{ first, size uint64 }

// regionInfo is struct vfio_region_info with its capabilities.
type regionInfo struct {
	argSize  uint32
	flags    uint32
	size     uint64
	offset   uint64 // of the region in the device's file
	sparse   []area // parts that can be mapped, if isSparse
	isSparse bool
	withMSIX bool // the MSI-X table can be mapped, too
}

// parseRegionInfo decodes struct vfio_region_info. If argSize exceeds len(b), the
// capabilities are missing.
func parseRegionInfo(b []byte) (regionInfo, error) {
	if len(b) < regionInfoSize {
		return regionInfo{}, fmt.Errorf("%d bytes", len(b))
	}
	r := regionInfo{argSize: word(b, 0), flags: word(b, 4), size: order.Uint64(b[16:]), offset: order.Uint64(b[24:])}
	if r.size > math.MaxInt64 || r.offset > math.MaxInt64-r.size {
		return r, fmt.Errorf("%#x bytes at %#x of the device's file", r.size, r.offset)
	}
	if r.flags&regionFlagCaps == 0 || uint64(r.argSize) > uint64(len(b)) {
		return r, nil
	}
	for c, err := range chain(b, word(b, 12)) {
		if err != nil {
			return r, err
		}
		switch {
		case c.id == regionCapMSIX:
			r.withMSIX = true
		case c.id == regionCapSparse && c.version == 1:
			list, err := c.pairs()
			if err != nil {
				return r, err
			}
			r.isSparse = true
			for _, p := range list {
				if p[0] > r.size || p[1] > r.size-p[0] {
					return r, fmt.Errorf("area %#x+%#x outside the region's %#x bytes", p[0], p[1], r.size)
				}
				r.sparse = append(r.sparse, area{p[0], p[1]})
			}
		}
	}
	return r, nil
}

// iommuInfo describes an address space.
type iommuInfo struct {
	argSize   uint32
	pageSizes uint64      // one bit per size
	ranges    []dma.Range // that can be mapped; nil: not reported
	avail     int         // mappings left; -1: not reported
}

// parseIOMMUInfo decodes struct vfio_iommu_type1_info with its capabilities.
func parseIOMMUInfo(b []byte) (iommuInfo, error) {
	if len(b) < iommuInfoSize {
		return iommuInfo{}, fmt.Errorf("%d bytes", len(b))
	}
	flags := word(b, 4)
	info := iommuInfo{argSize: word(b, 0), avail: -1}
	if flags&iommuFlagPageSizes != 0 {
		info.pageSizes = order.Uint64(b[8:])
	}
	if flags&iommuFlagCaps == 0 || uint64(info.argSize) > uint64(len(b)) {
		return info, nil
	}
	for c, err := range chain(b, word(b, 16)) {
		if err != nil {
			return info, err
		}
		switch c.id {
		case iommuCapRanges:
			list, err := c.pairs()
			if err != nil {
				return info, err
			}
			info.ranges = []dma.Range{}
			for _, p := range list {
				if p[1] < p[0] {
					return info, fmt.Errorf("IOVA range %#x-%#x", p[0], p[1])
				}
				info.ranges = append(info.ranges, dma.Range{First: dma.IOVA(p[0]), Last: dma.IOVA(p[1])})
			}
		case iommuCapDMAAvail:
			if len(c.body) < 4 {
				return info, fmt.Errorf("capability %d: %d bytes", c.id, len(c.body))
			}
			info.avail = int(word(c.body, 0))
		}
	}
	return info, nil
}
