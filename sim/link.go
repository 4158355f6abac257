package sim

import "time"

// AUTOC of an SFI board: link mode 10G serial (LMS 3), 10G PMA/PMD KX4 and 1G
// SFI as the EEPROM of an X520 loads them; AUTOC2: 10G serial PMA/PMD is SFI.
const (
	autocReset  = 3<<13 | 1<<7
	autoc2Reset = 2 << 16

	autocRestart = 1 << 12
	autocFLU     = 1 << 0 // force link up

	autoc2Disable = 7 << 28

	lms1GNoAN   = 0
	lms10GKX4   = 1
	lms1GAN     = 2
	lms10GSFI   = 3
	speed10G    = 3 << 28
	speed1G     = 2 << 28
	linksUp     = 1 << 30
	linksSignal = 0xf << 8
	esdpLaser   = 1 << 3 // SDP3: TX_DISABLE of the module
	esdpPresent = 1 << 2 // SDP2: a module is in the cage
	esdpDirs    = 0xff00
)

// link is the state of the port's link.
type link struct {
	up        bool
	restarted time.Time     // auto-negotiation or training was started last
	ready     time.Time     // when the link can be up at the earliest
	changed   time.Time     // when the wire's other end changed last
	carrier   bool          // what the wire said last
	delay     time.Duration // from a start to the link being up

	flapAt time.Time // next injected flap
	backAt time.Time // end of the flap in progress

	resetAt   time.Time
	resetBits uint32
}

func (l *link) restart(now time.Time, delay time.Duration) {
	l.delay = delay
	l.restarted = now
	l.ready = now.Add(delay)
	l.up = false
}

// checkLink follows the wire and the link registers; the device thread calls it
// about every millisecond, with n.mu held.
func (n *NIC) checkLink(now time.Time) {
	l := &n.link
	if n.carrier != nil {
		n.carrier.SetCarrier(n.cfg.Module != NoModule && !dark(n.reg[rESDP/4]))
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
		l.up = up
		n.raiseOther(eicrLSC)
	}
}

// linkAllowed: a module is there, its laser is on, and no link-disable bit is
// set in AUTOC2.
func (n *NIC) linkAllowed() bool {
	if n.cfg.Module == NoModule || n.reg[rAUTOC2/4]&autoc2Disable != 0 {
		return false
	}
	return !dark(n.reg[rESDP/4]) && n.linkSpeed() != 0
}

// linkSpeed is LINKS.SPEED for the link mode in AUTOC and the module; 0 when
// they do not fit each other.
func (n *NIC) linkSpeed() uint32 {
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

// writeAUTOC: Restart_AN starts the link anew and clears itself.
func (n *NIC) writeAUTOC(_ int, v uint32) {
	n.settleTime() // the clock's cycle follows the speed
	old := n.reg[rAUTOC/4]
	n.reg[rAUTOC/4] = v &^ autocRestart
	const mode = 7<<13 | 3<<7 | 1<<9
	if v&autocRestart != 0 || v&mode != old&mode {
		n.linkRestart()
	}
}

func (n *NIC) writeAUTOC2(_ int, v uint32) {
	n.reg[rAUTOC2/4] = v
	n.dirty = true
}

func (n *NIC) linkRestart() {
	was := n.link.up
	n.link.restart(time.Now(), n.cfg.LinkDelay)
	if was {
		n.raiseOther(eicrLSC)
	}
}

func (n *NIC) readLINKS(int) uint32 {
	l := &n.link
	var v uint32
	if n.cfg.Module != NoModule && l.carrier {
		v |= linksSignal
	}
	if l.up {
		v |= linksUp | n.linkSpeed()
		if n.linkSpeed() == speed10G {
			v |= 1<<17 | 0xf<<12 // aligned, lanes in sync
		} else {
			v |= 1<<18 | 1<<21
		}
	}
	return v
}

// readANLP1: the auto-negotiation state machine is in state 0 right after a
// restart only; Linux and DPDK wait for it to leave that state.
func (n *NIC) readANLP1(int) uint32 {
	if time.Since(n.link.restarted) < 500*time.Microsecond {
		return 0
	}
	return 4 << 16
}

func (n *NIC) readPCS1GLSTA(int) uint32 {
	if n.link.up && n.linkSpeed() == speed1G {
		return 1 | 1<<4 | 1<<16
	}
	return 0
}

// readESDP: SDP2 is an input and shows that a module is in the cage.
func (n *NIC) readESDP(int) uint32 {
	v := n.reg[rESDP/4] &^ esdpPresent
	if n.cfg.Module != NoModule {
		v |= esdpPresent
	}
	return v
}

// dark: ESDP turns the module's transmitter off, by SDP3 as an output.
func dark(esdp uint32) bool { return esdp&esdpLaser != 0 && esdp&(esdpLaser<<8) != 0 }

// writeESDP: turning the laser off and on again starts the link anew.
func (n *NIC) writeESDP(_ int, v uint32) {
	old := n.reg[rESDP/4]
	n.reg[rESDP/4] = v
	if dark(old) && !dark(v) {
		n.linkRestart()
	}
}
