package stream

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ixcap/ixcap/capture/stream/entry"
	"github.com/ixcap/ixcap/ring"
)

const (
	// Block is the unit of the data memory's size, of segments and of storers: 1 MiB.
	Block = 1 << 20

	// RecordHeader is the length of a RAW record's header in bytes: seconds u32,
	// nanoseconds u32, caplen u16, len u16, little-endian.
	RecordHeader = 12

	// MaxFrame is the longest frame in bytes that a RAW record can describe.
	MaxFrame = 1<<16 - 1

	// MaxRecord is the longest record.
	MaxRecord = RecordHeader + MaxFrame

	// DefaultSegment is the segment size that HPCAP's files have: 2 GiB.
	DefaultSegment = 2 << 30

	// MaxListeners is the largest number of listeners attached at once.
	MaxListeners = 64

	// Groups is the number of fan-out groups that an index entry has room for.
	Groups = entry.Groups
)

// Truncated marks a frame of which fewer bytes were stored than it had.
const Truncated ring.Info = 1 << 15

const (
	magic      = 0x3152545350414358 // "XCAPSTR1" in memory
	version    = 4
	pageBytes  = 4096
	entryBytes = 32
	cursorsAt  = pageBytes     // cursors follow the header's page
	tableAt    = 4 * pageBytes // the segment table follows the cursors' pages
	startBytes = 16
)

// header is the first page of the control memory. It is written once, before
// the memory is shared. Sizes and places are in bytes unless noted.
type header struct {
	Magic       uint64
	Version     uint32
	HeaderBytes uint32
	DataBytes   uint64
	Segment     uint64
	Entries     uint64 // index entries, a power of two
	IndexAt     uint64 // offset of the index in control
	Starts      uint64 // entries of the segment table, a power of two
	StartsAt    uint64 // offset of the segment table in control
	Control     uint64 // length of control
	EntryBytes  uint32
	Slots       uint32
	Queue       uint32
	NameBytes   uint32
	Name        [64]byte // interface

	// Of the pool that holds the frames, all 0 if there is none. DataBytes is the memory's
	// size rounded up to a power of two of at least a Block.
	PoolBytes uint64 // of the memory
	Buffers   uint32 // packet buffers
	Stride    uint32 // from one to the next
	Headroom  uint32 // bytes before a frame in its buffer, at least a record's header
	Buffer    uint32 // bytes of a frame in one buffer, all but its last are full
}

// cursors are the second page of the control memory and the two behind. Only the
// producer's process writes them. Its words lie two cache lines apart, because hardware prefetches
// lines in pairs.
type cursors struct {
	// The announcement: how far the producer may write. Entries and bytes at or
	// beyond these, less one buffer, are intact.
	ReserveOffset atomic.Uint64
	ReserveSeq    atomic.Uint64
	_             [112]byte

	Head atomic.Uint64 // stream bytes that are published
	_    [120]byte

	IndexHead atomic.Uint64 // index entries that are published
	_         [120]byte

	Segments atomic.Uint64 // segments begun, the current one included
	_        [120]byte

	Finished atomic.Uint64 // 1 once no byte will follow Head
	_        [120]byte

	// The longest time in ns between a frame's arrival in host memory and its stamp
	// that the producer cannot exclude; it only grows. 0: not known.
	Uncertainty atomic.Uint64
	_           [120]byte

	// Frames that the port has missed for lack of buffers, all its queues together, when
	// its counters were last read.
	Missed atomic.Uint64
	_      [248]byte // to 1024

	// Slots: the ID of the listener attached in each slot, 0 for none. A listener
	// that finds another ID in its slot has been detached. A member finds its own ID
	// with readOn if nothing that it left was redistributed.
	Slots [MaxListeners]atomic.Uint64

	// Wanted: the policy requested for the listener in each slot. Bit 0 is the
	// policy; the other bits count its changes, so that two changes in a row are
	// seen, too.
	Wanted [MaxListeners]atomic.Uint64

	// Handovers counts the handovers begun; row n modulo keptHandovers of Handover
	// describes handover n.
	Handovers atomic.Uint64
	_         [120]byte
	Handover  [keptHandovers]handover

	// Of the frames before AssignedSeq, how many each member of each group was assigned,
	// by slot and number, and those who had the number before. AssignedVersion is odd while
	// these are written.
	AssignedVersion atomic.Uint64
	AssignedSeq     atomic.Uint64
	_               [pageBytes - 2192 - keptHandovers*32]byte
	Assigned        [Groups * assignedRow]atomic.Uint64
}

// assignedRow is the number of elements that a group has in cursors.Assigned.
const assignedRow = 128

// keptHandovers is the number of handovers that the control memory describes.
const keptHandovers = 16

// handover is the redistribution of what a departed member of a group had not read:
// of the frames from From to before To, each entry whose byte for the group is
// handed+m belongs to member m.
type handover struct {
	Group atomic.Uint64 // the group's slot
	From  atomic.Uint64
	To    atomic.Uint64

	// SC4: the capture stores handoverClosed in State and then loads HandoverClaimed; a
	// member stores HandoverClaimed and then loads State. So the capture knows every
	// frame that a member may have.
	State atomic.Uint64
}

// The states of a handover.
const (
	handoverSpared  = iota // the producer overwrites nothing of it
	handoverClosed         // members must read no more of it
	handoverExposed        // the producer may overwrite it
)

// readOn marks the ID in the slot of a member that was detached at the end of the
// capture.
const readOn = 1 << 63

// The values of Entry.Member that are no member's number.
const (
	noMember  = 0   // the group had none, or none that wanted the frame
	delivered = 127 // was redistributed, in an earlier handover
	handed    = 128 // handed+m: redistributed to member m, which reads it in the handover only
)

