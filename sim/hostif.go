package sim

// The host interface of an X550 (Linux, ixgbe_hic_unlocked): software writes a command
// to the RAM that it shares with the firmware and sets HICR.C; the answer is in the same
// place.
const (
	rHICR    = 0x15f00
	rFLEXMNG = 0x15800 // the RAM

	hostWords = 448

	hicrEnabled = 1 << 0
	hicrCommand = 1 << 1
	hicrValid   = 1 << 2 // the command was carried out

	hostRead    = 0x31 // words of the shadow RAM of the NVM
	hostWrite   = 0x33
	hostDump    = 0x36 // the shadow RAM to the flash
	hostVersion = 0xdd // of the driver
	hostData    = 12   // offset of data in the RAM, bytes
	hostOK      = 1    // status in the header of an answer
)

// writeHICR carries a command out at once.
func (n *NIC) writeHICR(_ int, v uint32) {
	n.reg[rHICR/4] = hicrEnabled
	if v&hicrCommand != 0 && n.hostCommand() {
		n.reg[rHICR/4] |= hicrValid
	}
}

// hostCommand carries the command in the RAM out, and reports whether it is one that
// there is. Addresses and lengths are in bytes, most significant first.
func (n *NIC) hostCommand() bool {
	ram := n.reg[rFLEXMNG/4:][:hostWords]
	b := func(at int) int { return int(ram[at/4] >> (8 * (at % 4)) & 0xff) }
	command := b(0)
	at := (b(4)<<24 | b(5)<<16 | b(6)<<8 | b(7)) / 2
	words := (b(8)<<8 | b(9)) / 2
	switch command {
	case hostRead:
		if hostData+2*words > 4*hostWords || at+words > len(n.eeprom) {
			return false
		}
		for i, w := range n.eeprom[at : at+words] {
			k, shift := hostData/4+i/2, 16*(i%2)
			ram[k] = ram[k]&^(0xffff<<shift) | uint32(w)<<shift
		}
	case hostWrite:
		if at >= len(n.eeprom) {
			return false
		}
		n.eeprom[at] = uint16(b(hostData) | b(hostData+1)<<8)
	case hostDump, hostVersion:
	default:
		return false
	}
	ram[0] = uint32(command) | hostOK<<16
	return true
}
