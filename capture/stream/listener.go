package stream

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/hugepage"
)

// Policy says what happens when a listener is slower than the traffic.
type Policy uint8

const (
	Lossless Policy = iota // it holds the producer back; the loss moves to the NIC and is counted there
	Lossy                  // it is overtaken and told how much it missed
)

func (p Policy) String() string {
	switch p {
	case Lossless:
		return "lossless"
	case Lossy:
		return "lossy"
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// Start says where a listener begins.
type Start uint8

const (
	FromNow    Start = iota // with the first frame that is published after Listen
	FromOldest              // with the oldest frame that is still there
)

// Options are a listener's choices.
type Options struct {
	Policy Policy
	Start  Start

	// Aligned begins with the first byte of a segment. FromNow, and FromOldest
	// when no segment's start is still there, the current segment is closed
	// early for it, which the producer does at its next Publish; until then the
	// listener reads nothing.
	Aligned bool
}

var (
	// ErrClosed is what reading a closed listener gives.
	ErrClosed = errors.New("listener is closed")

	// ErrDetached means that the producer has let this listener go, because
	// its cursor page held an impossible value.
	ErrDetached = errors.New("listener was detached: its cursor is impossible")

	// ErrOvertaken tells a lossy reader of bytes that what it had been handed may
	// have been overwritten. All of its blocks are void; it goes on further ahead,
	// at the start of a record.
	ErrOvertaken = errors.New("listener was overtaken")

	// ErrReadAhead means that a block is asked for that cannot come before
	// earlier ones are consumed.
	ErrReadAhead = errors.New("too much read ahead: consume first")
)

// Listener reads a stream at its own pace. Its reading methods belong to one
// goroutine at a time; Stats and Close may be called from any.
//
// It sees the stream through mappings of its own, made from the descriptors,
// just as another process does.
type Listener struct {
	name   string
	policy Policy
	stream *Stream
	slot   *slot
	number int
	page   *hugepage.Memory // the cursor page, producer's mapping

	dataMap, controlMap, cursorMap mapping

	data    []byte // read-only, twice mapped
	mask    uint64
	starts  []start
	index   []Entry
	cur     *cursors
	account *cursor // the listener's own mapping of its page

	refs   atomic.Int64 // 1 for being open, 1 for each call that reads
	closed atomic.Bool
	ended  ListenerStats // once refs is 0

	generation uint64
	searching  bool     // the aligned start is yet to be found
	startAt    position // where the listener began
	given      position // what lies before has been given back
	ahead      position // what lies before has been handed out
	visible    uint64   // IndexHead as last seen
	blocks     inflight // handed out by ReadBlock and not yet consumed
	scratch    []byte   // copies of frames, lossy only
	batch      []Packet // of Packets
	err        error    // that ended Packets

	read, readBytes   uint64 // frames and bytes given back
	missed, missBytes uint64 // overtaken
}

// position is a place in the stream: seq is the first frame at or after offset.
type position struct{ offset, seq uint64 }

// Listen attaches a listener. It may be called at any time, before the first
// frame or while the producer runs, which does not notice.
func (s *Stream) Listen(name string, o Options) (_ *Listener, err error) {
	if o.Policy > Lossy || o.Start > FromOldest {
		return nil, fmt.Errorf("listen as %s: unknown policy or start (%d, %d)", name, o.Policy, o.Start)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("listen as %s: stream is closed", name)
	}
	number := bits.TrailingZeros64(^s.active.Load())
	if number >= MaxListeners {
		return nil, fmt.Errorf("listen as %s: %d listeners are attached already; close one", name, MaxListeners)
	}
	l := &Listener{name: name, policy: o.Policy, stream: s, number: number, searching: o.Aligned}
	l.refs.Store(1)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("listen as %s: %w", name, err), l.unmap())
		}
	}()
	if l.page, err = newCursor("ixcap-cursor-" + name); err != nil {
		return nil, err
	}
	if err = l.open(s.data.Fd(), s.data.Len(), s.data.PageSize(), s.control.Fd(), s.control.Len(), s.control.PageSize(), l.page.Fd()); err != nil {
		return nil, err
	}
	if o.Policy == Lossy {
		l.scratch = make([]byte, 4*MaxRecord)
	}
	l.slot = &slot{name: name, policy: o.Policy, cursor: viewCursor(l.page.Bytes())}
	s.admit(l, o.Start)
	if l.searching && !l.findStart() {
		s.align.Add(1)
	}
	return l, nil
}

// open maps the three memories from their descriptors.
func (l *Listener) open(data, dataLen, dataPage, control, controlLen, controlPage, page int) (err error) {
	if l.controlMap, err = mapShared(control, controlLen, 1, controlPage, unix.PROT_READ); err != nil {
		return fmt.Errorf("control memory: %w", err)
	}
	h := viewHeader(l.controlMap.mem)
	if err = h.check(uint64(dataLen), uint64(controlLen)); err != nil {
		return fmt.Errorf("control memory: %w", err)
	}
	if l.dataMap, err = mapShared(data, dataLen, 2, dataPage, unix.PROT_READ); err != nil {
		return fmt.Errorf("data memory: %w", err)
	}
	if l.cursorMap, err = mapShared(page, pageBytes, 1, pageBytes, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return fmt.Errorf("cursor page: %w", err)
	}
	view := viewControl(l.controlMap.mem, h)
	l.data, l.mask = l.dataMap.mem, uint64(dataLen)-1
	l.cur, l.starts, l.index = view.cursors, view.starts, view.index
	l.account = viewCursor(l.cursorMap.mem)
	return nil
}