// start is one entry of the segment table: where a segment begins.
type start struct {
	Offset atomic.Uint64 // of its first byte, a multiple of Block
	Seq    atomic.Uint64 // of its first frame
}

// Entry is one frame in the index.
type Entry = entry.Entry

// cursor is a listener's page. The listener writes it; the producer reads Offset
// and Seq and checks both. The stream fills the page in before the listener gets
// it: the listener begins where the page says.
type cursor struct {
	Offset     atomic.Uint64 // bytes before it are released
	Seq        atomic.Uint64 // index entries before it are released
	Generation atomic.Uint64 // ID of the attachment, see cursors.Slots
	Mode       atomic.Uint64 // the last value of cursors.Wanted that the listener has applied
	_          [96]byte

	// The listener's account, for Stats. Version is odd while it is written.
	Version        atomic.Uint64
	StartSeq       atomic.Uint64 // where the listener began
	StartOffset    atomic.Uint64
	Position       atomic.Uint64 // next frame to be read
	PositionOffset atomic.Uint64
	Read           atomic.Uint64 // frames
	ReadBytes      atomic.Uint64 // stream bytes, headers and padding included
	Overrun        atomic.Uint64
	OverrunBytes   atomic.Uint64
	Skipped        atomic.Uint64 // frames of other members
	SkippedBytes   atomic.Uint64
	Handed         atomic.Uint64 // frames read in handovers, which count as nothing else
	HandedBytes    atomic.Uint64
	_              [24]byte

	// What a member of a group holds, so that what it had not delivered is known
	// exactly after its death. SC5: a member stores Claimed and then loads its slot; the
	// capture clears the slot and then loads Claimed. So a member that is detached
	// delivers no frame beyond what the capture finds there.
	Claimed         atomic.Uint64 // frames before it may be in the reader's hands
	Delivering      atomic.Uint64 // frames before it were passed to the program
	Delivered       atomic.Uint64 // frames before it the program has done with
	HandoversDone   atomic.Uint64
	HandoverClaimed atomic.Uint64 // frames of the handover begun before it may be in the reader's hands
	HandoverBegun   atomic.Uint64 // the handover, counted from 1, that HandoverClaimed is of

	// What cursors.Assigned had for the member's number when it joined.
	AssignedBefore atomic.Uint64

	_ [pageBytes - 312]byte
}

// newHeader is the header of a stream: it lays out the control memory.
func newHeader(c Config) header {
	segments := uint64(c.Size/Block) + 2
	if c.Pool != nil {
		// Padding takes no memory of a pool: each frame may have a segment, those too that a
		// reader has gathered.
		segments += uint64(c.Pool.Buffers + gatheredBytes(c.Pool.Memory.Len())/Block)
	}
	starts := ceilPow2(segments)
	h := header{
		Magic: magic, Version: version, HeaderBytes: pageBytes,
		DataBytes: uint64(c.Size), Segment: uint64(c.Segment),
		Entries: uint64(c.Entries), EntryBytes: entryBytes,
		Starts: starts, StartsAt: tableAt,
		Slots: MaxListeners, Queue: uint32(c.Queue),
	}
	h.IndexAt = (tableAt + starts*startBytes + pageBytes - 1) &^ (pageBytes - 1)
	h.Control = h.IndexAt + h.Entries*entryBytes
	h.NameBytes = uint32(copy(h.Name[:], c.Interface))
	if p := c.Pool; p != nil {
		h.PoolBytes, h.Buffers, h.Stride = uint64(p.Memory.Len()), uint32(p.Buffers), uint32(p.Stride)
		h.Headroom, h.Buffer = uint32(p.Headroom), uint32(p.BufferSize)
	}
	return h
}

// check returns an error unless a mapped control memory can be read safely.
func (h *header) check(dataBytes, controlBytes uint64) error {
	switch {
	case h.Magic != magic:
		return errors.New("no stream header")
	case h.Version != version:
		return fmt.Errorf("layout version %d, this program has %d. Use programs of one release", h.Version, version)
	case h.PoolBytes == 0 && (h.Buffers != 0 || h.Stride != 0 || h.Headroom != 0 || h.Buffer != 0):
		return errors.New("buffers of a pool without memory")
	case h.PoolBytes != 0 && !h.poolFits(dataBytes):
		return fmt.Errorf("%d buffers of a pool, %d bytes apart, with %d bytes and headroom of %d, do not fit %d bytes, mapped %d",
			h.Buffers, h.Stride, h.Buffer, h.Headroom, h.PoolBytes, dataBytes)
	case h.PoolBytes == 0 && h.DataBytes != dataBytes || h.PoolBytes != 0 && h.DataBytes != poolSize(dataBytes) || !isPow2(h.DataBytes) || h.DataBytes < Block:
		return fmt.Errorf("data size %d, mapped %d", h.DataBytes, dataBytes)
	case h.EntryBytes != entryBytes || h.Slots != MaxListeners || h.StartsAt != tableAt:
		return errors.New("layout of another release. Use programs of one release")
	case !isPow2(h.Entries) || !isPow2(h.Starts) ||
		h.IndexAt%pageBytes != 0 || h.IndexAt < h.StartsAt || h.IndexAt > controlBytes ||
		h.Starts > (h.IndexAt-h.StartsAt)/startBytes ||
		h.Entries > (controlBytes-h.IndexAt)/entryBytes:
		return errors.New("tables extend beyond the control memory")
	case h.NameBytes > uint32(len(h.Name)):
		return errors.New("interface name too long")
	}
	return nil
}

func isPow2(n uint64) bool { return n != 0 && n&(n-1) == 0 }

func ceilPow2(n uint64) uint64 {
	p := uint64(1)
	for p < n {
		p <<= 1
	}
	return p
}
