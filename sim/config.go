package sim

import "encoding/binary"

// Configuration space of an 82599 (datasheet chapter 9). The capabilities
// lie where the device has them; drivers read some by fixed offset (Linux: 0x72
// MSI-X control, 0xAA device status, 0xB2 link status).
//
//	0x40 power management   0x100 advanced error reporting
//	0x50 MSI                0x140 device serial number
//	0x70 MSI-X
//	0xA0 PCI Express        0x150, 0x160 ARI and SR-IOV, with virtual functions
//
// The memory BARs are 64 bits wide and prefetchable, as lspci shows them on
// X520 boards: registers in BAR 0, I/O in BAR 2, MSI-X in BAR 4.
const (
	configSize = 4096

	capPM    = 0x40
	capMSI   = 0x50
	capMSIX  = 0x70
	capPCIE  = 0xa0
	extAER   = 0x100
	extDSN   = 0x140
	extARI   = 0x150
	extSRIOV = 0x160 // only with virtual functions

	memory64 = 1<<3 | 2<<1 // BAR: prefetchable, 64 bits
	vfDevice = 0x10ed
)

// configSpace holds the bytes of the space and, for each byte, its writable bits
// and those that writing 1 clears.
type configSpace struct {
	b      [configSize]byte
	write1 [configSize]byte // RW1C bits
	mask   [configSize]byte // RW bits
	mac    [6]byte
	*variant
}

func (c *configSpace) put16(off int, v, mask uint16) {
	binary.LittleEndian.PutUint16(c.b[off:], v)
	binary.LittleEndian.PutUint16(c.mask[off:], mask)
}

func (c *configSpace) put32(off int, v, mask uint32) {
	binary.LittleEndian.PutUint32(c.b[off:], v)
	binary.LittleEndian.PutUint32(c.mask[off:], mask)
}

func (c *configSpace) load16(off int) uint16 { return binary.LittleEndian.Uint16(c.b[off:]) }
func (c *configSpace) load32(off int) uint32 { return binary.LittleEndian.Uint32(c.b[off:]) }

func (c *configSpace) reset(vfs int) {
	*c = configSpace{mac: c.mac, variant: c.variant}
	c.put16(0x00, 0x8086, 0)
	c.put16(0x02, c.id, 0)
	c.put16(0x04, 0, 0x0547) // I/O, memory, bus master, parity, SERR#, INTx disable
	c.put16(0x06, 0x0010, 0) // capabilities
	c.write1[0x07] = 0xf9
	c.put32(0x08, 0x02000001, 0) // Ethernet controller, revision 1
	c.put16(0x0c, 0x0000, 0x00ff)
	c.put32(0x10, memory64, 0xffffffff&^(bar0Size-1))
	c.put32(0x14, 0, 0xffffffff)
	c.put32(0x18, 0x1, 0xffffffff&^(bar2Size-1))
	c.put32(0x20, memory64, 0xffffffff&^(bar4Size-1))
	c.put32(0x24, 0, 0xffffffff)
	c.put16(0x2c, 0x8086, 0)
	c.put16(0x2e, c.board(), 0)
	c.b[0x34] = capPM
	c.put16(0x3c, 0x0100, 0x00ff) // INTA#

	c.put32(capPM, 3<<16|capMSI<<8|0x01, 0)
	c.put16(capPM+4, 1<<3, 0x0103) // No_Soft_Reset; power state, PME enable

	c.put32(capMSI, (1<<7|1<<8)<<16|capMSIX<<8|0x05, 0x0001<<16) // 64 bit, per-vector masking, one vector
	c.put32(capMSI+4, 0, 0xfffffffc)
	c.put32(capMSI+8, 0, 0xffffffff)
	c.put16(capMSI+12, 0, 0xffff)
	c.put32(capMSI+16, 0, 1)

	c.put32(capMSIX, (vectors-1)<<16|capPCIE<<8|0x11, 0xc000<<16)
	c.put32(capMSIX+4, 4, 0)        // table: BAR 4 at 0
	c.put32(capMSIX+8, 0x2000|4, 0) // pending bits: BAR 4 at 0x2000

	c.put32(capPCIE, 0x0002<<16|0x10, 0)
	c.put32(capPCIE+4, 1<<28|1<<15|2, 0)            // function-level reset, 512-byte payload
	c.put16(capPCIE+8, 0x2810, 0xffff)              // device control; bit 15 starts the reset
	c.write1[capPCIE+10] = 0x0f                     // device status
	c.put32(capPCIE+12, c.lanes(), 0)               // link
	c.put16(capPCIE+16, 0, 0x01fb)                  // link control
	c.put16(capPCIE+18, uint16(c.lanes())|1<<12, 0) // link status: slot clock
	c.put32(capPCIE+0x24, 0x1f, 0)                  // completion timeout ranges
	c.put16(capPCIE+0x28, 0, 0x001f)                // device control 2
	if c.family == familyX550 {
		c.put32(capPCIE+0x2c, 7<<1, 0) // link capabilities 2: 2.5, 5 and 8 GT/s
	}
	c.put16(capPCIE+0x30, uint16(c.lanes()&0xf), 0x000f) // link control 2: speed
	c.put32(extAER, extDSN<<20|1<<16|0x0001, 0)
	c.put32(extAER+8, 0, 0x003ff030)           // uncorrectable mask
	c.put32(extAER+12, 0x00062030, 0x003ff030) // severity
	c.put32(extAER+20, 0x00002000, 0x000031c1) // correctable mask
	for i := range 4 {
		c.write1[extAER+4+i], c.write1[extAER+16+i] = 0xff, 0xff
	}
	m := c.mac
	c.put32(extDSN, 1<<16|0x0003, 0)
	copy(c.b[extDSN+4:], []byte{m[5], m[4], m[3], 0xff, 0xff, m[2], m[1], m[0]})
	if vfs > 0 {
		c.addSRIOV(vfs)
	}
}

