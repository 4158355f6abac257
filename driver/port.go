package driver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// Port is an 82599 port that this process drives. Its methods may be called from any
// goroutine, but Close only when no queue is in use. Each queue is used by one
// goroutine at a time.
type Port struct {
	dev   pci.Device
	regs  pci.Region // BAR 0
	cfg   Config
	model model
	mac   net.HardwareAddr

	areas   []io.Closer // rings and buffers, in the order of allocation
	rx      []*RxQueue
	rxPools []*RxPool   // of rx, if they have pools
	rings   []*dma.Area // of the receive queues
	txRings []*txMemory
	plan    plan // filters in use
	tx      []*TxQueue

	closing sync.Mutex // one Close at a time
	state   sync.Mutex // one Start, Stop, or begin of Close at a time
	started bool
	flows   int          // filters of the Flow Director
	wanted  atomic.Int32 // calls that wait for state
	phase   uint32       // of the reset that waits for the readers of queues
	posted  int          // receive queues that are enabled and whose ring is posted
	closed  bool

	selecting sync.Mutex // one user of RTTDQSEL and what it selects at a time

	pools   pools    // virtual functions that this port offers
	virtual *virtual // nil: a physical function

	irq  *interrupts // nil: none are connected
	cage cage

	blinking sync.Mutex // held by Blink

	clock *Clock // nil: not used

	health     health
	stats      statistics
	linkDowns  atomic.Uint64
	background sync.WaitGroup
	quit       chan struct{} // closed by Close
	gone       atomic.Bool   // registers must not be accessed any more
}

// cacheLine is the size of a cache line in bytes.
const cacheLine = 64

// Sizes of BAR 0 in bytes (8.2.2, 8.3.1).
const (
	regsSize        = 128 << 10
	virtualRegsSize = 16 << 10
)

// Open initialises an 82599 except for reception, which Start enables. The caller
// still owns the device and closes it after the Port. On an error Open releases
// everything.
func Open(dev pci.Device, cfg Config) (_ *Port, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open %s: %w", dev.Name(), err)
		}
	}()
	m, err := modelOf(dev)
	if err != nil {
		return nil, err
	}
	if cfg, err = cfg.withDefaults(dev, m); err != nil {
		return nil, err
	}
	if len(cfg.VFs) > 0 && m.family != family82599 {
		return nil, fmt.Errorf("virtual functions (Config.VFs) of an %s: not supported, only an 82599 has them", m.family)
	}
	regs, err := dev.BAR(0)
	if err != nil {
		return nil, fmt.Errorf("map registers: %w", err)
	}
	if size := m.regsSize(); regs.Size() < size {
		return nil, fmt.Errorf("BAR 0 has %d bytes: %s has %d", regs.Size(), m.name, size)
	}
	if m.virtual && cfg.Chunks > 0 {
		return nil, fmt.Errorf("%w: leave out Config.Chunks", ErrNoPools)
	}
	p := &Port{dev: dev, regs: regs, cfg: cfg, model: m, quit: make(chan struct{})}
	initialise := p.init
	if m.virtual {
		p.virtual = &virtual{}
		initialise = p.initVirtual
	}
	p.pools.configure(cfg)
	if cfg.Clock {
		p.clock = &Clock{p: p, host: func() int64 { return time.Now().UnixNano() }}
	}
	if err = initialise(); err != nil {
		// The first error is the cause. A device that cannot be halted either loses
		// access to its memory by Unmap.
		_ = p.halt()
		if freeErr := p.free(); freeErr != nil {
			err = fmt.Errorf("%w; free its memory: %w", err, freeErr)
		}
		return nil, err
	}
	// Before Start: a port that is never started may send.
	p.background.Go(p.readStatistics)
	p.background.Go(p.watch)
	if p.pools.count > 0 {
		p.background.Go(p.serveVFs)
	}
	if p.clock != nil {
		p.background.Go(p.clock.run)
	}
	return p, nil
}

// Start enables reception.
func (p *Port) Start() error {
	p.lockState()
	defer p.state.Unlock()
	switch {
	case p.closed:
		return fmt.Errorf("start %s: port is closed: %w", p.dev.Name(), os.ErrClosed)
	case p.started:
		return nil
	}
	if p.phase != restartNone {
		p.started = true // the reset under way enables reception
		return nil
	}
	enable := p.enableReceive
	if p.virtual != nil {
		enable = p.enableVirtual
	}
	if err := enable(); err != nil {
		return fmt.Errorf("start %s: %w", p.dev.Name(), err)
	}
	p.started = true
	return nil
}

