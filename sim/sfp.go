package sim

// Module is the module in the SFP+ cage.
type Module int

const (
	ModuleSR  Module = iota // 10GBASE-SR optics
	ModuleLR                // 10GBASE-LR optics
	ModuleDA                // passive direct attach cable
	ModuleSX                // 1000BASE-SX optics: the link runs at 1 Gb/s
	ModuleLRM               // 10GBASE-LRM optics, which drivers of the 82599 refuse
	NoModule                // empty cage
)

var moduleNames = map[string]Module{"sr": ModuleSR, "lr": ModuleLR, "da": ModuleDA, "sx": ModuleSX, "lrm": ModuleLRM, "none": NoModule}

// identity is the module's serial ID (SFF-8472, address A0h), which identifies the
// module to drivers, with both checksums. It is nil for an empty cage.
func (m Module) identity(monitoring Monitoring) []byte {
	if m == NoModule {
		return nil
	}
	b := make([]byte, 256)
	b[0] = 0x03 // SFP or SFP+
	b[1] = 0x04
	b[2] = 0x07                                        // LC
	b[11], b[12] = 0x06, 103                           // 64B/66B, 10.3 Gb/s
	copy(b[20:36], "ixcap model     ")                 // vendor name
	b[37], b[38], b[39] = 0x00, 0x1b, 0x21             // OUI Intel: accepted without a module parameter
	copy(b[40:56], "SOFTWARE SFP+   ")                 // part
	copy(b[56:60], "1   ")                             // revision
	copy(b[68:92], "0000000000000001260101  \x00\x00") // serial, date
	switch m {
	case ModuleSR:
		b[3] = 0x10
		b[60], b[61] = 0x03, 0x52 // 850 nm
	case ModuleLR:
		b[3] = 0x20
		b[60], b[61] = 0x05, 0x1e // 1310 nm
	case ModuleLRM:
		b[3] = 0x40
		b[60], b[61] = 0x05, 0x1e
	case ModuleDA:
		b[2] = 0x21 // copper pigtail
		b[8] = 0x04 // passive cable
		b[18] = 1   // metre
	case ModuleSX:
		b[6] = 0x01
		b[11], b[12] = 0x01, 13
		b[60], b[61] = 0x03, 0x52
	}
	if m.monitors(monitoring) {
		// Monitoring, calibrated, average received power; alarm flags; SFF-8472 12.x.
		b[92], b[93], b[94] = 1<<6|1<<5|1<<3, 1<<7, 0x08
		if monitoring == MonitoringExternal {
			b[92] ^= 1<<5 | 1<<4
		}
	}
	for _, v := range b[:63] {
		b[63] += v
	}
	for _, v := range b[64:95] {
		b[95] += v
	}
	return b
}

// i2cBus is the two-wire bus to the cage, which software clocks through I2CCTL
// (datasheet 8.2.3.1). The module answers at address A0h and, if it measures, at A2h. Both
// pages have one byte pointer that increments itself.
type i2cBus struct {
	module   []byte             // the page at A0h; nil: the cage is empty
	measured func(at byte) byte // a byte of the page at A2h; nil: there is none
	page     byte               // addressed, A0h or A2h
	scl, sda bool               // driven by the master
	out      bool               // SDA as driven by the slave; true releases it

	state i2cState
	bits  int
	shift byte
	ptr   byte
	ack   bool // the slave acknowledges the byte just received
}

type i2cState int

const (
	i2cIdle    i2cState = iota
	i2cAddress          // receiving the device address
	i2cPointer          // receiving the byte pointer
	i2cWrite            // receiving data, which is ignored
	i2cRead             // sending data
)

func (b *i2cBus) reset() {
	b.scl, b.sda, b.out = true, true, true
	b.state, b.bits = i2cIdle, 0
}

// drive sets both lines. The order within one register write does not matter:
// start, stop and data need changes of one line at a time.
func (b *i2cBus) drive(scl, sda bool) {
	switch {
	case b.scl && scl && b.sda && !sda: // start, or repeated start
		b.state, b.bits, b.out = i2cAddress, 0, true
	case b.scl && scl && !b.sda && sda: // stop
		b.state, b.out = i2cIdle, true
	case !b.scl && scl:
		b.rise(sda)
	case b.scl && !scl:
		b.fall()
	}
	b.scl, b.sda = scl, sda
}

// rise handles a rising edge of SCL: the data bit is valid.
func (b *i2cBus) rise(sda bool) {
	if b.state == i2cIdle {
		return
	}
	b.bits++
	switch {
	case b.state == i2cRead && b.bits == 9 && sda: // no acknowledge: the master ends the read
		b.state = i2cIdle
	case b.state != i2cRead && b.bits <= 8:
		b.shift <<= 1
		if sda {
			b.shift |= 1
		}
	}
}

// fall handles a falling edge of SCL: the slave sets the next bit.
func (b *i2cBus) fall() {
	if b.state == i2cIdle {
		b.out = true
		return
	}
	if b.state == i2cRead {
		if b.bits == 9 {
			b.bits, b.ptr = 0, b.ptr+1
		}
		b.sendBit()
		return
	}
	switch b.bits {
	case 8:
		b.ack = b.received()
		b.out = !b.ack
	case 9:
		b.bits, b.out = 0, true
		if !b.ack {
			b.state = i2cIdle
		}
	}
}

// received handles a whole byte and reports whether to acknowledge it.
func (b *i2cBus) received() bool {
	switch b.state {
	case i2cAddress:
		b.page = b.shift & 0xfe
		if b.module == nil || b.page != 0xa0 && (b.page != 0xa2 || b.measured == nil) {
			return false
		}
		if b.shift&1 != 0 {
			b.state = i2cRead
			b.bits = -1 // the acknowledge bit comes first
			return true
		}
		b.state = i2cPointer
	case i2cPointer:
		b.ptr = b.shift
		b.state = i2cWrite
	case i2cWrite:
		b.ptr++
	}
	return true
}

func (b *i2cBus) sendBit() {
	if b.bits < 0 || b.bits > 7 {
		b.out = true
		return
	}
	v := b.module[b.ptr]
	if b.page == 0xa2 {
		v = b.measured(b.ptr)
	}
	b.out = v>>(7-b.bits)&1 != 0
}

const (
	i2cClkIn, i2cClkOut   = 1 << 0, 1 << 1
	i2cDataIn, i2cDataOut = 1 << 2, 1 << 3
)

func (n *NIC) writeI2CCTL(_ int, v uint32) {
	n.i2c.drive(v&i2cClkOut != 0, v&i2cDataOut != 0)
}

// readI2CCTL returns the lines. They are open drain: SDA is low when either side
// pulls it.
func (n *NIC) readI2CCTL(int) uint32 {
	b := &n.i2c
	var v uint32
	if b.scl {
		v |= i2cClkIn | i2cClkOut
	}
	if b.sda {
		v |= i2cDataOut
	}
	if b.sda && b.out {
		v |= i2cDataIn
	}
	return v
}
