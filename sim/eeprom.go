package sim

// EEPROM words (82599 datasheet, chapter 6; names as in Linux ixgbe_type.h).
const (
	eeWords    = 4096 // EEC.SIZE 6: 2^(6+6) words
	eeSize     = 6
	eeChecksum = 0x3f
	eeSum      = 0xbaba

	eePHY       = 0x04 // pointer to the PHY's settings
	eeROM       = 0x05 // pointer to the option ROM
	eeGeneral   = 0x06 // pointers to the PCI Express settings
	eeConfig0   = 0x07
	eeConfig1   = 0x08
	eeMAC0      = 0x0b // pointer to the MAC section of port 0
	eeFirmware  = 0x0f // pointer to the firmware section
	eePBA       = 0x15 // part number, two words
	eeAltSAN    = 0x27
	eeSAN       = 0x28
	eeVersion   = 0x29
	eePhyInit   = 0x2b // pointer to the list of module init sequences
	eeCaps      = 0x2c
	eeETrack    = 0x2d
	eeAltMAC    = 0x37
	eeFCoE      = 0x33
	eeAnySFP    = 1 << 0
	eeNoXtalkWR = 1 << 7

	atMAC0     = 0x100
	atAddress  = 0x110
	atFirmware = 0x120
	atPatch    = 0x140
	atPhyList  = 0x160
	atPhyData  = 0x180
	atPHY      = 0x1a0 // sections that the checksum of an X540 does not cover
	atROM      = 0x1b0
	atGeneral  = 0x1c0
)

// makeEEPROM returns the EEPROM of an X520: valid checksum (datasheet 6.3.2),
// firmware patch version 9 (SFI needs more than 5), no LESM firmware, no
// management, any SFP+ module allowed, and an init sequence for each module type.
func makeEEPROM(cfg Config, kind *variant) []uint16 {
	e := make([]uint16, eeWords)
	for i := range e {
		e[i] = 0xffff
	}
	clear(e[:0x40])
	for p := 0x03; p <= 0x0f; p++ {
		e[p] = 0xffff // no section
	}
	e[0x00] = 0x5800 // EEPROM control word 1
	e[0x11] = atAddress
	for i := range 3 {
		e[atAddress+i] = uint16(cfg.MAC[2*i]) | uint16(cfg.MAC[2*i+1])<<8
	}
	e[eePBA], e[eePBA+1] = 0xe669, 0x1700
	e[eeAltSAN], e[eeSAN], e[eeAltMAC], e[eeFCoE] = 0xffff, 0xffff, 0xffff, 0xffff
	e[eeVersion] = 0x0005
	e[eeCaps] = eeAnySFP | eeNoXtalkWR
	e[eeETrack], e[eeETrack+1] = 0x30d4, 0x8000

	// Section of port 0: its length, then link mode, AUTOC2 and the rest.
	e[eeMAC0] = atMAC0
	copy(e[atMAC0:], []uint16{4, uint16(kind.resetAUTOC() >> 16), uint16(kind.resetAUTOC()), autoc2Reset >> 16, 0})

	e[eeFirmware] = atFirmware
	copy(e[atFirmware:], make([]uint16, 16))
	e[atFirmware+2] = 0xffff // no LESM
	e[atFirmware+4] = atPatch
	copy(e[atPatch:], []uint16{0, 0, 0, 0, 0, 0, 0, 9})

	// Modules 3-14 in Linux' numbering: direct attach, SR/LR, active direct
	// attach, 1G copper, 1G SX, 1G LX, by core.
	e[eePhyInit] = atPhyList
	list := []uint16{0}
	for id := uint16(3); id <= 14; id++ {
		list = append(list, id, atPhyData)
	}
	copy(e[atPhyList:], append(list, 0xffff))
	copy(e[atPhyData:], []uint16{2, 0x0001, 0x0002, 0xffff})

	if kind.family != family82599 {
		e[eePHY], e[eeROM] = atPHY, atROM
		copy(e[atPHY:], []uint16{2, 0x1234, 0x5678})
		copy(e[atROM:], []uint16{1, 0x9abc})
	}
	if kind.family == familyX550 {
		e[eeGeneral] = atGeneral
	}

	e[eeChecksum] = eeSum - sumEEPROM(e, kind)
	if cfg.Faults.BadChecksum {
		e[eeChecksum] ^= 0x5555
	}
	return e
}

// sumEEPROM is the sum of what the checksum covers (datasheet 6.3.2): words 0 to
// 0x3E and the sections that words 3 to 0xE point to, without their length words. An
// X540 and X550 leave out words 4 and 5 (Linux, ixgbe_calc_eeprom_checksum_X540); an
// X550 adds words 0x40 and 0x41, and the section of word 2 (ixgbe_calc_checksum_X550).
func sumEEPROM(e []uint16, kind *variant) uint16 {
	var sum uint16
	words, first := eeChecksum, 0x03
	if kind.family == familyX550 {
		words, first = 0x42, 0x02
	}
	for at, w := range e[:words] {
		if at != eeChecksum {
			sum += w
		}
	}
	for at := first; at < eeFirmware; at++ {
		if kind.family != family82599 && (at == eePHY || at == eeROM) {
			continue
		}
		for _, w := range eepromSection(e, at, kind) {
			sum += w
		}
	}
	return sum
}

