package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/internal/asynclog"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/wire"
)

const (
	bar0Size = 512 << 10 // registers
	bar2Size = 32        // I/O: IOADDR and IODATA
	bar4Size = 16 << 10  // MSI-X table and pending bits

	queues  = 128
	vectors = 64
)

// Config describes the port and its injected faults. The zero value is a healthy
// port with a 10GBASE-SR module.
type Config struct {
	// MAC is the station address in the EEPROM. Zero: a random locally administered
	// address.
	MAC [6]byte

	// ID is the PCI device id, which selects the controller. 0: 10FBh, the 82599 with
	// an SFP+ cage.
	ID uint16

	// Module is the module in the SFP+ cage of a controller that has one.
	Module Module

	// Monitoring is what the module measures of itself.
	Monitoring Monitoring

	// StartAtLinkUp reads the wire as soon as the link is up. Otherwise the wire is
	// read once reception has been enabled, so that a replayed file is not lost
	// before the driver is ready.
	StartAtLinkUp bool

	// LinkDelay is the time from a start of the link, or from carrier, to link up.
	// Default 5 ms.
	LinkDelay time.Duration

	// Faults are injected faults.
	Faults Faults

	// ClockError is by how many parts per million the oscillator behind SYSTIM is fast,
	// -1000 to 1000. The line keeps its rate.
	ClockError int

	// PeerSpeed is the speed of the other end in Mb/s: 100, 1000 or 10000, on twisted
	// pair the fastest that it negotiates. 0: any.
	PeerSpeed int

	// VFs is the number of virtual functions, NIC.VF: 0 to 63, of an 82599 only.
	VFs int

	// Arrivals is the number of frames to record for NIC.Arrivals. 0: none.
	Arrivals int

	// Thread, when set, is called once on the device thread, to pin it or to raise
	// its priority. The device thread is then locked to its OS thread and does not
	// yield: it needs a core of its own.
	Thread func() error

	// Stepped: there is no device thread, and the device makes a pass only in NIC.Step, at
	// the time that its caller says. For experiments with a time of their own.
	Stepped bool

	// Logger gets the 1st, 2nd, 4th, 8th ... of the faults that Stats.Faults
	// counts. Its handler runs on the device thread: it must not block and must
	// not call the NIC. Nil discards.
	Logger *slog.Logger
}

// Faults are injected faults, each off when zero.
type Faults struct {
	LinkFlap     time.Duration // the link goes down for LinkDelay this often
	LostDoorbell int           // every n-th change of a tail register is ignored
	RemoveAfter  uint64        // after n frames the function is removed from the bus
	BadDMAAfter  uint64        // after every n frames there is a DMA write to an unmapped address
	BadCRC       uint64        // every n-th frame arrives with a wrong CRC
	RxStall      uint64        // after n frames the receive DMA stops until a reset
	TxHang       uint64        // after n frames the transmit DMA stops until a reset
	Pending      time.Duration // bus requests take this long to end once the master is disabled

	// Defects that every driver must detect.
	BadChecksum bool // the EEPROM's checksum is wrong
	NoWriteBack bool // descriptors are executed and never written back
	NoEnable    bool // RXDCTL.ENABLE never reads back set
	NoMSIX      bool // MSI-X vectors are never signalled
}

