package sim

// spiEEPROM is the EEPROM's SPI bus, which software clocks through EEC (datasheet
// 8.2.3.2.1). The part has the commands of the AT25 series with 16-bit addresses:
// EEC.EE_CS low selects it, EE_DI is sampled on the rising edge of EE_SK, and EE_DO
// changes on the falling one. A word's low byte comes first.
type spiEEPROM struct {
	words    []uint16
	selected bool
	clock    bool
	bits     int // received since the part was selected
	shift    byte
	command  byte
	addr     int // of the next byte
	writable bool
	out      byte
	do       bool
}

const (
	spiWrite        = 0x02
	spiRead         = 0x03
	spiWriteDisable = 0x04
	spiStatus       = 0x05
	spiWriteEnable  = 0x06

	spiPage = 32 // bytes that one write command can store
)

// drive sets the part's inputs.
func (s *spiEEPROM) drive(selected, clock, di bool) {
	switch {
	case !selected:
		if s.selected && s.command == spiWrite {
			s.writable = false // each write command needs a write enable
		}
		s.command, s.bits, s.do = 0, 0, false
	case !s.selected: // a clock edge in the same register write does not count
	case clock && !s.clock:
		s.rise(di)
	case !clock && s.clock:
		s.fall()
	}
	s.selected, s.clock = selected, clock
}

// rise receives a bit.
func (s *spiEEPROM) rise(di bool) {
	s.shift <<= 1
	if di {
		s.shift |= 1
	}
	if s.bits++; s.bits%8 == 0 {
		s.receive(s.bits / 8)
	}
}

// receive handles the k-th byte: the command, the address, data.
func (s *spiEEPROM) receive(k int) {
	switch {
	case k == 1:
		s.command = s.shift
		switch s.command {
		case spiWriteEnable:
			s.writable = true
		case spiWriteDisable:
			s.writable = false
		}
	case k <= 3:
		s.addr = (s.addr&0xff<<8 | int(s.shift)) % (2 * len(s.words))
	case s.command == spiWrite && s.writable:
		w, at := &s.words[s.addr/2], 8*(s.addr%2)
		*w = *w&^(0xff<<at) | uint16(s.shift)<<at
		s.addr = s.addr&^(spiPage-1) | (s.addr+1)&(spiPage-1)
	}
}

// fall sends a bit.
func (s *spiEEPROM) fall() {
	if s.bits%8 == 0 {
		s.out = s.send(s.bits / 8)
	}
	s.do = s.out&0x80 != 0
	s.out <<= 1
}

// send returns the byte to send after k bytes have been received. The status has no
// busy bit set, since writing takes no time.
func (s *spiEEPROM) send(k int) (b byte) {
	switch {
	case s.command == spiStatus && s.writable:
		return 1 << 1
	case s.command == spiRead && k >= 3:
		b = byte(s.words[s.addr/2] >> (8 * (s.addr % 2)))
		s.addr = (s.addr + 1) % (2 * len(s.words))
	}
	return b
}
