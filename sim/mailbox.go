package sim

const (
	mailWords   = 16 // 64 bytes
	eicrMailbox = 1 << 19

	ctrlExtPFRSTD = 1 << 14
)

// Bits of VFMAILBOX and PFMAILBOX (datasheet 8.2.3.27.8, 8.3.5).
const (
	vfmREQ   = 1 << 0 // a message for the physical function; write-only
	vfmACK   = 1 << 1 // its message was read; write-only
	vfmVFU   = 1 << 2 // the virtual function uses the buffer
	vfmPFU   = 1 << 3
	vfmPFSTS = 1 << 4 // the physical function has written a message; cleared by reading
	vfmPFACK = 1 << 5 // and has read one; cleared by reading
	vfmRSTI  = 1 << 6 // the physical function is in reset
	vfmRSTD  = 1 << 7 // its reset is done; cleared by reading

	pfmSTS  = 1 << 0 // a message for the virtual function; write-only
	pfmACK  = 1 << 1
	pfmVFU  = 1 << 2
	pfmPFU  = 1 << 3
	pfmRVFU = 1 << 4 // takes the buffer from the virtual function
)

// mailbox is the buffer between a virtual function and the physical one, which only
// one of them may use at a time.
//
//	VF: VFU, VFMBMEM, REQ -> PFMBICR.VFREQ, EICR.MAILBOX -> PF: PFU, PFMBMEM, ACK
//	PF: PFU, PFMBMEM, STS -> VFMAILBOX.PFSTS, VTEICR     -> VF: VFU, VFMBMEM, ACK
type mailbox struct {
	mem       [mailWords]uint32
	vfu, pfu  bool
	sts, ack  bool // PFSTS, PFACK
	resetting bool // RSTI
	done      bool // RSTD
}

// reset ends the use of the buffer at a reset of the virtual function.
func (m *mailbox) reset() { m.vfu, m.sts, m.ack = false, false, false }

func (m *mailbox) writeVF(i int, x uint32) {
	if m.vfu {
		m.mem[i] = x
	}
}

func flag(on bool, bit uint32) uint32 {
	if on {
		return bit
	}
	return 0
}

func (v *VF) readMAILBOX(int) uint32 {
	m := &v.mail
	x := flag(m.vfu, vfmVFU) | flag(m.pfu, vfmPFU) | flag(m.sts, vfmPFSTS) | flag(m.ack, vfmPFACK) |
		flag(m.resetting, vfmRSTI) | flag(m.done, vfmRSTD)
	m.sts, m.ack, m.done = false, false, false
	return x
}

func (v *VF) writeMAILBOX(_ int, x uint32) {
	m := &v.mail
	m.vfu = x&vfmVFU != 0 && !m.pfu
	request := uint32(1) << (v.index % 16)
	if x&vfmREQ != 0 {
		v.toPhysical(request)
	}
	if x&vfmACK != 0 {
		v.toPhysical(request << 16)
	}
}

// toPhysical sets causes of PFMBICR and interrupts the physical function if PFMBIMR
// allows it.
func (v *VF) toPhysical(causes uint32) {
	n := v.nic
	n.reg[rPFMBICR/4+v.index/16] |= causes
	if n.reg[rPFMBIMR/4+v.index/32]>>(v.index%32)&1 != 0 {
		n.raiseOther(eicrMailbox)
	}
}

// readPFMAILBOX and the following are the physical function's side, for virtual
// function i.
func (n *NIC) readPFMAILBOX(i int) uint32 {
	if i >= len(n.vfs) {
		return 0
	}
	m := &n.vfs[i].mail
	return flag(m.vfu, pfmVFU) | flag(m.pfu, pfmPFU)
}

func (n *NIC) writePFMAILBOX(i int, x uint32) {
	if i >= len(n.vfs) {
		return
	}
	v := n.vfs[i]
	m := &v.mail
	if x&pfmRVFU != 0 {
		m.vfu = false
	}
	m.pfu = x&pfmPFU != 0 && !m.vfu
	if x&pfmSTS != 0 {
		m.sts = true
		v.raiseMailbox()
	}
	if x&pfmACK != 0 {
		m.ack = true
		v.raiseMailbox()
	}
}

func (n *NIC) readPFMBMEM(i int) uint32 {
	if i/mailWords >= len(n.vfs) {
		return 0
	}
	return n.vfs[i/mailWords].mail.mem[i%mailWords]
}

// writePFMBMEM writes the buffer. Linux also clears it without PFU
// (ixgbe_vf_clear_mbx).
func (n *NIC) writePFMBMEM(i int, x uint32) {
	if i/mailWords < len(n.vfs) && !n.vfs[i/mailWords].mail.vfu {
		n.vfs[i/mailWords].mail.mem[i%mailWords] = x
	}
}

// writePFVFLREC clears bits of PFVFLRE.
func (n *NIC) writePFVFLREC(i int, x uint32) { n.reg[rPFVFLRE[i]/4] &^= x }

// writeCTRLEXT ends the reset of the physical function for the virtual ones when
// PFRSTD becomes set (datasheet 8.2.3.1).
func (n *NIC) writeCTRLEXT(_ int, x uint32) {
	old := n.reg[rCTRLEXT/4]
	n.reg[rCTRLEXT/4] = x
	n.dirty = true
	if x&^old&ctrlExtPFRSTD != 0 {
		for _, v := range n.vfs {
			v.mail.resetting, v.mail.done = false, true
			v.raiseMailbox()
		}
	}
}

// resetVFs is the effect of a reset of the port on the virtual functions: their
// queues stop, and VFMAILBOX shows RSTI until PFRSTD is set.
func (n *NIC) resetVFs() {
	for _, v := range n.vfs {
		v.mail = mailbox{resetting: true}
		v.raiseMailbox()
		for i := range 2 * vfQueues {
			v.tails.line(i).Store(0)
		}
	}
}
