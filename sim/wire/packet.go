package wire

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	packetBatch  = 64       // frames read by one system call
	packetBytes  = 68 << 10 // of a super-frame: 64 KiB and headers
	packetSocket = 64 << 20 // bytes of the socket's receive buffer
	carrierEvery = 50 * time.Millisecond
)

// packet is a wire to a network interface: the port receives all frames that the
// interface receives, and sends through it. The device thread owns all fields up to
// segments.
type packet struct {
	name         string
	backpressure bool
	in           int // socket descriptors
	out          int

	batch    *batch
	have     int   // messages in the batch
	used     int   // ... delivered
	latest   int64 // stamp of the last frame delivered
	super    superframe
	segments []byte // segments of super-frames of one Receive

	up         atomic.Bool
	gone       atomic.Bool
	closed     atomic.Bool
	stop       chan struct{}
	watcher    sync.WaitGroup
	io         sync.RWMutex // read: system calls on in or out; write: closing them
	statistics sync.Mutex   // guards dropped: reading resets the kernel's count
	dropped    uint64       // by the kernel

	unreadable atomic.Uint64
	unsent     atomic.Uint64
}

// openPacket opens packet sockets on an interface of this network namespace.
func openPacket(name string, backpressure bool) (_ *packet, err error) {
	fail := func(err error) (*packet, error) {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return nil, fmt.Errorf("packet=%s: %w: packet sockets need CAP_NET_RAW: run as root, or setcap cap_net_raw+ep PROGRAM", name, err)
		}
		return nil, fmt.Errorf("packet=%s: %w", name, err)
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fail(fmt.Errorf("open netlink: %w", err))
	}
	defer func() {
		if err != nil {
			handle.Close()
		}
	}()
	link, err := handle.LinkByName(name)
	if err != nil {
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			err = fmt.Errorf("no such network interface: `ip link` lists them")
		}
		return fail(err)
	}
	attrs := link.Attrs()
	if attrs.EncapType != "ether" && attrs.EncapType != "loopback" {
		return fail(fmt.Errorf("interface carries %q frames, want Ethernet", attrs.EncapType))
	}
	p := &packet{name: name, backpressure: backpressure, batch: newBatch(), segments: make([]byte, 0, 2*packetBytes), stop: make(chan struct{})}
	if p.in, err = packetReader(attrs.Index); err != nil {
		return fail(err)
	}
	defer func() {
		if err != nil {
			unix.Close(p.in)
		}
	}()
	if p.out, err = packetWriter(attrs.Index); err != nil {
		return fail(err)
	}
	p.up.Store(carrier(attrs))
	p.watcher.Go(func() {
		defer handle.Close()
		p.watch(handle, attrs.Index)
	})
	return p, nil
}

// packetReader opens a socket that receives all frames of the interface.
func packetReader(index int) (fd int, err error) {
	// Protocol 0 until it is bound: no frames of other interfaces.
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	for _, o := range []struct {
		name          string
		level, option int
	}{
		{"PACKET_IGNORE_OUTGOING (Linux 4.20)", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING},
		{"PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA},
		{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR},
		{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS},
	} {
		if err = unix.SetsockoptInt(fd, o.level, o.option, 1); err != nil {
			return -1, fmt.Errorf("set %s: %w", o.name, err)
		}
	}
	// More than rmem_max needs CAP_NET_ADMIN.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, packetSocket) != nil {
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, packetSocket); err != nil {
			return -1, fmt.Errorf("set SO_RCVBUF: %w", err)
		}
	}
	promiscuous := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	if err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &promiscuous); err != nil {
		return -1, fmt.Errorf("make the interface promiscuous: %w", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian16(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return -1, fmt.Errorf("bind packet socket: %w", err)
	}
	return fd, nil
}

// packetWriter opens a socket that only sends. On the reader's socket, frames would
// need a header because of PACKET_VNET_HDR.
func packetWriter(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind packet socket: %w", err)
	}
	return fd, nil
}

// carrier reports whether the interface is up and has carrier.
func carrier(a *netlink.LinkAttrs) bool {
	const want = unix.IFF_UP | unix.IFF_LOWER_UP
	return a.RawFlags&want == want
}

// watch polls the carrier. A netlink subscription would lose changes when it
// overflows.
func (p *packet) watch(handle *netlink.Handle, index int) {
	tick := time.NewTicker(carrierEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		link, err := handle.LinkByIndex(index)
		switch {
		case err == nil:
			p.up.Store(carrier(link.Attrs()))
		case errors.As(err, new(netlink.LinkNotFoundError)):
			p.up.Store(false)
			p.gone.Store(true)
			return
		}
	}
}

