package xdp

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/internal/netif"
	"github.com/ixcap/ixcap/hugepage"
)

// rights are what a port needs; an error of one names all that are missing.
var rights = []int{unix.CAP_NET_RAW, unix.CAP_BPF, unix.CAP_NET_ADMIN}

// frameOverhead is what a frame has beside the MTU: header and two VLAN tags.
const frameOverhead = etherLen + 2*4

// Port is a network interface with AF_XDP sockets on its receive queues. It also
// implements capture.Stopper, capture.Placer and capture.Noticer.
type Port struct {
	name    string
	cfg     Config
	netif   *netif.Interface
	program *program
	sockets []*socket
	sources []capture.Source
	mode    Mode
	node    int
	notices []string
	tai     atomic.Int64 // offset of CLOCK_TAI, ns
	once    sync.Once
}

var _ interface {
	capture.Port
	capture.Stopper
	capture.Counted
	capture.Placer
	capture.Noticer
} = (*Port)(nil)

// Open opens the interface of a name (see ParseSpec) in the network namespace of the
// calling thread, with a program that passes all frames until Start. cfg holds what the
// name does not set.
func Open(name string, cfg Config) (*Port, error) {
	cfg, err := ParseSpec(name, cfg)
	if err != nil {
		return nil, err
	}
	cfg.Pages = cmp.Or(cfg.Pages, hugepage.Ordinary)
	p := &Port{name: name, cfg: cfg}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("open device %s: %w", name, errors.Join(err, p.Close()))
	}
	return p, nil
}

func (p *Port) open() (err error) {
	cfg := &p.cfg
	if p.netif, err = netif.Open(cfg.Interface); err != nil {
		return err
	}
	if p.netif.MTU+frameOverhead > 1<<16-1 {
		return fmt.Errorf("MTU %d: frames of 64 KiB and more cannot be captured. Set a smaller one", p.netif.MTU)
	}
	if cfg.Queues != 0 {
		if err := p.netif.SetReceiveQueues(cfg.Queues); err != nil {
			return err
		}
	}
	queues, most, err := p.netif.ReceiveQueues()
	if err != nil {
		return err
	}
	if queues > maxQueues {
		return fmt.Errorf("%d receive queues: more than %d. Set fewer with queues=N", queues, maxQueues)
	}
	if cfg.Symmetric && queues > 1 {
		if err := p.netif.SetSymmetric(); err != nil {
			return err
		}
	}
	if cfg.DeviceStamps {
		if err := p.netif.StampAll(); err != nil {
			return err
		}
	}
	g := geometryFor(p.netif.MTU + frameOverhead)
	p.node = nodeOf(p.netif.Bus())
	for range queues {
		s, err := newSocket(cfg, cfg.entries(queues), g, p.node)
		if err != nil {
			return err
		}
		p.sockets = append(p.sockets, s)
	}
	if err := p.attach(g, most); err != nil {
		return err
	}
	for q, s := range p.sockets {
		if err := s.bind(p.netif.Index, q, p.socketMode(), g.pieces); err != nil {
			return err
		}
		if err := p.program.sockets.Put(uint32(q), uint32(s.fd)); err != nil {
			return fmt.Errorf("write BPF map ixcap_sockets: %w", err)
		}
	}
	if !cfg.Quiet {
		if err := p.netif.Promiscuous(); err != nil {
			return err
		}
	}
	if err := p.resolveMode(); err != nil {
		return err
	}
	for _, s := range p.sockets {
		s.pause = newModeration(s.Size(), p.mode, p.program.stamps)
		if p.program.stamps {
			p.sources = append(p.sources, newStamped(s, &p.tai, cfg.DeviceStamps))
		} else {
			p.sources = append(p.sources, s)
		}
	}
	return nil
}

// attach attaches the program. VLAN tags that it cannot put back must stay in the frames.
func (p *Port) attach(g geometry, most int) (err error) {
	if p.program, err = newProgram(max(most, len(p.sockets))); err != nil {
		return err
	}
	features, _ := p.netif.XDP() // none on kernels before 6.3
	if err := p.program.attach(p.netif.Index, &p.cfg, len(p.sockets), features, g.pieces); err != nil {
		return err
	}
	if !p.program.native && p.program.refused != nil {
		p.notices = append(p.notices, fmt.Sprintf("%s is captured in generic mode, which is slower than its driver's: %v.", p.cfg.Interface, p.program.refused))
	}
	if p.program.tags {
		return nil
	}
	was, err := p.netif.SwitchOff(netif.RXVLAN)
	if err != nil {
		return err
	}
	if was {
		p.notices = append(p.notices, fmt.Sprintf("rxvlan of %s is off during the capture: the XDP program is not told the VLAN tags that the device takes out of frames.", p.cfg.Interface))
	}
	if p.netif.Kind == "veth" {
		p.notices = append(p.notices, fmt.Sprintf("%s is a veth without the driver's metadata: a VLAN tag that the sender's stack adds is not in the frame, and not captured. Leave mode out, or switch txvlan off at the other end.", p.cfg.Interface))
	}
	return nil
}