// Stop ends reception. Frames that arrive afterwards are not counted; those inside the
// port are still delivered as far as the rings have descriptors. A caller that polls
// until Drained, and then until Poll returns no frame, receives every frame, and the
// statistics balance. Start resumes reception; no queue of a virtual function may be in
// use then, because its rings begin anew.
func (p *Port) Stop() error {
	p.lockState()
	defer p.state.Unlock()
	if !p.started || p.closed {
		return nil
	}
	p.started = false
	if p.phase != restartNone && p.virtual == nil {
		return nil // reception is off
	}
	var err error
	if p.virtual != nil {
		err = p.stopVirtual()
	} else {
		err = p.disableReceive()
	}
	if gone := p.err(); gone != nil {
		err = gone
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", p.dev.Name(), err)
	}
	return nil
}

// Drained reports whether no frame is inside the port, on the way to memory.
func (p *Port) Drained() bool {
	s, err := p.Stats()
	return err != nil || s.Balanced() == nil
}

// Close stops the port and frees its memory. No queue and no frame of one may be in
// use, except chunks of an RxPool, whose memory is freed when they are recycled. It waits for a call of Config.OnEvent to return. Closing again does nothing.
func (p *Port) Close() error {
	p.closing.Lock()
	defer p.closing.Unlock()
	p.lockState()
	again := p.closed
	p.closed = true
	p.state.Unlock() // Config.OnEvent may call Start or Stop
	if again {
		return nil
	}
	close(p.quit)
	if p.irq != nil {
		p.irq.wake.signal()
	}
	p.background.Wait()
	// Those who use the registers end at quit.
	for _, user := range []*sync.Mutex{&p.blinking, &p.cage.bus} {
		waitFor(user)
	}
	// The final counters, for Stats after Close.
	_, _ = p.Stats()
	err := p.halt()
	if err = errors.Join(err, p.free()); err != nil {
		return fmt.Errorf("close %s: %w", p.dev.Name(), err)
	}
	return nil
}

// waitFor waits until a lock is free.
func waitFor(m *sync.Mutex) {
	m.Lock()
	defer m.Unlock()
}

// free disconnects the interrupts and frees the memory, last allocated first. The
// device no longer uses it.
func (p *Port) free() error {
	errs := []error{p.disconnectInterrupts()}
	p.gone.Store(true)
	for i := len(p.areas) - 1; i >= 0; i-- {
		errs = append(errs, p.areas[i].Close())
	}
	p.areas = nil
	return errors.Join(errs...)
}

// area allocates memory that the device can access, until free.
func (p *Port) area(name string, bytes int) (*dma.Area, error) {
	a, err := dma.NewArea(p.dev.DMA(), bytes, p.cfg.memory(name))
	if err != nil {
		return nil, err
	}
	p.areas = append(p.areas, a)
	return a, nil
}

// newRx allocates receive queue i.
func (p *Port) newRx(i int) error {
	c := p.cfg
	descs, err := p.area(fmt.Sprintf("rx%d-ring", i), c.RingSize*ring.DescriptorSize)
	if err != nil {
		return err
	}
	m := RxMemory{
		Descriptors: descs.Bytes(), BufferSize: c.BufferSize, Stride: dma.Stride(c.BufferSize),
		Tail: p.regs, TailAt: uint32(reg.RDT(p.hw(i)).Offset),
		MaxChain: c.chain(), RefillBatch: c.RefillBatch, Stripped: c.StripVLAN, HasCRC: c.KeepCRC,
	}
	if c.Chunks > 0 {
		err = p.newRxPool(i, m)
	} else {
		err = p.newRxQueue(i, m)
	}
	if err != nil {
		return err
	}
	p.rings = append(p.rings, descs)
	p.storeRing(i)
	return nil
}

// newRxQueue allocates the buffers of receive queue i, which has no pool.
func (p *Port) newRxQueue(i int, m RxMemory) error {
	c := p.cfg
	bufs, err := dma.NewPool(p.dev.DMA(), c.RingSize, c.BufferSize, c.memory(fmt.Sprintf("rx%d-buffers", i)))
	if err != nil {
		return err
	}
	p.areas = append(p.areas, bufs)
	m.Buffers, m.IOVA = bufs.All(), bufs.Base()
	q, err := NewRxQueue(m)
	if err != nil {
		return err
	}
	p.rx = append(p.rx, q)
	return nil
}

// newRxPool allocates the pool of receive queue i.
func (p *Port) newRxPool(i int, m RxMemory) error {
	c := p.cfg
	area, err := dma.NewArea(p.dev.DMA(), c.Chunks*c.ChunkSize*m.Stride, c.memory(fmt.Sprintf("ixcap-rx%d-pool", i)))
	if err != nil {
		return err
	}
	m.Buffers, m.IOVA = area.Bytes()[Headroom:], area.IOVA()+Headroom
	pool, err := NewRxPool(m, c.Chunks, c.ChunkSize)
	if err != nil {
		return errors.Join(err, area.Close())
	}
	pool.area = area
	p.areas = append(p.areas, closer(pool.close))
	p.rx = append(p.rx, pool.q)
	p.rxPools = append(p.rxPools, pool)
	return nil
}

type closer func() error

func (c closer) Close() error { return c() }

