package sim

import (
	"hash/crc32"

	"github.com/ixcap/ixcap/sim/wire"
)

// injectFault carries out the faults that depend on the number of frames. It
// reports whether the frame is lost by them.
func (n *NIC) injectFault() bool {
	f := &n.cfg.Faults
	if f.RemoveAfter != 0 && n.stats.Offered > f.RemoveAfter {
		n.removed = true
		n.stats.Removed++
		return true
	}
	if f.RxStall != 0 && n.stats.Offered == f.RxStall {
		n.rx.stalled = true
		n.updateBus()
	}
	if f.BadDMAAfter != 0 && n.stats.Offered%f.BadDMAAfter == 0 && n.master() {
		const unmapped = 0xdead_0000_0000_0000
		if err := n.host.WriteDMA(unmapped, []byte("stray")); err != nil {
			n.fault("injected DMA: %v", err)
		} else {
			n.fault("injected DMA: a write to %#x was accepted", uint64(unmapped))
		}
	}
	return false
}

// injectBadCRC gives every n-th frame a wrong CRC.
func (n *NIC) injectBadCRC(f []byte) {
	if every := n.cfg.Faults.BadCRC; every != 0 && n.stats.Offered%every == 0 {
		n.rx.damage |= wire.BadCRC
		n.rx.crc = ^crc32.ChecksumIEEE(f)
	}
}
