package driver

import (
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// Registers of a 10GBASE-T PHY by MMD (IEEE 802.3, clause 45; Linux, mdio.h and
// ixgbe_phy.c).
const (
	mmdPMA         = 1
	mmdNegotiation = 7
	mmdVendor      = 30

	phyControl  = 0
	phyStatus2  = 8
	phyPresent  = 2 // the upper two bits of status 2
	phyRestart  = 1 << 9
	phyLowPower = 1 << 11 // of the vendor's control: Linux sets it when an interface goes down

	phyAddresses = 32
	mdioLimit    = 10 * time.Millisecond
)

// phyOffers are the bits by which a PHY offers speeds to the other end.
var phyOffers = [...]struct {
	at, bit uint16
	others  uint16 // speeds that are not offered in the same register
	speed   int
}{
	{at: 0x20, bit: 1 << 12, speed: maxSpeed},
	{at: 0xc400, bit: 1 << 15, others: 3 << 10, speed: lowerSpeed}, // others: 2.5 and 5 Gb/s of an X550
	{at: 0x10, bit: 1 << 8, others: 1 << 7, speed: lowestSpeed},    // others: half duplex
}

// negotiatePHY makes the PHY negotiate the link: at any speed, or at Config.Speed only
// (Linux, ixgbe_setup_phy_link_generic). It does not wait for the link.
func (p *Port) negotiatePHY() (err error) {
	release, err := p.acquire(p.phyResource())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	phy, err := p.findPHY()
	if err != nil {
		return err
	}
	if err := phy.change(mmdVendor, phyControl, phyLowPower, 0); err != nil {
		return err
	}
	for _, o := range phyOffers {
		var offer uint16
		if p.cfg.Speed == 0 || p.cfg.Speed == o.speed {
			offer = o.bit
		}
		if err := phy.change(mmdNegotiation, o.at, o.bit|o.others, offer); err != nil {
			return err
		}
	}
	return phy.change(mmdNegotiation, phyControl, 0, phyRestart)
}

// phyResource is the PHY of this port in SW_FW_SYNC.
func (p *Port) phyResource() reg.Resource {
	if reg.STATUS_LAN_ID.Of(p.load(reg.STATUS)) != 0 {
		return reg.SW_FW_SYNC_PHY1
	}
	return reg.SW_FW_SYNC_PHY0
}

// phy is the PHY of a port, whose resource is held.
type phy struct {
	p       *Port
	address uint32 // on the MDIO bus
}

// findPHY returns the first PHY on the port's MDIO bus.
func (p *Port) findPHY() (phy, error) {
	for address := range uint32(phyAddresses) {
		f := phy{p, address}
		v, err := f.read(mmdPMA, phyStatus2)
		if err != nil {
			return f, err
		}
		if v>>14 == phyPresent {
			return f, nil
		}
	}
	return phy{}, errors.New("no PHY answers on the MDIO bus")
}

// command makes an MDIO cycle (8.2.3.22, MSCA).
func (f phy) command(mmd, at uint16, operation uint32) error {
	f.p.store(reg.MSCA, reg.MSCA_ADDRESS.Val(uint32(at))|reg.MSCA_MMD.Val(uint32(mmd))|reg.MSCA_PHY.Val(f.address)|
		reg.MSCA_OPERATION.Val(operation)|reg.MSCA_COMMAND.Val(1))
	return f.p.wait(reg.MSCA, mdioLimit, to(reg.MSCA_COMMAND, 0))
}

func (f phy) read(mmd, at uint16) (uint16, error) {
	err := f.command(mmd, at, reg.MDIO_ADDRESS)
	if err == nil {
		err = f.command(mmd, at, reg.MDIO_READ)
	}
	if err != nil {
		return 0, fmt.Errorf("read PHY register %d.%#x: %w", mmd, at, err)
	}
	return uint16(reg.MSRWD_READ.Of(f.p.load(reg.MSRWD))), nil
}

// change clears bits of a register and sets others.
func (f phy) change(mmd, at, clear, set uint16) error {
	v, err := f.read(mmd, at)
	if err != nil {
		return err
	}
	f.p.store(reg.MSRWD, reg.MSRWD_WRITE.Val(uint32(v&^clear|set)))
	if err = f.command(mmd, at, reg.MDIO_ADDRESS); err == nil {
		err = f.command(mmd, at, reg.MDIO_WRITE)
	}
	if err != nil {
		return fmt.Errorf("write PHY register %d.%#x: %w", mmd, at, err)
	}
	return nil
}
