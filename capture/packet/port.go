package packet

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/internal/netif"
)

const stopTimeout = time.Second // after that of a block

// Port is a network interface with packet sockets. It also implements capture.Stopper.
type Port struct {
	name    string
	cfg     Config
	netif   *netif.Interface
	all     []*source
	sources []capture.Source
	once    sync.Once

	mu sync.Mutex // guards the sources' counters
}

var _ interface {
	capture.Port
	capture.Stopper
	capture.Counted
} = (*Port)(nil)

// Open opens the interface of a name (see ParseSpec) in the network namespace of the
// calling thread. cfg holds what the name does not set.
func Open(name string, cfg Config) (*Port, error) {
	cfg, err := ParseSpec(name, cfg)
	if err != nil {
		return nil, err
	}
	p := &Port{name: name, cfg: cfg}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("open device %s: %w", name, errors.Join(err, p.Close()))
	}
	return p, nil
}

func (p *Port) open() (err error) {
	if p.netif, err = netif.Open(p.cfg.Interface); err != nil {
		return err
	}
	if p.cfg.DeviceStamps {
		if err := p.netif.StampAll(); err != nil {
			return err
		}
	}
	for range p.cfg.Sockets {
		s, err := newSource(p.cfg, p.netif.Index)
		if err != nil {
			return err
		}
		p.all, p.sources = append(p.all, s), append(p.sources, s)
	}
	if !p.cfg.NoOffloads {
		return nil
	}
	for _, f := range []netif.Feature{netif.GRO, netif.LRO} {
		if _, err := p.netif.SwitchOff(f); err != nil {
			return err
		}
	}
	return nil
}

// Name implements capture.Port.
func (p *Port) Name() string { return p.name }

// Sources implements capture.Port.
func (p *Port) Sources() []capture.Source { return p.sources }

// Notices implements capture.Noticer.
func (p *Port) Notices() []string { return p.netif.Notices() }

// Start implements capture.Port. The sockets accept frames once all of them share them.
func (p *Port) Start() error {
	for _, s := range p.all {
		if err := s.bind(p.netif.Index); err != nil {
			return err
		}
	}
	if err := join(p.all, p.cfg.Fanout); err != nil {
		return err
	}
	p.netif.Begin()
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
	netif.Settle() // other processors may still have the filter before
	for end := time.Now().Add(stopTimeout + time.Duration(p.cfg.Timeout)*time.Millisecond); ; time.Sleep(2 * time.Millisecond) {
		retired := true
		for _, s := range p.all {
			retired = retired && s.retired()
		}
		if retired {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the kernel did not pass on its last block, which it does after %d ms", p.cfg.Timeout)
		}
	}
}

// Account implements capture.Port. Frames that Poll refused count as bad. The interface's
// rx_dropped is not among those missed: the kernel counts there, too, what the sockets
// have received and no protocol or VLAN of this host wanted. The sockets keep their
// counters when the interface is removed.
func (p *Port) Account() (capture.Account, error) {
	counters := p.netif.Counters()
	p.mu.Lock()
	defer p.mu.Unlock()
	var a capture.Account
	var err error
	var drops, unsplit, unusable uint64
	for _, s := range p.all {
		err = cmp.Or(err, s.count())
		u, o := s.unsplit.Load(), s.unusable.Load()
		split, segments := s.split.Load(), s.segments.Load()
		unsplit, unusable, drops, a.Split = unsplit+u, unusable+o, drops+s.drops, a.Split+split
		queue := s.packets - s.drops + segments
		queue -= min(queue, u+o+split)
		a.Queue = append(a.Queue, queue)
		a.Received += queue
	}
	a.Missed = []capture.Count{
		{Cause: "tp_drops (the socket's ring was full)", Frames: drops},
		{Cause: "rx_missed_errors of the interface", Frames: counters.Missed},
	}
	add := func(cause string, n uint64) {
		if n != 0 {
			a.Bad = append(a.Bad, capture.Count{Cause: cause, Frames: n})
		}
	}
	add("super-frame of an offload that cannot be split, neither TCP nor UDP", unsplit)
	add("no whole Ethernet frame of up to 64 KiB", unusable)
	add("rx_errors of the interface", counters.Errors)
	a.SumWire()
	a.LinkDowns = counters.LinkDowns
	return a, err
}

// Ended implements capture.Port: the wire of an interface does not end.
func (p *Port) Ended() <-chan struct{} { return nil }

// Gone implements capture.Port.
func (p *Port) Gone() <-chan struct{} { return p.netif.Gone() }

// GoneErr implements capture.Port.
func (p *Port) GoneErr() error { return p.netif.GoneErr() }

// Counters implements capture.Counted: what `ethtool -S` shows of the interface.
func (p *Port) Counters() ([]capture.Counter, error) {
	list, err := p.netif.Statistics()
	var all []capture.Counter
	for _, s := range list {
		all = append(all, capture.Counter{Name: s.Name, Value: s.Value})
	}
	return all, err
}

// Close implements capture.Port. It restores the offloads.
func (p *Port) Close() (err error) {
	p.once.Do(func() {
		var errs []error
		for _, s := range p.all {
			errs = append(errs, s.close())
		}
		if p.netif != nil {
			errs = append(errs, p.netif.Close())
		}
		err = errors.Join(errs...)
	})
	return err
}
