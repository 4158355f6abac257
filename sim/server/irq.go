package server

import (
	"fmt"
	"syscall"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// Interrupt kinds, VFIO's indices.
const (
	irqINTx    = 0
	irqError   = 3
	irqRequest = 4
)

// maxVectors is the maximum of vectors of a kind, that of MSI-X.
const maxVectors = 2048

// vector is one interrupt vector. The device thread raises it, the worker
// changes it inside Device.Quiesce.
type vector struct {
	fd      *proto.EventFD // nil: not connected
	masked  bool
	pending bool // raised while masked
}

// irqTable holds a client's interrupts: by kind, by vector.
type irqTable [][]vector

func newIRQTable(counts []int) irqTable {
	t := make(irqTable, max(len(counts), proto.PCIIRQs))
	for i, n := range counts {
		t[i] = make([]vector, n)
	}
	return t
}

// raise signals a vector, or marks it pending while it is masked. Signalling INTx
// masks it, as VFIO does: the line stays asserted until the client unmasks it.
func (t irqTable) raise(kind, n int) {
	if kind < 0 || kind >= len(t) || n < 0 || n >= len(t[kind]) {
		return
	}
	v := &t[kind][n]
	switch {
	case v.fd == nil:
	case v.masked:
		v.pending = true
	default:
		v.masked = kind == irqINTx
		v.fd.Signal()
	}
}

func (t irqTable) connect(kind, n int, fd *proto.EventFD) {
	t.disconnect(kind, n)
	t[kind][n].fd = fd
}

func (t irqTable) disconnect(kind, n int) {
	v := &t[kind][n]
	if v.fd != nil {
		_ = v.fd.Close()
	}
	*v = vector{masked: v.masked && kind != irqINTx}
}

func (t irqTable) mask(kind, n int, masked bool) {
	v := &t[kind][n]
	v.masked = masked
	if !masked && v.pending {
		v.pending = false
		t.raise(kind, n)
	}
}

// close disconnects everything.
func (t irqTable) close() {
	for kind := range t {
		for n := range t[kind] {
			t.disconnect(kind, n)
		}
	}
}

// info is the reply to DEVICE_GET_IRQ_INFO.
func (t irqTable) info(index uint32) (proto.IRQInfo, error) {
	if uint64(index) >= uint64(len(t)) {
		return proto.IRQInfo{}, fmt.Errorf("irq info: no kind %d: %w", index, syscall.EINVAL)
	}
	m := proto.IRQInfo{ArgSize: proto.IRQInfoSize, Index: index, Count: uint32(len(t[index])), Flags: proto.IRQFlagEventFD}
	switch index {
	case irqINTx:
		m.Flags |= proto.IRQFlagMaskable | proto.IRQFlagAutomasked
	case irqError, irqRequest:
		m.Flags |= proto.IRQFlagNoResize
	default:
		m.Flags |= proto.IRQFlagMaskable
	}
	return m, nil
}

// check returns an error if a DEVICE_SET_IRQS with fds descriptors is invalid.
func (t irqTable) check(m proto.IRQSet, fds int) error {
	action, data := m.Flags&proto.IRQActionBits, m.Flags&proto.IRQDataBits
	all := m.Count == 0 // and Start 0: every vector of the kind
	wrong := func(what string) error {
		return fmt.Errorf("set irqs: %s (flags %#x, kind %d, start %d, count %d, %d descriptors): %w",
			what, m.Flags, m.Index, m.Start, m.Count, fds, syscall.EINVAL)
	}
	switch {
	case m.Flags&^(proto.IRQActionBits|proto.IRQDataBits) != 0:
		return wrong("unknown flags")
	case action&(action-1) != 0 || action == 0:
		return wrong("want one action")
	case data&(data-1) != 0 || data == 0:
		return wrong("want one kind of data")
	case uint64(m.Index) >= uint64(len(t)):
		return wrong("no such kind")
	case uint64(m.Start)+uint64(m.Count) > uint64(len(t[m.Index])):
		return wrong("no such vectors")
	case all && (m.Start != 0 || action != proto.IRQActionTrigger || data != proto.IRQDataNone):
		return wrong("no vectors")
	case action != proto.IRQActionTrigger && (m.Index == irqError || m.Index == irqRequest):
		return wrong("kind cannot be masked")
	case action != proto.IRQActionTrigger && data == proto.IRQDataEventFD:
		return wrong("masking by eventfd is not supported")
	case fds != 0 && data != proto.IRQDataEventFD:
		return wrong("descriptors without use")
	case fds != 0 && uint64(fds) != uint64(m.Count):
		return wrong("descriptors do not match the vectors")
	}
	return nil
}

// apply executes a DEVICE_SET_IRQS for which check returned nil. It owns eventfds.
func (t irqTable) apply(m proto.IRQSet, eventfds []*proto.EventFD) {
	kind, first, n := int(m.Index), int(m.Start), int(m.Count)
	action, data := m.Flags&proto.IRQActionBits, m.Flags&proto.IRQDataBits
	if n == 0 {
		n = len(t[kind])
		data, eventfds = proto.IRQDataEventFD, nil // disconnect all
	}
	for i := range n {
		switch {
		case data == proto.IRQDataBool && m.Data[i] == 0:
		case action != proto.IRQActionTrigger:
			t.mask(kind, first+i, action == proto.IRQActionMask)
		case data != proto.IRQDataEventFD:
			t.raise(kind, first+i)
		case eventfds == nil:
			t.disconnect(kind, first+i)
		default:
			t.connect(kind, first+i, eventfds[i])
		}
	}
}