// Receive implements Wire. It makes at most one system call, and none while frames of
// the last one are left.
func (p *packet) Receive(frames []Frame, room int) (int, error) {
	p.io.RLock()
	defer p.io.RUnlock()
	if p.closed.Load() {
		return 0, os.ErrClosed
	}
	p.segments = p.segments[:0]
	if p.used == p.have && !p.super.more() {
		if err := p.fill(); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(frames) {
		if p.super.more() {
			size := p.super.nextLen()
			if len(p.segments)+size > cap(p.segments) || p.full(size, &room) {
				return n, nil
			}
			start := len(p.segments)
			p.segments = p.segments[:start+size]
			p.super.next(p.segments[start:])
			frames[n] = Frame{Data: p.segments[start : start+size : start+size], At: p.super.at}
			n++
			continue
		}
		if p.used == p.have {
			break
		}
		m := p.batch.message(p.used)
		if m.truncated || len(m.data) < 14 {
			p.unreadable.Add(1)
			p.used++
			continue
		}
		m.at = p.inOrder(m.at)
		if m.offload.gso != gsoNone {
			p.used++
			if !p.super.begin(&m) {
				p.unreadable.Add(1)
			}
			continue
		}
		if p.full(len(m.data)+m.tagLen(), &room) {
			break
		}
		p.used++
		if m.offload.partial && !m.complete() {
			p.unreadable.Add(1)
			continue
		}
		frames[n] = Frame{Data: m.restoreTag(), At: m.at}
		n++
	}
	return n, nil
}

// inOrder makes stamps monotonic: the kernel stamps before it queues, so frames of two
// processors can be queued in reverse order, and the first stamps after stamping was
// enabled are late. A larger step back is a clock that was set, and is kept.
func (p *packet) inOrder(at int64) int64 {
	if back := p.latest - at; back <= 0 || back > int64(clockStep) {
		p.latest = at
	}
	return p.latest
}

// full reports whether a wire with backpressure must stop, since a frame does not fit
// room. Otherwise it subtracts the frame from room.
func (p *packet) full(size int, room *int) bool {
	if !p.backpressure {
		return false
	}
	size = max(size, minFrame)
	if size > *room {
		return true
	}
	*room -= size
	return false
}

// fill receives the next batch.
func (p *packet) fill() error {
	p.used, p.have = 0, 0
	n, err := p.batch.read(p.in)
	switch {
	case err == nil:
		p.have = n
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
	case errors.Is(err, unix.ENETDOWN): // the interface is down, without carrier
	case errors.Is(err, unix.EINVAL):
		// The kernel dropped a super-frame that virtio_net_hdr cannot describe.
		p.unreadable.Add(1)
	default:
		return fmt.Errorf("receive on %s: %w", p.name, err)
	}
	if p.have == 0 && p.gone.Load() {
		return fmt.Errorf("receive on %s: the interface has been removed", p.name)
	}
	return nil
}

// Send implements Wire.
func (p *packet) Send(data []byte) error {
	p.io.RLock()
	defer p.io.RUnlock()
	if p.closed.Load() {
		return os.ErrClosed
	}
	_, err := unix.Write(p.out, data)
	switch {
	case err == nil:
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINTR):
		return ErrBusy
	default:
		// No carrier, or the frame is longer than the MTU: lost.
		p.unsent.Add(1)
	}
	return nil
}

// Dropped implements External: frames that the kernel could not queue, and frames that
// are unreadable.
func (p *packet) Dropped() uint64 {
	p.statistics.Lock()
	defer p.statistics.Unlock()
	p.io.RLock()
	defer p.io.RUnlock()
	p.readDropped()
	return p.dropped + p.unreadable.Load()
}

func (p *packet) readDropped() {
	if p.closed.Load() {
		return
	}
	if s, err := unix.GetsockoptTpacketStats(p.in, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		p.dropped += uint64(s.Drops)
	}
}

// Unsent is the number of frames that Send lost.
func (p *packet) Unsent() uint64 { return p.unsent.Load() }

// Up implements Wire.
func (p *packet) Up() bool { return p.up.Load() && !p.closed.Load() }

// Close implements Wire.
func (p *packet) Close() error {
	p.statistics.Lock()
	defer p.statistics.Unlock()
	p.io.Lock()
	defer p.io.Unlock()
	if p.closed.Load() {
		return nil
	}
	p.readDropped() // Dropped returns it after Close
	p.closed.Store(true)
	close(p.stop)
	p.watcher.Wait()
	return errors.Join(unix.Close(p.in), unix.Close(p.out))
}
