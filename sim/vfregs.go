package sim

import "time"

const vfTxBlock = 0x2000

// vfRegister is a row of the register table of virtual functions (datasheet 8.3):
// an array of n registers, stride bytes apart.
type vfRegister struct {
	name        string
	off, stride uint32
	n           int
	read        func(v *VF, i int) uint32 // nil: reads as 0
	write       func(v *VF, i int, x uint32)
}

// vfRegisters is every register of a virtual function.
var vfRegisters = append([]vfRegister{
	{"VFCTRL", 0x0000, 4, 1, nil, (*VF).writeCTRL},
	{"VFSTATUS", 0x0008, 4, 1, (*VF).readSTATUS, nil},
	{"VFLINKS", 0x0010, 4, 1, (*VF).readLINKS, nil},
	{"VFFRTIMER", 0x0048, 4, 1, func(*VF, int) uint32 { return uint32(time.Now().UnixMicro()) }, nil},
	{"VTEICR", 0x0100, 4, 1, (*VF).readEICR, (*VF).writeEICR},
	{"VTEICS", 0x0104, 4, 1, nil, (*VF).writeEICS},
	{"VTEIMS", 0x0108, 4, 1, (*VF).readEIMS, (*VF).writeEIMS},
	{"VTEIMC", 0x010c, 4, 1, nil, (*VF).writeEIMC},
	{"VTEIAC", 0x0110, 4, 1, func(v *VF, _ int) uint32 { return uint32(v.autoClear) }, func(v *VF, _ int, x uint32) { v.autoClear = uint8(x) & vfCauses }},
	{"VTEIAM", 0x0114, 4, 1, func(v *VF, _ int) uint32 { return uint32(v.autoMask) }, func(v *VF, _ int, x uint32) { v.autoMask = uint8(x) & vfCauses }},
	{"VTIVAR", 0x0120, 4, 4, func(v *VF, i int) uint32 { return v.ivar[i] }, (*VF).writeIVAR},
	{"VTIVAR_MISC", 0x0140, 4, 1, func(v *VF, _ int) uint32 { return v.ivarMisc }, (*VF).writeIVARMISC},
	{"VTEITR", 0x0820, 4, vfVectors, func(v *VF, i int) uint32 { return v.itr[i] }, func(v *VF, i int, x uint32) { v.itr[i] = x & 0xffff }},
	{"VFMBMEM", 0x0200, 4, mailWords, func(v *VF, i int) uint32 { return v.mail.mem[i] }, func(v *VF, i int, x uint32) { v.mail.writeVF(i, x) }},
	{"VFMAILBOX", 0x02fc, 4, 1, (*VF).readMAILBOX, (*VF).writeMAILBOX},
	{"VFPSRTYPE", 0x0300, 4, 1, (*VF).readPSRTYPE, (*VF).writePSRTYPE},
	{"VFRXMEMWRAP", 0x3190, 4, 1, nil, nil},

	// Counters of the function wrap around and are not cleared by reading (8.3.7).
	{"VFGPRC", 0x101c, 4, 1, func(v *VF, _ int) uint32 { return uint32(v.count.gprc) }, nil},
	{"VFGPTC", 0x201c, 4, 1, func(v *VF, _ int) uint32 { return uint32(v.count.gptc) }, nil},
	{"VFGORC_LSB", 0x1020, 4, 1, func(v *VF, _ int) uint32 { return uint32(v.count.gorc) }, nil},
	{"VFGORC_MSB", 0x1024, 4, 1, func(v *VF, _ int) uint32 { return uint32(v.count.gorc >> 32 & 0xf) }, nil},
	{"VFGOTC_LSB", 0x2020, 4, 1, func(v *VF, _ int) uint32 { return uint32(v.count.gotc) }, nil},
	{"VFGOTC_MSB", 0x2024, 4, 1, func(v *VF, _ int) uint32 { return uint32(v.count.gotc >> 32 & 0xf) }, nil},
	{"VFMPRC", 0x1034, 4, 1, func(v *VF, _ int) uint32 { return uint32(v.count.mprc) }, nil},
}, vfQueueRegisters()...)

