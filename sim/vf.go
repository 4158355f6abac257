package sim

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/sim/server"
)

const (
	maxVFs     = 63 // one of the 64 pools is the physical function's
	vfBAR0Size = 16 << 10
	vfBAR3Size = 16 << 10
	vfVectors  = 3
	vfQueues   = 8 // at most, with 16 pools

	vfRegionMSIX = 3
)

// VF is a virtual function of a NIC (device 10EDh; datasheet 7.10, 8.3, 9.4): its
// registers and interrupts, and the queues of its pool. It implements server.Device.
// It works once the driver of the physical function has set the pools up and
// CTRL_EXT.PFRSTD.
type VF struct {
	function
	nic   *NIC
	index int
	tails tails // line 0-7 receive tails, 8-15 transmit tails

	mail  mailbox
	intr  vfInterrupts
	count vfCounters
	// Registers that hold what is written: VTEIAC, VTEIAM, VTIVAR, VTEITR.
	autoClear, autoMask uint8
	ivar                [4]uint32
	ivarMisc            uint32
	itr                 [vfVectors]uint32
}

// VF returns virtual function i, counted from 0.
func (n *NIC) VF(i int) *VF { return n.vfs[i] }

// VFs is the number of virtual functions.
func (n *NIC) VFs() int { return len(n.vfs) }

// addVFs creates the virtual functions of Config.VFs.
func (n *NIC) addVFs() error {
	for i := range n.cfg.VFs {
		v, err := newVF(n, i)
		if err != nil {
			return fmt.Errorf("virtual function %d: %w", i, err)
		}
		n.vfs = append(n.vfs, v)
	}
	return nil
}

func newVF(n *NIC, i int) (*VF, error) {
	t, err := newTails(2 * vfQueues * lineSize)
	if err != nil {
		return nil, err
	}
	v := &VF{nic: n, index: i, tails: t}
	v.pci.resetVF()
	for k := range vfVectors {
		v.msix[k*16+12] = 1 // vectors are masked
	}
	v.mail.resetting = true // until the driver of the physical function sets PFRSTD
	return v, nil
}

// closeTails frees the memory of all tail registers.
func (n *NIC) closeTails() error {
	errs := []error{n.bells.Close()}
	for _, v := range n.vfs {
		errs = append(errs, v.tails.close())
	}
	return errors.Join(errs...)
}

// powerOn sets the state after a function-level reset: that of VFCTRL.RST, and the
// configuration space. n.mu is held.
func (v *VF) powerOn() {
	v.pci.resetVF()
	clear(v.msix[:])
	for i := range vfVectors {
		v.msix[i*16+12] = 1 // vectors are masked
	}
	v.reset()
}

// reset resets the queues and interrupts, tells the physical function by PFVFLRE,
// and stops traffic until that enables it again by PFVFRE and PFVFTE (datasheet
// 4.2.2.2, 8.2.3.27). The counters go on.
func (v *VF) reset() {
	n := v.nic
	v.intr = vfInterrupts{}
	v.autoClear, v.autoMask, v.ivarMisc = 0, 0, 0
	v.ivar, v.itr = [4]uint32{}, [vfVectors]uint32{}
	v.mail.reset()
	per := n.queuesPerVF()
	for q := v.index * per; q < (v.index+1)*per; q++ {
		v.resetQueue(q)
	}
	for i := range 2 * vfQueues {
		v.tails.line(i).Store(0)
	}
	word, bit := uint32(v.index/32), uint32(1)<<(v.index%32)
	n.reg[rPFVFRE/4+word] &^= bit
	n.reg[rPFVFTE/4+word] &^= bit
	n.reg[rPFVFLRE[word]/4] |= bit
	n.raiseOther(eicrMailbox)
	n.dirty = true
}

