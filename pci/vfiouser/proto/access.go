package proto

// RegionAccessSize is the length of REGION_READ's and REGION_WRITE's body
// before the data.
const RegionAccessSize = 16

// RegionAccess is the body of REGION_READ and REGION_WRITE, without the data.
type RegionAccess struct {
	Offset uint64
	Region uint32
	Count  uint32
}

// Append appends the fixed part to b; data, if any, follows it.
func (m RegionAccess) Append(b []byte) []byte {
	b = order.AppendUint64(b, m.Offset)
	return appendUint32s(b, m.Region, m.Count)
}

// ParseRegionAccess decodes the fixed part and returns the data after it, a part of b. If
// the message must have data, check its length with HasData.
func ParseRegionAccess(b []byte) (RegionAccess, []byte, error) {
	if len(b) < RegionAccessSize {
		return RegionAccess{}, nil, short("region access", len(b), RegionAccessSize)
	}
	m := RegionAccess{order.Uint64(b), order.Uint32(b[8:]), order.Uint32(b[12:])}
	return m, b[RegionAccessSize:], nil
}

// HasData returns an error unless data has Count bytes.
func (m RegionAccess) HasData(data []byte) error {
	if uint64(len(data)) != uint64(m.Count) {
		return bad("region access: count %d, %d bytes of data", m.Count, len(data))
	}
	return nil
}

// DMAAccessSize is the length of DMA_READ's and DMA_WRITE's body before the data.
const DMAAccessSize = 16

// dmaWriteReplySize is the length of the shortest reply to DMA_WRITE: count has 4 bytes in
// the specification, 8 in implementations.
const dmaWriteReplySize = 12

// DMAAccess is the body of DMA_READ and DMA_WRITE, without the data.
type DMAAccess struct {
	Address uint64
	Count   uint64
}

// Append appends the fixed part to b.
func (m DMAAccess) Append(b []byte) []byte {
	b = order.AppendUint64(b, m.Address)
	return order.AppendUint64(b, m.Count)
}

// ParseDMAAccess decodes the fixed part and returns the data after it, a part of b.
func ParseDMAAccess(b []byte) (DMAAccess, []byte, error) {
	if len(b) < DMAAccessSize {
		return DMAAccess{}, nil, short("dma access", len(b), DMAAccessSize)
	}
	return DMAAccess{order.Uint64(b), order.Uint64(b[8:])}, b[DMAAccessSize:], nil
}

// ParseDMAWriteReply decodes the reply to DMA_WRITE.
func ParseDMAWriteReply(b []byte) (DMAAccess, error) {
	if len(b) < dmaWriteReplySize {
		return DMAAccess{}, short("dma write reply", len(b), dmaWriteReplySize)
	}
	if len(b) < DMAAccessSize {
		return DMAAccess{order.Uint64(b), uint64(order.Uint32(b[8:]))}, nil
	}
	return DMAAccess{order.Uint64(b), order.Uint64(b[8:])}, nil
}

// HasData returns an error unless data has Count bytes.
func (m DMAAccess) HasData(data []byte) error {
	if uint64(len(data)) != m.Count {
		return bad("dma access: count %d, %d bytes of data", m.Count, len(data))
	}
	return nil
}

const (
	multiHeaderSize = 8
	multiEntrySize  = 24
	multiData       = 8
)

// MultiWrite is one write of REGION_WRITE_MULTI.
type MultiWrite struct {
	RegionAccess
	Data [multiData]byte // Count bytes are used, at most 8
}

// AppendMulti appends the body of REGION_WRITE_MULTI to b.
func AppendMulti(b []byte, writes []MultiWrite) []byte {
	b = order.AppendUint64(b, uint64(len(writes)))
	for _, w := range writes {
		b = w.RegionAccess.Append(b)
		b = append(b, w.Data[:]...)
	}
	return b
}

// Multi is the body of REGION_WRITE_MULTI, decoded write by write.
type Multi struct{ b []byte }

// ParseMulti checks the body's length against the number of writes.
func ParseMulti(b []byte) (Multi, error) {
	if len(b) < multiHeaderSize {
		return Multi{}, short("multi write", len(b), multiHeaderSize)
	}
	n := order.Uint64(b)
	b = b[multiHeaderSize:]
	if n > MaxMessage/multiEntrySize || n*multiEntrySize != uint64(len(b)) {
		return Multi{}, bad("multi write: %d writes in %d bytes", n, len(b))
	}
	return Multi{b}, nil
}

// Len returns the number of writes.
func (m Multi) Len() int { return len(m.b) / multiEntrySize }

// At decodes write i; data points into the message.
func (m Multi) At(i int) (a RegionAccess, data []byte, err error) {
	e := m.b[i*multiEntrySize:][:multiEntrySize]
	a, data, err = ParseRegionAccess(e)
	if err == nil && a.Count > multiData {
		err = bad("multi write: count %d, at most %d", a.Count, multiData)
	}
	if err != nil {
		return RegionAccess{}, nil, err
	}
	return a, data[:a.Count], nil
}

// AppendCount appends the body of the reply to REGION_WRITE_MULTI: completed writes.
func AppendCount(b []byte, n uint64) []byte { return order.AppendUint64(b, n) }
