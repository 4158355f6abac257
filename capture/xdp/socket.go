package xdp

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/internal/netif"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

// spare is the number of chunks beyond those of a full rx ring: for frames that Poll
// returned and Release did not, and for the device.
const spare = maxBatch

// freed is how long to wait for the queue of a socket that was closed.
const freed = 2 * time.Second

// geometry is the size of a socket's chunks for the longest frame of an interface.
type geometry struct {
	chunk  int  // bytes; the kernel keeps XDP_PACKET_HEADROOM of them free
	pieces bool // frames do not fit into one chunk
}

// geometryFor returns the smallest chunks that hold a frame: the kernel takes powers of
// two from 2 KiB to a page.
func geometryFor(frame int) geometry {
	const small = 2048
	for chunk := small; chunk <= os.Getpagesize(); chunk *= 2 {
		if frame <= chunk-unix.XDP_PACKET_HEADROOM {
			return geometry{chunk, false}
		}
	}
	return geometry{os.Getpagesize(), true}
}

// socket is the AF_XDP socket of a receive queue, a capture.Source. Poll, Release and
// Sleep belong to one goroutine.
type socket struct {
	fd     int
	umem   *hugepage.Memory
	memory []byte
	base   uint64 // mask: address -> its chunk

	rx    fields
	descs []unix.XDPDesc
	taken uint32 // rx entries that Poll took

	fill     fields
	chunks   []uint64
	returned uint32 // fill entries written, of which Release publishes all

	rest  [][]byte // pieces of frames, room for those of all chunks
	rests int      // in use until Release

	busy  bool
	pause moderation
	fds   [2]unix.PollFd // socket, eventfd of Wake
	buf   [8]byte
}

// newSocket opens a socket and its memory. Nothing is received until it is bound and the
// program redirects to it.
func newSocket(cfg *Config, entries int, g geometry, node int) (_ *socket, err error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("open AF_XDP socket: %w. The kernel was built without CONFIG_XDP_SOCKETS: use packet:%s", err, cfg.Interface)
	} else if err != nil {
		return nil, fmt.Errorf("open AF_XDP socket: %w", netif.Needs(err, rights...))
	}
	s := &socket{fd: fd, base: ^uint64(g.chunk - 1), busy: cfg.Busy != 0}
	s.fds = [2]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: -1, Events: unix.POLLIN}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	s.fds[1].Fd = int32(wake)
	chunks := entries + spare
	if s.umem, err = hugepage.Alloc(chunks*g.chunk, hugepage.Options{Pages: cfg.Pages, Node: node, Name: "ixcap-umem"}); err != nil {
		return nil, err
	}
	s.memory = s.umem.Bytes()[:chunks*g.chunk]
	err = registerUMEM(fd, s.memory, g.chunk)
	if errors.Is(err, unix.ENOBUFS) {
		return nil, fmt.Errorf("register %d MiB of packet memory: %w. Raise the limit of locked memory (ulimit -l), or choose a smaller ring", len(s.memory)>>20, err)
	} else if err != nil {
		return nil, fmt.Errorf("register packet memory: %w", err)
	}
	for _, o := range []struct {
		name          string
		option, value int
	}{
		{"XDP_UMEM_FILL_RING", unix.XDP_UMEM_FILL_RING, powerOfTwo(chunks)},
		{"XDP_UMEM_COMPLETION_RING", unix.XDP_UMEM_COMPLETION_RING, 2}, // unused, but a UMEM has one
		{"XDP_RX_RING", unix.XDP_RX_RING, entries},
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_XDP, o.option, o.value); err != nil {
			return nil, fmt.Errorf("set %s to %d: %w", o.name, o.value, err)
		}
	}
	if err := s.mapRings(entries, chunks); err != nil {
		return nil, err
	}
	for i := range chunks {
		s.chunks[i] = uint64(i * g.chunk)
	}
	s.returned = uint32(chunks)
	s.Release()
	if g.pieces {
		s.rest = make([][]byte, chunks)
	}
	return s, s.busyPoll(cfg)
}

