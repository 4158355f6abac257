package sim

import "time"

// AUTOC and AUTOC2 as the EEPROM of an X520 loads them: link mode 10G serial
// (LMS 3), 10G PMA/PMD KX4, 1G SFI; 10G serial PMA/PMD is SFI.
const (
	autocReset  = 3<<13 | 1<<7
	autoc2Reset = 2 << 16

	autocRestart = 1 << 12

	autoc2Disable = 7 << 28

	lms1GNoAN   = 0
	lms10GKX4   = 1
	lms1GAN     = 2
	lms10GSFI   = 3
	lmsKX4KXKR  = 4
	linksKXDone = 1 << 31
	speed10G    = 3 << 28
	speed1G     = 2 << 28
	speed100M   = 1 << 28
	linksUp     = 1 << 30
	linksSignal = 0xf << 8
	esdpLaser   = 1 << 3 // SDP3: TX_DISABLE of the module
	esdpPresent = 1 << 2 // SDP2: a module is present
)

// link is the state of the link.
type link struct {
	up        bool
	restarted time.Time     // last start of auto-negotiation or training
	ready     time.Time     // earliest time of link up
	checked   time.Time     // last checkLink
	carrier   bool          // of the wire, at the last checkLink
	delay     time.Duration // from a start to link up

	negotiated uint32 // LINKS.SPEED, by the PHY

	flapAt time.Time // next injected flap
	backAt time.Time // end of the flap in progress

	disabledAt time.Time // CTRL.MASTER_DISABLE was set

	resetAt   time.Time
	resetBits uint32
}

func (l *link) restart(now time.Time, delay time.Duration) {
	l.delay = delay
	l.restarted = now
	l.ready = now.Add(delay)
	l.up = false
}

// checkLink updates the link from the wire's carrier and the link registers. The
// device thread calls it every linkPeriod, with n.mu held.
func (n *NIC) checkLink(now time.Time) {
	l := &n.link
	if n.carrier != nil {
		n.carrier.SetCarrier(n.connected() && !n.darkened())
	}
	if carrier := n.wire.Up(); carrier != l.carrier {
		l.carrier = carrier
		if ready := now.Add(l.delay); carrier && ready.After(l.ready) {
			l.ready = ready
		}
	}
	if every := n.cfg.Faults.LinkFlap; every > 0 {
		if l.flapAt.IsZero() {
			l.flapAt = now.Add(every)
		}
		if now.After(l.flapAt) {
			l.flapAt = now.Add(every)
			l.backAt = now.Add(l.delay)
		}
	}
	up := l.carrier && !now.Before(l.ready) && !now.Before(l.backAt) && n.linkAllowed()
	if up != l.up {
		n.advanceTime() // the clock's cycle depends on the link
		l.up = up
		n.tx.setSpeed(n.linkSpeed())
		n.raiseOther(eicrLSC)
	}
}

// connected reports whether the port is connected to the wire: an SFP+ cage needs a
// module.
func (n *NIC) connected() bool { return n.variant.medium != mediumCage || n.cfg.Module != NoModule }

// darkened reports whether software has turned the transmitter off.
func (n *NIC) darkened() bool {
	if n.variant.medium == mediumTwistedPair {
		return n.phy.lowPower
	}
	return txDisabled(n.reg[rESDP/4])
}

// linkAllowed reports whether the port is connected, its transmitter is on, no
// link-disable bit is set in AUTOC2, and the link mode fits the medium.
func (n *NIC) linkAllowed() bool {
	if !n.connected() || n.reg[rAUTOC2/4]&autoc2Disable != 0 {
		return false
	}
	return !n.darkened() && n.linkSpeed() != 0
}

// linkSpeed is LINKS.SPEED for the link mode in AUTOC and the medium, 0 when the
// mode does not fit the medium.
func (n *NIC) linkSpeed() uint32 {
	switch n.variant.medium {
	case mediumFixed:
		return n.withPeer(fixedSpeed(n.reg[rAUTOC/4], n.variant.autoc))
	case mediumTwistedPair:
		if n.phy.lowPower {
			return 0
		}
		return n.link.negotiated
	}
	return n.withPeer(n.cageSpeed())
}

// withPeer returns speed, 0 if it is not that of the other end.
func (n *NIC) withPeer(speed uint32) uint32 {
	if n.cfg.PeerSpeed != 0 && speed != n.peerSpeed() {
		return 0
	}
	return speed
}

// peerSpeed is the fastest speed of the other end as LINKS.SPEED.
func (n *NIC) peerSpeed() uint32 {
	switch n.cfg.PeerSpeed {
	case 100:
		return speed100M
	case 1000:
		return speed1G
	}
	return speed10G
}

