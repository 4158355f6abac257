package sim

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/sim/server"
)

// doorbells holds the tail registers. They lie in memory shared with the client,
// one cache line each, and the client stores to them directly. A message that
// writes a tail stores to the same word.
//
//	line 0-127    RDT of queues 0-127
//	line 128-255  TDT of queues 0-127
//
// One eventfd for all of them wakes the device thread, which reads the words in
// each pass.
type doorbells struct {
	event int
	tails
}

// tails is memory that is shared with a client: a line for each tail register.
type tails struct {
	shadow int
	page   []byte
}

const (
	lineSize   = 64
	shadowSize = 2 * queues * lineSize
)

func newDoorbells() (*doorbells, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	b := &doorbells{event: event}
	if b.tails, err = newTails(shadowSize); err != nil {
		return nil, errors.Join(err, unix.Close(event))
	}
	return b, nil
}

// newTails creates shared memory of that size. Each function has its own: a client
// can write all of it.
func newTails(size int) (t tails, err error) {
	t.shadow = -1
	ok := false
	defer func() {
		if !ok {
			t.close()
		}
	}()
	if t.shadow, err = unix.MemfdCreate("ixcap-doorbells", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING); err != nil {
		return t, fmt.Errorf("create doorbell memory: %w", err)
	}
	if err := unix.Ftruncate(t.shadow, int64(size)); err != nil {
		return t, fmt.Errorf("size doorbell memory: %w", err)
	}
	// In a file that the client shrinks, a load raises SIGBUS.
	if _, err := unix.FcntlInt(uintptr(t.shadow), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return t, fmt.Errorf("seal doorbell memory: %w", err)
	}
	if t.page, err = unix.Mmap(t.shadow, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return t, fmt.Errorf("map doorbell memory: %w", err)
	}
	ok = true
	return t, nil
}

// line is the tail register in that line.
func (t *tails) line(i int) *atomic.Uint32 { return shadowWord(t.page, i*lineSize) }

// close frees the memory.
func (t *tails) close() (err error) {
	if t.page != nil {
		err = unix.Munmap(t.page)
		t.page = nil
	}
	if t.shadow >= 0 {
		err = errors.Join(err, unix.Close(t.shadow))
		t.shadow = -1
	}
	return err
}

func (b *doorbells) layout() []server.Doorbell {
	var d []server.Doorbell
	for q := range queues {
		d = append(d,
			server.Doorbell{Offset: uint64(rxReg(q, qTAIL)), EventFD: b.event, ShadowFD: b.shadow, Shadow: uint64(q * lineSize)},
			server.Doorbell{Offset: uint64(txReg(q, qTAIL)), EventFD: b.event, ShadowFD: b.shadow, Shadow: uint64((queues + q) * lineSize)})
	}
	return d
}

// rx and tx are the tails of a queue. A1: loading one acquires; it pairs with the
// client's store of the tail (release), which follows its stores of the descriptors.
func (b *doorbells) rx(q int) *atomic.Uint32 { return b.line(q) }
func (b *doorbells) tx(q int) *atomic.Uint32 { return b.line(queues + q) }

func (b *doorbells) clear() {
	for q := range queues {
		b.rx(q).Store(0)
		b.tx(q).Store(0)
	}
}

// wake ends a wait. The write fails only when the counter is full, which wakes
// too.
func (b *doorbells) wake() { _, _ = unix.Write(b.event, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// wait blocks until a doorbell rings, at most d.
func (b *doorbells) wait(d time.Duration) {
	fds := []unix.PollFd{{Fd: int32(b.event), Events: unix.POLLIN}}
	// The sleep can be shorter than the thread's default timer slack of 50 us. If
	// this fails, the thread wakes later.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	ts := unix.NsecToTimespec(int64(d))
	if k, _ := unix.Ppoll(fds, &ts, nil); k > 0 {
		var count [8]byte
		_, _ = unix.Read(b.event, count[:])
	}
}

// Close frees the memory and the descriptors.
func (b *doorbells) Close() error {
	errs := []error{b.close()}
	if b.event >= 0 {
		errs = append(errs, unix.Close(b.event))
		b.event = -1
	}
	return errors.Join(errs...)
}

// tailClock is BAR 0 for a client in this process. It enters the times at which the client
// stores transmit tails: the device thread sees them later.
type tailClock struct {
	pci.Region
	nic *NIC
}

// Store32 implements pci.Region.
func (r tailClock) Store32(off, v uint32) {
	if q := (off - txReg(0, qTAIL)) / qStride; off >= txReg(0, qTAIL) && off == txReg(int(q), qTAIL) && q < queues {
		posted, first := r.nic.postTimes[q].Load(), r.nic.bells.tx(int(q)).Load()
		if posted != nil && first != v && int(first) < len(posted.at) {
			posted.post(first, r.nic.tx.ticks(time.Now()))
		}
	}
	r.Region.Store32(off, v)
}
