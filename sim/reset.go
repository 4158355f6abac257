package sim

import "time"

const (
	ctrlMasterDisable = 1 << 2
	ctrlLinkReset     = 1 << 3
	ctrlReset         = 1 << 26

	statusLinkUp       = 1 << 7
	statusMasterEnable = 1 << 19

	// Times after a reset, within what drivers wait: Linux gives RST 10 us and
	// then sleeps 50 ms; others poll EEC.ARD and RDRXCTL.DMAIDONE at once
	// (datasheet 4.6.3).
	resetTime    = 5 * time.Microsecond
	autoReadTime = 300 * time.Microsecond
	dmaInitTime  = 500 * time.Microsecond
)

// powerOn brings the port to the state after PCIe reset or a function-level
// reset. n.mu is held, or nobody else has the NIC yet.
func (n *NIC) powerOn() {
	n.sem = semaphores{}
	n.i2c.reset()
	n.pci.reset()
	clear(n.msix[:])
	for v := range vectors {
		n.msix[v*16+12] = 1 // vectors are masked
	}
	n.ioaddr = 0
	n.reset(false)
	n.link.restart(time.Now(), n.cfg.LinkDelay)
}

// reset is the part that all resets have in common. A software reset (CTRL.RST)
// leaves the link and what belongs to it alone, as firmware and the link
// partner may be using it.
func (n *NIC) reset(software bool) {
	n.resetRegisters(software)
	n.ctr.clear()
	n.intr = interrupts{}
	n.clock = sysTime{}
	n.stats.Flushed += uint64(n.rx.fifo.frames())
	n.rx.reset()
	n.tx.reset()
	if n.bells != nil {
		n.bells.clear()
	}
	n.link.resetAt = time.Now()
	n.loadAddress()
}

// writeCTRL: RST and LRST clear themselves when the reset is over; reads until
// then return them set.
func (n *NIC) writeCTRL(_ int, v uint32) {
	if v&(ctrlReset|ctrlLinkReset) != 0 {
		n.reset(v&ctrlLinkReset == 0)
		if v&ctrlLinkReset != 0 {
			n.link.restart(time.Now(), n.cfg.LinkDelay)
		}
		n.link.resetBits = v & (ctrlReset | ctrlLinkReset)
		v &^= ctrlReset | ctrlLinkReset | ctrlMasterDisable
	}
	n.reg[rCTRL/4] = v
	n.dirty = true
}

func (n *NIC) readCTRL(int) uint32 {
	v := n.reg[rCTRL/4]
	if n.sinceReset() < resetTime {
		v |= n.link.resetBits
	}
	return v
}

func (n *NIC) sinceReset() time.Duration { return time.Since(n.link.resetAt) }

// readSTATUS: the function is LAN 0. The master enable status clears as soon as
// no request is pending, which is at once here.
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

// master tells whether the function may issue requests on the bus.
func (n *NIC) master() bool {
	return !n.removed && n.host != nil && n.pci.busMaster() && n.reg[rCTRL/4]&ctrlMasterDisable == 0
}

// readRDRXCTL: DMAIDONE is set when the receive DMA unit has initialised itself.
func (n *NIC) readRDRXCTL(int) uint32 {
	v := n.reg[rRDRXCTL/4] &^ (1 << 3)
	if n.sinceReset() >= dmaInitTime {
		v |= 1 << 3
	}
	return v
}

// readFRTIMER is the free-running timer, in microseconds.
func (n *NIC) readFRTIMER(int) uint32 { return uint32(time.Now().UnixMicro()) }

// Configuration space through CIAA and CIAD, which Linux uses for its virtual
// functions only.
func (n *NIC) readCIAD(int) uint32 {
	return n.pci.load32(int(n.reg[rCIAA/4] & 0xffc))
}

func (n *NIC) writeCIAD(_ int, v uint32) {
	off := int(n.reg[rCIAA/4] & 0xffc)
	n.pci.write(off, []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
}

// Flow Director: initialisation and commands complete at once.
func (n *NIC) writeFDIRCTRL(_ int, v uint32) {
	const initDone = 1 << 3
	if v&3 != 0 {
		v |= initDone
	} else {
		v &^= initDone
	}
	n.reg[rFDIRCTRL/4] = v
}

func (n *NIC) writeFDIRCMD(_ int, v uint32) { n.reg[rFDIRCMD/4] = v &^ 3 }

// secDisable is RX_DIS of SECRXCTRL and TX_DIS of SECTXCTRL: the security block,
// which all frames go through, is to stop. It is ready to be set up once the path
// has run empty (SECRXSTAT.SECRX_RDY, SECTXSTAT.SECTX_RDY), and says so only while
// it is stopped: Linux stops it around changes of the receive unit and waits for
// the bit (ixgbe_disable_rx_buff_generic).
const secDisable = 1 << 1

func (n *NIC) readSECRXSTAT(int) uint32 { return n.reg[rSECRXCTRL/4] & secDisable >> 1 }

func (n *NIC) readSECTXSTAT(int) uint32 {
	if len(n.tx.out) > 0 {
		return 0
	}
	return n.reg[rSECTXCTRL/4] & secDisable >> 1
}
