package driver

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/pci"
)

// Interrupts selects which of the device's interrupts a port uses. They are MSI-X
// messages, which every transport turns into eventfds.
type Interrupts uint8

const (
	// LinkInterrupts: only causes other than queues, such as the link. Without MSI-X
	// the link is read once a second instead. Queues are polled. This is the default.
	LinkInterrupts Interrupts = iota

	// QueueInterrupts: also the receive queues, so that RxQueue.Sleep can wait for
	// frames without using a core. Open fails for a device without MSI-X.
	QueueInterrupts

	// NoInterrupts: none. The link is read once a second.
	NoInterrupts
)

// otherInterval is the shortest time between two messages of causes other than
// queues, as in Linux and DPDK.
const otherInterval = 500 * time.Microsecond

// testLimit is how long a vector may take to fire in the test: far longer than any
// bus takes, so that a vector does not seem dead on a busy machine. A dead vector
// delays Open by this time.
const testLimit = time.Second

// vectors maps queues and other causes to MSI-X vectors.
//
//	queues 0, 1, 2, other          with fewer vectors        with one
//	       |  |  |   |             0, 1, 2, other            0, 1, 2, other
//	       0  1  2   3             0  1  0  2                0  0  0  0
type vectors struct {
	queue []int // by receive queue; empty: queues do not interrupt
	other int   // of the other causes
	used  int
}

// assign distributes the vectors of the device, at least one.
func assign(have, queues int) vectors {
	v := vectors{used: min(have, queues+1)}
	v.other = v.used - 1
	for q := range queues {
		v.queue = append(v.queue, q%max(v.used-1, 1))
	}
	return v
}

// exclusive reports whether a vector serves one queue and no other cause.
func (v *vectors) exclusive(vector int) bool {
	n := 0
	for _, q := range v.queue {
		if q == vector {
			n++
		}
	}
	return n == 1 && vector != v.other
}

// interrupts are the connected interrupts of a port.
type interrupts struct {
	vectors
	events []*eventFD // by vector
	queues []*eventFD // by queue: that of its vector, or one that the watcher signals
	wake   *eventFD   // wakes the watcher
	masks  uint32     // EIMS of the other causes
	dead   []bool     // by vector: it did not fire in the test
}

// connectInterrupts is step 9 (4.6.3.1): it connects the vectors, routes the causes to
// them, and makes each fire once, so that a dead one is known before frames arrive.
func (p *Port) connectInterrupts() error {
	mode := p.cfg.Interrupts
	if mode == NoInterrupts {
		return nil
	}
	have, err := p.dev.Vectors(pci.MSIX)
	if err != nil {
		return fmt.Errorf("count MSI-X vectors: %w", err)
	}
	if have < 1 {
		if mode == QueueInterrupts {
			return errors.New("the device has no MSI-X vectors, so its queues cannot interrupt: poll them (Config.Interrupts = LinkInterrupts)")
		}
		return nil
	}
	queues := 0
	if mode == QueueInterrupts {
		queues = len(p.rx)
	}
	irq := &interrupts{vectors: assign(have, queues)}
	p.irq = irq // free releases it, however complete
	if err := irq.open(); err != nil {
		return err
	}
	fds := make([]int, irq.used)
	for i, e := range irq.events {
		fds[i] = e.fd
	}
	if err := p.dev.SetVectors(pci.MSIX, 0, fds); err != nil {
		return fmt.Errorf("connect %d MSI-X vectors (Config.Interrupts = NoInterrupts does without): %w", irq.used, err)
	}
	if p.virtual != nil {
		p.routeVirtual()
	} else {
		p.routeInterrupts()
	}
	for i, q := range p.rx[:queues] {
		q.connect(p.regs, p.vectorOf(irq.queue[i]), irq.queues[i], irq.wake.signal)
	}
	p.testVectors()
	return nil
}

// open creates the eventfds.
func (irq *interrupts) open() (err error) {
	if irq.wake, err = newEventFD(); err != nil {
		return err
	}
	for range irq.used {
		e, err := newEventFD()
		if err != nil {
			return err
		}
		irq.events = append(irq.events, e)
	}
	for _, v := range irq.queue {
		e := irq.events[v]
		if !irq.exclusive(v) {
			if e, err = newEventFD(); err != nil {
				return err
			}
		}
		irq.queues = append(irq.queues, e)
	}
	return nil
}

