package proto

// Flags of RegionInfo.
const (
	RegionFlagRead  uint32 = 1 << 0
	RegionFlagWrite uint32 = 1 << 1
	RegionFlagMmap  uint32 = 1 << 2
	RegionFlagCaps  uint32 = 1 << 3
)

// RegionInfoSize is the length of DEVICE_GET_REGION_INFO's body before its
// capabilities.
const RegionInfoSize = 32

// capSparseMmap is VFIO_REGION_INFO_CAP_SPARSE_MMAP.
const capSparseMmap = 1

const (
	capHeaderSize    = 8
	sparseHeaderSize = capHeaderSize + 8
	sparseAreaSize   = 16
)

// Area is a part of a region that the client may map, in bytes from the start of the
// region.
type Area struct{ Offset, Size uint64 }

// RegionInfo is the body of DEVICE_GET_REGION_INFO. In a request only ArgSize
// and Index are set.
type RegionInfo struct {
	ArgSize uint32 // request: size for the reply; reply: size of the complete reply
	Flags   uint32
	Index   uint32
	Size    uint64
	Offset  uint64 // in the file of the reply's descriptor
	Sparse  []Area // from the sparse mmap capability
}

// FullSize returns the length of the reply with all capabilities.
func (m RegionInfo) FullSize() uint32 {
	if len(m.Sparse) == 0 {
		return RegionInfoSize
	}
	return uint32(RegionInfoSize + sparseHeaderSize + len(m.Sparse)*sparseAreaSize)
}

// Append appends the body to b, with a capability for the sparse areas, if any.
func (m RegionInfo) Append(b []byte) []byte {
	var capOffset uint32
	if len(m.Sparse) > 0 {
		capOffset = RegionInfoSize
		m.Flags |= RegionFlagCaps
	}
	b = appendUint32s(b, m.ArgSize, m.Flags, m.Index, capOffset)
	b = order.AppendUint64(b, m.Size)
	b = order.AppendUint64(b, m.Offset)
	if len(m.Sparse) == 0 {
		return b
	}
	b = order.AppendUint16(b, capSparseMmap)
	b = order.AppendUint16(b, 1)                   // version
	b = order.AppendUint32(b, 0)                   // no next capability
	b = appendUint32s(b, uint32(len(m.Sparse)), 0) // areas, reserved
	for _, a := range m.Sparse {
		b = order.AppendUint64(b, a.Offset)
		b = order.AppendUint64(b, a.Size)
	}
	return b
}

// ParseRegionInfo decodes the body. It decodes capabilities only if b has all of them
// (ArgSize), and ignores unknown ones.
func ParseRegionInfo(b []byte) (RegionInfo, error) {
	if len(b) < RegionInfoSize {
		return RegionInfo{}, short("region info", len(b), RegionInfoSize)
	}
	m := RegionInfo{
		ArgSize: order.Uint32(b), Flags: order.Uint32(b[4:]), Index: order.Uint32(b[8:]),
		Size: order.Uint64(b[16:]), Offset: order.Uint64(b[24:]),
	}
	if m.Flags&RegionFlagCaps == 0 || uint64(m.ArgSize) > uint64(len(b)) {
		return m, nil
	}
	// Offsets must ascend, so that the list ends.
	last := uint64(RegionInfoSize - 1)
	for at := uint64(order.Uint32(b[12:])); at != 0; {
		if at <= last || at+capHeaderSize > uint64(len(b)) {
			return RegionInfo{}, bad("region info: capability at %d of %d bytes", at, len(b))
		}
		last = at
		if order.Uint16(b[at:]) == capSparseMmap {
			areas, err := parseSparse(b[at:])
			if err != nil {
				return RegionInfo{}, err
			}
			m.Sparse = areas
		}
		at = uint64(order.Uint32(b[at+4:]))
	}
	return m, nil
}

func parseSparse(b []byte) ([]Area, error) {
	if len(b) < sparseHeaderSize {
		return nil, short("sparse areas", len(b), sparseHeaderSize)
	}
	n := uint64(order.Uint32(b[capHeaderSize:]))
	b = b[sparseHeaderSize:]
	if n > uint64(len(b)/sparseAreaSize) {
		return nil, bad("sparse areas: %d announced, %d bytes follow", n, len(b))
	}
	areas := make([]Area, n)
	for i := range areas {
		areas[i] = Area{order.Uint64(b[i*sparseAreaSize:]), order.Uint64(b[i*sparseAreaSize+8:])}
	}
	return areas, nil
}

