package sim

// sysTime is SYSTIM, the clock of time stamps (datasheet 7.9): it grows by IV every
// IP cycles of the MAC's clock, both from TIMINCA (8.2.3.26). A cycle is 6.4 ns at
// 10 Gb/s and without a link, and 64 ns at 1 Gb/s. On an X540 IV has 31 bits and IP is 1
// (Linux, ixgbe_ptp.c). The cycle is that of an oscillator that is off by
// Config.ClockError. It keeps the time of the transmitter's line (txtime.go).
type sysTime struct {
	value uint64 // at the time from
	from  int64  // in ticks of the oscillator: the begin of an increment
	high  uint32 // SYSTIMH, latched by reading SYSTIML
}

// maxClockError is the largest Config.ClockError, in ppm.
const maxClockError = 1000

// oscillator is the time of the line in ticks of the port's oscillator.
func (n *NIC) oscillator(ticks int64) int64 {
	ppm := int64(n.cfg.ClockError)
	return ticks + ticks/1e6*ppm + ticks%1e6*ppm/1e6
}

// increment is by how much SYSTIM grows, and every how many ticks; 0: it stands.
func (n *NIC) increment() (value uint64, every int64) {
	inca := n.reg[rTIMINCA/4]
	cycle := int64(64) // tenths of a nanosecond, as ticks are
	if n.link.up {
		switch n.linkSpeed() {
		case speed1G:
			cycle = 640
		case speed100M:
			cycle = 6400
		}
	}
	switch n.variant.family {
	case family82599:
		return uint64(inca & 0xffffff), int64(inca>>24) * cycle
	case familyX540:
		return uint64(inca & 0x7fffffff), cycle
	}
	return 0, 0 // the X550 has another clock
}

// systemTime is SYSTIM at a time of the line, which may be before the last change of
// its rate.
func (n *NIC) systemTime(ticks int64) uint64 {
	value, every := n.increment()
	if every == 0 {
		return n.clock.value
	}
	return n.clock.value + uint64(floorDiv(n.oscillator(ticks)-n.clock.from, every))*value
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}

// advanceTime advances the clock to now. It is called before the clock's rate
// changes.
func (n *NIC) advanceTime() {
	now := n.oscillator(n.tx.ticks(n.tx.clock()))
	value, every := n.increment()
	if every == 0 {
		n.clock.from = now
		return
	}
	passed := floorDiv(now-n.clock.from, every)
	n.clock.value += uint64(passed) * value
	n.clock.from += passed * every
}

func (n *NIC) readSYSTIML(int) uint32 {
	n.advanceTime()
	n.clock.high = uint32(n.clock.value >> 32)
	return uint32(n.clock.value)
}

func (n *NIC) readSYSTIMH(int) uint32 { return n.clock.high }

func (n *NIC) writeSYSTIML(_ int, v uint32) {
	n.advanceTime()
	n.clock.value = n.clock.value>>32<<32 | uint64(v)
}

func (n *NIC) writeSYSTIMH(_ int, v uint32) {
	n.advanceTime()
	n.clock.value = n.clock.value&0xffffffff | uint64(v)<<32
	n.clock.high = v
}

func (n *NIC) writeTIMINCA(_ int, v uint32) {
	n.advanceTime()
	n.reg[rTIMINCA/4] = v
}
