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

// Config says what kind of port the model is and how it misbehaves. The zero
// value is a healthy port with a 10GBASE-SR module.
type Config struct {
	// MAC is the station address that the EEPROM holds. Zero: a locally
	// administered address made up for this NIC.
	MAC [6]byte

	// Module is what sits in the SFP+ cage.
	Module Module

	// StartAtLinkUp reads the wire from the moment that the link is up. Otherwise
	// the sender waits until reception has been enabled for the first time, so
	// that a replayed file is not lost before anyone could have received it.
	StartAtLinkUp bool

	// LinkDelay is how long the link takes to come up once it is started, and
	// between the wire's other end appearing and the link being up. Default 5 ms.
	LinkDelay time.Duration

	// Faults makes the NIC misbehave.
	Faults Faults

	// Arrivals is how many frames have their true times recorded, for NIC.Arrivals.
	// 0: none.
	Arrivals int

	// Thread, when set, is called once on the device thread, which then keeps its
	// OS thread to itself: the place to pin it or to raise its priority. Such a
	// thread is on a core of its own: it does not offer the processor to others.
	Thread func() error

	// Logger gets the 1st, 2nd, 4th, 8th ... of the faults that Stats.Faults
	// counts. Its handler runs on the device thread: it must not block and must
	// not call the NIC. Nil discards.
	Logger *slog.Logger
}

// Faults are misbehaviours, each off when zero.
type Faults struct {
	LinkFlap     time.Duration // the link goes down for LinkDelay this often
	LostDoorbell int           // every n-th change of a tail register is not noticed
	RemoveAfter  uint64        // after n frames the function is gone from the bus
	BadDMAAfter  uint64        // after every n frames one write goes to an address nobody mapped
	BadCRC       uint64        // every n-th frame arrives with a wrong CRC

	// Four broken chips, for tests of tests: what a driver must not get by with.
	BadChecksum bool // the EEPROM's checksum is wrong
	NoWriteBack bool // descriptors are carried out and never written back
	NoEnable    bool // RXDCTL.ENABLE never reads back set
	NoMSIX      bool // MSI-X vectors never fire
}

// NIC is one port of a software 82599. It implements server.Device.
type NIC struct {
	cfg     Config
	wire    wire.Wire
	carrier wire.CarrierSetter // the wire, where its other end sees the transmitter; or nil
	dec     *decoder

	mu      sync.Mutex   // guards everything below; the device thread holds it for a batch
	waiters atomic.Int32 // register accesses that wait for mu: the device thread lets them in

	reg     []uint32 // BAR 0 by word
	ctr     counters
	pci     configSpace
	msix    [bar4Size]byte
	ioaddr  uint32
	removed bool
	dirty   bool // registers that the packet path has digested were written

	host  server.Host // nil without a client
	mem   dmaCache
	bells *doorbells

	eeprom []uint16
	i2c    i2cBus
	sem    semaphores
	link   link
	clock  sysTime
	intr   interrupts

	rx rxUnit
	tx txUnit

	arrivals *arrivalLog // nil: off
	stats    Stats
	rng      *rand.Rand
	closing  atomic.Bool
	asleep   atomic.Bool
	kicks    atomic.Uint32 // register writes; the device thread does not sleep over one
	done     chan struct{} // closed when the device thread has ended
	ended    chan struct{}
	endOnce  sync.Once
}

// New starts a NIC whose port is plugged into w. Close frees both.
func New(cfg Config, w wire.Wire) (*NIC, error) {
	if w == nil {
		return nil, errors.New("create NIC: no wire; wire.Parse makes one")
	}
	dec, err := newDecoder(registerTable())
	if err != nil {
		return nil, fmt.Errorf("create NIC: %w", err)
	}
	n := newNIC(cfg, w, dec)
	if n.bells, err = newDoorbells(); err != nil {
		return nil, fmt.Errorf("create NIC: %w", err)
	}
	started := make(chan error)
	go n.run(started)
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("create NIC: device thread: %w", err), n.bells.Close())
	}
	return n, nil
}

