package sim

import (
	"math/bits"
	"time"
)

// sysTime is SYSTIM, the clock of time stamps (datasheet 7.9): it grows by IV every
// IP cycles of the MAC's clock, both from TIMINCA (8.2.3.26). A cycle is 6.4 ns at
// 10 Gb/s and 64 ns at 1 Gb/s. The model does not stamp frames.
type sysTime struct {
	value uint64 // at the time from
	from  time.Time
	high  uint32 // SYSTIMH, latched by reading SYSTIML
}

// advanceTime advances the clock to now. It is called before the clock's rate
// changes.
func (n *NIC) advanceTime() {
	now := time.Now()
	inca := n.reg[rTIMINCA/4]
	period, value := uint64(inca>>24), uint64(inca&0xffffff)
	cycle := uint64(64) // in tenths of a nanosecond
	if n.linkSpeed() == speed1G {
		cycle = 640
	}
	if period > 0 && value > 0 && !n.clock.from.IsZero() {
		// The product has 128 bits; the clock wraps at 64.
		hi, lo := bits.Mul64(uint64(now.Sub(n.clock.from))*10, value)
		grown, _ := bits.Div64(hi%(period*cycle), lo, period*cycle)
		n.clock.value += grown
	}
	n.clock.from = now
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
