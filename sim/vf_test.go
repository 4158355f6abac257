package sim

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConfigurationSpaceOfAVirtualFunction(t *testing.T) {
	r := newRig(t, Config{VFs: 2})
	require.EqualValues(t, 0x10, r.pci.load16(extSRIOV))
	require.EqualValues(t, 2, r.pci.load16(extSRIOV+0x0e), "TotalVFs")
	require.EqualValues(t, 0x10ed, r.pci.load16(extSRIOV+0x1a))
	require.Zero(t, newRig(t, Config{}).pci.load32(extSRIOV), "without virtual functions")

	v := r.VF(1)
	l := v.Layout()
	require.EqualValues(t, 16<<10, l.Regions[0].Size)
	require.EqualValues(t, 16<<10, l.Regions[3].Size)
	require.Equal(t, []int{0, 0, 3, 0, 0}, l.Vectors)
	require.Len(t, l.Regions[0].Doorbells, 16)
	require.EqualValues(t, 0x10ed8086, v.pci.load32(0))
	require.NoError(t, v.WriteRegion(regionConfig, 0x1c, []byte{0xff, 0xff, 0xff, 0xff}))
	require.EqualValues(t, 0xffffc00c, v.pci.load32(0x1c), "size of BAR 3")
	require.EqualValues(t, 1, v.msix[12], "vectors are masked")
	require.Error(t, v.ReadRegion(regionMSIX, 0, make([]byte, 4)))
	require.Error(t, v.WriteRegion(regionIO, 0, make([]byte, 4)))
	require.Error(t, v.WriteRegion(regionRegisters, 2, make([]byte, 4)))
}

// mail is the mailbox of virtual function 1 as its driver sees it.
func (v *VF) mail4(t *testing.T, off uint32) uint32 {
	t.Helper()
	var p [4]byte
	require.NoError(t, v.ReadRegion(regionRegisters, uint64(off), p[:]))
	return binary.LittleEndian.Uint32(p[:])
}

func (v *VF) put4(t *testing.T, off, x uint32) {
	t.Helper()
	require.NoError(t, v.WriteRegion(regionRegisters, uint64(off), binary.LittleEndian.AppendUint32(nil, x)))
}

func TestMailbox(t *testing.T) {
	const vfMailbox, vfMemory, pfMailbox, pfMemory = 0x2fc, 0x200, 0x4b00 + 4*17, 0x13000 + 64*17
	r := newRig(t, Config{VFs: 18})
	v := r.VF(17)
	v.Attach(r.h)
	require.NoError(t, v.WriteRegion(regionConfig, 4, []byte{6, 0}))
	require.EqualValues(t, vfmRSTI, v.mail4(t, vfMailbox), "the physical function has no driver yet")
	r.write(rCTRLEXT, ctrlExtPFRSTD)
	require.EqualValues(t, vfmRSTD, v.mail4(t, vfMailbox))
	require.Zero(t, v.mail4(t, vfMailbox), "RSTD is cleared by reading")

	// A reset of the function is seen in PFVFLRE.
	r.clearCauses(^uint32(0))
	v.put4(t, 0, ctrlReset)
	require.EqualValues(t, 1<<17, r.read(rPFVFLRE[0]))
	require.NotZero(t, r.eicr()&eicrMailbox)
	r.write(0x700, 1<<17)
	require.Zero(t, r.read(rPFVFLRE[0]))
	r.clearCauses(^uint32(0))

	// Request, read, acknowledge.
	v.put4(t, vfMemory, 1)
	require.Zero(t, v.mail4(t, vfMemory), "the buffer belongs to no one")
	v.put4(t, vfMailbox, vfmVFU)
	require.EqualValues(t, vfmVFU, v.mail4(t, vfMailbox))
	r.write(pfMailbox, pfmPFU)
	require.EqualValues(t, pfmVFU, r.read(pfMailbox), "the virtual function has it")
	v.put4(t, vfMemory+4, 0x1234)
	v.put4(t, vfMailbox, vfmREQ)
	require.EqualValues(t, 1<<1, r.read(rPFMBICR+4))
	require.NotZero(t, r.eicr()&eicrMailbox)
	r.write(pfMailbox, pfmPFU)
	require.EqualValues(t, pfmPFU, r.read(pfMailbox))
	v.put4(t, vfMailbox, vfmVFU)
	require.EqualValues(t, vfmPFU, v.mail4(t, vfMailbox))
	require.EqualValues(t, 0x1234, r.read(pfMemory+4))
	r.write(rPFMBICR+4, 1<<1)
	require.Zero(t, r.read(rPFMBICR+4))
	r.write(pfMailbox, pfmACK)
	require.EqualValues(t, vfmPFACK, v.mail4(t, vfMailbox))

	// The answer interrupts the virtual function by the vector of VTIVAR_MISC.
	v.put4(t, 0x140, ivarValid|2)
	v.put4(t, 0x110, 7)
	v.put4(t, 0x114, 7)
	v.put4(t, 0x108, 4)
	r.write(pfMailbox, pfmPFU)
	r.write(pfMemory, 0x80000001)
	r.write(pfMailbox, pfmSTS)
	r.run()
	require.Equal(t, 1, r.h.raised[[2]int{2, 2}])
	require.Zero(t, v.mail4(t, 0x100), "VTEIAC clears the cause")
	require.Zero(t, v.mail4(t, 0x108), "VTEIAM masks it")
	require.EqualValues(t, vfmPFSTS, v.mail4(t, vfMailbox))
	require.EqualValues(t, 0x80000001, v.mail4(t, vfMemory))
	v.put4(t, vfMailbox, vfmACK)
	require.EqualValues(t, 1<<17, r.read(rPFMBICR+4))

	// A stuck virtual function loses the buffer.
	v.put4(t, vfMailbox, vfmVFU)
	r.write(pfMailbox, pfmRVFU|pfmPFU)
	require.EqualValues(t, pfmPFU, r.read(pfMailbox))

	// A reset of the port.
	r.write(rCTRL, ctrlReset)
	require.EqualValues(t, vfmRSTI, v.mail4(t, vfMailbox))
	require.Zero(t, r.read(0x4b00+4*40), "no such function")
	r.write(0x13000+64*40, 1)
}

