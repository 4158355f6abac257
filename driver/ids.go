package driver

import (
	"fmt"

	"github.com/ixcap/ixcap/pci"
)

const intel = 0x8086

// medium is the kind of link that a port has.
type medium uint8

const (
	sfi       medium = iota // SFP+ cage: the driver sets up the link
	backplane               // KR, KX4, KX: the EEPROM sets the mode
	copper                  // CX4, BASE-T: likewise
)

// model is one member of the 82599 family.
type model struct {
	name    string
	medium  medium
	virtual bool // a virtual function
	sensor  bool // a temperature sensor raises SDP0 (Linux: TEMP_SENSOR_CAPABLE)
}

// regsSize returns the size of BAR 0 in bytes.
func (m model) regsSize() int64 {
	if m.virtual {
		return virtualRegsSize
	}
	return regsSize
}

// models by PCI device id: all functions of the 82599.
var models = map[uint16]model{
	0x10f7: {name: "82599 KX4", medium: backplane},
	0x10f8: {name: "82599 combo backplane", medium: backplane},
	0x10ed: {name: "82599 virtual function", medium: backplane, virtual: true},
	0x10f9: {name: "82599 CX4", medium: copper},
	0x10fb: {name: "82599ES SFP+", medium: sfi},
	0x10fc: {name: "82599 XAUI/BX4", medium: backplane},
	0x1507: {name: "82599 SFP+ (EM)", medium: sfi},
	0x1514: {name: "82599 KX4 mezzanine", medium: backplane},
	0x1517: {name: "82599 KR", medium: backplane},
	0x151c: {name: "82599 10GBASE-T", medium: copper, sensor: true},
	0x1529: {name: "82599 SFP+ (FCoE)", medium: sfi},
	0x152e: {name: "82599 virtual function (Hyper-V)", medium: backplane, virtual: true},
	0x152a: {name: "82599 backplane (FCoE)", medium: backplane},
	0x154a: {name: "82599 SFP+ (quad port)", medium: sfi},
	0x154d: {name: "82599 SFP+ (SF2)", medium: sfi},
	0x154f: {name: "82599 LS", medium: sfi},
	0x1557: {name: "82599EN SFP+", medium: sfi},
	0x1558: {name: "82599 QSFP+ (quad port)", medium: sfi},
}

// Supports returns the name of a device, and whether Open supports it.
func Supports(id pci.ID) (name string, ok bool) {
	m, ok := models[id.Device]
	return m.name, ok && id.Vendor == intel
}

func modelOf(dev pci.Device) (model, error) {
	id := dev.ID()
	m, ok := models[id.Device]
	switch {
	case id.Vendor != intel || !ok:
		return m, fmt.Errorf("device %s is not an Intel 82599", id)
	}
	return m, nil
}
