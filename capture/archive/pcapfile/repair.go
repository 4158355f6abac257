package pcapfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// ErrForeign is wrapped by Repair's error about a file that no Encoder made.
var ErrForeign = errors.New("not a capture file of this program")

// Repair closes a file whose writer or machine died: it cuts the file after its
// last whole packet, or zstd frame, and appends the tables of a compressed file. It
// returns what is left. A file that was closed stays the same.
func Repair(f *os.File) (Part, error) {
	info, err := f.Stat()
	if err != nil {
		return Part{}, err
	}
	var magic [4]byte
	if n, err := f.ReadAt(magic[:], 0); n < len(magic) {
		if err == io.EOF {
			return Part{}, f.Truncate(0)
		}
		return Part{}, err
	}
	if magic == [4]byte{0x28, 0xb5, 0x2f, 0xfd} {
		return repairFrames(f, info.Size())
	}
	return repairPackets(f)
}

// repairPackets repairs a file that is not compressed.
func repairPackets(f *os.File) (Part, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), 4*maxBlock)
	b, err := in.Peek(maxBlock)
	if err != nil && err != io.EOF {
		return Part{}, err
	}
	format, header := detect(b)
	if format == "" {
		return Part{}, fmt.Errorf("repair: %w", ErrForeign)
	}
	whole := Part{Bytes: int64(header)}
	if _, err := in.Discard(header); err != nil {
		return Part{}, err
	}
	for header != 0 {
		b, err := in.Peek(3 * maxBlock)
		if err != nil && err != io.EOF {
			return whole, err
		}
		p := format.Walk(b)
		if p.Bytes == 0 {
			break
		}
		whole.join(p)
		if _, err := in.Discard(int(p.Bytes)); err != nil {
			return whole, err
		}
	}
	return whole, f.Truncate(whole.Bytes)
}

// join adds the next part.
func (p *Part) join(next Part) {
	if p.Packets == 0 {
		p.First = next.First
	}
	if next.Packets != 0 {
		p.Last = next.Last
	}
	p.Bytes += next.Bytes
	p.Packets += next.Packets
	p.Kept += next.Kept
}

// repairFrames repairs a compressed file. It unpacks each frame: after a power
// failure it may have any content.
func repairFrames(f *os.File, size int64) (Part, error) {
	frames, _, err := findFrames(f, size)
	if err != nil {
		return Part{}, err
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64*FrameSize))
	if err != nil {
		return Part{}, err
	}
	defer z.Close()
	var (
		whole     Part
		format    Format
		in, out   []byte
		good, end = 0, int64(0)
	)
	for i := range frames {
		fr := &frames[i]
		if fr.Offset != end { // a skippable frame: tables of an earlier repair
			break
		}
		in = append(in[:0], make([]byte, fr.Compressed)...)
		if _, err := f.ReadAt(in, fr.Offset); err != nil {
			return whole, err
		}
		if out, err = z.DecodeAll(in, out[:0]); err != nil {
			break
		}
		if i == 0 {
			header := 0
			if format, header = detect(out); header == 0 || header != len(out) {
				return Part{}, fmt.Errorf("repair: %w", ErrForeign)
			}
		} else {
			p := format.Walk(out)
			if p.Bytes != int64(len(out)) {
				break
			}
			fr.First, fr.Packets = p.First, uint32(p.Packets)
			whole.join(p)
		}
		fr.Size = int64(len(out))
		good, end = i+1, fr.Offset+fr.Compressed
	}
	if err := f.Truncate(end); err != nil || good == 0 {
		return Part{}, err
	}
	tables := AppendTables(nil, frames[:good])
	if _, err := f.WriteAt(tables, end); err != nil {
		return whole, err
	}
	whole.Bytes = end + int64(len(tables))
	return whole, nil
}