// resetQueue resets the registers of a queue, but the address of its head
// write-back, which only the physical function resets (Linux, ixgbe_vf_reset_msg).
func (v *VF) resetQueue(q int) {
	n := v.nic
	for _, r := range []uint32{qBAL, qBAH, qLEN, qDCTL} {
		n.reg[rxReg(q, r)/4], n.reg[txReg(q, r)/4] = 0, 0
	}
	n.rx.q[q], n.tx.q[q] = rxQueue{vector: -1}, txQueue{vector: -1}
}

// Layout implements server.Device.
func (v *VF) Layout() server.Layout {
	l := server.Layout{Regions: make([]server.Region, regionCount), Vectors: []int{0, 0, vfVectors, 0, 0}}
	for region, size := range map[int]uint64{regionRegisters: vfBAR0Size, vfRegionMSIX: vfBAR3Size, regionConfig: configSize} {
		l.Regions[region] = server.Region{Size: size, Readable: true, Writable: true}
	}
	bell := func(off uint32, line int) {
		l.Regions[regionRegisters].Doorbells = append(l.Regions[regionRegisters].Doorbells, server.Doorbell{
			Offset: uint64(off), EventFD: v.nic.bells.event, ShadowFD: v.tails.shadow, Shadow: uint64(line * lineSize)})
	}
	for q := range vfQueues {
		bell(rxBlock+uint32(q)*qStride+qTAIL, q)
		bell(vfTxBlock+uint32(q)*qStride+qTAIL, vfQueues+q)
	}
	return l
}

// ReadRegion implements server.Device.
func (v *VF) ReadRegion(region int, off uint64, p []byte) error {
	n := v.nic
	n.lock()
	defer n.mu.Unlock()
	if n.removed {
		for i := range p {
			p[i] = 0xff
		}
		return nil
	}
	switch region {
	case regionRegisters:
		return readWords(vfBAR0Size, off, p, v.load)
	case vfRegionMSIX:
		return copyOut(p, v.msix[:], off)
	case regionConfig:
		return copyOut(p, v.pci.b[:], off)
	}
	return fmt.Errorf("read region %d: the function has no such region: %w", region, unix.EINVAL)
}

// WriteRegion implements server.Device.
func (v *VF) WriteRegion(region int, off uint64, p []byte) error {
	err := v.writeRegion(region, off, p)
	v.nic.wake()
	return err
}

func (v *VF) writeRegion(region int, off uint64, p []byte) error {
	n := v.nic
	n.lock()
	defer n.mu.Unlock()
	if n.removed {
		return nil
	}
	switch region {
	case regionRegisters:
		return writeWords(vfBAR0Size, off, p, v.store)
	case vfRegionMSIX:
		return writeTable(v.msix[:], vfVectors*16, off, p)
	case regionConfig:
		if off > configSize || uint64(len(p)) > configSize-off {
			return fmt.Errorf("write %d bytes at %#x: outside the region: %w", len(p), off, unix.EINVAL)
		}
		if v.pci.write(int(off), p) {
			v.powerOn()
		}
		return nil
	}
	return fmt.Errorf("write region %d: the function has no such region: %w", region, unix.EINVAL)
}

// Attach implements server.Device.
func (v *VF) Attach(h server.Host) {
	v.nic.lock()
	v.host = h
	v.mem.invalidate()
	v.nic.mu.Unlock()
	v.nic.wake()
}

// Detach implements server.Device.
func (v *VF) Detach() {
	v.nic.lock()
	defer v.nic.mu.Unlock()
	v.nic.invalidate(&v.function)
	v.host = nil
	if !v.nic.removed && !v.nic.closing.Load() {
		v.powerOn()
	}
}

// Quiesce implements server.Device.
func (v *VF) Quiesce(f func()) {
	v.nic.lock()
	defer v.nic.mu.Unlock()
	v.nic.invalidate(&v.function)
	f()
}

// Resample implements server.Device: a virtual function has no INTx.
func (v *VF) Resample() {}

// Reset implements server.Device, a function-level reset.
func (v *VF) Reset() {
	v.nic.lock()
	v.powerOn()
	v.nic.mu.Unlock()
	v.nic.wake()
}
