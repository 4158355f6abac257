package forward

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
)

// Config of a Bridge. Zero values stand for the defaults.
type Config struct {
	Queues   int // of each direction; default 1
	RingSize int // descriptors of a receive and of a transmit ring; default 4096

	// Chunks and ChunkSize are R and M of each queue's ring-buffer pool (driver.Config):
	// 64 chunks of 256 buffers by default, 1.1 ms of the smallest frames at 10 Gb/s.
	Chunks, ChunkSize int

	// MaxFrame is the longest frame in bytes without CRC and VLAN tags; default that of the
	// device.
	MaxFrame int

	// Edits are those of the frames that ports 0 and 1 receive.
	Edits [2]Edit

	// Count ends Run once so many frames were received, over both directions; 0: no limit.
	Count uint64

	Pages hugepage.Size // of rings and buffers; default the driver's

	// OnEvent, if not nil, is called for events of the port of that name, as
	// driver.Config.OnEvent is, by a goroutine of each port.
	OnEvent func(port string, e driver.Event)
}

const (
	defaultRing      = 4096
	defaultChunks    = 64
	defaultChunkSize = 256

	// spareDescriptors of a transmit ring are for contexts and the one that stays empty.
	spareDescriptors = 8
)

func (c Config) withDefaults() Config {
	orDefault := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orDefault(&c.Queues, 1)
	orDefault(&c.RingSize, defaultRing)
	orDefault(&c.Chunks, defaultChunks)
	orDefault(&c.ChunkSize, defaultChunkSize)
	return c
}

// driver returns the configuration of the port that receives the frames of an edit.
func (c Config) driver(name string, e Edit) driver.Config {
	var onEvent func(driver.Event)
	if c.OnEvent != nil {
		onEvent = func(e driver.Event) { c.OnEvent(name, e) }
	}
	return driver.Config{
		Queues: c.Queues, RingSize: c.RingSize, Chunks: c.Chunks, ChunkSize: c.ChunkSize, StripVLAN: e.PopVLAN,
		TxQueues: c.Queues, TxRingSize: c.RingSize, TxBuffers: c.RingSize - spareDescriptors, TxAttach: true,
		MaxFrame: c.MaxFrame, Pages: c.Pages, OnEvent: onEvent,
	}
}

// Bridge forwards between two ports, or back through one.
type Bridge struct {
	ports []*port
	count uint64
}

// port is a port with the paths of the frames that it receives.
type port struct {
	*nic.Port
	paths []*path
	out   *port       // that sends them
	down  atomic.Bool // no link
	sent  uint64      // by the device before Run
}

// Open opens the ports of these names (see pci.Open), one or two, and connects them. Close
// releases them.
func Open(cfg Config, names ...string) (_ *Bridge, err error) {
	devices := make([]pci.Device, 0, len(names))
	for _, name := range names {
		d, err := pci.Open(name)
		if err != nil {
			return nil, errors.Join(err, closeAll(devices))
		}
		devices = append(devices, d)
	}
	return New(cfg, devices...)
}

func closeAll[C interface{ Close() error }](all []C) (err error) {
	for _, one := range all {
		err = errors.Join(err, one.Close())
	}
	return err
}

