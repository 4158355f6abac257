package driver

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/ring"
)

// A device that stops moving frames is reset while its queues stay in use:
//
//	watcher                               reader of the queue
//	reception off, requests end
//	counts what is inside as lost, resets
//	asked ───────────────────────────────► next Poll that finds no frame:
//	                                       discards what is incomplete
//	parked ◄──────────────────────────────  (asked by the index that it polls next)
//	RDH = that index, queue enabled
//	enabled ─────────────────────────────► next Poll that finds no frame: writes the tail
//	running ◄─────────────────────────────
//	reception on
//
// A transmit queue is taken over in the same way when its user looks for packets sent.
// Frames in memory are polled before, so only those inside the device are lost. The tail is
// written by the reader alone, in both states: no store of the watcher can undo one of its.

// restart is the state of a queue during a reset of its port.
type restart struct {
	state atomic.Uint32 // release and acquire of what the other side has done
	// head is the index of the first descriptor after the reset, written before parked. Of
	// a transmit queue it is that of the first one that was not fetched before, written
	// before asked; ringUnknown stands for the first one that was not reported as sent.
	head uint32
	// frames of a receive queue were polled or dropped before the reset, written before none.
	frames uint64
}

const ringUnknown = ^uint32(0)

const (
	restartNone uint32 = iota
	restartAsked
	restartParked
	restartEnabled
)

// serveRestart is called by the queue's reader when no frame is complete.
func (q *RxQueue) serveRestart() {
	switch q.restart.state.Load() {
	case restartAsked:
		for i, n := q.next, ring.Distance(q.next, q.end(), q.size); n > 0; n-- {
			q.refill(i)
			i = ring.Next(i, q.size)
		}
		q.limit = uint32(q.bufs.Size())
		if s := q.sleeper; s != nil {
			s.itr, s.armed = -1, false
		}
		q.restart.head = q.next
		q.restart.state.Store(restartParked)
	case restartEnabled:
		q.tail.Store32(q.tailAt, q.end())
		q.restart.frames = q.frames + q.Overlong() + q.Malformed()
		q.restart.state.CompareAndSwap(restartEnabled, restartNone) // else asked once more
	}
}

// serveRestart is called by the queue's user before it looks for packets sent. A ring that a
// reset device has not sent is discarded: its packets may be what has hung the device.
func (q *TxQueue) serveRestart() {
	switch q.restart.state.Load() {
	case restartAsked:
		head := q.restart.head
		if head == ringUnknown {
			head = q.clean
		}
		for i := head % q.size; i != q.next; i = ring.Next(i, q.size) {
			if q.descs[i].Words[1]&uint64(ring.TxEOP) != 0 {
				q.discarded++
			}
		}
		q.next, q.clean, q.mark, q.made, q.since, q.buffers = 0, 0, 0, 0, 0, 0
		q.free, q.known = uint32(len(q.pool)), [2]bool{}
		if q.head != nil {
			atomic.StoreUint32(q.head, 0)
		}
		q.restart.state.Store(restartParked)
	case restartEnabled:
		q.tail.Store32(q.tailAt, q.next)
		q.restart.state.CompareAndSwap(restartEnabled, restartNone)
	}
}

// stallChecks is how many checks in a row, one each linkInterval, must find a device
// stalled.
const stallChecks = 3

// health is what the watcher knows of the device's progress.
type health struct {
	checked        time.Time
	wire, received uint64
	dropped        uint64 // without a descriptor
	elsewhere      uint64 // of these, in queues of virtual functions
	stalled        int    // checks in a row
	sent           uint64
	waiting        []uint32 // TDH by transmit queue with descriptors to send, else waitsNot
	hung           int      // checks in a row
	failed         bool     // the last reset has failed
	began          time.Time
	lost           uint64 // by the reset
}

// checkHealth resets the device if, in stallChecks checks in a row, it counts frames and
// writes none although it has descriptors, or has packets to send and sends none.
func (w *watcher) checkHealth() {
	p, h := w.p, &w.p.health
	if p.virtual != nil || h.failed || time.Since(h.checked) < p.cfg.checkInterval/2 {
		return
	}
	p.state.Lock() // no one who holds it waits for the watcher
	h.checked = time.Now()
	var events []Event
	if !p.closed {
		events = p.examine()
	}
	p.state.Unlock() // Config.OnEvent may call Start or Stop
	for _, e := range events {
		w.emit(e.Kind, e.Text)
	}
}

