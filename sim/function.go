package sim

import (
	"sync/atomic"

	"github.com/ixcap/ixcap/sim/server"
)

// function is a PCI function of the port: the physical function, or a virtual one.
// Each has a client of its own, hence its own memory and interrupts.
type function struct {
	host  server.Host // nil without a client
	mem   dmaCache
	pci   configSpace
	msix  [bar4Size]byte
	onBus bool // it may issue requests on the bus, as of this pass
}

// functions yields all functions.
func (n *NIC) functions(yield func(*function) bool) {
	if !yield(&n.function) {
		return
	}
	for _, v := range n.vfs {
		if !yield(&v.function) {
			return
		}
	}
}

// functionOf is the function of a virtual function, for nil the physical one.
func (n *NIC) functionOf(v *VF) *function {
	if v == nil {
		return &n.function
	}
	return &v.function
}

// updateBus sets onBus of all functions and of the receive queues. A virtual function depends on its own Bus
// Master Enable only (datasheet 9.4), and on the port's master disable.
func (n *NIC) updateBus() {
	n.onBus = n.master()
	for _, v := range n.vfs {
		v.onBus = !n.removed && v.host != nil && v.pci.busMaster() && n.reg[rCTRL/4]&ctrlMasterDisable == 0
	}
	for _, i := range n.rx.active {
		if q := &n.rx.q[i]; q.enabled {
			q.onBus = q.ring.fn.onBus && !n.rx.stalled
		}
	}
}

// detached reports whether no function has a client.
func (n *NIC) detached() bool {
	for p := range n.functions {
		if p.host != nil {
			return false
		}
	}
	return true
}

// invalidate drops cached memory of a function's client.
func (n *NIC) invalidate(p *function) {
	p.mem.invalidate()
	n.rx.invalidateMemory()
	n.tx.invalidateMemory()
}

// owner is the virtual function that has a queue: with VT_Mode of GCR_EXT, function
// k has the queues of pool k. Nil is the physical function.
func (n *NIC) owner(queue int) *VF {
	if per := n.queuesPerVF(); per > 0 && queue/per < len(n.vfs) {
		return n.vfs[queue/per]
	}
	return nil
}

// queuesPerVF is the number of queues of a virtual function: 8, 4 or 2 by VT_Mode
// of GCR_EXT, 0 without virtualization (datasheet 8.2.3.4).
func (n *NIC) queuesPerVF() int { return [4]int{0, 8, 4, 2}[n.reg[rGCREXT/4]&3] }

// rxBell and txBell are the tail registers of a queue, in memory shared with the
// client that has it.
func (n *NIC) rxBell(queue int) *atomic.Uint32 {
	if v := n.owner(queue); v != nil {
		return v.tails.line(queue % n.queuesPerVF())
	}
	return n.bells.rx(queue)
}

func (n *NIC) txBell(queue int) *atomic.Uint32 {
	if v := n.owner(queue); v != nil {
		return v.tails.line(vfQueues + queue%n.queuesPerVF())
	}
	return n.bells.tx(queue)
}

// signal sets the cause of a queue's vector, -1 for none, of the function that has
// the queue.
func (n *NIC) signal(v *VF, vector int8) {
	if v == nil {
		n.raiseQueue(vector)
	} else if vector >= 0 {
		v.intr.cause |= 1 << vector
	}
}
