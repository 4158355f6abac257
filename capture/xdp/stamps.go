package xdp

import (
	"encoding/binary"
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
}

// newStamped returns a source with the stamps of a socket's frames.
func newStamped(s *socket, offset *atomic.Int64) *stamped {
	return &stamped{socket: s, stamps: make([]clock.Stamp, maxBatch), offset: offset}
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

// stamp reads the stamp before a frame. Without one, it is stamped now.
func (s *stamped) stamp(meta []byte, offset int64) clock.Stamp {
	const second = 1_000_000_000
	tai := binary.NativeEndian.Uint64(meta)
	now := int64(tai) - offset
	if binary.NativeEndian.Uint64(meta[8:]) != ^tai {
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
func (s *stamped) StampedBy() string { return "kernel (software, by the XDP program)" }

// taiOffset returns the offset of CLOCK_TAI from CLOCK_REALTIME, 0 where no time service
// has set it.
func taiOffset() int64 {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return 0
	}
	return int64(t.Tai) * int64(time.Second)
}
