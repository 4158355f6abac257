package pcapfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// MaxLevel is zstd's highest level of compression.
const MaxLevel = 22

// FrameSize is the size in bytes of the packets at which a frame ends: as much has
// to be unpacked to find one packet.
const FrameSize = 1 << 20

// maxFrames is the greatest valid number of frames in a seek table.
const maxFrames = 1 << 24

// maxWindow limits the memory for unpacking a frame, in bytes: the limit of zstd.
const maxWindow = 128 << 20

// Compressor makes zstd frames. Any goroutine may use it; more at once than it was
// made for wait.
type Compressor struct{ z *zstd.Encoder }

// NewCompressor makes a Compressor of a level from 1, the fastest, to MaxLevel.
func NewCompressor(level, goroutines int) (*Compressor, error) {
	if level < 1 || level > MaxLevel {
		return nil, fmt.Errorf("zstd level %d: choose 1 (fast) to %d (small)", level, MaxLevel)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderConcurrency(goroutines))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &Compressor{z}, nil
}

// Frame appends a frame of src.
func (c *Compressor) Frame(dst, src []byte) []byte { return c.z.EncodeAll(src, dst) }

// Frame is one zstd frame of a file.
type Frame struct {
	Offset     int64 // in the file, bytes
	Compressed int64 // its length in the file
	Size       int64 // of the unpacked bytes; -1: not known
	First      int64 // stamp of its first packet, ns since 1970; 0: none, or not known
	Packets    uint32
}

// Numbers of the tables.
const (
	zstdMagic      = 0xfd2fb528
	skippableMagic = 0x184d2a50 // to ...5f
	timesMagic     = 0x184d2a58 // one of them; others mean nothing to it
	seekMagic      = 0x184d2a5e
	seekEnd        = 0x8f92eab1
	seekFooter     = 9 // frames u32, descriptor u8, seekEnd u32
	seekEntry      = 8 // compressed u32, size u32
	seekChecksum   = 1 << 7
	skippable      = 8                  // bytes of a skippable frame's header
	timesMark      = 0x3153454d49544358 // "XCTIMES1"
	timesEntry     = 12                 // first u64, packets u32
)

// AppendTables appends the two skippable frames that end a compressed file of
// frames, which follow each other from its first byte on.
//
//	times       magic u32 | size u32 | "XCTIMES1" | first u64, packets u32 of each frame
//	seek table  magic u32 | size u32 | compressed u32, size u32 of each frame and of times (0) | footer
func AppendTables(b []byte, frames []Frame) []byte {
	le := binary.LittleEndian
	times := 8 + timesEntry*len(frames)
	b = le.AppendUint32(b, timesMagic)
	b = le.AppendUint32(b, uint32(times))
	b = le.AppendUint64(b, timesMark)
	for _, f := range frames {
		b = le.AppendUint64(b, uint64(f.First))
		b = le.AppendUint32(b, f.Packets)
	}
	b = le.AppendUint32(b, seekMagic)
	b = le.AppendUint32(b, uint32(seekEntry*(len(frames)+1)+seekFooter))
	for _, f := range frames {
		b = le.AppendUint32(b, uint32(f.Compressed))
		b = le.AppendUint32(b, uint32(f.Size))
	}
	b = le.AppendUint32(b, uint32(skippable+times))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(len(frames)+1))
	b = append(b, 0)
	return le.AppendUint32(b, seekEnd)
}

// TablesSize returns the length of the tables of so many frames, in bytes.
func TablesSize(frames int) int64 {
	return int64(skippable + 8 + timesEntry*frames + skippable + seekEntry*(frames+1) + seekFooter)
}

var errNoTable = errors.New("no seek table")

