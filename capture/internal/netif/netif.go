package netif

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// past is a deadline that is over.
var past = time.Unix(1, 0)

// Interface is an Ethernet interface of the network namespace in which it was opened.
type Interface struct {
	Name  string
	Index int
	MTU   int    // when it was opened
	Kind  string // of a virtual interface, as veth; "device" otherwise

	Down    bool // it was set down when it was opened
	RunsXDP bool // an XDP program was attached when it was opened

	allocated int // receive queues
	handle    *netlink.Handle
	fd        int        // for ethtool calls
	promisc   int        // packet socket, -1: none
	undo      []restorer // for Close, in reverse order

	gone    chan struct{}
	watcher sync.WaitGroup
	once    sync.Once

	mu     sync.Mutex // guards the following fields
	links  *links     // nil: closed
	began  link
	latest link
	lost   error
	up     bool
	downs  uint64 // since Begin, as the flags tell
}

type restorer struct {
	what string
	do   func() error
}

// Open opens an interface of the calling thread's network namespace and watches its
// state until Close.
func Open(name string) (_ *Interface, err error) {
	i := &Interface{Name: name, fd: -1, promisc: -1, gone: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.free())
		}
	}()
	if i.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if i.links, err = openLinks(); err != nil {
		return nil, err
	}
	// A socket of any family takes ethtool calls, and this one every kernel has.
	if i.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	link, err := i.handle.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, fmt.Errorf("interface %q: no such interface in this network namespace. `ip link` lists them", name)
	} else if err != nil {
		return nil, fmt.Errorf("interface %q: %w", name, err)
	}
	a := link.Attrs()
	if a.EncapType != "ether" && a.EncapType != "loopback" {
		return nil, fmt.Errorf("interface %q: it carries %q frames. Name an Ethernet interface", name, a.EncapType)
	}
	i.Index, i.MTU, i.Kind, i.allocated, i.up = a.Index, a.MTU, link.Type(), max(a.NumRxQueues, 1), carrier(a.RawFlags)
	i.Down, i.RunsXDP = a.RawFlags&unix.IFF_UP == 0, a.Xdp != nil && a.Xdp.Attached
	i.watcher.Go(i.watch)
	return i, nil
}

// Notices returns what the user should know of the interface's state when it was opened.
func (i *Interface) Notices() []string {
	if !i.Down {
		return nil
	}
	return []string{fmt.Sprintf("%s is down and receives nothing until `ip link set %s up`.", i.Name, i.Name)}
}

// carrier reports whether an interface with these flags is up and has carrier.
func carrier(flags uint32) bool {
	const want = unix.IFF_UP | unix.IFF_LOWER_UP
	return flags&want == want
}

// Promiscuous makes the device accept frames for any address until Close.
func (i *Interface) Promiscuous() (err error) {
	const none = 0 // protocol: the socket receives nothing
	if i.promisc, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, none); err != nil {
		return fmt.Errorf("open packet socket: %w", Needs(err, unix.CAP_NET_RAW))
	}
	m := unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(i.promisc, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
		return fmt.Errorf("make the interface promiscuous: %w", err)
	}
	return nil
}

// watch takes in what the kernel tells of the link, as soon as it does.
func (i *Interface) watch() {
	i.links.wait(func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.follow() != nil { // removed, or changes were lost
			i.ask()
		}
		return i.lost != nil
	})
}

// follow takes in the changes that the kernel has told. i.mu is held.
func (i *Interface) follow() error { return i.links.changes(i.Index, i.observe) }

// observe takes in the link's state. i.mu is held.
func (i *Interface) observe(l link) {
	up := carrier(l.flags)
	if i.up && !up {
		i.downs++
	}
	if i.up = up; l.counted {
		i.latest = l
	}
}

// ask asks for the link. i.mu is held.
func (i *Interface) ask() {
	switch l, err := i.links.get(i.Index); {
	case err == nil:
		i.observe(l)
	case err == errNoLink:
		i.lost = fmt.Errorf("interface %s has been removed", i.Name)
		i.observe(link{})
		close(i.gone)
	}
}

// read reads the interface's state and counters. It returns why it is gone. Changes come
// first, so that a state is not followed by an older one.
func (i *Interface) read() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.lost == nil && i.links != nil {
		_ = i.follow()
		i.ask()
	}
	return i.lost
}

// Begin makes the present the beginning of Counters.
func (i *Interface) Begin() {
	_ = i.read()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.began, i.downs = i.latest, 0
}

// Counters are an interface's own.
type Counters struct {
	Missed    uint64 // rx_missed_errors: frames that the device had no room for
	Errors    uint64 // rx_errors
	LinkDowns uint64 // times that the link was lost
}

// Counters returns the counters since Begin, of an interface that was removed the last
// ones.
func (i *Interface) Counters() Counters {
	_ = i.read()
	i.mu.Lock()
	defer i.mu.Unlock()
	return Counters{
		Missed: i.latest.missed - i.began.missed, Errors: i.latest.errors - i.began.errors,
		// The kernel tells short losses of the carrier late or not, but counts them.
		LinkDowns: max(i.downs, uint64(i.latest.downs-i.began.downs)),
	}
}

// Gone is closed when the interface has been removed. GoneErr then says so.
func (i *Interface) Gone() <-chan struct{} { return i.gone }

// GoneErr returns why the interface is gone, nil while it is there.
func (i *Interface) GoneErr() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.lost
}

func (i *Interface) atClose(what string, do func() error) {
	i.undo = append(i.undo, restorer{what, do})
}

// Close restores what was set. What cannot be restored is an error, unless the interface
// is gone.
func (i *Interface) Close() (err error) {
	i.once.Do(func() {
		i.links.end()
		i.watcher.Wait()
		err = i.free()
	})
	return err
}

func (i *Interface) free() error {
	var errs []error
	for _, u := range slices.Backward(i.undo) {
		if err := u.do(); err != nil && i.read() == nil {
			errs = append(errs, fmt.Errorf("interface %s: %s again: %w", i.Name, u.what, err))
		}
	}
	i.undo = nil
	if i.handle != nil {
		i.handle.Close()
	}
	i.mu.Lock() // Statistics may read
	defer i.mu.Unlock()
	for _, fd := range []int{i.promisc, i.fd} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	if i.links != nil {
		errs = append(errs, i.links.close())
		i.links = nil
	}
	return errors.Join(errs...)
}