// eepromSection returns the words of the section that a word points to, without its
// length. The PCI Express sections of an X550 have none, and a fixed length.
func eepromSection(e []uint16, at int, kind *variant) []uint16 {
	p := e[at]
	if p == 0 || p == 0xffff || int(p) >= len(e) {
		return nil
	}
	start, length := int(p)+1, int(e[p])
	if fixed := map[int]int{eeGeneral: 0x24, eeConfig0: 8, eeConfig1: 8}[at]; fixed > 0 && kind.family == familyX550 {
		start, length = int(p), fixed
	}
	if length == 0 || length == 0xffff {
		return nil
	}
	return e[start:min(start+length, len(e))]
}

// loadAddress loads the first receive address from the EEPROM, as after each
// reset (datasheet 8.2.3.7).
func (n *NIC) loadAddress() {
	a := n.cfg.MAC
	n.reg[rRAL/4] = uint32(a[0]) | uint32(a[1])<<8 | uint32(a[2])<<16 | uint32(a[3])<<24
	n.reg[rRAL/4+1] = uint32(a[4]) | uint32(a[5])<<8 | 1<<31
}

const (
	eecSK      = 1 << 0
	eecCS      = 1 << 1
	eecDI      = 1 << 2
	eecDO      = 1 << 3
	eecREQ     = 1 << 6
	eecGNT     = 1 << 7
	eecPresent = 1 << 8
	eecARD     = 1 << 9
	eecAddr16  = 1 << 10
	eecFLUDONE = 1 << 26 // of an X540: the shadow RAM is in the flash

	eecWritable = 0x77 // 6:0 without EE_DO
)

// readEEC shows that an EEPROM is present. Auto-read (ARD) is done autoReadTime
// after a reset. Access is granted at once, since there is no other requester
// (datasheet 8.2.3.2.1).
func (n *NIC) readEEC(int) uint32 {
	v := n.reg[rEEC/4] | eecPresent | eecAddr16 | eeSize<<11
	if n.variant.family != family82599 {
		v |= eecFLUDONE
	}
	if v&eecREQ != 0 {
		v |= eecGNT
	}
	if n.spi.do {
		v |= eecDO
	}
	if n.sinceReset() >= autoReadTime {
		v |= eecARD
	}
	return v
}

// writeEEC drives the EEPROM's pins while access is granted. An X540 has none: its NVM
// is a flash with a copy in RAM, which FLUPD (bit 23) writes to the flash at once.
func (n *NIC) writeEEC(_ int, v uint32) {
	if n.variant.family != family82599 {
		return
	}
	n.reg[rEEC/4] = v & eecWritable
	n.spi.drive(v&eecREQ != 0 && v&eecCS == 0, v&eecSK != 0, v&eecDI != 0)
}

// writeEERD reads the addressed word on START. The next read of EERD returns DONE
// and the data (datasheet 8.2.3.2).
func (n *NIC) writeEERD(_ int, v uint32) {
	const start, done = 1 << 0, 1 << 1
	addr := v >> 2 & 0x3fff
	var data uint16 = 0xffff
	if int(addr) < len(n.eeprom) {
		data = n.eeprom[addr]
	}
	if v&start != 0 {
		v = uint32(data)<<16 | addr<<2 | done
	}
	n.reg[rEERD/4] = v
}

// writeEEWR stores a word on START. Like the device it does not update the
// checksum.
func (n *NIC) writeEEWR(_ int, v uint32) {
	const start, done = 1 << 0, 1 << 1
	addr := v >> 2 & 0x3fff
	if v&start != 0 {
		if int(addr) < len(n.eeprom) {
			n.eeprom[addr] = uint16(v >> 16)
		}
		v = v&^start | done
	}
	n.reg[rEEWR/4] = v
}

// semaphores are those between drivers, and between drivers and firmware
// (datasheet 10.5.4).
type semaphores struct {
	smbi    bool // SWSM.SMBI: set by reading it
	swesmbi bool // SWSM.SWESMBI, of an 82599
	sync    uint32
}

// readSWSM returns SMBI and sets it: a reader that gets 0 owns the semaphore.
func (n *NIC) readSWSM(int) uint32 {
	var v uint32
	if n.sem.smbi {
		v |= 1
	}
	n.sem.smbi = true
	if n.sem.swesmbi {
		v |= 2
	}
	return v
}

// writeSWSM clears SMBI, which writing cannot set. SWESMBI keeps what is written
// unless firmware owns the semaphore; the model's firmware never does.
func (n *NIC) writeSWSM(_ int, v uint32) {
	if v&1 == 0 {
		n.sem.smbi = false
	}
	n.sem.swesmbi = v&2 != 0 && n.variant.family == family82599
}

// readSYNC returns SW_FW_SYNC. That of an X540 and X550 has the semaphore REGSMP for
// the other bits, which is set by reading it (Linux, ixgbe_get_swfw_sync_semaphore).
func (n *NIC) readSYNC(int) uint32 {
	const regsmp = 1 << 31
	v := n.sem.sync
	if n.variant.family != family82599 {
		n.sem.sync |= regsmp
	}
	return v
}

func (n *NIC) writeSYNC(_ int, v uint32) { n.sem.sync = v }
