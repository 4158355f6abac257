package driver

import (
	"fmt"

	"github.com/ixcap/ixcap/pci"
)

const intel = 0x8086

// medium is what a port's link runs over, as far as set-up cares.
type medium uint8

const (
	sfi       medium = iota // SFP+ cage: link set up here
	backplane               // KR, KX4, KX: the EEPROM's choice stays
	copper                  // CX4, BASE-T: likewise
)

// model is one member of the 82599 family.
type model struct {
	name   string
	medium medium
}

// models by PCI device id: all physical functions of the 82599.
var models = map[uint16]model{
	0x10f7: {"82599 KX4", backplane},
	0x10f8: {"82599 combo backplane", backplane},
	0x10f9: {"82599 CX4", copper},
	0x10fb: {"82599ES SFP+", sfi},
	0x10fc: {"82599 XAUI/BX4", backplane},
	0x1507: {"82599 SFP+ (EM)", sfi},
	0x1514: {"82599 KX4 mezzanine", backplane},
	0x1517: {"82599 KR", backplane},
	0x151c: {"82599 10GBASE-T", copper},
	0x1529: {"82599 SFP+ (FCoE)", sfi},
	0x152a: {"82599 backplane (FCoE)", backplane},
	0x154a: {"82599 SFP+ (quad port)", sfi},
	0x154d: {"82599 SFP+ (SF2)", sfi},
	0x154f: {"82599 LS", sfi},
	0x1557: {"82599EN SFP+", sfi},
	0x1558: {"82599 QSFP+ (quad port)", sfi},
}

// Supports tells whether Open can drive such a device, and its name.
func Supports(id pci.ID) (name string, ok bool) {
	m, ok := models[id.Device]
	return m.name, ok && id.Vendor == intel
}

func modelOf(dev pci.Device) (model, error) {
	id := dev.ID()
	m, ok := models[id.Device]
	switch {
	case id.Vendor == intel && (id.Device == 0x10ed || id.Device == 0x152e):
		return m, fmt.Errorf("device %s is a virtual function of an 82599: give its physical function", id)
	case id.Vendor != intel || !ok:
		return m, fmt.Errorf("device %s is not an Intel 82599", id)
	}
	return m, nil
}