func TestQueuesOfAVirtualFunction(t *testing.T) {
	r := newVirtual(t, 2)
	v := r.VF(1)
	require.EqualValues(t, r.rings[1].ring, v.mail4(t, 0x1000), "VFRDBAL 0 is RDBAL of queue 2")
	v.put4(t, 0x1040, 0xabcdef80)
	require.EqualValues(t, 0xabcdef80, r.read(rxReg(3, qBAL)))
	v.put4(t, 0x1080, 0x80)
	require.Zero(t, v.mail4(t, 0x1080), "a third queue does not exist")
	v.put4(t, 0x2080, 0x80)
	require.Zero(t, r.read(txReg(4, qBAL)))

	// Its queue interrupts it, moderated.
	v.put4(t, 0x120, ivarValid|1)
	v.put4(t, 0x824, 0x1ff<<3)
	v.put4(t, 0x108, 7)
	require.Equal(t, []int{1}, r.receive(between(9, address(1), 0)))
	require.Equal(t, 1, r.h.raised[[2]int{2, 1}])
	require.EqualValues(t, 2, v.mail4(t, 0x100))
	require.Equal(t, []int{1}, r.receive(between(9, address(1), 0)))
	require.Equal(t, 1, r.h.raised[[2]int{2, 1}])
	require.NotZero(t, v.interrupt(time.Now().UnixNano()), "due later")
	require.EqualValues(t, 2, v.mail4(t, 0x101c), "VFGPRC")
	require.EqualValues(t, 128, v.mail4(t, 0x1020), "VFGORC")

	// A reset stops its queues and its pool, not those of others.
	v.put4(t, 0, ctrlReset)
	require.Zero(t, v.mail4(t, 0x1028))
	require.Empty(t, r.receive(between(9, address(1), 0)))
	require.Equal(t, []int{0}, r.receive(between(9, address(0), 0)))
	require.EqualValues(t, 1<<0, r.read(rPFVFRE)&3)
	require.EqualValues(t, 2, v.mail4(t, 0x101c), "counters go on")

	// The client leaves: as a function-level reset.
	v.Detach()
	require.Zero(t, v.pci.load16(4))
	require.Zero(t, r.Stats().Faults, r.Stats().LastFault)
}

// TestMemoryOfFunctionsIsSeparate lets two functions with different memory receive.
func TestMemoryOfFunctionsIsSeparate(t *testing.T) {
	r := newVirtual(t, 2)
	other := &testHost{base: testBase, mem: make([]byte, 8<<20), raised: map[[2]int]int{}}
	r.VF(1).Detach()
	r.VF(1).Attach(other)
	require.NoError(t, r.VF(1).WriteRegion(regionConfig, 4, []byte{6, 0}))
	copy(other.mem, r.h.mem)
	r.write(rPFVFRE, ^uint32(0))
	x := r.rings[1]
	r.write(rxReg(2, qBAL), uint32(x.ring))
	r.write(rxReg(2, qLEN), 16*16)
	r.write(rxReg(2, qSRR), 2|1<<25)
	r.write(rxReg(2, qDCTL), 1<<25)
	r.write(rxReg(2, qTAIL), 15)
	f := between(9, address(1), 0)
	require.Equal(t, []int(nil), r.receive(f), "the first function's memory is not written")
	require.Equal(t, f, other.at(x.buf, len(f)))
	require.Equal(t, []int{0}, r.receive(between(9, address(0), 0)))
}