// routeInterrupts routes causes to vectors, as Linux does (ixgbe_configure_msix,
// ixgbe_setup_gpie): a vector's message clears its cause (EIAC) and masks it
// (EIAM_EX), so that no register is written between a message and the next enabling.
// The watcher clears the other causes: two of them at once are one message.
func (p *Port) routeInterrupts() {
	irq := p.irq
	gpie := reg.GPIE_MULTIPLE_MSIX.Val(1) | reg.GPIE_PBA_SUPPORT.Val(1) | reg.GPIE_OCD.Val(1) | reg.GPIE_EIAME.Val(1)
	causes := []reg.Field{reg.EICR_LSC, reg.EICR_ECC}
	if p.pools.count > 0 {
		causes = append(causes, reg.EICR_MAILBOX)
	}
	if p.model.medium == sfi {
		// A module was plugged in (SDP2); its laser is on or off (SDP1).
		gpie |= reg.GPIE_SDP1_GPIEN.Val(1) | reg.GPIE_SDP2_GPIEN.Val(1)
		causes = append(causes, reg.EICR_GPI_SDP1, reg.EICR_GPI_SDP2)
	}
	if alarm, ok := p.model.heatAlarm(); ok {
		gpie |= reg.GPIE_SDP0_GPIEN.Val(bit(p.model.sensor))
		causes = append(causes, alarm)
	}
	for _, c := range causes {
		irq.masks |= c.Mask()
	}
	p.store(reg.GPIE, gpie)
	p.store(reg.EIAC, reg.EICR_VECTORS.Mask())
	for i := range 2 {
		p.store(reg.EIAM_EX(i), ^uint32(0))
	}
	for i, v := range irq.queue {
		q := p.hw(i)
		p.change(reg.IVAR(q/2), to(reg.IVAR_RX[q%2], uint32(v)), to(reg.IVAR_RX_VALID[q%2], 1))
	}
	if !slices.Contains(irq.queue, irq.other) {
		// A link that flaps, or an input that floats, must not keep a core busy.
		p.store(reg.EITR(irq.other), reg.EITR_INTERVAL.Val(uint32(otherInterval/itrUnit))|reg.EITR_CNT_WDIS.Val(1))
	}
	p.change(reg.IVAR_MISC, to(reg.IVAR_MISC_OTHER, uint32(irq.other)), to(reg.IVAR_MISC_OTHER_VAL, 1))
}

// testVectors makes every vector fire by EICS, as Linux's self-test does, and marks
// those that do not as dead.
func (p *Port) testVectors() {
	irq := p.irq
	irq.dead = make([]bool, irq.used)
	for v := range irq.used {
		irq.dead[v] = true
	}
	p.raiseAll()
	p.flush()
	deadline := time.Now().Add(testLimit)
	var limit unix.Timespec
	var buf [8]byte
	for v, e := range irq.events {
		fd := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
		for irq.dead[v] && p.dev.Err() == nil {
			left := time.Until(deadline)
			if ppoll(fd, &limit, left) && e.drain(&buf) {
				irq.dead[v] = false
			}
			if left <= 0 {
				break
			}
		}
	}
	_ = p.disableInterrupts()
	p.flush()
	// Vectors that fired late.
	for _, e := range irq.events {
		e.drain(&buf)
	}
	for q, v := range irq.queue {
		if irq.dead[v] {
			p.rx[q].sleeper.declareDead()
		}
	}
}

// raiseAll raises the causes of all vectors in use.
func (p *Port) raiseAll() {
	irq := p.irq
	if p.virtual != nil {
		p.store(reg.VTEIMS, 1<<irq.used-1)
		p.store(reg.VTEICS, 1<<irq.used-1)
		return
	}
	for v := range irq.used {
		if len(irq.queue) > 0 {
			p.store(reg.EIMS_EX(v/32), 1<<(v%32))
			p.store(reg.EICS_EX(v/32), 1<<(v%32))
		}
	}
	p.store(reg.EIMS, reg.EICR_LSC.Mask()|reg.EICR_OTHER.Mask())
	p.store(reg.EICS, reg.EICR_LSC.Mask())
}

// vector is an MSI-X vector and the registers that enable and moderate it.
type vector struct {
	number           int
	enable, interval uint32 // offsets
	bit              uint32 // in the register at enable
}

func (p *Port) vectorOf(number int) vector {
	if p.virtual != nil {
		return vector{number, uint32(reg.VTEIMS.Offset), uint32(reg.VTEITR(number).Offset), 1 << number}
	}
	return vector{number, uint32(reg.EIMS_EX(number / 32).Offset), uint32(reg.EITR(number).Offset), 1 << (number % 32)}
}

// disconnectInterrupts undoes connectInterrupts, also after an error in it.
func (p *Port) disconnectInterrupts() error {
	irq := p.irq
	if irq == nil {
		return nil
	}
	p.irq = nil
	var errs []error
	if p.err() == nil {
		_ = p.disableInterrupts()
		if err := p.dev.SetVectors(pci.MSIX, 0, nil); err != nil && p.err() == nil {
			errs = append(errs, fmt.Errorf("disconnect MSI-X vectors: %w", err))
		}
	}
	all := append(append([]*eventFD{}, irq.events...), irq.queues...)
	if irq.wake != nil {
		all = append(all, irq.wake)
	}
	for _, e := range all {
		errs = append(errs, e.close())
	}
	return errors.Join(errs...)
}
