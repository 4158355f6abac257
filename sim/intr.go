package sim

import "math/bits"

const (
	eicrPCI   = 1 << 18
	eicrLSC   = 1 << 20
	eicrOther = 0x7fff0000 // causes that are not a queue's

	gpieMSIX  = 1 << 4
	gpieOCD   = 1 << 5
	gpieEIAME = 1 << 30

	ivarValid = 1 << 7
)

// interrupts holds causes and masks by vector. EICR's low 16 bits are vectors 0-15;
// EICS_EX, EIMS_EX and EIMC_EX cover all 64. The other causes have the vector that
// IVAR_MISC names (datasheet 7.3).
type interrupts struct {
	queue  uint64 // causes by vector
	qmask  uint64 // enabled
	other  uint32 // EICR 30:16
	omask  uint32
	sent   uint64         // causes that were signalled and not cleared since
	osent  uint32         // the same for other causes
	single bool           // the same for the one interrupt without GPIE.Multiple_MSIX
	next   [vectors]int64 // earliest time of the next message, ns since 1970
}

// raiseQueue sets the cause of a queue's vector; -1 is none.
func (n *NIC) raiseQueue(vector int8) {
	if vector >= 0 {
		n.intr.queue |= 1 << vector
	}
}

func (n *NIC) raiseOther(cause uint32) { n.intr.other |= cause }

// clearCauses clears causes, as reading EICR or writing ones to it does, and
// applies auto-mask (datasheet 7.3.1).
func (n *NIC) clearCauses(v uint32) {
	s := &n.intr
	if n.reg[rGPIE/4]&gpieMSIX == 0 || n.reg[rGPIE/4]&gpieEIAME == 0 {
		n.maskCauses(v & n.reg[rEIAM/4])
	}
	s.queue &^= uint64(v & 0xffff)
	s.sent &^= uint64(v & 0xffff)
	s.other &^= v & eicrOther
	s.osent &^= v & eicrOther
	s.single = false
}

func (n *NIC) maskCauses(v uint32) {
	n.intr.qmask &^= uint64(v & 0xffff)
	n.intr.omask &^= v & eicrOther
}

func (n *NIC) eicr() uint32 { return uint32(n.intr.queue)&0xffff | n.intr.other }

// readEICR clears what it returns, with GPIE.OCD only the causes other than
// queues (datasheet 7.3.1.2).
func (n *NIC) readEICR(int) uint32 {
	v := n.eicr()
	if n.reg[rGPIE/4]&gpieOCD != 0 {
		n.clearCauses(v & eicrOther)
	} else {
		n.clearCauses(v)
	}
	return v
}

func (n *NIC) writeEICR(_ int, v uint32) { n.clearCauses(v) }

// readEICS returns the causes without clearing them (datasheet 8.2.3.5.2).
func (n *NIC) readEICS(int) uint32 { return n.eicr() }

func (n *NIC) writeEICS(_ int, v uint32) {
	n.intr.queue |= uint64(v & 0xffff)
	n.intr.other |= v & eicrOther
	n.maskCauses(v & n.reg[rEIAM/4])
}

func (n *NIC) readEIMS(int) uint32 { return uint32(n.intr.qmask)&0xffff | n.intr.omask }

// writeEIMS enables causes. One that is pending then is signalled again.
func (n *NIC) writeEIMS(_ int, v uint32) {
	s := &n.intr
	s.sent &^= uint64(v&0xffff) &^ s.qmask
	s.osent &^= v & eicrOther &^ s.omask
	s.qmask |= uint64(v & 0xffff)
	s.omask |= v & eicrOther
	s.single = false
}

func (n *NIC) writeEIMC(_ int, v uint32) { n.maskCauses(v) }

func (n *NIC) writeEICSEX(i int, v uint32) { n.intr.queue |= uint64(v) << (32 * i) }

func (n *NIC) readEIMSEX(i int) uint32 { return uint32(n.intr.qmask >> (32 * i)) }

func (n *NIC) writeEIMSEX(i int, v uint32) {
	on := uint64(v) << (32 * i)
	n.intr.sent &^= on &^ n.intr.qmask
	n.intr.qmask |= on
	n.intr.single = false
}

func (n *NIC) writeEIMCEX(i int, v uint32) { n.intr.qmask &^= uint64(v) << (32 * i) }

// interval is a vector's minimum distance between interrupts in ns: EITR 11:3 in
// units of 2 us.
func (n *NIC) interval(v int) int64 {
	off := uint32(rEITR + 4*v)
	if v >= 24 {
		off = rEITR24 + 4*uint32(v-24)
	}
	return int64(n.reg[off/4]>>3&0x1ff) * 2000
}