// admit gives l its place in the stream and its slot. The producer neither
// waits nor helps: it announces (ReserveOffset) and then looks at the slots,
// the listener takes its slot and then looks at the announcement. All four are
// sequentially consistent, so at least one sees the other: either the producer
// respects the listener's start from its next announcement on, or the listener
// sees that its start is about to be overwritten and moves ahead.
func (s *Stream) admit(l *Listener, from Start) {
	s.generation++
	l.generation = s.generation
	l.account.Generation.Store(s.generation)
	margin := uint64(0)
	for {
		at := l.newest()
		if from == FromOldest {
			at = l.oldest(margin)
		}
		l.startAt, l.given, l.ahead = at, at, at
		l.visible = at.seq
		l.blocks.seq = at.seq
		l.slot.offset, l.slot.seq = at.offset, at.seq
		l.publish()
		s.view.cursors.Slots[l.number].Store(s.generation)
		s.slots[l.number].Store(l.slot)
		s.active.Or(1 << l.number)
		if !l.overtaken(at) {
			return
		}
		// Take the slot back and try again further ahead.
		s.leave(l.number, l.slot)
		if from == FromOldest {
			margin += (l.mask + 1) / 8
			if margin > l.mask {
				from = FromNow
			}
		}
	}
}

// leave empties a slot and waits until the producer has not got hold of it.
// It reports whether the slot was still l's.
func (s *Stream) leave(number int, sl *slot) bool {
	mine := s.slots[number].CompareAndSwap(sl, nil)
	if mine {
		s.active.And(^uint64(1 << number))
		if !s.closed {
			s.view.cursors.Slots[number].Store(0)
		}
	}
	// The producer looks at slots between two steps of scans: once it has been
	// even or has moved, nobody holds what the slot held.
	for n := s.scans.Load(); n%2 == 1 && s.scans.Load() == n; {
		pause()
	}
	return mine
}

// evict lets a listener go from the producer's side, without a lock.
func (s *Stream) evict(number int, sl *slot) {
	if s.slots[number].CompareAndSwap(sl, nil) {
		s.view.cursors.Slots[number].Store(0)
		s.detached.Add(1)
		s.active.And(^uint64(1 << number))
	}
}

// newest is the end of what is published. Head first: all entries of frames
// before it are visible then, and those beyond it are told by their offset.
func (l *Listener) newest() position {
	head := l.cur.Head.Load()
	return position{head, l.search(l.cur.IndexHead.Load(), head)}
}

// search is the number of the first index entry at or after offset, known to be
// among the last before limit; limit if there is none.
func (l *Listener) search(limit, offset uint64) uint64 {
	for limit > 0 && l.entry(limit-1).Offset >= offset && limit+uint64(len(l.index)) > l.cur.IndexHead.Load() {
		limit--
	}
	return limit
}

// oldest is the first record still there and at least margin bytes away from
// being overwritten.
func (l *Listener) oldest(margin uint64) position {
	now := l.newest()
	size, entries := l.mask+1, uint64(len(l.index))
	reserve, reserveSeq := l.cur.ReserveOffset.Load(), l.cur.ReserveSeq.Load()
	lowest := uint64(0)
	if reserve+margin > size {
		lowest = reserve + margin - size
	}
	first := uint64(0)
	if skip := margin * entries / size; reserveSeq+skip > entries {
		first = reserveSeq + skip - entries
	}
	if first == 0 && lowest == 0 {
		return position{}
	}
	at := now.seq
	for lo, hi := min(first, at), at; lo < hi; {
		mid := lo + (hi-lo)/2
		if l.entry(mid).Offset >= lowest {
			hi, at = mid, mid
		} else {
			lo = mid + 1
		}
	}
	if at >= now.seq {
		return now
	}
	return position{l.entry(at).Offset, at}
}

// entry is the index entry of a frame, valid if the frame is not overtaken afterwards.
func (l *Listener) entry(seq uint64) *Entry { return &l.index[seq&uint64(len(l.index)-1)] }

// overtaken tells whether what lies at a position may have been overwritten
// before now. Called after reading: the fence keeps what was read before the
// loads, which pair with the announcement in Producer.extend.
func (l *Listener) overtaken(at position) bool {
	fence()
	return at.offset+l.mask+1 < l.cur.ReserveOffset.Load() || at.seq+uint64(len(l.index)) < l.cur.ReserveSeq.Load()
}

// Name is the listener's name; Policy its policy.
func (l *Listener) Name() string { return l.name }

func (l *Listener) Policy() Policy { return l.policy }
