package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// Offsets in struct tpacket_block_desc and struct tpacket3_hdr of linux/if_packet.h.
const (
	blockStatus = 8
	blockFrames = 12
	blockFirst  = 16

	frameNext   = 0
	frameSec    = 4
	frameNsec   = 8
	frameSnap   = 12
	frameLen    = 16
	frameStatus = 20
	frameMAC    = 24
	frameTCI    = 32
	frameTPID   = 36
)

const (
	maxBatch  = 4096 // capture.Config.Batch
	typeVLAN  = 0x8100
	addresses = 12 // bytes before the EtherType
	minHeader = 14
	tagBytes  = 4
)

// struct virtio_net_hdr of linux/virtio_net.h: the offsets of its fields, and values.
const (
	vnetHeader   = 10
	vnetFlags    = 0
	vnetGSO      = 1
	vnetSize     = 4
	vnetSumStart = 6
	vnetSumField = 8

	vnetNeedsSum = 1 // flags: the checksum is not complete
	vnetTCP4     = 1 // gso_type
	vnetTCP6     = 4
	vnetUDP      = 5
	vnetECN      = 0x80
)

// source is one socket with its ring. Poll, Release and Sleep belong to one goroutine.
type source struct {
	fd    int
	mem   []byte
	block int // bytes
	next  int // block of the next frame
	first int // first block that Release gives back; those from it up to next are read
	held  int // their number
	left  uint32
	at    int // offset of the next frame in the memory, with left > 0

	stamps []clock.Stamp
	last   int64 // latest stamp, ns
	device bool  // stamps are the device's; unstamped counts frames without

	file  *os.File // of fd, in the runtime's poller
	conn  syscall.RawConn
	awake func(uintptr) bool // ready
	until time.Time          // the file's deadline; zero: it is to be set
	woken atomic.Bool

	super   superFrame // with payload left: being split
	headers []byte     // of segments, headerRoom each
	rest    [][]byte   // their payloads
	used    int        // of these, until Release

	split, segments   atomic.Uint64 // super-frames, and the frames that were made of them
	unsplit, unusable atomic.Uint64 // frames that Poll refused
	unstamped         atomic.Uint64

	// Sums of PACKET_STATISTICS, which a read resets. The port's mutex guards them.
	packets, drops uint64
}

// Poll implements capture.Source.
func (s *source) Poll(frames []ring.Frame) int {
	n := 0
	most := min(len(frames), len(s.stamps))
	for n < most {
		switch {
		case len(s.super.payload) > 0 && s.used == len(s.rest):
			return n // until Release
		case len(s.super.payload) > 0:
			s.segment(&frames[n], &s.stamps[n])
			n++
		case s.left == 0 && !s.open():
			return n
		default:
			if s.take(&frames[n], &s.stamps[n]) {
				n++
			}
			s.left--
		}
		if s.left == 0 && len(s.super.payload) == 0 {
			s.advance()
		}
	}
	return n
}

// open begins the next block, if the kernel has passed it on.
func (s *source) open() bool {
	blocks := len(s.mem) / s.block
	base := s.next * s.block
	if s.held == blocks {
		return false
	}
	// A1: acquire, pairs with the kernel's release of the block.
	for word(s.mem, base+blockStatus).Load()&unix.TP_STATUS_USER != 0 {
		if s.left = word(s.mem, base+blockFrames).Load(); s.left != 0 {
			s.at = base + int(word(s.mem, base+blockFirst).Load())
			return true
		}
		s.advance() // a block without frames
		if base = s.next * s.block; s.held == blocks {
			return false
		}
	}
	return false
}

// advance ends a block; Release gives it back.
func (s *source) advance() {
	s.held++
	if s.next++; s.next*s.block == len(s.mem) {
		s.next = 0
	}
}

// take describes the next frame, or returns false if it is refused or to be split.
func (s *source) take(f *ring.Frame, stamp *clock.Stamp) bool {
	h := s.mem[s.at:]
	length := binary.NativeEndian.Uint32(h[frameLen:])
	mac := int(binary.NativeEndian.Uint16(h[frameMAC:]))
	status := binary.NativeEndian.Uint32(h[frameStatus:])
	vnet := h[mac-vnetHeader : mac]
	s.at += int(binary.NativeEndian.Uint32(h[frameNext:]))
	if length < minHeader || binary.NativeEndian.Uint32(h[frameSnap:]) != length || length+tagBytes > 1<<16-1 && vnet[vnetGSO] == 0 {
		s.unusable.Add(1)
		return false
	}
	*f = ring.Frame{Data: h[mac : mac+int(length) : mac+int(length)], Len: length}
	if vnet[vnetFlags]&vnetNeedsSum != 0 && vnet[vnetGSO] == 0 {
		completeChecksum(f.Data, vnet)
	}
	if status&unix.TP_STATUS_VLAN_VALID != 0 {
		tpid := uint16(typeVLAN)
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = binary.NativeEndian.Uint16(h[frameTPID:])
		}
		f.VLAN = uint16(binary.NativeEndian.Uint32(h[frameTCI:]))
		f.Info = ring.HasVLAN
		f.Len += tagBytes
		f.Data = restoreTag(h[mac-tagBytes:mac+int(length):mac+int(length)], tpid, f.VLAN)
	}
	*stamp = s.stamp(int64(binary.NativeEndian.Uint32(h[frameSec:])), int64(binary.NativeEndian.Uint32(h[frameNsec:])), status)
	if vnet[vnetGSO] != 0 {
		s.begin(f, *stamp, vnet[vnetGSO]&^vnetECN, int(binary.NativeEndian.Uint16(vnet[vnetSize:])))
		return false
	}
	return true
}