// examine is checkHealth with p.state held. It returns kinds and texts of events.
func (p *Port) examine() []Event {
	h := &p.health
	if err := p.resumeTransmit(); err != nil || p.phase != restartNone {
		return p.finish(err)
	}
	s, err := p.Stats()
	if err != nil {
		return nil
	}
	stalled, hung := p.receiveStalled(&s), p.transmitHung(&s)
	what := ""
	switch {
	case stalled:
		what = "the receive DMA has stopped: frames arrive, and none has reached memory although every ring has descriptors"
	case hung:
		what = "the transmit DMA has stopped: packets are in the ring, and none is sent although the link is up"
	default:
		return nil
	}
	hang := Event{Kind: Hung, Text: fmt.Sprintf("%s, for %v; the device is reset", what, stallChecks*p.cfg.checkInterval)}
	h.stalled, h.hung, h.began = 0, 0, time.Now()
	h.lost, err = p.recover()
	return append([]Event{hang}, p.finish(err)...)
}

// receiveStalled compares the counters with those of the last check.
func (p *Port) receiveStalled(s *Stats) bool {
	h := &p.health
	var dropped uint64
	for _, q := range s.Queues {
		dropped += q.NoDescriptor
	}
	good, received, able := s.Wire-sum(s.Bad)-s.Filtered, s.Received, true
	if p.pools.count > 0 {
		good, received, able = p.progressOfPools()
		dropped += h.elsewhere
	}
	if p.started && able && good-h.wire > dropped-h.dropped && received == h.received && p.haveDescriptors() {
		h.stalled++
	} else {
		h.stalled = 0
	}
	h.wire, h.received, h.dropped = good, received, dropped
	return h.stalled >= stallChecks
}

// waitsNot is no value of TDH.
const waitsNot = ^uint32(0)

// transmitHung compares the heads of the transmit rings with those of the last check: a
// queue has packets to send, and neither its head has moved nor any packet was sent.
func (p *Port) transmitHung(s *Stats) bool {
	h := &p.health
	before := h.waiting
	h.waiting = nil
	stuck := false
	for i := range p.tx {
		head := p.load(reg.TDH(p.hw(i)))
		if head == p.load(reg.TDT(p.hw(i))) || !p.Link().Up {
			head = waitsNot
		}
		h.waiting = append(h.waiting, head)
		stuck = stuck || head != waitsNot && len(before) > i && before[i] == head
	}
	if stuck && s.Sent == h.sent {
		h.hung++
	} else {
		h.hung = 0
	}
	h.sent = s.Sent
	return h.hung >= stallChecks
}

// finish ends a reset once the readers of all queues have answered.
func (p *Port) finish(err error) []Event {
	h := &p.health
	if err == nil {
		err = p.resume()
	}
	switch {
	case p.err() != nil || p.quitting() || errors.Is(err, errUnanswered):
		return nil
	case err != nil:
		h.failed = true
		return []Event{{Kind: Recovered, Text: fmt.Sprintf("the device could not be reset: %v. Close and open the port", err)}}
	}
	if n := p.pools.count; n > 0 {
		return []Event{{Kind: Recovered, Text: fmt.Sprintf("the device was reset in %v; frames inside it are lost and in no counter, those in memory are kept; its virtual functions (%d) start again",
			time.Since(h.began).Round(time.Millisecond), n)}}
	}
	return []Event{{Kind: Recovered, Text: fmt.Sprintf("the device was reset in %v; %d frames inside it are lost (%s), those in memory are kept",
		time.Since(h.began).Round(time.Millisecond), h.lost, reg.CTRL_RST)}}
}

// haveDescriptors reports whether each receive queue of the device has descriptors: it does
// not wait for a reader.
func (p *Port) haveDescriptors() bool {
	for i := range p.rx {
		if p.load(reg.RDH(p.hw(i))) == p.load(reg.RDT(p.hw(i))) {
			return false
		}
	}
	return true
}

// errUnanswered is why a reset is finished later: a reader does not poll, or Start, Stop or
// Close is called.
var errUnanswered = errors.New("the reader of a queue has not answered yet")

// lockState locks p.state. A reset that waits for the readers of queues gives way.
func (p *Port) lockState() {
	p.wanted.Add(1)
	p.state.Lock()
	p.wanted.Add(-1)
}