// Kinds of RegionFD.
const (
	KindIOEventFD       uint32 = 0
	KindIORegionFD      uint32 = 1
	KindShadowIOEventFD uint32 = 2
)

// RegionFDsSize is the length of DEVICE_GET_REGION_IO_FDS's body before its entries,
// RegionFDSize that of an entry: 40 bytes in the specification, 48 with the shadow fields
// of libvfio-user.
const (
	RegionFDsSize   = 16
	RegionFDSize    = 48
	minRegionFDSize = 40
)

// RegionFD is a range of registers that can be written through a descriptor.
type RegionFD struct {
	Offset      uint64 // in the region
	Size        uint64 // of the access, 0: any
	FDIndex     uint32 // eventfd among the message's descriptors
	Kind        uint32
	Flags       uint32
	ShadowIndex uint32 // shadow memory among the message's descriptors
	Shadow      uint64 // offset of the value in the shadow memory
	DataMatch   uint64
}

// RegionFDs is the body of DEVICE_GET_REGION_IO_FDS. In a request only ArgSize
// and Index are set.
type RegionFDs struct {
	ArgSize uint32
	Flags   uint32
	Index   uint32
	Count   uint32 // all entries of the server, including those that did not fit
	Entries []RegionFD
}

// Append appends the body to b.
func (m RegionFDs) Append(b []byte) []byte {
	b = appendUint32s(b, m.ArgSize, m.Flags, m.Index, m.Count)
	for _, e := range m.Entries {
		b = order.AppendUint64(b, e.Offset)
		b = order.AppendUint64(b, e.Size)
		b = appendUint32s(b, e.FDIndex, e.Kind, e.Flags, e.ShadowIndex)
		b = order.AppendUint64(b, e.Shadow)
		b = order.AppendUint64(b, e.DataMatch)
	}
	return b
}

// ParseRegionFDs decodes the body. The size of an entry is the length of the entries
// divided by Count. Entries is nil if they did not fit (ArgSize).
func ParseRegionFDs(b []byte) (RegionFDs, error) {
	if len(b) < RegionFDsSize {
		return RegionFDs{}, short("region io fds", len(b), RegionFDsSize)
	}
	m := RegionFDs{ArgSize: order.Uint32(b), Flags: order.Uint32(b[4:]), Index: order.Uint32(b[8:]), Count: order.Uint32(b[12:])}
	b = b[RegionFDsSize:]
	if m.Count == 0 || len(b) == 0 {
		return m, nil
	}
	n, stride := uint64(m.Count), uint64(len(b))/uint64(m.Count)
	if stride < minRegionFDSize || stride*n != uint64(len(b)) {
		return RegionFDs{}, bad("region io fds: %d entries in %d bytes", n, len(b))
	}
	m.Entries = make([]RegionFD, n)
	for i := range m.Entries {
		e, err := parseRegionFD(b[uint64(i)*stride:][:stride])
		if err != nil {
			return RegionFDs{}, err
		}
		m.Entries[i] = e
	}
	return m, nil
}

func parseRegionFD(b []byte) (RegionFD, error) {
	e := RegionFD{
		Offset: order.Uint64(b), Size: order.Uint64(b[8:]),
		FDIndex: order.Uint32(b[16:]), Kind: order.Uint32(b[20:]), Flags: order.Uint32(b[24:]),
	}
	if e.Kind != KindShadowIOEventFD {
		// Kinds 0 and 1 end with datamatch or user data: at 32, or at 40 with
		// libvfio-user.
		e.DataMatch = order.Uint64(b[32:])
		if len(b) >= RegionFDSize {
			e.DataMatch = order.Uint64(b[40:])
		}
		return e, nil
	}
	if len(b) < RegionFDSize {
		return RegionFD{}, short("shadow ioeventfd", len(b), RegionFDSize)
	}
	e.ShadowIndex, e.Shadow, e.DataMatch = order.Uint32(b[28:]), order.Uint64(b[32:]), order.Uint64(b[40:])
	return e, nil
}
