package proto

// Region indices of a PCI function, BARs first (VFIO_PCI_*_REGION_INDEX).
const (
	BAR0Region   = 0
	ROMRegion    = 6
	ConfigRegion = 7
	VGARegion    = 8
	PCIRegions   = 9
)

// PCIIRQs is the number of interrupt kinds of a PCI function: INTx, MSI, MSI-X, error,
// request.
const PCIIRQs = 5

// Flags of DeviceInfo.
const (
	DeviceFlagReset uint32 = 1 << 0
	DeviceFlagPCI   uint32 = 1 << 1
)

// DeviceInfoSize is the length of DEVICE_GET_INFO's body, in requests and replies.
const DeviceInfoSize = 16

// DeviceInfo is the body of DEVICE_GET_INFO. In a request only ArgSize is set.
type DeviceInfo struct {
	ArgSize uint32 // request: size for the reply; reply: size of the complete reply
	Flags   uint32
	Regions uint32
	IRQs    uint32 // kinds, not vectors
}

// Append appends the body to b.
func (m DeviceInfo) Append(b []byte) []byte {
	return appendUint32s(b, m.ArgSize, m.Flags, m.Regions, m.IRQs)
}

// ParseDeviceInfo decodes the body.
func ParseDeviceInfo(b []byte) (DeviceInfo, error) {
	if len(b) < DeviceInfoSize {
		return DeviceInfo{}, short("device info", len(b), DeviceInfoSize)
	}
	return DeviceInfo{order.Uint32(b), order.Uint32(b[4:]), order.Uint32(b[8:]), order.Uint32(b[12:])}, nil
}

// Flags of IRQInfo.
const (
	IRQFlagEventFD    uint32 = 1 << 0
	IRQFlagMaskable   uint32 = 1 << 1
	IRQFlagAutomasked uint32 = 1 << 2
	IRQFlagNoResize   uint32 = 1 << 3
)

// IRQInfoSize is the length of DEVICE_GET_IRQ_INFO's body, in requests and replies.
const IRQInfoSize = 16

// IRQInfo is the body of DEVICE_GET_IRQ_INFO.
type IRQInfo struct {
	ArgSize uint32
	Flags   uint32
	Index   uint32 // kind
	Count   uint32 // vectors
}

// Append appends the body to b.
func (m IRQInfo) Append(b []byte) []byte {
	return appendUint32s(b, m.ArgSize, m.Flags, m.Index, m.Count)
}

// ParseIRQInfo decodes the body.
func ParseIRQInfo(b []byte) (IRQInfo, error) {
	if len(b) < IRQInfoSize {
		return IRQInfo{}, short("irq info", len(b), IRQInfoSize)
	}
	return IRQInfo{order.Uint32(b), order.Uint32(b[4:]), order.Uint32(b[8:]), order.Uint32(b[12:])}, nil
}

// Flags of IRQSet: one of the data kinds and one of the actions.
const (
	IRQDataNone      uint32 = 1 << 0
	IRQDataBool      uint32 = 1 << 1
	IRQDataEventFD   uint32 = 1 << 2
	IRQActionMask    uint32 = 1 << 3
	IRQActionUnmask  uint32 = 1 << 4
	IRQActionTrigger uint32 = 1 << 5

	IRQDataBits   = IRQDataNone | IRQDataBool | IRQDataEventFD
	IRQActionBits = IRQActionMask | IRQActionUnmask | IRQActionTrigger
)

// IRQSetSize is the length of DEVICE_SET_IRQS's body before its data.
const IRQSetSize = 20

// IRQSet is the body of DEVICE_SET_IRQS. With IRQDataEventFD, descriptors are sent with
// the message.
type IRQSet struct {
	ArgSize uint32 // size of the body including data
	Flags   uint32
	Index   uint32 // kind
	Start   uint32 // first vector
	Count   uint32
	Data    []byte // one boolean byte per vector with IRQDataBool
}

// Append appends the body to b.
func (m IRQSet) Append(b []byte) []byte {
	b = appendUint32s(b, m.ArgSize, m.Flags, m.Index, m.Start, m.Count)
	return append(b, m.Data...)
}

// ParseIRQSet decodes the body; Data points into b.
func ParseIRQSet(b []byte) (IRQSet, error) {
	if len(b) < IRQSetSize {
		return IRQSet{}, short("irq set", len(b), IRQSetSize)
	}
	m := IRQSet{order.Uint32(b), order.Uint32(b[4:]), order.Uint32(b[8:]), order.Uint32(b[12:]), order.Uint32(b[16:]), b[IRQSetSize:]}
	switch {
	case m.ArgSize < IRQSetSize:
		return IRQSet{}, bad("irq set: argsz %d, want at least %d", m.ArgSize, IRQSetSize)
	case m.Flags&IRQDataBits == IRQDataBool && uint64(len(m.Data)) != uint64(m.Count):
		return IRQSet{}, bad("irq set: %d booleans for %d vectors", len(m.Data), m.Count)
	}
	return m, nil
}

func appendUint32s(b []byte, values ...uint32) []byte {
	for _, v := range values {
		b = order.AppendUint32(b, v)
	}
	return b
}
