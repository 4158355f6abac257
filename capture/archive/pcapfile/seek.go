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
func (r *Reader) Frames() []Frame {
	if r.table == nil {
		return nil
	}
	return r.table.Frames
}

// SeekTime makes Next return the first packet stamped t or later. Of a compressed
// file of an Encoder it unpacks only the frame with this packet, also if the file is
// cut; it reads other files from their start. If the packets are not in the order of
// their stamps, no packet stamped t or later after that one is missed.
func (r *Reader) SeekTime(t time.Time) error {
	if r.file == nil {
		return errors.New("seek: not a file. Use Open")
	}
	r.release()
	r.err, r.damaged, r.from, r.count = nil, nil, t.UnixNano(), 0
	if err := r.seek(); err != nil {
		r.err = fmt.Errorf("seek %s: %w", r.file.Name(), err)
	}
	return r.err
}

func (r *Reader) seek() error {
	if r.table != nil {
		return r.begin(r.table.From(r.from, r.leaveOut))
	}
	return r.begin(io.NewSectionReader(r.file, 0, math.MaxInt64))
}

// Table is the seek table of a compressed file of an Encoder.
type Table struct {
	Frames []Frame // without the header's
	Timed  bool    // the frames' times are known
	header []byte  // of the file, unpacked
	src    io.ReaderAt
	end    int64 // of the whole frames of a file that was cut; -1: the file is whole
}

// ReadTable returns the table of a file of size bytes. If the file was cut, it finds
// the frames by their headers. It returns nil for other files: those whose first frame
// is not the header of an Encoder and nothing else.
func ReadTable(src io.ReaderAt, size int64) (*Table, error) {
	end := int64(-1)
	frames, timed, err := readTables(src, size)
	if errors.Is(err, errNoTable) {
		frames, end, err = findFrames(src, size)
	}
	if err != nil || len(frames) < 2 {
		return nil, err
	}
	const limit = 1 << 20
	head := frames[0]
	if head.Compressed > limit || head.Size > limit {
		return nil, nil
	}
	t := &Table{Frames: frames[1:], Timed: timed, src: src, end: end}
	packed := make([]byte, head.Compressed)
	if _, err := src.ReadAt(packed, head.Offset); err != nil {
		return nil, err
	}
	z, err := unpacker(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	t.header, err = io.ReadAll(io.LimitReader(z, limit))
	if _, n := detect(t.header); err != nil || n == 0 || n != len(t.header) {
		return nil, nil // a reader of the file reports the error
	}
	return t, nil
}

func unpacker(src io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
}

// frameOf returns the number of the frame to begin with for packets stamped nano or
// later: the last one before the first that begins at nano or later. It may end with
// the same stamp. It is the first one if a frame is damaged so that its time is not
// known.
func (t *Table) frameOf(nano int64) int {
	if t.Timed {
		last := 0 // with packets; statistics have a frame of their own
		for i, f := range t.Frames {
			if f.Packets == 0 {
				continue
			}
			if f.First >= nano {
				break
			}
			last = i
		}
		return last
	}
	failed := false
	i := sort.Search(len(t.Frames), func(i int) bool {
		first, err := t.First(i)
		failed = failed || err != nil
		return first >= nano
	})
	if failed {
		return 0
	}
	return max(i-1, 0)
}

// First returns the stamp of the first packet of a frame; math.MaxInt64 if it has
// none. It unpacks the start of the frame if the times are not known.
func (t *Table) First(i int) (int64, error) {
	f := &t.Frames[i]
	if t.Timed && f.Packets > 0 {
		return f.First, nil
	}
	z, err := unpacker(io.NewSectionReader(t.src, f.Offset, f.Compressed))
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
	case len(t.header) == pcapHeader && n >= pcapRecord:
		return int64(le.Uint32(b))*1e9 + int64(le.Uint32(b[4:])), nil
	case len(t.header) != pcapHeader && n == packetFixed && le.Uint32(b) == blockPacket:
		return int64(uint64(le.Uint32(b[12:]))<<32 | uint64(le.Uint32(b[16:]))), nil
	}
	return math.MaxInt64, nil
}

// index reads the table of a regular file.
func (r *Reader) index() error {
	info, err := r.file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	r.table, err = ReadTable(r.file, info.Size())
	return err
}
