package driver

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// EventKind is the kind of an Event.
type EventKind uint8

const (
	// LinkChanged: the link came up or went down; Event.Link is its state.
	LinkChanged EventKind = iota
	// ModuleChanged: a module was plugged into the cage; Port.Module describes it.
	ModuleChanged
	// ModuleUnsupported: the module is of a kind that is not known to work with the 82599.
	ModuleUnsupported
	// MemoryError: the device reports an error in its internal memory (EICR.ECC).
	MemoryError
	// Overheated: the board's temperature sensor has raised its alarm.
	Overheated
	// VectorDead: an interrupt vector does not fire; the port polls instead.
	VectorDead
	// FunctionReset: the physical function has reset this virtual function, which
	// receives nothing until it has started again (Recovered).
	FunctionReset
	// Hung: the device has stopped moving frames; the port resets it.
	Hung
	// Recovered: after a reset frames are moved again, or could not be.
	Recovered
)

// Event is a change of a port that is neither a frame nor a counter.
type Event struct {
	Time time.Time
	Kind EventKind
	Link Link   // at that time
	Text string // one line for people, without the time
}

func (e Event) String() string { return e.Text }

const (
	// linkInterval is how often the link and the device's progress are checked, and the link
	// is read even without an interrupt (Config.checkInterval).
	linkInterval = time.Second
	// linkTimeout is how long a link may take to come up before it is reported down.
	linkTimeout = 3 * time.Second
)

// watcher handles the causes that are not frames, in its own goroutine, the only one
// that calls Config.OnEvent.
//
//	MSI-X vector of other causes ──► eventfd ──► serveCauses ──► OnEvent
//	RxQueue with a dead vector ────► wake ─────► reportDead ───►    |
//	every linkInterval ────────────────────────► checkLink ────►    |
type watcher struct {
	p        *Port
	began    time.Time
	known    bool // the link's state was reported, or is the initial one
	link     Link
	reported []bool // by queue: its vector is dead
	buf      [8]byte
}

// watch runs until the port is closed or its device is gone.
func (p *Port) watch() {
	w := &watcher{p: p, began: time.Now(), reported: make([]bool, len(p.rx))}
	w.reportDead()
	if p.irq == nil {
		w.watchByClock()
		return
	}
	if irq := p.irq; irq.dead[irq.other] && !slices.Contains(irq.queue, irq.other) {
		w.emit(VectorDead, fmt.Sprintf("MSI-X vector %d (link changes) is dead: it never fired; the link is read every %v instead. "+
			"Check that MSI-X is enabled and that the device's interrupt reaches this process", irq.other, p.cfg.checkInterval))
	}
	w.checkModule(false)
	w.watchByInterrupt()
}

func (w *watcher) emit(kind EventKind, text string) {
	f := w.p.cfg.OnEvent
	if f == nil {
		return
	}
	link := w.link // the one that is told
	if kind != LinkChanged {
		link = w.p.Link()
	}
	f(Event{Time: time.Now(), Kind: kind, Link: link, Text: text})
}

// watchByClock reads the link every linkInterval.
func (w *watcher) watchByClock() {
	w.checkModule(false)
	tick := time.NewTicker(w.p.cfg.checkInterval)
	defer tick.Stop()
	for {
		select {
		case <-w.p.quit:
			return
		case <-w.p.dev.Done():
			return
		case <-tick.C:
			if w.checkLink(); w.p.virtual != nil {
				w.serveVirtual()
			}
			w.checkHealth()
		}
	}
}

