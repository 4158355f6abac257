package pcapfile

import (
	"bytes"
	"fmt"
	"io"
)

// Tail reads a file of an Encoder while it grows, in pieces of whole packets or zstd
// frames.
type Tail struct {
	src    io.ReaderAt
	format Format
	header []byte  // unpacked; nil: not whole yet
	frames []Frame // whole ones that were not returned; nil if the file is not compressed
	zstd   bool
	unpack frameReader
	at     int64 // end of the pieces so far, with frames
	buf    []byte
}

// pieceSize is the greatest length of a piece that is not compressed, bytes.
const pieceSize = 1 << 20

// NewTail returns a Tail of a file from its start.
func NewTail(src io.ReaderAt) *Tail { return &Tail{src: src} }

// Next returns the next piece within the first size bytes, which must be written, as a
// file of its own. It is valid until the following call. io.EOF: there is no whole
// packet more. A FrameError is about one frame; a further call goes on behind it. It
// wraps ErrForeign if no Encoder made the file.
func (t *Tail) Next(size int64) (io.Reader, error) {
	if t.header == nil {
		if err := t.begin(size); err != nil {
			return nil, err
		}
	}
	if t.zstd {
		return t.nextFrame(size)
	}
	if t.buf == nil {
		t.buf = make([]byte, pieceSize)
	}
	n, err := t.src.ReadAt(t.buf[:min(int64(len(t.buf)), size-t.at)], t.at)
	if err != nil && err != io.EOF {
		return nil, err
	}
	whole := t.format.Walk(t.buf[:n]).Bytes
	switch {
	case whole == 0 && n > maxBlock:
		return nil, fmt.Errorf("no packet begins at byte %d: %w", t.at, io.ErrUnexpectedEOF)
	case whole == 0:
		return nil, io.EOF
	}
	t.at += whole
	return io.MultiReader(bytes.NewReader(t.header), bytes.NewReader(t.buf[:whole])), nil
}

// Whole reports whether the pieces so far are the first size bytes.
func (t *Tail) Whole(size int64) bool { return t.at >= size && len(t.frames) == 0 }

// begin reads the header.
func (t *Tail) begin(size int64) error {
	b := make([]byte, min(maxBlock, size))
	n, err := t.src.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return err
	}
	b = b[:n]
	if n < 4 {
		return io.EOF
	}
	if t.zstd = bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}); t.zstd {
		table, err := ReadTable(t.src, size)
		if err == nil && table == nil {
			err = io.EOF // the header alone, or nothing
		}
		if err != nil {
			return err
		}
		t.header, t.at = table.header, table.Frames[0].Offset
		return nil
	}
	format, header := detect(b)
	switch {
	case format == "":
		return ErrForeign
	case header == 0:
		return io.EOF
	}
	t.format, t.header, t.at = format, b[:header:header], int64(header)
	return nil
}

func (t *Tail) nextFrame(size int64) (io.Reader, error) {
	if len(t.frames) == 0 {
		frames, whole, err := findFrames(io.NewSectionReader(t.src, t.at, size-t.at), size-t.at)
		if err != nil {
			return nil, err
		}
		for i := range frames {
			frames[i].Offset += t.at
		}
		t.frames = frames
		t.at += whole
	}
	if len(t.frames) == 0 {
		return nil, io.EOF
	}
	f := t.frames[0]
	t.frames = t.frames[1:]
	b, err := t.unpack.unpack(t.src, f)
	if err != nil {
		return nil, err
	}
	return io.MultiReader(bytes.NewReader(t.header), bytes.NewReader(b)), nil
}
