package pcapfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Frames returns the frames of a compressed file of an Encoder, without the
// header's; nil for other files. Their times are not known if the file was cut.
func (r *Reader) Frames() []Frame { return r.frames }

// SeekTime makes Next return the first packet stamped t or later. Of a compressed
// file of an Encoder it unpacks only the frame with this packet, also if the file is
// cut; it reads other files from their start. If the packets are not in the order of
// their stamps, no packet stamped t or later after that one is missed.
func (r *Reader) SeekTime(t time.Time) error {
	if r.file == nil {
		return errors.New("seek: not a file. Use Open")
	}
	r.release()
	r.err, r.from, r.count = nil, t.UnixNano(), 0
	if err := r.seek(); err != nil {
		r.err = fmt.Errorf("seek %s: %w", r.file.Name(), err)
	}
	return r.err
}

func (r *Reader) seek() error {
	if r.frames == nil {
		if _, err := r.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return r.begin(r.file)
	}
	i, err := r.frameOf(r.from)
	if err != nil {
		return err
	}
	at := r.frames[i].Offset
	r.unpack, err = zstd.NewReader(io.NewSectionReader(r.file, at, math.MaxInt64-at), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return fmt.Errorf("zstd: %w", err)
	}
	return r.begin(io.MultiReader(bytes.NewReader(r.header), r.unpack))
}

// frameOf returns the number of the frame to begin with for packets stamped nano or
// later: the last one before the first that begins at nano or later. It may end with
// the same stamp.
func (r *Reader) frameOf(nano int64) (int, error) {
	if r.timed {
		last := 0 // with packets; statistics have a frame of their own
		for i, f := range r.frames {
			if f.Packets == 0 {
				continue
			}
			if f.First >= nano {
				break
			}
			last = i
		}
		return last, nil
	}
	var failed error
	i := sort.Search(len(r.frames), func(i int) bool {
		first, err := r.first(i)
		if err != nil && failed == nil {
			failed = err
		}
		return first >= nano
	})
	return max(i-1, 0), failed
}

// first unpacks the start of a frame and returns the stamp of its first packet;
// math.MaxInt64 if it has none.
func (r *Reader) first(i int) (int64, error) {
	f := &r.frames[i]
	z, err := zstd.NewReader(io.NewSectionReader(r.file, f.Offset, f.Compressed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return 0, err
	}
	defer z.Close()
	b := make([]byte, packetFixed)
	n, err := io.ReadFull(z, b)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return 0, fmt.Errorf("frame at byte %d: %w", f.Offset, err)
	}
	le := binary.LittleEndian
	switch b = b[:n]; {
	case len(r.header) == pcapHeader && n >= pcapRecord:
		return int64(le.Uint32(b))*1e9 + int64(le.Uint32(b[4:])), nil
	case len(r.header) != pcapHeader && n == packetFixed && le.Uint32(b) == blockPacket:
		return int64(uint64(le.Uint32(b[12:]))<<32 | uint64(le.Uint32(b[16:]))), nil
	}
	return math.MaxInt64, nil
}

// index finds the frames of a compressed file whose first frame is a header of an
// Encoder, and nothing else. Other files get none.
func (r *Reader) index() error {
	info, err := r.file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	frames, timed, err := readTables(r.file, info.Size())
	if errors.Is(err, errNoTable) {
		frames, _, err = findFrames(r.file, info.Size())
	}
	if err != nil || len(frames) < 2 {
		return err
	}
	head := frames[0]
	if head.Compressed > 1<<20 || head.Size > 1<<20 {
		return nil
	}
	z, err := zstd.NewReader(io.NewSectionReader(r.file, head.Offset, head.Compressed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	b, err := io.ReadAll(io.LimitReader(z, 1<<20))
	if err != nil {
		return nil // begin reports the error
	}
	if _, n := detect(b); n != 0 && n == len(b) {
		r.header, r.frames, r.timed = b, frames[1:], timed
	}
	return nil
}
