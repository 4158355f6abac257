package xdp

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// maxBatch is the largest batch of a poller.
const maxBatch = 4096

// stamped is a socket of a program that stamps frames, a capture.Stamped.
type stamped struct {
	*socket
	stamps []clock.Stamp
	last   int64         // latest stamp, ns
	offset *atomic.Int64 // of CLOCK_TAI, ns

	device    bool          // the stamps are of the device's clock
	unstamped atomic.Uint64 // frames that the device has not stamped
}

// newStamped returns a source with the stamps of a socket's frames.
func newStamped(s *socket, offset *atomic.Int64, device bool) *stamped {
	return &stamped{socket: s, stamps: make([]clock.Stamp, maxBatch), offset: offset, device: device}
}

// Poll implements capture.Source.
func (s *stamped) Poll(frames []ring.Frame) int {
	frames = frames[:min(len(frames), maxBatch)]
	at := s.taken
	n := s.socket.Poll(frames)
	if n == 0 {
		return 0
	}
	offset, mask := s.offset.Load(), uint32(len(s.descs)-1)
	for i := range frames[:n] {
		d := s.descs[at&mask]
		at += 1 + uint32(len(frames[i].Rest))
		s.stamps[i] = s.stamp(s.memory[d.Addr-metaLen:d.Addr], offset)
	}
	return n
}

// clockStep is how far stamps may go back before it is taken for a clock that was set.
const clockStep = 100_000_000 // ns

// stamp reads the stamp before a frame. Without one of the program the frame is stamped
// now, without one of the device it has the stamp of the frame before.
func (s *stamped) stamp(meta []byte, offset int64) clock.Stamp {
	const second = 1_000_000_000
	read := binary.NativeEndian.Uint64(meta)
	valid := binary.NativeEndian.Uint64(meta[8:]) == ^read
	now := int64(read) - offset
	switch {
	case s.device && valid && read != 0:
		now = int64(read)
	case s.device && s.last != 0:
		s.unstamped.Add(1)
		now = s.last
	case s.device:
		s.unstamped.Add(1)
		now = time.Now().UnixNano()
	case !valid:
		now = time.Now().UnixNano()
	}
	if back := s.last - now; back <= 0 || back > clockStep {
		s.last = now
	}
	return clock.Stamp(uint64(s.last/second)&(1<<32-1) | uint64(s.last%second)<<32)
}

// Stamps implements capture.Stamped.
func (s *stamped) Stamps() []clock.Stamp { return s.stamps }

// StampedBy implements capture.Stamped.
func (s *stamped) StampedBy() string {
	if !s.device {
		return "kernel (software, by the XDP program)"
	}
	if n := s.unstamped.Load(); n != 0 {
		return fmt.Sprintf("device, by its own clock; %d frames without have the stamp before", n)
	}
	return "device, by its own clock"
}

// taiOffset returns the offset of CLOCK_TAI from CLOCK_REALTIME, 0 where no time service
// has set it.
func taiOffset() int64 {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return 0
	}
	return int64(t.Tai) * int64(time.Second)
}