// cageSpeed is linkSpeed of an SFP+ cage.
func (n *NIC) cageSpeed() uint32 {
	mode := n.reg[rAUTOC/4] >> 13 & 7
	gigabit := n.cfg.Module == ModuleSX
	switch mode {
	case lms10GSFI:
		if !gigabit && n.reg[rAUTOC2/4]>>16&3 == 2 {
			return speed10G
		}
	case lms1GNoAN, lms1GAN:
		if gigabit {
			return speed1G
		}
	}
	return 0
}

// fixedSpeed is LINKS.SPEED of a board without a cage for AUTOC, 0 for a mode that is
// not that of the board. The other end of a backplane has every speed.
func fixedSpeed(autoc, board uint32) uint32 {
	if (autoc^board)>>13&7 != 0 {
		return 0
	}
	if board>>13&7 != lmsKX4KXKR || autoc&board&(autocOffersKX4|autocOffersKR) != 0 {
		return speed10G
	}
	if autoc&board&autocOffersKX != 0 {
		return speed1G
	}
	return 0
}

// writeAUTOC restarts a link without a PHY on Restart_AN, which clears itself, and when the
// link mode changes (datasheet 8.2.3.22).
func (n *NIC) writeAUTOC(_ int, v uint32) {
	n.advanceTime()
	old := n.reg[rAUTOC/4]
	n.reg[rAUTOC/4] = v &^ autocRestart
	const mode = 7<<13 | 3<<7 | 1<<9 | autocOffersKX4 | autocOffersKX | autocOffersKR
	if n.variant.medium != mediumTwistedPair && (v&autocRestart != 0 || v&mode != old&mode) {
		n.linkRestart()
	}
}

func (n *NIC) writeAUTOC2(_ int, v uint32) {
	n.reg[rAUTOC2/4] = v
	n.dirty = true
}

func (n *NIC) linkRestart() {
	n.advanceTime()
	was := n.link.up
	n.link.restart(time.Now(), n.cfg.LinkDelay)
	if was {
		n.raiseOther(eicrLSC)
	}
}

func (n *NIC) readLINKS(int) uint32 {
	l := &n.link
	var v uint32
	if n.connected() && l.carrier {
		v |= linksSignal
	}
	if l.up {
		v |= linksUp | n.linkSpeed()
		if n.variant.medium == mediumFixed && n.reg[rAUTOC/4]>>13&7 == lmsKX4KXKR {
			v |= linksKXDone
		}
		if n.linkSpeed() == speed10G {
			v |= 1<<17 | 0xf<<12 // aligned, lanes in sync
		} else {
			v |= 1<<18 | 1<<21
		}
	}
	return v
}

// readANLP1 shows the auto-negotiation arbitration state: 0 (AN enable) for 500 us
// after a restart, then 4 (datasheet 8.2.3.22).
func (n *NIC) readANLP1(int) uint32 {
	if time.Since(n.link.restarted) < 500*time.Microsecond {
		return 0
	}
	return 4 << 16
}

func (n *NIC) readPCS1GLSTA(int) uint32 {
	if n.link.up && n.linkSpeed() == speed1G {
		v := uint32(1 | 1<<4) // link, synchronised
		if n.reg[rAUTOC/4]>>13&7 == lms1GAN {
			v |= 1<<16 | 1<<17 // negotiation has ended, a page was received
		}
		return v
	}
	return 0
}

// readPCS1GANLP is what the other end offers: full duplex, acknowledged (clause 37).
func (n *NIC) readPCS1GANLP(int) uint32 {
	if n.readPCS1GLSTA(0)&(1<<16) == 0 {
		return 0
	}
	return 1<<5 | 1<<14
}

// readESDP returns SDP2, an input of the board: set while a module is present.
func (n *NIC) readESDP(int) uint32 {
	v := n.reg[rESDP/4] &^ esdpPresent
	if n.cfg.Module != NoModule {
		v |= esdpPresent
	}
	return v
}

// txDisabled reports whether ESDP turns the module's transmitter off: SDP3 is an
// output and set.
func txDisabled(esdp uint32) bool { return esdp&esdpLaser != 0 && esdp&(esdpLaser<<8) != 0 }

// writeESDP restarts the link when it turns the transmitter on.
func (n *NIC) writeESDP(_ int, v uint32) {
	old := n.reg[rESDP/4]
	n.reg[rESDP/4] = v
	if txDisabled(old) && !txDisabled(v) {
		n.linkRestart()
	}
}
