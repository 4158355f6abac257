package driver

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// EventKind is what an Event is about.
type EventKind uint8

const (
	// LinkChanged: the link came or went; Event.Link is its state.
	LinkChanged EventKind = iota
	// ModuleChanged: a module was plugged into the cage; Port.Module describes it.
	ModuleChanged
	// ModuleDoubtful: the module is of a kind that the 82599 is not known to work with.
	ModuleDoubtful
	// MemoryFailed: the device found that memory inside it has lost data (EICR.ECC).
	MemoryFailed
	// Overheated: the board's temperature sensor has raised its alarm.
	Overheated
	// VectorSilent: an interrupt vector does not fire; the port goes on without it.
	VectorSilent
)

// Event is what a port has to tell besides frames and counters.
type Event struct {
	Time time.Time
	Kind EventKind
	Link Link   // when the event was noticed
	Text string // one line for people, without the time
}

func (e Event) String() string { return e.Text }

const (
	// lookEvery is how often the link is looked at even if nothing interrupts.
	lookEvery = time.Second
	// linkPatience is how long a link may take to come up before it is down.
	linkPatience = 3 * time.Second
)

// watcher follows what is no frame: its own goroutine, and the only one that
// calls Config.OnEvent.
type watcher struct {
	p     *Port
	began time.Time
	known bool // the link's state has been told, or need not be
	link  Link
	told  []bool // by queue: that its vector is silent
	buf   [8]byte
}

// watch runs until the port is closed or its device is gone.
func (p *Port) watch() {
	w := &watcher{p: p, began: time.Now(), told: make([]bool, len(p.rx))}
	w.queues()
	if p.irq == nil {
		w.byClock()
		return
	}
	if irq := p.irq; irq.silent[irq.other] && !slices.Contains(irq.queue, irq.other) {
		w.tell(VectorSilent, fmt.Sprintf("MSI-X vector %d (link changes) never fired; the link is looked at every %v instead: "+
			"is MSI-X enabled, and does the device's interrupt reach this process?", irq.other, lookEvery))
	}
	w.module(false)
	w.byInterrupt()
}

func (w *watcher) tell(kind EventKind, text string) {
	if f := w.p.cfg.OnEvent; f != nil {
		f(Event{Time: time.Now(), Kind: kind, Link: w.p.Link(), Text: text})
	}
}

// byClock looks at the link now and then.
func (w *watcher) byClock() {
	w.module(false)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.p.quit:
			return
		case <-w.p.dev.Done():
			return
		case <-tick.C:
			w.look()
		}
	}
}

// byInterrupt waits for messages that no queue waits for itself.
func (w *watcher) byInterrupt() {
	p, irq := w.p, w.p.irq
	fds := []unix.PollFd{{Fd: int32(irq.wake.fd), Events: unix.POLLIN}}
	vector := []int{-1}
	for v, e := range irq.events {
		if !irq.alone(v) {
			fds = append(fds, unix.PollFd{Fd: int32(e.fd), Events: unix.POLLIN})
			vector = append(vector, v)
		}
	}
	var limit unix.Timespec
	w.causes() // arms
	for looked := time.Now(); ; {
		woken := doze(fds, &limit, lookEvery)
		select {
		case <-p.quit:
			return
		case <-p.dev.Done():
			return
		default:
		}
		// Nothing for a second, or a signal to the thread; or vectors of queues that
		// leave no second without anything.
		if !woken || time.Since(looked) >= lookEvery {
			w.causes()
			looked = time.Now()
		}
		if !woken {
			continue
		}
		for i, f := range fds {
			if f.Revents == 0 {
				continue
			}
			if i == 0 {
				irq.wake.take(&w.buf)
				w.queues()
				continue
			}
			irq.events[vector[i]].take(&w.buf)
			for q, v := range irq.queue {
				if v == vector[i] {
					irq.queues[q].signal()
				}
			}
			if vector[i] == irq.other {
				w.causes()
			}
		}
	}
}

// causes serves those that are no queue's: they are read from EICS, which has no
// effect, and cleared by writing EICR, for reading that would clear causes of
// queues that come in between (Linux, ixgbe_msix_other). Then they are let
// through again: the message has masked them.
func (w *watcher) causes() {
	p := w.p
	v := p.load(reg.EICS)
	if v == ^uint32(0) {
		return // gone, as somebody will notice
	}
	v &^= reg.EICR_VECTORS.Mask() | reg.EICR_OTHER.Mask()
	p.store(reg.EICR, v)
	w.look()
	if reg.EICR_GPI_SDP2.Of(v) != 0 {
		w.module(true)
	}
	if reg.EICR_ECC.Of(v) != 0 {
		w.tell(MemoryFailed, "the device's own memory has lost data (EICR.ECC): frames may be damaged or missing until the port is opened anew")
	}
	if reg.EICR_GPI_SDP0.Of(v) != 0 {
		w.tell(Overheated, "the board's temperature sensor has raised its alarm (EICR.GPI_SDP0): the port may shut down; see to its cooling")
	}
	p.store(reg.EIMS, p.irq.masks|reg.EICR_OTHER.Mask())
}

// look tells when the link is not as it was. When a port has been opened its link
// is still coming up, which is no news; that it does not come up is.
func (w *watcher) look() {
	l := w.p.Link()
	if l == w.link && w.known || w.p.err() != nil {
		return
	}
	if !w.known && !l.Up && time.Since(w.began) < linkPatience {
		return
	}
	if w.link.Up && !l.Up {
		w.p.linkDowns.Add(1)
	}
	w.known, w.link = true, l
	w.tell(LinkChanged, "link "+l.String())
}

// queues tells about queues whose vectors were found to be silent.
func (w *watcher) queues() {
	for i, q := range w.p.rx {
		if s := q.sleeper; s != nil && s.silent.Load() && !w.told[i] {
			w.told[i] = true
			w.tell(VectorSilent, s.silence(i))
		}
	}
}