// addSRIOV adds alternative routing and SR-IOV with that many virtual functions
// (datasheet 9.4.4). Over vfio-user each of them is a device of its own, whether or
// not VF Enable is set.
func (c *configSpace) addSRIOV(vfs int) {
	c.put32(extDSN, extARI<<20|1<<16|0x0003, 0)
	c.put32(extARI, extSRIOV<<20|1<<16|0x000e, 0)
	c.put32(extSRIOV, 1<<16|0x0010, 0)
	c.put16(extSRIOV+0x08, 0, 0x0019) // VF Enable, VF memory space enable, ARI
	c.put16(extSRIOV+0x0c, uint16(vfs), 0)
	c.put16(extSRIOV+0x0e, uint16(vfs), 0)
	c.put16(extSRIOV+0x10, 0, 0xffff) // NumVFs
	c.put16(extSRIOV+0x14, 128, 0)    // first VF offset
	c.put16(extSRIOV+0x16, 2, 0)      // VF stride
	c.put16(extSRIOV+0x1a, vfDevice, 0)
	c.put32(extSRIOV+0x1c, 0x553, 0) // page sizes
	c.put32(extSRIOV+0x20, 1, 0x553)
	c.put32(extSRIOV+0x24, memory64, 0xffffffff&^(vfBAR0Size-1))
	c.put32(extSRIOV+0x28, 0, 0xffffffff)
	c.put32(extSRIOV+0x30, memory64, 0xffffffff&^(vfBAR3Size-1))
	c.put32(extSRIOV+0x34, 0, 0xffffffff)
}

// resetVF sets the space of a virtual function, as a virtual machine sees it: the
// host supplies the identity and the BARs, which SR-IOV has in the physical function.
func (c *configSpace) resetVF() {
	*c = configSpace{}
	c.put16(0x00, 0x8086, 0)
	c.put16(0x02, vfDevice, 0)
	c.put16(0x04, 0, 0x0006) // memory, bus master
	c.put16(0x06, 0x0010, 0) // capabilities
	c.write1[0x07] = 0xf9
	c.put32(0x08, 0x02000001, 0)
	c.put32(0x10, memory64, 0xffffffff&^(vfBAR0Size-1))
	c.put32(0x14, 0, 0xffffffff)
	c.put32(0x1c, memory64, 0xffffffff&^(vfBAR3Size-1))
	c.put32(0x20, 0, 0xffffffff)
	c.put16(0x2c, 0x8086, 0)
	c.put16(0x2e, 0x0003, 0)
	c.b[0x34] = capMSIX
	c.put32(capMSIX, (vfVectors-1)<<16|capPCIE<<8|0x11, 0xc000<<16)
	c.put32(capMSIX+4, 3, 0)        // table: BAR 3 at 0
	c.put32(capMSIX+8, 0x2000|3, 0) // pending bits: BAR 3 at 0x2000
	c.put32(capPCIE, 0x0002<<16|0x10, 0)
	c.put32(capPCIE+4, 1<<28|1<<15|2, 0) // function-level reset
	c.put16(capPCIE+8, 0, 0x8000)        // device control; bit 15 starts the reset
	c.write1[capPCIE+10] = 0x0f
	c.put32(capPCIE+12, 8<<4|2, 0)
	c.put16(capPCIE+18, 8<<4|2|1<<12, 0)
	c.put32(extAER, 1<<16|0x0001, 0)
}

// write stores the writable bits and reports whether the write starts a
// function-level reset (datasheet 9.3.10).
func (c *configSpace) write(off int, p []byte) (reset bool) {
	for i, v := range p {
		o := off + i
		c.b[o] = c.b[o]&^c.mask[o]&^(v&c.write1[o]) | v&c.mask[o]
	}
	const initiate = 1 << 15
	if c.load16(capPCIE+8)&initiate != 0 {
		binary.LittleEndian.PutUint16(c.b[capPCIE+8:], c.load16(capPCIE+8)&^initiate)
		return true
	}
	return false
}

// busMaster reports whether Command.BME is set and the function is in D0.
func (c *configSpace) busMaster() bool { return c.b[4]&(1<<2) != 0 && c.awake() }

// awake reports whether the function is in power state D0.
func (c *configSpace) awake() bool { return c.b[capPM+4]&3 == 0 }

// sendsMessages reports whether MSI or MSI-X is enabled, which replaces INTx.
func (c *configSpace) sendsMessages() bool {
	const msiEnable, msixEnable = 1 << 0, 1 << 15
	return c.load16(capMSI+2)&msiEnable != 0 || c.load16(capMSIX+2)&msixEnable != 0
}