// newTx allocates transmit queue i.
func (p *Port) newTx(i int) error {
	c := p.cfg
	size := c.TxRingSize * ring.DescriptorSize
	descs, err := p.area(fmt.Sprintf("tx%d-ring", i), size+cacheLine)
	if err != nil {
		return err
	}
	m := TxMemory{
		Descriptors: descs.Bytes()[:size], BufferSize: c.TxBufferSize,
		Tail: p.regs, TailAt: uint32(p.txRing(i).tail.Offset), MaxFrame: c.MaxFrame + 8,
	}
	if c.TxAttach {
		m.Attached = c.TxBuffers
	} else {
		bufs, err := dma.NewPool(p.dev.DMA(), c.TxBuffers, c.TxBufferSize, c.memory(fmt.Sprintf("tx%d-buffers", i)))
		if err != nil {
			return err
		}
		p.areas = append(p.areas, bufs)
		m.Buffers, m.IOVA, m.Stride = bufs.All(), bufs.Base(), bufs.Stride()
	}
	var head dma.IOVA
	if c.HeadWriteBack {
		m.Head = descs.Bytes()[size : size+4]
		head = descs.IOVA() + dma.IOVA(size)
	}
	q, err := NewTxQueue(m)
	if err != nil {
		return err
	}
	p.tx = append(p.tx, q)
	p.txRings = append(p.txRings, &txMemory{descs: descs.IOVA(), size: size, head: head})
	p.storeTxRing(i)
	return nil
}

// hw returns the device's queue that is queue i of the port: with virtual functions
// those of its pool.
func (p *Port) hw(i int) int { return p.pools.first + i }

// txRing are the registers of a transmit ring.
type txRing struct{ low, high, length, head, tail, headLow, headHigh reg.Register }

func (p *Port) txRing(i int) txRing {
	if p.virtual != nil {
		return txRing{reg.VFTDBAL(i), reg.VFTDBAH(i), reg.VFTDLEN(i), reg.VFTDH(i), reg.VFTDT(i), reg.VFTDWBAL(i), reg.VFTDWBAH(i)}
	}
	i = p.hw(i)
	return txRing{reg.TDBAL(i), reg.TDBAH(i), reg.TDLEN(i), reg.TDH(i), reg.TDT(i), reg.TDWBAL(i), reg.TDWBAH(i)}
}

// storeRing stores the memory of receive queue i in its registers.
func (p *Port) storeRing(i int) {
	d := p.rings[i]
	p.setRing(reg.RDBAL(p.hw(i)), reg.RDBAH(p.hw(i)), reg.RDLEN(p.hw(i)), d.IOVA(), len(d.Bytes()))
}

// storeTxRing stores the memory of transmit queue i in its registers.
func (p *Port) storeTxRing(i int) {
	m, r := p.txRings[i], p.txRing(i)
	p.setRing(r.low, r.high, r.length, m.descs, m.size)
	p.store(r.headHigh, uint32(m.head>>32))
	if p.store(r.headLow, uint32(m.head)); m.head != 0 {
		p.store(r.headLow, uint32(m.head)|reg.TDWBAL_HEAD_WB_EN.Mask())
	}
}

func (p *Port) setRing(low, high, length reg.Register, at dma.IOVA, size int) {
	p.store(low, uint32(at))
	p.store(high, uint32(at>>32))
	p.store(length, uint32(size))
}

// Name returns the device's name as given to pci.Open.
func (p *Port) Name() string { return p.dev.Name() }

// Model returns the member of the 82599 family, for messages.
func (p *Port) Model() string { return p.model.name }

// MAC returns the port's address, which the EEPROM loads into RAL[0] and RAH[0], or the
// one that the physical function assigns a virtual one.
func (p *Port) MAC() net.HardwareAddr {
	p.lockState() // a reset by the physical function may change it
	defer p.state.Unlock()
	return append(net.HardwareAddr(nil), p.mac...)
}

// Config returns the configuration in use, with defaults filled in.
func (p *Port) Config() Config {
	p.lockState() // SetRSS changes it
	defer p.state.Unlock()
	return p.cfg
}

// RxQueues returns the number of receive queues.
func (p *Port) RxQueues() int { return len(p.rx) }

// RxQueue returns receive queue i, counted from 0, of a port without Config.Chunks.
func (p *Port) RxQueue(i int) *RxQueue {
	if p.rxPools != nil {
		return nil
	}
	return p.rx[i]
}

// RxPool returns receive queue i, counted from 0, of a port with Config.Chunks.
func (p *Port) RxPool(i int) *RxPool {
	if p.rxPools == nil {
		return nil
	}
	return p.rxPools[i]
}

// TxQueues returns the number of transmit queues.
func (p *Port) TxQueues() int { return len(p.tx) }

// TxQueue returns transmit queue i, counted from 0.
func (p *Port) TxQueue(i int) *TxQueue { return p.tx[i] }
