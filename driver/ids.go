package driver

import (
	"fmt"

	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/pci"
)

const intel = 0x8086

// medium is the kind of link that a port has.
type medium uint8

const (
	sfi         medium = iota // SFP+ cage: the driver sets up the link
	backplane                 // KR, KX4, KX, optics on the board: the EEPROM sets the mode
	copper                    // CX4, BASE-T of an 82599: likewise
	twistedPair               // 10GBASE-T: a PHY over MDIO negotiates
)

// family is a family of controllers with the same registers.
type family uint8

const (
	family82599 family = iota
	familyX540
	familyX550
)

func (f family) String() string { return [...]string{"82599", "X540", "X550"}[f] }

// model is one controller.
type model struct {
	name    string
	family  family
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

// packetBuffer returns the KiB of the receive packet buffer (3.7.7.3.2; Linux,
// IXGBE_X540_RX_PB_SIZE).
func (m model) packetBuffer() int {
	if m.family == family82599 {
		return rxPacketBuffer
	}
	return 384
}

// rssTable returns the number of entries of the indirection table, and how many
// queues they select.
func (m model) rssTable() (entries, queues int) {
	if m.family == familyX550 {
		return 512, 64
	}
	return RSSTableSize, MaxRSSQueues
}

// heatAlarm returns the cause that says that the board is too hot, if it has one.
func (m model) heatAlarm() (reg.Field, bool) {
	if m.sensor {
		return reg.EICR_GPI_SDP0, true
	}
	return reg.EICR_TS, m.family != family82599
}

// models by PCI device id: all functions of the 82599, ports of the X540 and X550.
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
	0x154f: {name: "82599 LS", medium: backplane},
	0x1557: {name: "82599EN SFP+", medium: sfi},
	0x1558: {name: "82599 QSFP+ (quad port)", medium: sfi},
	0x1528: {name: "X540", family: familyX540, medium: twistedPair},
	0x1560: {name: "X540, one port", family: familyX540, medium: twistedPair},
	0x1563: {name: "X550", family: familyX550, medium: twistedPair},
	0x15d1: {name: "X550, one port", family: familyX550, medium: twistedPair},
}

// relatives are families of controllers with a similar programming interface, which the
// driver does not know, by PCI device id (Linux, ixgbe_type.h). docs/82599.md has what
// differs.
var relatives = func() map[uint16]string {
	m := map[uint16]string{}
	for family, ids := range map[string][]uint16{
		"82598":                         {0x10b6, 0x10c6, 0x10c7, 0x10c8, 0x10db, 0x10dd, 0x10e1, 0x10ec, 0x10f1, 0x10f4, 0x1508, 0x150b},
		"X552 (X550EM_x)":               {0x15aa, 0x15ab, 0x15ac, 0x15ad, 0x15ae, 0x15b0},
		"X553 (X550EM_a)":               {0x15c2, 0x15c3, 0x15c4, 0x15c6, 0x15c7, 0x15c8, 0x15ca, 0x15cc, 0x15ce, 0x15e4, 0x15e5},
		"X540 or X550 virtual function": {0x1515, 0x1530, 0x1564, 0x1565, 0x15a8, 0x15a9, 0x15b4, 0x15c5},
	} {
		for _, id := range ids {
			m[id] = family
		}
	}
	return m
}()

// Supports returns the name of a device, and whether Open supports it.
func Supports(id pci.ID) (name string, ok bool) {
	m, ok := models[id.Device]
	return m.name, ok && id.Vendor == intel
}

func modelOf(dev pci.Device) (model, error) {
	id := dev.ID()
	m, ok := models[id.Device]
	switch family := relatives[id.Device]; {
	case id.Vendor == intel && family != "":
		return m, fmt.Errorf("device %s is an Intel %s, not an 82599, X540 or X550: its registers, PHY or firmware differ. "+
			"Capture its interface with sockets of the kernel: xdp:NAME or packet:NAME", id, family)
	case id.Vendor != intel || !ok:
		return m, fmt.Errorf("device %s is not an Intel 82599, X540 or X550", id)
	}
	return m, nil
}