// watchByInterrupt waits for the vectors that are not exclusive to a queue.
func (w *watcher) watchByInterrupt() {
	p, irq := w.p, w.p.irq
	fds := []unix.PollFd{{Fd: int32(irq.wake.fd), Events: unix.POLLIN}}
	vector := []int{-1}
	for v, e := range irq.events {
		if !irq.exclusive(v) {
			fds = append(fds, unix.PollFd{Fd: int32(e.fd), Events: unix.POLLIN})
			vector = append(vector, v)
		}
	}
	var limit unix.Timespec
	w.serveCauses() // enables them
	for last := time.Now(); ; {
		woken := ppoll(fds, &limit, p.cfg.checkInterval)
		select {
		case <-p.quit:
			return
		case <-p.dev.Done():
			return
		default:
		}
		// Timeout, or a signal to the thread; or vectors shared with queues that fire
		// more often than once in linkInterval.
		if !woken || time.Since(last) >= p.cfg.checkInterval {
			w.checkHealth()
			w.serveCauses()
			last = time.Now()
		}
		if woken {
			w.serveVectors(fds, vector)
		}
	}
}

// serveVectors handles the readable descriptors: fds[0] is the wake event, the others
// are those of the vectors in vector.
func (w *watcher) serveVectors(fds []unix.PollFd, vector []int) {
	irq := w.p.irq
	for i, f := range fds {
		if f.Revents == 0 {
			continue
		}
		if i == 0 {
			irq.wake.drain(&w.buf)
			w.reportDead()
			continue
		}
		irq.events[vector[i]].drain(&w.buf)
		for q, v := range irq.queue {
			if v == vector[i] {
				irq.queues[q].signal()
			}
		}
		if vector[i] == irq.other {
			w.serveCauses()
		}
	}
}

// serveCauses handles the causes other than queues. It reads them from EICS, which has
// no side effect, and clears them by writing EICR: reading EICR would clear causes of
// queues that come in between (Linux, ixgbe_msix_other). Then it enables them again,
// because the message has masked them.
func (w *watcher) serveCauses() {
	p := w.p
	if p.virtual != nil {
		w.serveVirtual()
		return
	}
	v := p.load(reg.EICS)
	if v == ^uint32(0) {
		return // the device is gone
	}
	v &^= reg.EICR_VECTORS.Mask() | reg.EICR_OTHER.Mask()
	p.store(reg.EICR, v)
	if reg.EICR_MAILBOX.Of(v) != 0 {
		p.wakeVFs()
	}
	w.checkLink()
	if reg.EICR_GPI_SDP2.Of(v) != 0 { // without a cage it does nothing
		w.checkModule(true)
	}
	if reg.EICR_ECC.Of(v) != 0 {
		w.emit(MemoryError, fmt.Sprintf("error in the device's internal memory (%s): frames may be damaged or missing; close and open the port", reg.EICR_ECC))
	}
	if alarm, ok := p.model.heatAlarm(); ok && alarm.Of(v) != 0 {
		w.emit(Overheated, fmt.Sprintf("temperature alarm of the board (%s): the port may shut down; check its cooling", alarm))
	}
	p.store(reg.EIMS, p.irq.masks|reg.EICR_OTHER.Mask())
}

// checkLink reports a change of the link. The link of a port that was just opened is
// still coming up, which is not reported unless it takes longer than linkTimeout.
func (w *watcher) checkLink() {
	l := w.p.Link()
	if l == w.link && w.known || w.p.err() != nil {
		return
	}
	if !w.known && !l.Up && time.Since(w.began) < linkTimeout {
		return
	}
	if w.link.Up && !l.Up {
		w.p.linkDowns.Add(1)
	}
	w.known, w.link = true, l
	if w.p.clock != nil {
		w.p.clock.follow(l)
	}
	w.emit(LinkChanged, "link "+l.String())
}

// restarted reports that the driver has set up the link again, which interrupts it, for
// a time that may be too short for checkLink to see. The next check reports it up.
func (w *watcher) restarted() {
	if !w.link.Up || w.p.err() != nil {
		return
	}
	w.link = Link{}
	w.p.linkDowns.Add(1)
	w.emit(LinkChanged, "link "+w.link.String())
}

// reportDead reports queues whose vectors were found to be dead.
func (w *watcher) reportDead() {
	for i, q := range w.p.rx {
		if s := q.sleeper; s != nil && s.dead.Load() && !w.reported[i] {
			w.reported[i] = true
			w.emit(VectorDead, s.deadText(i))
		}
	}
}