// NIC is one port of a software 82599. It implements server.Device.
type NIC struct {
	cfg     Config
	variant *variant
	wire    wire.Wire
	carrier wire.CarrierSetter // the wire where it carries the transmitter's state, else nil
	timed   wire.TimedSender   // the wire where it carries times and CRCs, else nil
	dec     *decoder

	mu      sync.Mutex   // guards all below; the device thread holds it for a batch
	waiters atomic.Int32 // register accesses that wait for mu

	reg []uint32 // BAR 0 by word
	ctr counters
	function
	vfs     []*VF
	ioaddr  uint32
	removed bool
	dirty   bool // registers changed since configure

	bells     *doorbells
	postTimes [queues]atomic.Pointer[postTimes] // of the transmit queues, for tailClock

	eeprom  []uint16
	spi     spiEEPROM
	i2c     i2cBus
	monitor []byte // page A2h of the module
	sem     semaphores
	link    link
	phy     phy
	clock   sysTime
	intr    interrupts

	rx   rxUnit
	fdir flowDirector
	tx   txUnit

	arrivals   *arrivalLog   // nil: off
	departures *departureLog // nil: off
	stats      Stats
	rng        *rand.Rand
	closing    atomic.Bool
	asleep     atomic.Bool
	wakes      atomic.Uint32 // calls of wake: the device thread does not sleep if it changed
	done       chan struct{} // closed when the device thread has ended
	ended      chan struct{}
	endOnce    sync.Once
}

// Notices returns what the wire leaves out or changes of its source, a sentence each.
func (n *NIC) Notices() []string {
	if w, ok := n.wire.(wire.Noticer); ok {
		return w.Notices()
	}
	return nil
}

// New starts a NIC on w. Close closes both.
func New(cfg Config, w wire.Wire) (*NIC, error) {
	if w == nil {
		return nil, errors.New("create NIC: no wire: make one with wire.Parse")
	}
	if max(cfg.ClockError, -cfg.ClockError) > maxClockError {
		return nil, fmt.Errorf("create NIC: clock error of %d ppm: want -%d to %[2]d", cfg.ClockError, maxClockError)
	}
	kind, err := variantOf(cfg.ID)
	if err != nil {
		return nil, fmt.Errorf("create NIC: %w", err)
	}
	if cfg.VFs > 0 && kind.family != family82599 {
		return nil, fmt.Errorf("create NIC: virtual functions of the %s are not modelled: want an 82599", kind.name)
	}
	if cfg.VFs < 0 || cfg.VFs > maxVFs {
		return nil, fmt.Errorf("create NIC: %d virtual functions: want 0 to %d", cfg.VFs, maxVFs)
	}
	dec, err := newDecoder(registerTable(kind))
	if err != nil {
		return nil, fmt.Errorf("create NIC: %w", err)
	}
	n := newNIC(cfg, kind, w, dec)
	if n.bells, err = newDoorbells(); err != nil {
		return nil, fmt.Errorf("create NIC: %w", err)
	}
	if err := n.addVFs(); err != nil {
		return nil, errors.Join(fmt.Errorf("create NIC: %w", err), n.closeTails())
	}
	if cfg.Stepped {
		close(n.done)
		return n, nil
	}
	started := make(chan error)
	go n.run(started)
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("create NIC: device thread: %w", err), n.closeTails())
	}
	return n, nil
}