// socketMode is the mode that sockets ask for.
func (p *Port) socketMode() Mode {
	if !p.program.native {
		return Generic
	}
	return p.cfg.Mode
}

// resolveMode finds out which mode the kernel chose.
func (p *Port) resolveMode() error {
	p.mode = Generic
	if !p.program.native {
		return nil
	}
	p.mode = ZeroCopy
	for _, s := range p.sockets {
		zero, err := isZeroCopy(s.fd)
		if err != nil {
			return err
		}
		if !zero {
			p.mode = Copy
		}
	}
	return nil
}

// nodeOf returns the NUMA node of a PCI device.
func nodeOf(bus string) int {
	text, err := os.ReadFile("/sys/bus/pci/devices/" + bus + "/numa_node")
	n, notNumber := strconv.Atoi(strings.TrimSpace(string(text)))
	if bus == "" || err != nil || notNumber != nil || n < 0 {
		return hugepage.AnyNode
	}
	return n
}

// Mode returns the way that frames take, never Auto.
func (p *Port) Mode() Mode { return p.mode }

// Name implements capture.Port.
func (p *Port) Name() string { return p.name }

// Sources implements capture.Port.
func (p *Port) Sources() []capture.Source { return p.sources }

// Notices implements capture.Noticer.
func (p *Port) Notices() []string { return append(p.netif.Notices(), p.notices...) }

// Pages implements capture.Placer.
func (p *Port) Pages() hugepage.Size { return p.cfg.Pages }

// Node implements capture.Placer.
func (p *Port) Node() int { return p.node }

// Start implements capture.Port.
func (p *Port) Start() error {
	p.netif.Begin()
	p.tai.Store(taiOffset())
	return p.program.set(control{Active: 1, Max: uint32(p.netif.MTU + frameOverhead)})
}

// Stop implements capture.Stopper. It returns once all frames that were redirected are in
// the rings.
func (p *Port) Stop() error {
	err := p.program.set(control{})
	netif.Settle()
	return err
}

// Account implements capture.Port. A frame is received once it is in a socket's ring;
// frames that the program passes on, because they were not asked for, are not in it. The
// counters of sockets and program stay exact when the interface is removed.
func (p *Port) Account() (capture.Account, error) {
	p.tai.Store(taiOffset()) // a time service may have set it
	counters := p.netif.Counters()
	var a capture.Account
	var full, dropped uint64
	var sum tally
	for q, s := range p.sockets {
		// Read before the program's, which counts first.
		kernel, err := statistics(s.fd)
		if err != nil {
			return a, err
		}
		t, err := p.program.tally(q)
		if err != nil {
			return a, err
		}
		lost := kernel.Rx_dropped + kernel.Rx_ring_full
		received := t.Redirected - min(lost, t.Redirected)
		a.Queue = append(a.Queue, received)
		a.Received += received
		full += kernel.Rx_ring_full
		dropped += kernel.Rx_dropped
		sum.add(t)
	}
	added, err := p.program.withoutSocket(len(p.sockets))
	if err != nil {
		return a, err
	}
	a.Missed = []capture.Count{
		{Cause: "XDP_STATISTICS rx_ring_full (the socket's ring was full)", Frames: full},
		{Cause: "XDP_STATISTICS rx_dropped (no chunk was free)", Frames: dropped},
		{Cause: "rx_missed_errors of the interface", Frames: counters.Missed},
	}
	bad := func(to *[]capture.Count, cause string, n uint64) {
		if n != 0 {
			*to = append(*to, capture.Count{Cause: cause, Frames: n})
		}
	}
	bad(&a.Missed, "arrived on a queue that the interface did not have when it was opened", added)
	bad(&a.Bad, fmt.Sprintf("super-frame of GRO, LRO or segmentation offload: longer than the MTU of %d", p.netif.MTU), sum.Super)
	bad(&a.Bad, "no room to put the VLAN tag back", sum.Untagged)
	bad(&a.Bad, "rx_errors of the interface", counters.Errors)
	a.SumWire()
	a.LinkDowns = counters.LinkDowns
	return a, nil
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

// Close implements capture.Port. It detaches the program and restores the interface.
func (p *Port) Close() (err error) {
	p.once.Do(func() {
		var errs []error
		if p.program != nil {
			errs = append(errs, p.program.close())
		}
		for _, s := range p.sockets {
			errs = append(errs, s.close())
		}
		if p.netif != nil {
			errs = append(errs, p.netif.Close())
		}
		err = errors.Join(errs...)
	})
	return err
}
