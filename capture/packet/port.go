package packet

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
)

const (
	watchEvery  = 100 * time.Millisecond
	stopTimeout = time.Second
)

// Port is a network interface as a capture.Port. It also implements capture.Stopper.
type Port struct {
	name  string
	spec  Spec
	index int
	mtu   int

	all     []*source
	sources []capture.Source
	handle  *netlink.Handle
	restore []func() error // offloads

	gone    chan struct{}
	quit    chan struct{}
	watcher sync.WaitGroup
	once    sync.Once

	mu     sync.Mutex // guards the following fields and the sources' counters
	began  netlink.LinkStatistics
	latest netlink.LinkStatistics
	lost   error
	downs  uint64
	up     bool
}

var _ interface {
	capture.Port
	capture.Stopper
} = (*Port)(nil)

// Open opens the interface of a name (see Parse) in the network namespace of the calling
// thread.
func Open(name string) (_ *Port, err error) {
	spec, err := Parse(name)
	if err != nil {
		return nil, err
	}
	p := &Port{name: name, spec: spec, gone: make(chan struct{}), quit: make(chan struct{})}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open device %s: %w", name, errors.Join(err, p.free()))
		}
	}()
	if p.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	link, err := p.handle.LinkByName(spec.Interface)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, errors.New("no such network interface. `ip link` lists them")
	} else if err != nil {
		return nil, err
	}
	a := link.Attrs()
	if a.EncapType != "ether" && a.EncapType != "loopback" {
		return nil, fmt.Errorf("the interface carries %q frames. Name an Ethernet interface", a.EncapType)
	}
	p.index, p.mtu, p.up = a.Index, a.MTU, carrier(a)
	for range spec.Sockets {
		s, err := newSource(spec, a.Index)
		if err != nil {
			return nil, err
		}
		p.all, p.sources = append(p.all, s), append(p.sources, s)
	}
	if !spec.Offloads {
		if err := p.switchOffloads(); err != nil {
			return nil, err
		}
	}
	p.watcher.Go(p.watch)
	return p, nil
}

// carrier reports whether the interface is up and has carrier.
func carrier(a *netlink.LinkAttrs) bool {
	const want = unix.IFF_UP | unix.IFF_LOWER_UP
	return a.RawFlags&want == want
}

// switchOffloads switches GRO and LRO off. Close restores them.
func (p *Port) switchOffloads() error {
	fd := p.all[0].fd
	for _, o := range []struct {
		name          string
		get, set, bit uint32
	}{
		{"gro", unix.ETHTOOL_GGRO, unix.ETHTOOL_SGRO, 1},
		{"lro", unix.ETHTOOL_GFLAGS, unix.ETHTOOL_SFLAGS, 1 << 15}, // ETH_FLAG_LRO
	} {
		was, err := ethtool(fd, p.spec.Interface, o.get, 0)
		if errors.Is(err, unix.EOPNOTSUPP) || err == nil && was&o.bit == 0 {
			continue
		}
		if err == nil {
			_, err = ethtool(fd, p.spec.Interface, o.set, was&^o.bit)
		}
		if err != nil {
			return fmt.Errorf("switch %s off: %w. It needs CAP_NET_ADMIN, or ethtool -K %s %s off by an administrator", o.name, err, p.spec.Interface, o.name)
		}
		p.restore = append(p.restore, func() error {
			_, err := ethtool(fd, p.spec.Interface, o.set, was)
			return err
		})
	}
	return nil
}

// watch polls the link. A netlink subscription would lose changes when it overflows.
func (p *Port) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
		}
		if p.readLink() != nil {
			return
		}
	}
}

// readLink reads the interface's state and counters. It returns why it is gone.
func (p *Port) readLink() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != nil {
		return p.lost
	}
	link, err := p.handle.LinkByIndex(p.index)
	switch {
	case err == nil:
		a := link.Attrs()
		up := carrier(a)
		if p.up && !up {
			p.downs++
		}
		p.up = up
		if a.Statistics != nil {
			p.latest = *a.Statistics
		}
	case errors.As(err, new(netlink.LinkNotFoundError)):
		p.lost = fmt.Errorf("interface %s has been removed", p.spec.Interface)
		p.up = false
		close(p.gone)
	}
	return p.lost
}