// recover resets the device and programs it again over the memory of the queues, which
// their readers then have to take over (resume). It returns the number of frames that were
// inside the device. The caller holds p.state.
func (p *Port) recover() (lost uint64, err error) {
	p.pools.mu.Lock() // their mailboxes wait
	defer p.pools.mu.Unlock()
	p.change(reg.RXCTRL, to(reg.RXCTRL_RXEN, 0))
	p.flush()
	time.Sleep(time.Millisecond)
	_ = p.disableReceiveQueues() // a device that hangs may not answer
	_ = p.disableTransmit()
	for i, q := range p.tx {
		q.restart.head = p.load(reg.TDH(p.hw(i)))
		q.restart.state.Store(restartAsked)
	}
	_ = p.disableMaster()
	defer p.holdClock()()
	if lost, err = p.resetAndCount(); err != nil {
		return lost, err
	}
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"disable interrupts", p.disableInterrupts},
		{"general configuration", p.configureGeneral},
		{"EEPROM auto-read", p.waitEEPROM},
		{"DMA initialisation", p.waitDMA},
		{"set up link", p.setupLink},
		{"initialise receive", p.initReceive},
		{"set filters", func() error { return p.storePlan(p.plan) }},
		{"restore pools", p.restorePools},
		{"initialise transmit", p.initTransmit},
		{"start the clock", p.startClock},
	} {
		if err := s.do(); err != nil {
			return lost, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if p.irq != nil {
		p.routeInterrupts()
	}
	if err := p.offerVFs(); err != nil {
		return lost, err
	}
	if p.posted > 0 { // else no descriptor was ever posted
		p.phase = restartAsked
		p.askReaders(restartAsked)
	}
	return lost, nil
}

// resetAndCount resets the device. What was inside it counts as lost by the reset. The
// counters are not read in between.
func (p *Port) resetAndCount() (lost uint64, err error) {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	if err := p.stats.read(p, counterTable); err != nil {
		return 0, err
	}
	if s := p.balance(); s.Balanced() != nil {
		lost = s.Wire - s.Received - s.Filtered - s.Lost() - sum(s.Bad)
		p.stats.lost += lost
	}
	if err := p.reset(); err != nil {
		return lost, err
	}
	p.mapStatistics()
	p.stats.discard(p)
	return lost, p.err()
}

// resume enables the queues where their readers continue, and then reception. It may be
// called again after errUnanswered.
func (p *Port) resume() error {
	if p.phase == restartNone {
		return p.resumeTransmit()
	}
	if p.phase == restartAsked {
		if err := p.answered(restartParked); err != nil {
			return err
		}
		for i, q := range p.rx {
			p.store(reg.RDH(p.hw(i)), q.restart.head)
			p.store(reg.RDT(p.hw(i)), q.restart.head) // the device owns no descriptor
			p.change(reg.RXDCTL(p.hw(i)), to(reg.RXDCTL_ENABLE, 1))
			if err := p.wait(reg.RXDCTL(p.hw(i)), 100*time.Millisecond, to(reg.RXDCTL_ENABLE, 1)); err != nil {
				return err
			}
		}
		if p.virtual != nil {
			p.resumeVirtualCounters()
		}
		p.phase = restartEnabled
		p.askReaders(restartEnabled)
	}
	if err := p.answered(restartNone); err != nil {
		return err
	}
	p.phase = restartNone
	switch {
	case p.virtual != nil:
		p.correctVirtualCounters()
		return nil
	case !p.started:
		return nil
	}
	return p.enableReceive()
}

// resumeTransmit enables transmit queues whose users have discarded what was in them.
func (p *Port) resumeTransmit() error {
	for i, q := range p.tx {
		if q.restart.state.Load() != restartParked {
			continue
		}
		if err := p.enableTransmitQueue(i); err != nil {
			return err
		}
		q.restart.state.Store(restartEnabled)
	}
	return nil
}

func (p *Port) askReaders(state uint32) {
	for _, q := range p.rx {
		q.restart.state.Store(state)
	}
}

// answered waits until the readers of all queues have set a state, at most half of
// linkInterval.
func (p *Port) answered(state uint32) error {
	end := time.Now().Add(p.cfg.checkInterval / 2)
	for _, q := range p.rx {
		for q.restart.state.Load() != state {
			if err := errors.Join(p.err(), p.resumeTransmit()); err != nil {
				return err
			}
			if p.wanted.Load() > 0 || p.quitting() || time.Now().After(end) {
				return errUnanswered
			}
			q.Wake()
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}
