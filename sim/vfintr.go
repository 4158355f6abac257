package sim

import "math/bits"

// vfCauses are the bits of VTEICR: one per vector.
const vfCauses = 1<<vfVectors - 1

// vfInterrupts holds causes and masks of a virtual function by vector. Queues and the
// mailbox have the vectors that VTIVAR and VTIVAR_MISC name (datasheet 8.3.4).
type vfInterrupts struct {
	cause, mask, sent uint8 // sent: signalled and not cleared since
	next              [vfVectors]int64
}

// raiseMailbox sets the cause of the mailbox.
func (v *VF) raiseMailbox() {
	if v.ivarMisc&ivarValid != 0 {
		v.intr.cause |= 1 << (v.ivarMisc & 3) & vfCauses
	}
}

func (v *VF) readEICR(int) uint32 {
	c := v.intr.cause
	v.writeEICR(0, uint32(c))
	return uint32(c)
}

func (v *VF) writeEICR(_ int, x uint32) {
	v.intr.cause &^= uint8(x)
	v.intr.sent &^= uint8(x)
}

func (v *VF) writeEICS(_ int, x uint32) { v.intr.cause |= uint8(x) & vfCauses }

func (v *VF) readEIMS(int) uint32 { return uint32(v.intr.mask) }

// writeEIMS enables causes. One that is pending then is signalled again.
func (v *VF) writeEIMS(_ int, x uint32) {
	on := uint8(x) & vfCauses
	v.intr.sent &^= on &^ v.intr.mask
	v.intr.mask |= on
}

func (v *VF) writeEIMC(_ int, x uint32) { v.intr.mask &^= uint8(x) }

func (v *VF) writeIVAR(i int, x uint32) {
	v.ivar[i] = x & 0x83838383
	v.nic.dirty = true
}

func (v *VF) writeIVARMISC(_ int, x uint32) { v.ivarMisc = x & 0x83 }

// vectorOf is the vector that VTIVAR assigns to a queue of the port, -1 for none.
func (v *VF) vectorOf(queue int, transmit bool) int8 {
	i := queue - v.queue(0)
	shift := uint(i&1) * 16
	if transmit {
		shift += 8
	}
	entry := v.ivar[i/2] >> shift & 0xff
	if entry&ivarValid == 0 || entry&3 >= vfVectors {
		return -1
	}
	return int8(entry & 3)
}

// interrupt signals the causes that are due at now (ns since 1970) and returns when
// the next moderated vector is due, 0 if none is. A message clears its cause where
// VTEIAC is set and masks it where VTEIAM is.
func (v *VF) interrupt(now int64) (next int64) {
	s := &v.intr
	if !v.onBus {
		return 0
	}
	for want := s.cause & s.mask &^ s.sent; want != 0; want &= want - 1 {
		i := bits.TrailingZeros8(want)
		if now < s.next[i] {
			if next == 0 || s.next[i] < next {
				next = s.next[i]
			}
			continue
		}
		s.next[i] = now + int64(v.itr[i]>>3&0x1ff)*2000
		bit := uint8(1) << i
		s.sent |= bit
		s.cause &^= v.autoClear & bit
		s.sent &^= v.autoClear & bit
		s.mask &^= v.autoMask & bit
		v.host.Raise(2, i)
		v.nic.stats.Interrupts++
	}
	return next
}