// begin begins a super-frame, or refuses it.
func (s *source) begin(f *ring.Frame, stamp clock.Stamp, kind byte, size int) {
	super, ok := newSuperFrame(f.Data, size)
	if !ok || kind != vnetTCP4 && kind != vnetTCP6 && kind != vnetUDP {
		s.unsplit.Add(1)
		return
	}
	super.frame, super.stamp = *f, stamp
	s.super = super
	s.split.Add(1)
}

// segment describes the next segment of a super-frame.
func (s *source) segment(f *ring.Frame, stamp *clock.Stamp) {
	s.super.next(f, s.headers[s.used*headerRoom:], s.rest[s.used:])
	*stamp = s.super.stamp
	s.used++
	s.segments.Add(1)
}

// completeChecksum completes the checksum that the sender left to its device: the field
// holds the sum of the pseudo header.
func completeChecksum(b, vnet []byte) {
	start := int(binary.NativeEndian.Uint16(vnet[vnetSumStart:]))
	field := start + int(binary.NativeEndian.Uint16(vnet[vnetSumField:]))
	if field+2 <= len(b) {
		putChecksum(b[field:], sum(b[start:], 0))
	}
}

// restoreTag moves the addresses to the front of b, over the room before the frame, and
// puts the tag behind them.
func restoreTag(b []byte, tpid, tci uint16) []byte {
	copy(b, b[tagBytes:tagBytes+addresses])
	binary.BigEndian.PutUint16(b[addresses:], tpid)
	binary.BigEndian.PutUint16(b[addresses+2:], tci)
	return b
}

// clockStep is how far the kernel's stamps of a socket may go back before it is taken for
// a clock that was set. Processors stamp before they queue, which changes the order.
const clockStep = 100_000_000 // ns

// stamp is the stamp of a frame, or the last one if that is a little later, or if the
// device has not stamped the frame.
func (s *source) stamp(sec, nsec int64, status uint32) clock.Stamp {
	const second = 1_000_000_000
	now := sec*second + nsec
	if s.device && status&unix.TP_STATUS_TS_RAW_HARDWARE == 0 {
		s.unstamped.Add(1)
		if s.last != 0 {
			now = s.last
		}
	}
	if back := s.last - now; back <= 0 || back > clockStep {
		s.last = now
	}
	return clock.Stamp(uint64(s.last/second)&(1<<32-1) | uint64(s.last%second)<<32)
}

// Stamps implements capture.Stamped.
func (s *source) Stamps() []clock.Stamp { return s.stamps }

// StampedBy implements capture.Stamped.
func (s *source) StampedBy() string {
	if !s.device {
		return "kernel, at reception"
	}
	if n := s.unstamped.Load(); n != 0 {
		return fmt.Sprintf("device, by its own clock; %d frames without have the stamp before", n)
	}
	return "device, by its own clock"
}

// Release implements capture.Source.
func (s *source) Release() {
	s.used = 0
	for ; s.held > 0; s.held-- {
		base := s.first * s.block
		word(s.mem, base+blockFrames).Store(0) // waitRetired tells an open block by it
		// R1: release, pairs with the kernel's read of the status.
		word(s.mem, base+blockStatus).Store(unix.TP_STATUS_KERNEL)
		if s.first++; s.first*s.block == len(s.mem) {
			s.first = 0
		}
	}
}

// retired reports whether the kernel has passed on every block that has frames.
func (s *source) retired() bool {
	for base := 0; base < len(s.mem); base += s.block {
		if word(s.mem, base+blockStatus).Load() == unix.TP_STATUS_KERNEL && word(s.mem, base+blockFrames).Load() != 0 {
			return false
		}
	}
	return true
}

// CanSleep implements capture.Sleeper.
func (s *source) CanSleep() bool { return true }

// Sleep implements capture.Sleeper. It waits in the runtime's poller: a thread that blocks
// in poll(2) keeps its processor of the Go scheduler for 10 ms, and the runtime's monitor
// looks every 20 µs whether it has returned, which costs more than the frames of a block.
// A deadline serves several sleeps, each of half the limit at least: to set it may wake the
// thread that waits for all.
func (s *source) Sleep(limit time.Duration) bool {
	// A wake-up before this is seen by awake, one after it ends the deadline.
	if now := time.Now(); s.until.Sub(now) < limit/2 || s.until.Sub(now) > limit {
		s.until = now.Add(limit)
		_ = s.file.SetReadDeadline(s.until)
	}
	err := s.conn.Read(s.awake) // the deadline is no error
	if s.woken.Swap(false) || err != nil {
		s.until = time.Time{}
	}
	return true
}

// ready reports whether Sleep is to end.
func (s *source) ready(uintptr) bool {
	return s.woken.Load() || s.left != 0 || word(s.mem, s.next*s.block+blockStatus).Load()&unix.TP_STATUS_USER != 0
}

// Wake implements capture.Sleeper.
func (s *source) Wake() {
	s.woken.Store(true)
	_ = s.file.SetReadDeadline(time.Unix(1, 0))
}

// count adds the kernel's counters since the last call.
func (s *source) count() error {
	st, err := unix.GetsockoptTpacketStatsV3(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return err
	}
	s.packets += uint64(st.Packets)
	s.drops += uint64(st.Drops)
	return nil
}

func (s *source) close() error {
	var errs []error
	if s.mem != nil {
		errs = append(errs, unix.Munmap(s.mem))
	}
	return errors.Join(append(errs, s.file.Close())...)
}