// readTables reads the tables at the end of a file of size bytes. errNoTable: there
// are none, as in a file that was cut. timed is false if there are no times, as in
// a file of another program.
func readTables(r io.ReaderAt, size int64) (frames []Frame, timed bool, err error) {
	le := binary.LittleEndian
	var foot [seekFooter]byte
	if size < skippable+seekFooter {
		return nil, false, errNoTable
	}
	if _, err := r.ReadAt(foot[:], size-seekFooter); err != nil {
		return nil, false, err
	}
	if le.Uint32(foot[5:]) != seekEnd {
		return nil, false, errNoTable
	}
	entry := int64(seekEntry)
	if foot[4]&seekChecksum != 0 {
		entry += 4
	}
	n := int64(le.Uint32(foot[:]))
	table := n*entry + seekFooter
	if n > maxFrames || table+skippable > size {
		return nil, false, errNoTable
	}
	b := make([]byte, skippable+table)
	if _, err := r.ReadAt(b, size-int64(len(b))); err != nil {
		return nil, false, err
	}
	if le.Uint32(b) != seekMagic || int64(le.Uint32(b[4:])) != table {
		return nil, false, errNoTable
	}
	at := int64(0)
	for e := b[skippable : skippable+n*entry]; len(e) > 0; e = e[entry:] {
		frames = append(frames, Frame{Offset: at, Compressed: int64(le.Uint32(e)), Size: int64(le.Uint32(e[4:]))})
		at += int64(le.Uint32(e))
	}
	if at != size-int64(len(b)) {
		return nil, false, errNoTable // of another file
	}
	return readTimes(r, frames)
}

// readTimes removes the table of times from the end of frames, and sets the times
// of the others. timed is false if there is no such table.
func readTimes(r io.ReaderAt, frames []Frame) (_ []Frame, timed bool, err error) {
	le := binary.LittleEndian
	n := len(frames) - 1
	if n < 0 || frames[n].Size != 0 || frames[n].Compressed != int64(skippable+8+timesEntry*n) {
		return frames, false, nil
	}
	b := make([]byte, frames[n].Compressed)
	if _, err := r.ReadAt(b, frames[n].Offset); err != nil {
		return nil, false, err
	}
	if le.Uint32(b) != timesMagic || int(le.Uint32(b[4:])) != len(b)-skippable || le.Uint64(b[8:]) != timesMark {
		return frames, false, nil
	}
	frames = frames[:n]
	for i := range frames {
		e := b[skippable+8+timesEntry*i:]
		frames[i].First, frames[i].Packets = int64(le.Uint64(e)), le.Uint32(e[8:])
	}
	return frames, true, nil
}

// findFrames returns the whole frames of a file without tables, found by the
// headers of frames and blocks (RFC 8878, 3.1.1), without skippable ones. whole is
// the end of the last frame.
func findFrames(r io.ReaderAt, size int64) (frames []Frame, whole int64, err error) {
	var head [zstd.HeaderMaxSize]byte
	for whole < size {
		n, err := r.ReadAt(head[:min(int64(len(head)), size-whole)], whole)
		if err != nil && err != io.EOF {
			return frames, whole, err
		}
		var h zstd.Header
		if h.Decode(head[:n]) != nil {
			return frames, whole, nil
		}
		end := whole + int64(h.HeaderSize)
		if h.Skippable {
			if end += int64(h.SkippableSize); end > size {
				return frames, whole, nil
			}
			whole = end
			continue
		}
		for last := false; !last; {
			var block [3]byte
			if end+3 > size {
				return frames, whole, nil
			}
			if _, err := r.ReadAt(block[:], end); err != nil && err != io.EOF {
				return frames, whole, err
			}
			word := uint32(block[0]) | uint32(block[1])<<8 | uint32(block[2])<<16
			last = word&1 != 0
			length := int64(word >> 3)
			switch word >> 1 & 3 {
			case 1:
				length = 1 // repeated
			case 3:
				return frames, whole, nil
			}
			end += 3 + length
		}
		if h.HasCheckSum {
			end += 4
		}
		if end > size {
			return frames, whole, nil
		}
		f := Frame{Offset: whole, Compressed: end - whole, Size: -1}
		if h.HasFCS {
			f.Size = int64(min(h.FrameContentSize, 1<<62))
		}
		frames = append(frames, f)
		whole = end
	}
	return frames, whole, nil
}
