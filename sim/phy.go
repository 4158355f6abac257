package sim

// phy is the 10GBASE-T PHY of an X540 or X550, at MDIO address 0 (IEEE 802.3 clause
// 45; Linux, mdio.h and ixgbe_phy.c). It negotiates the fastest speed that it and the
// other end offer.
type phy struct {
	id       uint32 // registers 2 and 3 of each MMD
	address  uint16 // of the register in the MMD that is accessed next
	lowPower bool
	offers   [3]uint16 // AN registers with the offers, by the index of phyOffers
}

// MMDs and their registers.
const (
	mmdPMA    = 1
	mmdPCS    = 3
	mmdPHYXS  = 4
	mmdAN     = 7
	mmdVendor = 30

	phyControl = 0
	phyStatus  = 1
	phyID      = 2
	phySpeeds  = 4
	phyMMDs    = 5
	phyStatus2 = 8
	phyExtable = 11

	phyRestart  = 1 << 9 // of AN control
	phyEnabled  = 1 << 12
	phyLowPower = 1 << 11 // of vendor control
	phyPresent  = 2 << 14 // of status 2
	phyFirmware = 0x20    // vendor register
)

// phyOffers are the registers and bits by which the PHY offers a speed, fastest first.
var phyOffers = [...]struct {
	at, bit uint16
	speed   uint32 // LINKS.SPEED
}{
	{0x20, 1 << 12, speed10G},
	{0xc400, 1 << 15, speed1G},
	{0x10, 1 << 8, speed100M},
}

func (p *phy) reset(id uint32) {
	*p = phy{id: id}
	for i, o := range phyOffers {
		p.offers[i] = o.bit
	}
}

// speed is LINKS.SPEED of what the PHY negotiates with another end whose fastest speed
// is given, 0 if they have none in common.
func (p *phy) speed(fastest uint32) uint32 {
	for i, o := range phyOffers {
		if p.offers[i]&o.bit != 0 && o.speed <= fastest && !p.lowPower {
			return o.speed
		}
	}
	return 0
}

// readPHY reads a register of the PHY.
func (n *NIC) readPHY(mmd, at uint16) uint16 {
	p := &n.phy
	switch at {
	case phyID:
		return uint16(p.id >> 16)
	case phyID + 1:
		return uint16(p.id)
	case phyMMDs:
		return 1<<mmdPMA | 1<<mmdPCS | 1<<mmdPHYXS | 1<<mmdAN
	case phyMMDs + 1:
		return 1 << (mmdVendor - 16)
	case phyStatus2:
		return phyPresent
	}
	switch {
	case mmd == mmdPMA && at == phySpeeds:
		return 1 | 1<<4 | 1<<5 // 10G, 1G, 100M
	case mmd == mmdPMA && at == phyExtable:
		return 1<<2 | 1<<5 | 1<<7 // 10GBASE-T, 1000BASE-T, 100BASE-TX
	case (mmd == mmdPMA || mmd == mmdAN) && at == phyStatus && n.link.up:
		return 1<<2 | 1<<5 // link; negotiation has ended
	case mmd == mmdAN && at == phyControl:
		return phyEnabled
	case mmd == mmdVendor && at == phyControl && p.lowPower:
		return phyLowPower
	case mmd == mmdVendor && at == phyFirmware:
		return 0x0102
	case mmd == mmdAN:
		for i, o := range phyOffers {
			if at == o.at {
				return p.offers[i]
			}
		}
	}
	return 0
}

// writePHY writes a register of the PHY. A change of what it offers takes effect when
// the negotiation restarts.
func (n *NIC) writePHY(mmd, at, v uint16) {
	p := &n.phy
	switch {
	case mmd == mmdVendor && at == phyControl:
		was := p.lowPower
		if p.lowPower = v&phyLowPower != 0; was != p.lowPower {
			n.negotiate()
		}
	case mmd == mmdAN && at == phyControl && v&phyRestart != 0:
		n.negotiate()
	case mmd == mmdAN:
		for i, o := range phyOffers {
			if at == o.at {
				p.offers[i] = v
			}
		}
	}
}

// negotiate restarts the negotiation of the PHY.
func (n *NIC) negotiate() {
	n.advanceTime()
	n.link.negotiated = n.phy.speed(n.peerSpeed())
	n.linkRestart()
}

// Operations of an MDIO command (MSCA; datasheet 8.2.3.22).
const (
	mdioCommand = 1 << 30
	mdioOld     = 1 << 28 // clause 22
	mdioAddress = 0
	mdioWrite   = 1
	mdioReadInc = 2
	mdioRead    = 3
)

// writeMSCA completes an MDIO command at once. Where no PHY is addressed, reads return
// all ones, as the pull-up gives.
func (n *NIC) writeMSCA(_ int, v uint32) {
	n.reg[rMSCA/4] = v &^ mdioCommand
	if v&mdioCommand == 0 {
		return
	}
	mmd, port, operation := uint16(v>>16&0x1f), v>>21&0x1f, v>>26&3
	present := n.variant.medium == mediumTwistedPair && port == 0 && v&mdioOld == 0 &&
		(1<<mmd)&(1<<mmdPMA|1<<mmdPCS|1<<mmdPHYXS|1<<mmdAN|1<<mmdVendor) != 0
	data := &n.reg[rMSRWD/4]
	switch {
	case operation == mdioAddress && present:
		n.phy.address = uint16(v)
	case operation == mdioWrite && present:
		n.writePHY(mmd, n.phy.address, uint16(*data))
	case operation == mdioRead || operation == mdioReadInc:
		value := uint16(0xffff)
		if present {
			value = n.readPHY(mmd, n.phy.address)
		}
		*data = *data&0xffff | uint32(value)<<16
		if operation == mdioReadInc {
			n.phy.address++
		}
	}
}