// powerOfTwo returns the smallest power of two that is not below n.
func powerOfTwo(n int) int { return 1 << bits.Len(uint(n-1)) }

func (s *socket) mapRings(entries, chunks int) error {
	o, err := ringOffsets(s.fd)
	if err != nil {
		return err
	}
	if s.rx, s.descs, err = mapRing[unix.XDPDesc](s.fd, unix.XDP_PGOFF_RX_RING, o.Rx, entries); err != nil {
		return fmt.Errorf("map the rx ring: %w", err)
	}
	if s.fill, s.chunks, err = mapRing[uint64](s.fd, unix.XDP_UMEM_PGOFF_FILL_RING, o.Fr, powerOfTwo(chunks)); err != nil {
		return fmt.Errorf("map the fill ring: %w", err)
	}
	return nil
}

// busyPoll makes system calls on the socket poll the device.
func (s *socket) busyPoll(cfg *Config) error {
	if cfg.Busy == 0 {
		return nil
	}
	for _, o := range []struct {
		name          string
		option, value int
	}{
		{"SO_PREFER_BUSY_POLL (Linux 5.11)", unix.SO_PREFER_BUSY_POLL, 1},
		{"SO_BUSY_POLL", unix.SO_BUSY_POLL, int(cfg.Busy.Microseconds())},
		{"SO_BUSY_POLL_BUDGET", unix.SO_BUSY_POLL_BUDGET, cfg.budget()},
	} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o.option, o.value); err != nil {
			return fmt.Errorf("set %s to %d: %w", o.name, o.value, netif.Needs(err, unix.CAP_NET_ADMIN))
		}
	}
	return nil
}

// bind connects the socket with a receive queue.
func (s *socket) bind(index, queue int, mode Mode, pieces bool) error {
	flags := uint16(unix.XDP_USE_NEED_WAKEUP)
	switch mode {
	case ZeroCopy:
		flags |= unix.XDP_ZEROCOPY
	case Copy, Generic:
		flags |= unix.XDP_COPY
	}
	if pieces {
		flags |= unix.XDP_USE_SG
	}
	address := &unix.SockaddrXDP{Flags: flags, Ifindex: uint32(index), QueueID: uint32(queue)}
	err := unix.Bind(s.fd, address)
	// The kernel frees the queue of a closed socket a little later.
	for end := time.Now().Add(freed); errors.Is(err, unix.EBUSY) && time.Now().Before(end); err = unix.Bind(s.fd, address) {
		time.Sleep(time.Millisecond)
	}
	what := fmt.Sprintf("bind AF_XDP socket to queue %d", queue)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s: %w. Another program has an AF_XDP socket there: `ss -f xdp -p` names it", what, err)
	case errors.Is(err, unix.EOPNOTSUPP) && mode == ZeroCopy:
		return fmt.Errorf("%s: %w. The driver has no zero copy: leave mode out, or mode=copy", what, err)
	case err != nil && pieces:
		return fmt.Errorf("%s: %w. Frames longer than a page need Linux 6.6, and for zero copy a driver that has them: mode=copy, or a smaller MTU", what, err)
	case err != nil:
		return fmt.Errorf("%s: %w", what, netif.Needs(err, rights...))
	}
	return nil
}

// Poll implements capture.Source.
func (s *socket) Poll(frames []ring.Frame) int {
	n, at := 0, s.taken
	// A1: acquire, pairs with the kernel's release of the descriptors.
	end := atomic.LoadUint32(s.rx.producer)
	mask, fill := uint32(len(s.descs)-1), uint32(len(s.chunks)-1)
	for n < len(frames) && at != end {
		d := &s.descs[at&mask]
		if d.Options&unix.XDP_PKT_CONTD != 0 {
			pieces := s.assemble(&frames[n], at, end)
			if pieces == 0 {
				break
			}
			at += pieces
		} else {
			s.chunks[s.returned&fill] = d.Addr & s.base
			s.returned++
			at++
			frames[n] = ring.Frame{Data: s.bytes(d), Len: d.Len}
		}
		n++
	}
	if n == 0 {
		s.kick()
		return 0
	}
	s.taken = at
	return n
}

