package sim

// faulty carries out the misbehaviours that depend on the number of frames.
// It is true when the frame met its fate by it.
func (n *NIC) faulty() bool {
	f := &n.cfg.Faults
	if f.RemoveAfter != 0 && n.stats.Offered > f.RemoveAfter {
		n.removed = true
		n.stats.Removed++
		return true
	}
	if f.BadDMAAfter != 0 && n.stats.Offered%f.BadDMAAfter == 0 && n.master() {
		const nowhere = 0xdead_0000_0000_0000
		if err := n.host.WriteDMA(nowhere, []byte("stray")); err != nil {
			n.fault("injected: %v", err)
		} else {
			n.fault("injected: a write to %#x was accepted", uint64(nowhere))
		}
	}
	return false
}

// badCRC: every n-th frame arrives damaged.
func (n *NIC) badCRC() bool {
	if every := n.cfg.Faults.BadCRC; every == 0 || n.stats.Offered%every != 0 {
		return false
	}
	n.add(cCRCERRS, 1)
	n.stats.BadCRC++
	return true
}
