package sim

import "time"

const (
	ctrlMasterDisable = 1 << 2
	ctrlLinkReset     = 1 << 3
	ctrlReset         = 1 << 26

	statusLinkUp       = 1 << 7
	statusMasterEnable = 1 << 19

	// Durations of CTRL.RST, EEPROM auto-read (EEC.ARD) and DMA initialization
	// (RDRXCTL.DMAIDONE), which software waits for after a reset (datasheet 4.6.3).
	resetTime    = 5 * time.Microsecond
	autoReadTime = 300 * time.Microsecond
	dmaInitTime  = 500 * time.Microsecond
)

// powerOn sets the state after a PCIe reset or a function-level reset. n.mu is
// held.
func (n *NIC) powerOn() {
	n.sem = semaphores{}
	n.i2c.reset()
	n.pci.reset(n.cfg.VFs)
	clear(n.msix[:])
	for v := range vectors {
		n.msix[v*16+12] = 1 // vectors are masked
	}
	n.ioaddr = 0
	n.reset(false)
	n.phy.reset(n.variant.phyID())
	n.link.negotiated = n.phy.speed(n.peerSpeed())
	n.link.restart(time.Now(), n.cfg.LinkDelay)
}

// reset is the common part of all resets. A software reset (CTRL.RST) keeps the
// link and its registers (datasheet 4.2.1).
func (n *NIC) reset(software bool) {
	n.resetRegisters(software)
	if !software {
		n.spi = spiEEPROM{words: n.eeprom}
	}
	n.ctr.clear()
	n.resetVFs()
	n.intr = interrupts{}
	n.clock = sysTime{}
	n.stats.Flushed += uint64(n.rx.fifo.frames())
	n.fdir = flowDirector{}
	n.rx.reset()
	n.tx.reset()
	if n.bells != nil {
		n.bells.clear()
	}
	n.link.resetAt = time.Now()
	n.loadAddress()
}

// writeCTRL starts a reset by RST or LRST. Both clear themselves when it is over
// (datasheet 8.2.3.1).
func (n *NIC) writeCTRL(_ int, v uint32) {
	if v&(ctrlReset|ctrlLinkReset) != 0 {
		n.reset(v&ctrlLinkReset == 0)
		if v&ctrlLinkReset != 0 {
			n.link.restart(time.Now(), n.cfg.LinkDelay)
		}
		n.link.resetBits = v & (ctrlReset | ctrlLinkReset)
		v &^= ctrlReset | ctrlLinkReset | ctrlMasterDisable
	}
	if v&^n.reg[rCTRL/4]&ctrlMasterDisable != 0 {
		n.link.disabledAt = time.Now()
	}
	n.reg[rCTRL/4] = v
	n.dirty = true
}

// pending reports whether bus requests are pending: those of an injected fault.
func (n *NIC) pending() bool {
	return n.cfg.Faults.Pending > 0 && n.reg[rCTRL/4]&ctrlMasterDisable != 0 && time.Since(n.link.disabledAt) < n.cfg.Faults.Pending
}

func (n *NIC) readCTRL(int) uint32 {
	v := n.reg[rCTRL/4]
	if n.sinceReset() < resetTime {
		v |= n.link.resetBits
	}
	return v
}

func (n *NIC) sinceReset() time.Duration { return time.Since(n.link.resetAt) }

// readSTATUS shows function LAN 0. The master enable status clears at once, since
// no request is pending between passes, except in the PCI Express block by a fault.
func (n *NIC) readSTATUS(int) uint32 {
	var v uint32
	if n.link.up {
		v |= statusLinkUp
	}
	if n.reg[rCTRL/4]&ctrlMasterDisable == 0 {
		v |= statusMasterEnable
	}
	return v
}

// master reports whether the function may issue requests on the bus.
func (n *NIC) master() bool {
	return !n.removed && n.host != nil && n.pci.busMaster() && n.reg[rCTRL/4]&ctrlMasterDisable == 0
}

// readRDRXCTL sets DMAIDONE once the receive DMA unit is initialized (datasheet
// 8.2.3.8.8).
func (n *NIC) readRDRXCTL(int) uint32 {
	v := n.reg[rRDRXCTL/4] &^ (1 << 3)
	if n.sinceReset() >= dmaInitTime {
		v |= 1 << 3
	}
	return v
}

// readFRTIMER is the free-running timer in microseconds.
func (n *NIC) readFRTIMER(int) uint32 { return uint32(time.Now().UnixMicro()) }

// readCIAD and writeCIAD access configuration space at the address in CIAA
// (datasheet 8.2.3.4).
func (n *NIC) readCIAD(int) uint32 {
	ciaa, _ := n.variant.configAccess()
	return n.pci.load32(int(n.reg[ciaa/4] & 0xffc))
}

func (n *NIC) writeCIAD(_ int, v uint32) {
	ciaa, _ := n.variant.configAccess()
	off := int(n.reg[ciaa/4] & 0xffc)
	n.pci.write(off, []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
}

// secDisable is RX_DIS of SECRXCTRL and TX_DIS of SECTXCTRL. It stops the security
// block, which all frames pass. Once the path is empty the block is ready to be
// configured: SECRXSTAT.SECRX_RDY and SECTXSTAT.SECTX_RDY are set while it is
// stopped (datasheet 8.2.3.13; Linux, ixgbe_disable_rx_buff_generic).
const secDisable = 1 << 1

func (n *NIC) readSECRXSTAT(int) uint32 { return n.reg[rSECRXCTRL/4] & secDisable >> 1 }

func (n *NIC) readSECTXSTAT(int) uint32 {
	if n.tx.out.len() > 0 {
		return 0
	}
	return n.reg[rSECTXCTRL/4] & secDisable >> 1
}