// bytes returns the memory of a descriptor.
func (s *socket) bytes(d *unix.XDPDesc) []byte {
	return s.memory[d.Addr : d.Addr+uint64(d.Len) : d.Addr+uint64(d.Len)]
}

// assemble describes a frame of several pieces and returns their number, 0 while the last
// one has not come.
func (s *socket) assemble(f *ring.Frame, at, end uint32) (pieces uint32) {
	mask, fill := uint32(len(s.descs)-1), uint32(len(s.chunks)-1)
	for last := at; s.descs[last&mask].Options&unix.XDP_PKT_CONTD != 0; {
		if last++; last == end {
			return 0
		}
	}
	first := s.rests
	*f = ring.Frame{Data: s.bytes(&s.descs[at&mask])}
	for more := true; more; pieces++ {
		d := &s.descs[(at+pieces)&mask]
		more = d.Options&unix.XDP_PKT_CONTD != 0
		f.Len += d.Len
		s.chunks[s.returned&fill] = d.Addr & s.base
		s.returned++
		if pieces > 0 {
			s.rest[s.rests] = s.bytes(d)
			s.rests++
		}
	}
	f.Rest = s.rest[first:s.rests:s.rests]
	return pieces
}

// Release implements capture.Source.
func (s *socket) Release() {
	s.rests = 0
	// R1, R2: release, after descriptors and frames were read: the kernel may write them
	// again.
	atomic.StoreUint32(s.rx.consumer, s.taken)
	atomic.StoreUint32(s.fill.producer, s.returned)
}

// kick calls the driver if it waits for that, or for each call under busy polling.
func (s *socket) kick() {
	if s.busy || atomic.LoadUint32(s.fill.flags)&unix.XDP_RING_NEED_WAKEUP != 0 {
		_, _, _ = unix.Syscall6(unix.SYS_RECVFROM, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	}
}

// Size implements capture.Ring.
func (s *socket) Size() int { return len(s.descs) }

// CanSleep implements capture.Sleeper: busy polling drives the queue without interrupts.
func (s *socket) CanSleep() bool { return !s.busy }

// Sleep implements capture.Sleeper. While frames arrive it lets them gather, see
// moderation. The driver is called for them by the poll before.
func (s *socket) Sleep(limit time.Duration) bool {
	if !s.pause.next(s.taken) {
		// The Go scheduler has the thread's processor for others until then.
		t := unix.NsecToTimespec(int64(limit))
		_, _ = unix.Ppoll(s.fds[:], &t, nil)
		if s.fds[0].Revents == 0 || s.woken() {
			return true
		}
	}
	pause(&s.fds[1], min(limit, s.pause.length))
	s.woken()
	return true
}

// woken reports whether Wake was called, and forgets it.
func (s *socket) woken() bool {
	if s.fds[1].Revents == 0 {
		return false
	}
	s.fds[1].Revents = 0
	_, _ = unix.Read(int(s.fds[1].Fd), s.buf[:])
	return true
}

// one is what Wake adds to the eventfd.
var one = [8]byte{1, 1, 1, 1, 1, 1, 1, 1} // any number but 0 and 2^64-1

// Wake implements capture.Sleeper.
func (s *socket) Wake() { _, _ = unix.Write(int(s.fds[1].Fd), one[:]) }

func (s *socket) close() error {
	var errs []error
	for _, m := range [][]byte{s.rx.mapping, s.fill.mapping} {
		if m != nil {
			errs = append(errs, unix.Munmap(m))
		}
	}
	errs = append(errs, unix.Close(s.fd))
	if s.fds[1].Fd >= 0 {
		errs = append(errs, unix.Close(int(s.fds[1].Fd)))
	}
	if s.umem != nil {
		errs = append(errs, s.umem.Close())
	}
	return errors.Join(errs...)
}
