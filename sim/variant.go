package sim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// medium is what a controller is connected to the wire by.
type medium uint8

const (
	mediumCage  medium = iota // a module in an SFP+ cage
	mediumFixed               // the link mode that the EEPROM sets: backplane, CX4, optics on the board

	mediumTwistedPair // 10GBASE-T: a PHY over MDIO
)

// family is a family of controllers with the same registers.
type family uint8

const (
	family82599 family = iota
	familyX540
	familyX550
)

// AUTOC as the EEPROM of a board without a cage loads it (datasheet 8.2.3.22; Linux,
// ixgbe_type.h): link mode, the modes that a backplane offers, and the 10G PMA/PMD.
const (
	autocParallel  = lms10GKX4 << 13
	autocBackplane = lmsKX4KXKR << 13
	autocXAUI      = 0 << 7
	autocKX4       = 1 << 7
	autocCX4       = 2 << 7
	autocOffersKR  = 1 << 16
	autocOffersKX  = 1 << 30
	autocOffersKX4 = 1 << 31
)

// variant is a controller, by its PCI device id (Linux, ixgbe_type.h).
type variant struct {
	id        uint16
	name      string
	subsystem uint16 // of the board; 0: the device id
	family    family
	medium    medium
	autoc     uint32 // without a cage; in one it is autocReset
}

// rxBuffer is the receive packet buffer in KiB (Linux, IXGBE_82599_RX_PB_SIZE,
// IXGBE_X540_RX_PB_SIZE).
func (v *variant) rxBuffer() int {
	if v.family == family82599 {
		return 512
	}
	return 384
}

// rssEntries is the length of the indirection table, rssQueue the bits of an entry.
func (v *variant) rssEntries() int {
	if v.family == familyX550 {
		return 512
	}
	return 128
}

func (v *variant) rssQueue() uint32 {
	if v.family == familyX550 {
		return 0x3f
	}
	return 0xf
}

// phyID is the identifier of the PHY on twisted pair.
func (v *variant) phyID() uint32 {
	if v.family == familyX550 {
		return 0x01540221
	}
	return 0x01540200
}

// configAccess returns the offsets of CIAA and CIAD.
func (v *variant) configAccess() (ciaa, ciad uint32) {
	if v.family == familyX550 {
		return 0x11508, 0x11510
	}
	return 0x11088, 0x1108c
}

// lanes is the width and speed of the PCI Express link, as in its capabilities.
func (v *variant) lanes() uint32 {
	if v.family == familyX550 {
		return 4<<4 | 3 // x4, 8 GT/s
	}
	return 8<<4 | 2 // x8, 5 GT/s
}

// resetAUTOC is AUTOC as the EEPROM loads it.
func (v *variant) resetAUTOC() uint32 {
	if v.medium == mediumCage {
		return autocReset
	}
	return v.autoc
}

// board returns the PCI subsystem id.
func (v *variant) board() uint16 {
	if v.subsystem != 0 {
		return v.subsystem
	}
	return v.id
}

// variants are the controllers that the model can be, the default first.
var variants = []*variant{
	{id: 0x10fb, name: "82599ES SFP+", subsystem: 0x0003}, // Ethernet Server Adapter X520-2
	{id: 0x1507, name: "82599 SFP+ (EM)"},
	{id: 0x1529, name: "82599 SFP+ (FCoE)"},
	{id: 0x154a, name: "82599 SFP+ (quad port)"},
	{id: 0x154d, name: "82599 SFP+ (SF2)"},
	{id: 0x1557, name: "82599EN SFP+"},
	{id: 0x10f7, name: "82599 KX4", medium: mediumFixed, autoc: autocBackplane | autocKX4 | autocOffersKX4 | autocOffersKX},
	{id: 0x1514, name: "82599 KX4 mezzanine", medium: mediumFixed, autoc: autocBackplane | autocKX4 | autocOffersKX4 | autocOffersKX},
	{id: 0x10f8, name: "82599 combo backplane", medium: mediumFixed, autoc: autocBackplane | autocKX4 | autocOffersKX4 | autocOffersKX | autocOffersKR},
	{id: 0x152a, name: "82599 backplane (FCoE)", medium: mediumFixed, autoc: autocBackplane | autocKX4 | autocOffersKX4 | autocOffersKX | autocOffersKR},
	{id: 0x1517, name: "82599 KR", medium: mediumFixed, autoc: autocBackplane | autocOffersKX | autocOffersKR},
	{id: 0x10fc, name: "82599 XAUI/BX4", medium: mediumFixed, autoc: autocParallel | autocXAUI},
	{id: 0x10f9, name: "82599 CX4", medium: mediumFixed, autoc: autocParallel | autocCX4},
	{id: 0x154f, name: "82599 LS", medium: mediumFixed, autoc: lms10GSFI << 13},
	{id: 0x1528, name: "X540", subsystem: 0x0001, family: familyX540, medium: mediumTwistedPair}, // X540-T2
	{id: 0x1560, name: "X540, one port", family: familyX540, medium: mediumTwistedPair},
	{id: 0x1563, name: "X550", subsystem: 0x0001, family: familyX550, medium: mediumTwistedPair}, // X550-T2
	{id: 0x15d1, name: "X550, one port", family: familyX550, medium: mediumTwistedPair},
}

// variantNames are the names of the option id that are not device ids.
var variantNames = map[string]uint16{"82599": 0x10fb, "x520": 0x10fb, "x540": 0x1528, "x550": 0x1563}

// refused are devices that the model cannot be, and why.
var refused = map[uint16]string{
	0x151c: "the model has no PHY of a 10GBASE-T board of the 82599",
	0x1558: "the model has no QSFP+ module",
	0x10ed: "a virtual function: option vfs gives the port some",
	0x152e: "a virtual function: option vfs gives the port some",
}

// variantOf returns the controller with a PCI device id, 0 for the default.
func variantOf(id uint16) (*variant, error) {
	if id == 0 {
		return variants[0], nil
	}
	for _, v := range variants {
		if v.id == id {
			return v, nil
		}
	}
	if why := refused[id]; why != "" {
		return nil, fmt.Errorf("device %04x is not modelled: %s", id, why)
	}
	return nil, fmt.Errorf("device %04x is not modelled", id)
}

// parseID parses the value of option id: four hexadecimal digits, or a name.
func parseID(s string) (uint16, error) {
	if id, ok := variantNames[strings.ToLower(s)]; ok {
		return id, nil
	}
	id, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(s), "0x"), 16, 16)
	if err == nil && id == 0 {
		err = errors.New("no device has id 0")
	}
	if err == nil {
		_, err = variantOf(uint16(id))
	} else {
		err = errors.New("no device id")
	}
	if err != nil {
		return 0, fmt.Errorf("%w; want %s", err, strings.Join(variantList(), ", "))
	}
	return uint16(id), nil
}

// variantList has what option id accepts.
func variantList() []string {
	var all []string
	for name := range variantNames {
		all = append(all, name)
	}
	slices.Sort(all)
	for _, v := range variants {
		all = append(all, fmt.Sprintf("%04x (%s)", v.id, v.name))
	}
	return all
}