// Name implements capture.Port.
func (p *Port) Name() string { return p.name }

// Sources implements capture.Port.
func (p *Port) Sources() []capture.Source { return p.sources }

// Start implements capture.Port. The sockets accept frames once all of them share them.
func (p *Port) Start() error {
	for _, s := range p.all {
		if err := s.bind(p.index); err != nil {
			return err
		}
	}
	if err := join(p.all, p.spec.Fanout); err != nil {
		return err
	}
	_ = p.readLink()
	p.mu.Lock()
	p.began, p.downs = p.latest, 0
	p.mu.Unlock()
	for _, s := range p.all {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
			return fmt.Errorf("detach filter: %w", err)
		}
	}
	return nil
}

// Stop implements capture.Stopper. It returns once the kernel has passed on its blocks.
func (p *Port) Stop() error {
	for _, s := range p.all {
		if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &nothing); err != nil {
			return fmt.Errorf("attach filter: %w", err)
		}
	}
	for end := time.Now().Add(stopTimeout); ; {
		time.Sleep(2 * time.Millisecond) // other processors may still have the filter before
		retired := true
		for _, s := range p.all {
			retired = retired && s.retired()
		}
		if retired {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("the kernel did not pass on its last block in a second")
		}
	}
}

// Account implements capture.Port. Frames that Poll refused count as bad. The interface's
// rx_dropped is not among those missed: the kernel counts there, too, what the sockets
// have received and no protocol or VLAN of this host wanted. The sockets keep their
// counters when the interface is removed.
func (p *Port) Account() (capture.Account, error) {
	_ = p.readLink()
	p.mu.Lock()
	defer p.mu.Unlock()
	var a capture.Account
	var err error
	var drops, super, short uint64
	for _, s := range p.all {
		err = cmp.Or(err, s.count())
		refused := s.super.Load() + s.short.Load()
		super, short, drops = super+s.super.Load(), short+s.short.Load(), drops+s.drops
		queue := s.packets - s.drops - min(refused, s.packets-s.drops)
		a.Queue = append(a.Queue, queue)
		a.Received += queue
	}
	a.Missed = []capture.Count{
		{Cause: "tp_drops (the socket's ring was full)", Frames: drops},
		{Cause: "rx_missed_errors of the interface", Frames: p.latest.RxMissedErrors - p.began.RxMissedErrors},
	}
	add := func(cause string, n uint64) {
		if n != 0 {
			a.Bad = append(a.Bad, capture.Count{Cause: cause, Frames: n})
		}
	}
	add("super-frame of GRO, LRO or segmentation offload (ethtool -K "+p.spec.Interface+" gro off lro off, or offloads=off)", super)
	add("no whole Ethernet frame of up to 64 KiB", short)
	add("rx_errors of the interface", p.latest.RxErrors-p.began.RxErrors)
	a.Wire = a.Received
	for _, c := range append(a.Missed[:len(a.Missed):len(a.Missed)], a.Bad...) {
		a.Wire += c.Frames
	}
	a.LinkDowns = p.downs
	return a, err
}

// Ended implements capture.Port: the wire of an interface does not end.
func (p *Port) Ended() <-chan struct{} { return nil }

// Gone implements capture.Port.
func (p *Port) Gone() <-chan struct{} { return p.gone }

// GoneErr implements capture.Port.
func (p *Port) GoneErr() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Close implements capture.Port.
func (p *Port) Close() (err error) {
	p.once.Do(func() {
		close(p.quit)
		p.watcher.Wait()
		err = p.free()
	})
	return err
}

// free restores the offloads and releases what is open.
func (p *Port) free() error {
	var errs []error
	for _, f := range p.restore {
		if err := f(); err != nil && p.GoneErr() == nil {
			errs = append(errs, fmt.Errorf("restore the offloads of %s: %w", p.spec.Interface, err))
		}
	}
	for _, s := range p.all {
		errs = append(errs, s.close())
	}
	if p.handle != nil {
		p.handle.Close()
	}
	return errors.Join(errs...)
}