// New is Open for opened devices. The Bridge owns them, also if New fails.
func New(cfg Config, devices ...pci.Device) (_ *Bridge, err error) {
	cfg = cfg.withDefaults()
	b := &Bridge{count: cfg.Count}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close(), closeAll(devices[len(b.ports):]))
		}
	}()
	if len(devices) < 1 || len(devices) > 2 {
		return nil, fmt.Errorf("forward between %d ports: want two, or one", len(devices))
	}
	for i, d := range devices {
		p, err := nic.New(d, cfg.driver(d.Name(), cfg.Edits[i]))
		if err != nil {
			return nil, err
		}
		b.ports = append(b.ports, &port{Port: p})
	}
	for i, p := range b.ports {
		if err := p.connect(b.ports[len(b.ports)-1-i], cfg.Edits[i]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// connect makes the paths to the port that sends.
func (p *port) connect(out *port, e Edit) error {
	p.out = out
	for i := range p.RxQueues() {
		pool := p.RxPool(i)
		base := pool.IOVA(0) - driver.Headroom
		if out != p {
			var err error
			if base, err = out.Map(pool.Memory()); err != nil {
				return err
			}
		}
		p.paths = append(p.paths, newPath(pool, out.TxQueue(i), base, e, &out.down))
	}
	return nil
}

// Close stops the ports and releases them. Frames that wait to be sent are lost.
func (b *Bridge) Close() error {
	var errs []error
	// Each device ends to read the other's buffers before these are freed.
	for _, p := range b.ports {
		errs = append(errs, p.unlessGone(p.Unmap()))
	}
	for _, p := range b.ports {
		for _, path := range p.paths {
			path.abandon()
		}
		errs = append(errs, p.Port.Close())
	}
	return errors.Join(errs...)
}

// unlessGone returns err unless the device is gone: it cannot be stopped then.
func (p *port) unlessGone(err error) error {
	if p.GoneErr() != nil {
		return nil
	}
	return err
}

// Tap returns a port as an engine captures it (capture.New): it stamps and copies the frames
// that the port receives, and each Release forwards them. Run gets a function then that runs
// the engine. Closing the returned port does nothing.
func (b *Bridge) Tap(i int) capture.Port { return tap{b.ports[i]} }

// tap is a port whose sources are its paths.
type tap struct{ *port }

// Sources implements capture.Port.
func (t tap) Sources() (all []capture.Source) {
	for _, p := range t.paths {
		all = append(all, p)
	}
	return all
}

// Ended implements capture.Port. The end of its wire does not end the other direction: Run
// tells when all have ended.
func (t tap) Ended() <-chan struct{} { return nil }

// Close implements capture.Port. The Bridge closes the port.
func (t tap) Close() error { return nil }

// WaitLinks waits until the links of all ports are up, or ctx is done. Run forwards without it,
// but nothing to a port that has no link.
func (b *Bridge) WaitLinks(ctx context.Context) error {
	for _, p := range b.ports {
		if _, err := p.WaitLink(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Run forwards until ctx is done, Count is reached, the wires of all ports have ended, or a
// device is gone, then waits until what was received is sent, and reports. read, if not nil,
// reads the sources of Tap(i) until ctx is done and what the port has received is read, as
// an engine's Run does. A Bridge runs once.
func (b *Bridge) Run(ctx context.Context, read func(ctx context.Context, i int) error) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, p := range b.ports {
		s, err := p.Stats()
		if err != nil {
			return Report{}, err
		}
		p.sent = s.Sent
		p.down.Store(!p.Link().Up)
	}
	errs := make([]error, len(b.ports))
	var reading sync.WaitGroup
	start := time.Now()
	for i, p := range b.ports {
		reading.Go(func() {
			defer cancel()
			if read != nil {
				errs[i] = read(ctx, i)
			} else {
				errs[i] = p.run(ctx)
			}
		})
	}
	b.supervise(ctx, cancel)
	reading.Wait()
	for _, p := range b.ports {
		p.finish()
	}
	r := b.report(time.Since(start))
	for _, p := range b.ports {
		errs = append(errs, p.GoneErr())
	}
	return r, errors.Join(errs...)
}

const (
	// superviseEvery is how often the links and the number of frames are read.
	superviseEvery = 10 * time.Millisecond

	// accountEvery is how many times less often the counters are: not every transport reports
	// a device that is gone.
	accountEvery = 25
)

// supervise follows the links, and ends Run.
func (b *Bridge) supervise(ctx context.Context, end func()) {
	defer end()
	tick := time.NewTicker(superviseEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		ended := true
		for _, p := range b.ports {
			if n%accountEvery == 0 {
				_, _ = p.Account()
			}
			select {
			case <-p.Gone():
				return
			case <-p.Ended():
			default:
				ended = false
			}
			p.down.Store(!p.Link().Up)
		}
		if ended || b.count > 0 && b.Counts().Frames >= b.count {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Counts returns the sums over all directions. Any goroutine may call it.
func (b *Bridge) Counts() (sum Counts) {
	for _, p := range b.ports {
		c := p.counted()
		sum.add(&c)
	}
	return sum
}

func (p *port) counted() (sum Counts) {
	for _, path := range p.paths {
		c := path.published()
		sum.add(&c)
	}
	return sum
}

// states of a port's readers
const (
	reading  int32 = iota
	draining       // end when a poll returns no frame
	aborted
)

// run forwards what the port receives until ctx is done.
func (p *port) run(ctx context.Context) error {
	if err := p.Start(); err != nil {
		return err
	}
	var state atomic.Int32
	var readers sync.WaitGroup
	for _, path := range p.paths {
		readers.Go(func() { path.run(&state) })
	}
	<-ctx.Done()
	err := p.Stop()
	if err == nil {
		p.drain()
		state.Store(draining)
	} else {
		state.Store(aborted)
	}
	readers.Wait()
	return p.unlessGone(err)
}

// drainTime is how long frames inside a device that make no progress are waited for.
const drainTime = 500 * time.Millisecond

// drain waits until no frame is inside the stopped port.
func (p *port) drain() {
	progress(func() (uint64, bool) {
		s, err := p.Stats()
		return s.Received, err != nil || s.Balanced() == nil
	})
}

// progress waits until a count is complete, or does not grow for drainTime.
func progress(count func() (n uint64, complete bool)) {
	last, at := uint64(0), time.Now()
	for {
		n, complete := count()
		if n != last {
			last, at = n, time.Now()
		}
		if complete || time.Since(at) > drainTime {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// finish waits until the frames of the port's paths have been sent. It polls no more.
func (p *port) finish() {
	progress(func() (uint64, bool) {
		waiting := uint64(0)
		for _, path := range p.paths {
			path.recycle()
			waiting += path.tail - path.head
		}
		return waiting, waiting == 0 || p.out.GoneErr() != nil
	})
	progress(func() (uint64, bool) {
		d := p.direction()
		return d.Sent, d.Unsent == 0 || p.out.GoneErr() != nil
	})
}