// newNIC builds a NIC without its device thread and doorbells.
func newNIC(cfg Config, w wire.Wire, dec *decoder) *NIC {
	if cfg.LinkDelay == 0 {
		cfg.LinkDelay = 5 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MAC == [6]byte{} {
		r := rand.Uint32()
		cfg.MAC = [6]byte{0x02, 0x1b, 0x21, byte(r >> 16), byte(r >> 8), byte(r)}
	}
	n := &NIC{
		cfg:   cfg,
		wire:  w,
		dec:   dec,
		reg:   make([]uint32, bar0Size/4),
		ctr:   newCounters(),
		rng:   rand.New(rand.NewPCG(1, 2)),
		done:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	n.carrier, _ = w.(wire.CarrierSetter)
	n.eeprom = makeEEPROM(cfg)
	n.i2c.module = cfg.Module.identity()
	n.pci.mac = cfg.MAC
	n.rx.init()
	if cfg.Arrivals > 0 {
		n.arrivals = newArrivalLog(cfg.Arrivals)
	}
	n.rx.injecting = cfg.Faults.RemoveAfter != 0 || cfg.Faults.BadDMAAfter != 0 || cfg.Faults.BadCRC != 0
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
	n.lock() // a client may be leaving
	defer n.mu.Unlock()
	return errors.Join(n.wire.Close(), n.bells.Close())
}

// MAC is the station address in the EEPROM.
func (n *NIC) MAC() net.HardwareAddr { return net.HardwareAddr(n.cfg.MAC[:]) }

// Ended is closed when the wire has carried its last frame and none is left in
// the packet buffer: each has been written to memory or counted as lost.
func (n *NIC) Ended() <-chan struct{} { return n.ended }

func (n *NIC) finish() { n.endOnce.Do(func() { close(n.ended) }) }

// lock takes n.mu ahead of the device thread, which otherwise would take it
// again before a waiting goroutine is even scheduled.
func (n *NIC) lock() {
	n.waiters.Add(1)
	n.mu.Lock()
	n.waiters.Add(-1)
}

// yield lets register accesses in; the device thread calls it without n.mu.
func (n *NIC) yield() {
	for i := 0; n.waiters.Load() > 0 && i < 1000; i++ {
		runtime.Gosched()
	}
}

// kick makes a sleeping device thread look at the registers.
func (n *NIC) kick() {
	n.kicks.Add(1)
	if n.asleep.Load() {
		n.bells.wake()
	}
}

// Attach implements server.Device.
func (n *NIC) Attach(h server.Host) {
	n.lock()
	n.host = h
	n.mem.forget()
	n.mu.Unlock()
	n.kick()
}

// Detach implements server.Device. The machine that the function was in is gone:
// the next one finds it as it is after power-on, or the rings of the last
// driver would be used on the next one's memory.
func (n *NIC) Detach() {
	n.lock()
	defer n.mu.Unlock()
	n.mem.forget()
	n.rx.forgetMemory()
	n.tx.forgetMemory()
	n.host = nil
	if !n.removed && !n.closing.Load() {
		n.powerOn()
		n.rx.started = false // the wire waits for the next driver
	}
}

// Quiesce implements server.Device: f runs while the device thread makes no
// access through its Host, and what it has cached of the DMA map is forgotten.
func (n *NIC) Quiesce(f func()) {
	n.lock()
	defer n.mu.Unlock()
	n.mem.forget()
	n.rx.forgetMemory()
	n.tx.forgetMemory()
	f()
}

// Resample implements server.Device: INTx is a level. A client that ended an
// interrupt before it was served (QEMU does at the next access to a register,
// whatever that is for) hears of it again while the cause waits.
func (n *NIC) Resample() {
	n.lock()
	n.intr.single = false
	n.mu.Unlock()
	n.kick()
}

// Reset implements server.Device: a function-level reset.
func (n *NIC) Reset() {
	n.lock()
	n.powerOn()
	n.mu.Unlock()
	n.kick()
}

// fault counts what a client (or the model itself, when told to) did wrong.
func (n *NIC) fault(format string, args ...any) {
	n.stats.Faults++
	if n.stats.LastFault == "" || n.stats.Faults&(n.stats.Faults-1) == 0 {
		n.stats.LastFault = fmt.Sprintf(format, args...)
		n.cfg.Logger.Warn(n.stats.LastFault, "faults", n.stats.Faults)
	}
}