// interrupt signals the causes that are due at now (ns since 1970). It returns when
// the next moderated vector is due, 0 if none is. Only the device thread calls it.
func (n *NIC) interrupt(now int64) (next int64) {
	s := &n.intr
	if s.queue == 0 && s.other == 0 || n.host == nil || n.removed {
		return 0
	}
	if n.reg[rGPIE/4]&gpieMSIX == 0 {
		return n.interruptSingle(now)
	}
	if !n.master() {
		return 0
	}
	want := s.queue & s.qmask &^ s.sent
	misc := n.reg[rIVARMISC/4] >> 8
	if s.other&s.omask&^s.osent != 0 && misc&ivarValid != 0 {
		want |= 1 << (misc & 0x3f)
	}
	for want != 0 {
		v := bits.TrailingZeros64(want)
		want &= want - 1
		if now < s.next[v] {
			if next == 0 || s.next[v] < next {
				next = s.next[v]
			}
			continue
		}
		s.next[v] = now + n.interval(v)
		s.sent |= 1 << v & s.queue // not set when other causes alone signal it
		if misc&ivarValid != 0 && int(misc&0x3f) == v {
			s.osent |= s.other & s.omask
		}
		n.autoClear(v)
		if !n.cfg.Faults.NoMSIX {
			n.host.Raise(2, v)
			n.stats.Interrupts++
		}
	}
	return next
}

// autoClear clears the cause of a vector that has been signalled where EIAC is
// set, and masks it where EIAM and GPIE.EIAME are (datasheet 7.3.1.4).
func (n *NIC) autoClear(v int) {
	s := &n.intr
	bit := uint64(1) << v
	if v > 15 || n.reg[rEIAC/4]&(1<<v) != 0 {
		s.queue &^= bit
		s.sent &^= bit
	}
	if n.reg[rGPIE/4]&gpieEIAME != 0 {
		auto := uint64(n.reg[rEIAMEX/4]) | uint64(n.reg[rEIAMEX/4+1])<<32 | uint64(n.reg[rEIAM/4]&0xffff)
		s.qmask &^= auto & bit
	}
}

// interruptSingle signals all causes by one interrupt, as GPIE.Multiple_MSIX clear
// selects: INTx, MSI or vector 0 of MSI-X, moderated by EITR 0 (datasheet 8.2.3.5.18).
// It raises all three; the client has connected the one it uses. Messages are memory
// writes and need Bus Master Enable; INTx is a PCI Express message of its own and
// does not.
func (n *NIC) interruptSingle(now int64) (next int64) {
	s := &n.intr
	if n.eicr()&n.readEIMS(0) == 0 || s.single {
		return 0
	}
	master, line := n.master(), n.pci.load16(0x04)&commandNoINTx == 0
	if !master && (!line || n.pci.sendsMessages() || !n.pci.awake()) {
		return 0
	}
	if now < s.next[0] {
		return s.next[0]
	}
	s.next[0] = now + n.interval(0)
	s.single = true
	if master {
		n.host.Raise(1, 0)
		if !n.cfg.Faults.NoMSIX {
			n.host.Raise(2, 0)
		}
	}
	if line {
		n.host.Raise(0, 0)
	}
	n.stats.Interrupts++
	return 0
}

const (
	commandNoINTx = 1 << 10
	statusINTx    = 1 << 3
)

// intxPending is Interrupt Status of the PCI status register: an enabled cause is
// pending for INTx, whether or not Interrupt Disable of the command register is
// set (PCI 3.0, 6.2.3).
func (n *NIC) intxPending() bool {
	return n.eicr()&n.readEIMS(0) != 0 && n.reg[rGPIE/4]&gpieMSIX == 0 && !n.pci.sendsMessages()
}

// readConfig reads configuration space, with Interrupt Status and Transactions Pending
// computed.
func (n *NIC) readConfig(off uint64, p []byte) error {
	n.pci.b[0x06] &^= statusINTx
	if n.intxPending() {
		n.pci.b[0x06] |= statusINTx
	}
	const transactionsPending = 1 << 5 // device status
	n.pci.b[capPCIE+10] &^= transactionsPending
	if n.pending() {
		n.pci.b[capPCIE+10] |= transactionsPending
	}
	return copyOut(p, n.pci.b[:], off)
}

// writeConfig writes configuration space. When it clears Interrupt Disable while a
// cause is pending, INTx is asserted at once.
func (n *NIC) writeConfig(off int, p []byte) {
	disabled := n.pci.load16(0x04) & commandNoINTx
	if n.pci.write(off, p) {
		n.powerOn()
	}
	if disabled != 0 && n.pci.load16(0x04)&commandNoINTx == 0 {
		n.intr.single = false
	}
}

// vectorOf is the vector that IVAR assigns to a queue, -1 for none.
func (n *NIC) vectorOf(queue int, transmit bool) int8 {
	shift := uint(queue&1) * 16
	if transmit {
		shift += 8
	}
	entry := n.reg[rIVAR/4+queue/2] >> shift & 0xff
	if entry&ivarValid == 0 {
		return -1
	}
	return int8(entry & 0x3f)
}
