package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ixcap/ixcap/pci"
)

// Configuration space (PCI Local Bus 3.0, chapter 6; power management: PCI Bus
// Power Management 1.2).
const (
	configHeader  = 64
	commandAt     = 0x04
	commandMemory = 1 << 1
	commandMaster = 1 << 2
	statusAt      = 0x06
	statusCaps    = 1 << 4 // the capability list exists
	capsAt        = 0x34

	capPower = 0x01
	capMSIX  = 0x11

	pmControl   = 4 // offset in the capability
	pmStateMask = 3 // D0 to D3hot
)

// msixTable is the location of the MSI-X table.
type msixTable struct {
	bar    int // -1: no MSI-X
	offset uint64
	size   uint64 // bytes
}

// findConfig opens configuration space and reads the function's identity.
func (d *Device) findConfig() error {
	r, _, err := d.findRegion(configRegion)
	if err != nil {
		return err
	}
	if r == nil || r.Size() < configHeader {
		return errors.New("no configuration space")
	}
	r.Widest = 4
	b := make([]byte, min(r.Size(), 256))
	if err := r.readAll(b, 0); err != nil {
		return err
	}
	d.config = r
	d.id = parseID(b)
	if d.id.Vendor == 0xffff {
		return errors.New("configuration space reads as all ones: the function is lost or not in D0")
	}
	if d.msix, d.pmAt, err = parseCapabilities(b); err != nil {
		return fmt.Errorf("configuration space: %w", err)
	}
	return nil
}

// parseID reads the function's identity (6.2.1).
func parseID(h []byte) pci.ID {
	le := binary.LittleEndian
	return pci.ID{
		Vendor: le.Uint16(h), Device: le.Uint16(h[2:]), Revision: h[8],
		Class:     uint32(h[0x09]) | uint32(h[0x0a])<<8 | uint32(h[0x0b])<<16,
		SubVendor: le.Uint16(h[0x2c:]), SubDevice: le.Uint16(h[0x2e:]),
	}
}

// parseCapabilities finds the MSI-X table (6.8.2) and the offset of the power
// management control register in the capability list (6.7).
func parseCapabilities(b []byte) (msix msixTable, pmAt int64, err error) {
	msix.bar = -1
	if len(b) < configHeader || binary.LittleEndian.Uint16(b[statusAt:])&statusCaps == 0 {
		return msix, 0, nil
	}
	at := int(b[capsAt]) &^ 3
	for left := (len(b) - configHeader) / 4; at != 0; left-- {
		if at < configHeader || at+2 > len(b) {
			return msix, 0, fmt.Errorf("capability at %#x", at)
		}
		if left == 0 {
			return msix, 0, errors.New("loop in the capability list")
		}
		switch b[at] {
		case capPower:
			if at+pmControl+2 > len(b) {
				return msix, 0, fmt.Errorf("power management capability at %#x", at)
			}
			pmAt = int64(at + pmControl)
		case capMSIX:
			if at+8 > len(b) {
				return msix, 0, fmt.Errorf("MSI-X capability at %#x", at)
			}
			n := uint64(binary.LittleEndian.Uint16(b[at+2:])&0x7ff) + 1
			table := binary.LittleEndian.Uint32(b[at+4:])
			msix = msixTable{bar: int(table & 7), offset: uint64(table &^ 7), size: n * 16}
		}
		at = int(b[at+1]) &^ 3
	}
	return msix, pmAt, nil
}

// command sets and clears bits of the command register. It also works during release.
func (d *Device) command(set, clear uint16) error {
	b := make([]byte, 2)
	if err := d.config.readAll(b, commandAt); err != nil {
		return err
	}
	old := binary.LittleEndian.Uint16(b)
	if now := old&^clear | set; now != old {
		if err := d.config.writeAll(binary.LittleEndian.AppendUint16(nil, now), commandAt); err != nil {
			return err
		}
	}
	return nil
}

// affectsBARs reports whether a write to configuration space changes the command
// register or the power state (reaches), and whether it disables the BARs (off).
func (d *Device) affectsBARs(p []byte, at int64) (reaches, off bool) {
	if i := commandAt - at; 0 <= i && i < int64(len(p)) {
		reaches, off = true, p[i]&commandMemory == 0
	}
	if i := d.pmAt - at; d.pmAt != 0 && 0 <= i && i < int64(len(p)) {
		reaches, off = true, off || p[i]&pmStateMask != 0
	}
	return reaches, off
}

// writeBARControl makes a write that may disable or enable the BARs. It replaces the
// registers before the write, because an access to a disabled BAR raises SIGBUS, and
// restores them if the BARs are enabled after it.
func (d *Device) writeBARControl(p []byte, at int64, off bool) error {
	d.power.Lock()
	defer d.power.Unlock()
	replaced := false
	for _, r := range d.bars {
		if r != nil && off {
			r.replaceRegisters()
		}
		replaced = replaced || r != nil && r.replaced.Load()
	}
	err := d.config.writeAll(p, at)
	if !replaced {
		return err
	}
	on, rerr := d.memoryOn()
	if rerr != nil || !on {
		return errors.Join(err, rerr)
	}
	d.mu.Lock() // excludes fail
	defer d.mu.Unlock()
	if d.down != nil {
		return d.down
	}
	for _, r := range d.bars {
		if r != nil {
			err = errors.Join(err, r.restoreRegisters())
		}
	}
	return err
}

// memoryOn reports whether the BARs are enabled.
func (d *Device) memoryOn() (bool, error) {
	b := make([]byte, 2)
	if err := d.config.readAll(b, commandAt); err != nil {
		return false, err
	}
	on := binary.LittleEndian.Uint16(b)&commandMemory != 0
	if d.pmAt == 0 || !on {
		return on, nil
	}
	b = make([]byte, 2)
	if err := d.config.readAll(b, d.pmAt); err != nil {
		return false, err
	}
	return b[0]&pmStateMask == 0, nil
}
