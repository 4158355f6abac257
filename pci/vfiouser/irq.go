package vfiouser

import (
	"fmt"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// maxVectors is the limit of MSI-X, the largest of all kinds.
const maxVectors = 2048

// Vectors implements pci.Device.
func (d *Device) Vectors(kind pci.IRQKind) (int, error) {
	if err := d.Err(); err != nil {
		return 0, err
	}
	if kind < 0 || int(kind) >= len(d.vectors) {
		return 0, nil
	}
	return d.vectors[kind], nil
}

// SetVectors implements pci.Device. It sends separate messages for vectors to connect and
// to disconnect, with at most as many descriptors as the server supports. After an error,
// the vectors of earlier messages are set.
func (d *Device) SetVectors(kind pci.IRQKind, first int, eventfds []int) error {
	if err := d.checkVectors(kind, first, len(eventfds)); err != nil {
		return err
	}
	if len(eventfds) == 0 {
		return d.setIRQs(kind, 0, 0, proto.IRQDataNone|proto.IRQActionTrigger, nil)
	}
	for len(eventfds) > 0 {
		n := 1
		for n < len(eventfds) && (eventfds[n] < 0) == (eventfds[0] < 0) {
			n++
		}
		var fds []int
		if eventfds[0] >= 0 {
			n = min(n, max(d.server.MaxFDs, 1))
			fds = eventfds[:n]
		}
		// Without descriptors this flag disconnects.
		if err := d.setIRQs(kind, first, n, proto.IRQDataEventFD|proto.IRQActionTrigger, fds); err != nil {
			return err
		}
		first, eventfds = first+n, eventfds[n:]
	}
	return nil
}

// MaskVector implements pci.Device.
func (d *Device) MaskVector(kind pci.IRQKind, vector int, masked bool) error {
	if err := d.checkVectors(kind, vector, 1); err != nil {
		return err
	}
	action := proto.IRQActionUnmask
	if masked {
		action = proto.IRQActionMask
	}
	return d.setIRQs(kind, vector, 1, proto.IRQDataNone|action, nil)
}

func (d *Device) checkVectors(kind pci.IRQKind, first, n int) error {
	have, err := d.Vectors(kind)
	if err != nil {
		return err
	}
	if first < 0 || first > have || n > have-first {
		return fmt.Errorf("%s: vectors %d to %d of interrupt kind %d: the device has %d", d.name, first, first+n-1, kind, have)
	}
	return nil
}

func (d *Device) setIRQs(kind pci.IRQKind, first, n int, flags uint32, fds []int) error {
	s := request{command: proto.SetIRQs, what: "interrupt kind", index: uint64(kind), off: uint64(first), n: n}
	body := proto.IRQSet{ArgSize: proto.IRQSetSize, Flags: flags, Index: uint32(kind), Start: uint32(first), Count: uint32(n)}
	m, err := d.call(s, fds, body.Append(nil))
	if err != nil {
		return err
	}
	d.recycle(m)
	return nil
}