// vfQueueRegisters are the registers of the function's queues, which are those of
// its pool at another offset.
func vfQueueRegisters() (rows []vfRegister) {
	row := func(name string, off uint32, physical func(queue int) uint32) {
		rows = append(rows, vfRegister{name, off, qStride, vfQueues,
			func(v *VF, i int) uint32 {
				if q := v.queue(i); q >= 0 {
					return v.nic.load(physical(q))
				}
				return 0
			},
			func(v *VF, i int, x uint32) {
				if q := v.queue(i); q >= 0 {
					v.nic.store(physical(q), x)
				}
			}})
	}
	for _, r := range []struct {
		name string
		off  uint32
	}{{"RDBAL", qBAL}, {"RDBAH", qBAH}, {"RDLEN", qLEN}, {"DCA_RXCTRL", qDCA}, {"RDH", qHEAD}, {"SRRCTL", qSRR}, {"RDT", qTAIL}, {"RXDCTL", qDCTL}, {"RSCCTL", qRSC}} {
		row("VF"+r.name, rxBlock+r.off, func(q int) uint32 { return rxReg(q, r.off) })
	}
	for _, r := range []struct {
		name string
		off  uint32
	}{{"TDBAL", qBAL}, {"TDBAH", qBAH}, {"TDLEN", qLEN}, {"DCA_TXCTRL", qDCA}, {"TDH", qHEAD}, {"TDT", qTAIL}, {"TXDCTL", qDCTL}, {"TDWBAL", qWBAL}, {"TDWBAH", qWBAH}} {
		row("VF"+r.name, vfTxBlock+r.off, func(q int) uint32 { return txReg(q, r.off) })
	}
	return rows
}

// vfDecoder finds the row of a register word: row + 1, 0 where no register is.
var vfDecoder = func() (at [vfBAR0Size / 4]struct{ row, index uint16 }) {
	for k, r := range vfRegisters {
		for i := range r.n {
			at[(r.off+uint32(i)*r.stride)/4] = struct{ row, index uint16 }{uint16(k + 1), uint16(i)}
		}
	}
	return at
}()

// queue is the queue of the port that is queue i of the function, -1 for none.
func (v *VF) queue(i int) int {
	per := v.nic.queuesPerVF()
	if i >= per {
		return -1
	}
	return v.index*per + i
}

// load is a bus read of one register. n.mu is held.
func (v *VF) load(off uint32) uint32 {
	at := vfDecoder[off/4]
	if at.row == 0 || vfRegisters[at.row-1].read == nil {
		return 0
	}
	return vfRegisters[at.row-1].read(v, int(at.index))
}

// store is a bus write of one register. n.mu is held.
func (v *VF) store(off, x uint32) {
	at := vfDecoder[off/4]
	if at.row == 0 || vfRegisters[at.row-1].write == nil {
		return
	}
	vfRegisters[at.row-1].write(v, int(at.index), x)
}

// writeCTRL resets the function on RST, which clears itself (datasheet 8.3.2).
func (v *VF) writeCTRL(_ int, x uint32) {
	if x&ctrlReset != 0 {
		v.reset()
	}
}

func (v *VF) readSTATUS(int) uint32 { return v.nic.readSTATUS(0) & statusLinkUp }

func (v *VF) readLINKS(int) uint32 { return v.nic.readLINKS(0) }

func (v *VF) readPSRTYPE(int) uint32 { return v.nic.reg[rPSRTYPE/4+v.index] }

func (v *VF) writePSRTYPE(_ int, x uint32) {
	v.nic.reg[rPSRTYPE/4+v.index] = x
	v.nic.dirty = true
}

// vfCounters are the counters of a virtual function.
type vfCounters struct{ gprc, gorc, mprc, gptc, gotc uint64 }

func (c *vfCounters) received(frames, octets uint64) {
	c.gprc += frames
	c.gorc += octets
}

func (c *vfCounters) sent(octets int) {
	c.gptc++
	c.gotc += uint64(octets)
}
