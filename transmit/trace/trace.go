package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ixcap/ixcap/capture/archive/query"
)

// MaxFrame is the longest frame that is sent, in bytes without CRC.
const MaxFrame = 15868

const headerSize = 14 // of Ethernet

// Request selects packets, and says what is changed of them.
type Request struct {
	Query  query.Request // which packets: time span, port, filter
	Paths  []string      // files RAW, pcap and pcapng, and directories of a capture
	Memory int64         // bytes of frames, at most
	Edit   Edit
}

// Edit is what is changed of each frame.
type Edit struct {
	Src, Dst  *[6]byte // addresses; nil: as they are
	StripVLAN bool     // remove the outer tag
	VLAN      uint16   // ID of the outer tag, which is added or changed; 0: as it is
}

// Trace are frames in memory.
type Trace struct {
	arena   []byte
	slots   []slot
	longest int

	Padded  uint64 // captured in part: the rest is zeros
	Skipped uint64 // shorter than a header of Ethernet, or longer than MaxFrame
}

// slot is one frame.
type slot struct {
	at    int // in the arena
	len   int
	stamp int64 // ns since 1970
}

// Load reads the packets of a request.
func Load(r Request) (t *Trace, err error) {
	result, err := query.Find(r.Query, r.Paths...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, result.Close()) }()
	t = &Trace{}
	for {
		p, err := result.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		t.add(p.Data, int(p.Len), p.Nano, &r.Edit)
		if used := int64(len(t.arena)) + int64(len(t.slots))*24; used > r.Memory {
			return nil, fmt.Errorf("read frames: more than the %d bytes of memory allowed. Choose a shorter time span, or raise --memory", r.Memory)
		}
	}
	if len(t.slots) == 0 {
		return nil, errors.Join(errors.New("read frames: none to send"), result.Faults())
	}
	return t, result.Faults()
}

// add takes a frame of so many bytes on the wire.
func (t *Trace) add(data []byte, length int, stamp int64, e *Edit) {
	if length < headerSize || len(data) < headerSize || length > MaxFrame {
		t.Skipped++
		return
	}
	at := len(t.arena)
	t.arena = append(t.arena, data...)
	if missing := length - len(data); missing > 0 {
		t.arena = append(t.arena, make([]byte, missing)...)
		t.Padded++
	}
	t.arena = e.apply(t.arena, at)
	n := len(t.arena) - at
	t.slots = append(t.slots, slot{at, n, stamp})
	t.longest = max(t.longest, n)
}

// apply edits the frame at the end of the arena.
func (e *Edit) apply(arena []byte, at int) []byte {
	f := arena[at:]
	if e.Dst != nil {
		copy(f, e.Dst[:])
	}
	if e.Src != nil {
		copy(f[6:], e.Src[:])
	}
	tagged := len(f) >= headerSize+4 && (f[12] == 0x81 && f[13] == 0 || f[12] == 0x88 && f[13] == 0xa8)
	switch {
	case e.StripVLAN && tagged:
		copy(f[12:], f[16:])
		return arena[:len(arena)-4]
	case e.VLAN != 0 && tagged:
		binary.BigEndian.PutUint16(f[14:], binary.BigEndian.Uint16(f[14:])&0xf000|e.VLAN)
	case e.VLAN != 0:
		arena = append(arena, 0, 0, 0, 0)
		f = arena[at:]
		copy(f[16:], f[12:])
		f[12], f[13] = 0x81, 0
		binary.BigEndian.PutUint16(f[14:], e.VLAN)
	}
	return arena
}

// Frames returns the number of frames.
func (t *Trace) Frames() int { return len(t.slots) }

// Longest returns the length of the longest frame in bytes, without CRC.
func (t *Trace) Longest() int { return t.longest }