// newNIC builds a NIC without its device thread and doorbells.
func newNIC(cfg Config, kind *variant, w wire.Wire, dec *decoder) *NIC {
	if cfg.LinkDelay == 0 {
		cfg.LinkDelay = 5 * time.Millisecond
	}
	cfg.Logger, _ = asynclog.Wrap(cfg.Logger) // the device thread logs
	if cfg.MAC == [6]byte{} {
		r := rand.Uint32()
		cfg.MAC = [6]byte{0x02, 0x1b, 0x21, byte(r >> 16), byte(r >> 8), byte(r)}
	}
	n := &NIC{
		cfg:     cfg,
		variant: kind,
		wire:    w,
		dec:     dec,
		reg:     make([]uint32, bar0Size/4),
		ctr:     newCounters(),
		rng:     rand.New(rand.NewPCG(1, 2)),
		done:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
	n.carrier, _ = w.(wire.CarrierSetter)
	n.timed, _ = w.(wire.TimedSender)
	n.eeprom = makeEEPROM(cfg, kind)
	if kind.medium != mediumCage {
		n.cfg.Module = NoModule
	}
	n.i2c.module = n.cfg.Module.identity(cfg.Monitoring)
	if n.cfg.Module.monitors(cfg.Monitoring) {
		n.monitor, n.i2c.measured = monitor(cfg.Monitoring), n.measure
	}
	n.pci.mac, n.pci.variant = cfg.MAC, kind
	n.rx.init()
	n.tx.init()
	if cfg.Arrivals > 0 {
		n.arrivals = newArrivalLog(cfg.Arrivals)
	}
	n.rx.injecting = cfg.Faults.RemoveAfter != 0 || cfg.Faults.BadDMAAfter != 0 || cfg.Faults.BadCRC != 0 || cfg.Faults.RxStall != 0
	n.powerOn()
	return n
}

// Close stops the device thread and closes the wire.
func (n *NIC) Close() error {
	if n.closing.Swap(true) {
		<-n.done
		return nil
	}
	n.bells.wake()
	<-n.done
	n.finish()
	n.lock() // Detach can be under way
	defer n.mu.Unlock()
	return errors.Join(n.wire.Close(), n.closeTails())
}

// MAC returns the station address in the EEPROM.
func (n *NIC) MAC() net.HardwareAddr { return net.HardwareAddr(n.cfg.MAC[:]) }

// Ended is closed when the wire has ended and the packet buffer is empty: each
// frame has been written to memory or counted as lost.
func (n *NIC) Ended() <-chan struct{} { return n.ended }

func (n *NIC) finish() { n.endOnce.Do(func() { close(n.ended) }) }

// lock acquires n.mu. It announces itself in waiters: the device thread, which
// releases n.mu only for a moment, then yields.
func (n *NIC) lock() {
	n.waiters.Add(1)
	n.mu.Lock()
	n.waiters.Add(-1)
}

// yield lets waiting register accesses acquire n.mu. The device thread calls it
// without n.mu.
func (n *NIC) yield() {
	for i := 0; n.waiters.Load() > 0 && i < 1000; i++ {
		runtime.Gosched()
	}
}

// wake wakes the device thread.
func (n *NIC) wake() {
	n.wakes.Add(1) // S2: before asleep is loaded, pairs with S1 in run
	if n.asleep.Load() {
		n.bells.wake()
	}
}

// Attach implements server.Device.
func (n *NIC) Attach(h server.Host) {
	n.lock()
	n.host = h
	n.mem.invalidate()
	n.mu.Unlock()
	n.wake()
}

// Detach implements server.Device. The next client finds the function as after
// power-on: rings of this client must not be used on another's memory.
func (n *NIC) Detach() {
	n.lock()
	defer n.mu.Unlock()
	n.invalidate(&n.function)
	n.host = nil
	if !n.removed && !n.closing.Load() {
		n.powerOn()
		n.rx.started = false // the wire waits for the next client
	}
}

// Quiesce implements server.Device. f runs while the device thread makes no access
// through its Host; caches of the DMA map are invalidated.
func (n *NIC) Quiesce(f func()) {
	n.lock()
	defer n.mu.Unlock()
	n.invalidate(&n.function)
	f()
}

// Resample implements server.Device. INTx is a level: it is signalled again while
// its cause is pending. QEMU ends an interrupt at the next register access, which
// need not have cleared the cause.
func (n *NIC) Resample() {
	n.lock()
	n.intr.single = false
	n.mu.Unlock()
	n.wake()
}

// Reset implements server.Device, a function-level reset.
func (n *NIC) Reset() {
	n.lock()
	n.powerOn()
	n.mu.Unlock()
	n.wake()
}

// fault counts and logs an error of the client or an injected fault.
func (n *NIC) fault(format string, args ...any) {
	n.stats.Faults++
	if n.stats.LastFault == "" || n.stats.Faults&(n.stats.Faults-1) == 0 {
		n.stats.LastFault = fmt.Sprintf(format, args...)
		n.cfg.Logger.Warn(n.stats.LastFault, "faults", n.stats.Faults)
	}
}
