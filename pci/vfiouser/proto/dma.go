package proto

// Flags of MapDMA. Mmap and FileIO are extensions of libvfio-user: how the server uses the
// descriptor. Without either it maps the descriptor.
const (
	DMAFlagRead   uint32 = 1 << 0
	DMAFlagWrite  uint32 = 1 << 1
	DMAFlagMmap   uint32 = 1 << 2
	DMAFlagFileIO uint32 = 1 << 3

	DMAFlagBits = DMAFlagRead | DMAFlagWrite | DMAFlagMmap | DMAFlagFileIO
)

// MapDMASize is the length of DMA_MAP's body.
const MapDMASize = 32

// MapDMA is the body of DMA_MAP.
type MapDMA struct {
	ArgSize uint32
	Flags   uint32
	Offset  uint64 // in the descriptor's file, 0 without descriptor
	Address uint64
	Size    uint64
}

// Append appends the body to b.
func (m MapDMA) Append(b []byte) []byte {
	b = appendUint32s(b, m.ArgSize, m.Flags)
	b = order.AppendUint64(b, m.Offset)
	b = order.AppendUint64(b, m.Address)
	return order.AppendUint64(b, m.Size)
}

// ParseMapDMA decodes the body. It rejects ranges that are empty or wrap around the
// address space.
func ParseMapDMA(b []byte) (MapDMA, error) {
	if len(b) < MapDMASize {
		return MapDMA{}, short("dma map", len(b), MapDMASize)
	}
	m := MapDMA{order.Uint32(b), order.Uint32(b[4:]), order.Uint64(b[8:]), order.Uint64(b[16:]), order.Uint64(b[24:])}
	switch {
	case m.ArgSize < MapDMASize:
		return MapDMA{}, bad("dma map: argsz %d, want at least %d", m.ArgSize, MapDMASize)
	case m.Flags&^DMAFlagBits != 0:
		return MapDMA{}, bad("dma map: unknown flags %#x", m.Flags&^DMAFlagBits)
	case m.Size == 0:
		return MapDMA{}, bad("dma map: empty range at %#x", m.Address)
	case m.Address+m.Size-1 < m.Address:
		return MapDMA{}, bad("dma map: range %#x+%#x wraps", m.Address, m.Size)
	}
	return m, nil
}

// Flags of UnmapDMA.
const (
	UnmapFlagDirtyBitmap uint32 = 1 << 0
	UnmapFlagAll         uint32 = 1 << 1
)

// UnmapDMASize is the length of DMA_UNMAP's body, request and reply.
const UnmapDMASize = 24

// UnmapDMA is the body of DMA_UNMAP.
type UnmapDMA struct {
	ArgSize uint32
	Flags   uint32
	Address uint64
	Size    uint64
}

// Append appends the body to b.
func (m UnmapDMA) Append(b []byte) []byte {
	b = appendUint32s(b, m.ArgSize, m.Flags)
	b = order.AppendUint64(b, m.Address)
	return order.AppendUint64(b, m.Size)
}

// ParseUnmapDMA decodes the body. Dirty bitmaps belong to migration, which is not
// supported.
func ParseUnmapDMA(b []byte) (UnmapDMA, error) {
	if len(b) < UnmapDMASize {
		return UnmapDMA{}, short("dma unmap", len(b), UnmapDMASize)
	}
	m := UnmapDMA{order.Uint32(b), order.Uint32(b[4:]), order.Uint64(b[8:]), order.Uint64(b[16:])}
	switch {
	case m.ArgSize < UnmapDMASize || m.ArgSize > MaxTransfer:
		return UnmapDMA{}, bad("dma unmap: argsz %d", m.ArgSize)
	case m.Flags&^UnmapFlagAll != 0:
		return UnmapDMA{}, bad("dma unmap: unsupported flags %#x", m.Flags&^UnmapFlagAll)
	case m.Flags == UnmapFlagAll && (m.Address != 0 || m.Size != 0):
		return UnmapDMA{}, bad("dma unmap: all, but also %#x+%#x", m.Address, m.Size)
	case m.Flags == 0 && m.Size == 0:
		return UnmapDMA{}, bad("dma unmap: empty range at %#x", m.Address)
	case m.Flags == 0 && m.Address+m.Size-1 < m.Address:
		return UnmapDMA{}, bad("dma unmap: range %#x+%#x wraps", m.Address, m.Size)
	}
	return m, nil
}
