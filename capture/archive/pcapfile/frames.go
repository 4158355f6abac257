package pcapfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/ixcap/ixcap/capture/units"
)

// FrameError is the error about a frame that does not unpack, or whose checksum is
// another. Its packets are left out; those of the other frames do not depend on it.
type FrameError struct {
	Frame Frame
	Err   error
}

func (e *FrameError) Error() string {
	packets := "its packets are"
	switch n := e.Frame.Packets; {
	case n == 1:
		packets = "its packet is"
	case n > 0:
		packets = fmt.Sprintf("its %s are", units.Plural(uint64(n), "packet"))
	}
	return fmt.Sprintf("zstd frame at byte %d is damaged: %v: %s left out", e.Frame.Offset, e.Err, packets)
}

// Unwrap returns the error of the decompression.
func (e *FrameError) Unwrap() error { return e.Err }

// wholeFrames unpacks frames; any goroutine may use it.
var wholeFrames = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxWindow))
})

// frameReader reads the unpacked file: the header and, from a frame on, those that are
// whole, each only after its checksum is known to be right.
type frameReader struct {
	table   *Table
	frames  []Frame // that were not read
	left    []byte  // of the header, or the last frame
	rest    io.Reader
	damaged func(error)
	packed  []byte
	out     []byte
}

// unpack returns the bytes of a frame, valid until the next call. The error is a
// FrameError, or that of the file.
func (r *frameReader) unpack(src io.ReaderAt, f Frame) ([]byte, error) {
	z, err := wholeFrames()
	if err != nil {
		return nil, err
	}
	if f.Compressed > maxWindow {
		return nil, &FrameError{f, fmt.Errorf("%d bytes long", f.Compressed)}
	}
	if int64(cap(r.packed)) < f.Compressed {
		r.packed = make([]byte, f.Compressed)
	}
	r.packed = r.packed[:f.Compressed]
	if _, err := src.ReadAt(r.packed, f.Offset); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	r.out, err = z.DecodeAll(r.packed, r.out[:0])
	if err == nil && f.Size >= 0 && f.Size != int64(len(r.out)) {
		err = fmt.Errorf("%d bytes, and not %d as its file says", len(r.out), f.Size)
	}
	if err != nil {
		return nil, &FrameError{f, err}
	}
	return r.out, nil
}

// Read implements io.Reader.
func (r *frameReader) Read(b []byte) (int, error) {
	for len(r.left) == 0 {
		if len(r.frames) == 0 {
			return r.readRest(b)
		}
		f := r.frames[0]
		r.frames = r.frames[1:]
		out, err := r.unpack(r.table.src, f)
		switch {
		case err == nil:
			r.left = out
		case errors.As(err, new(*FrameError)):
			r.damaged(err)
		default:
			return 0, err
		}
	}
	n := copy(b, r.left)
	r.left = r.left[n:]
	return n, nil
}

// readRest reads what follows the whole frames of a file that was cut.
func (r *frameReader) readRest(b []byte) (int, error) {
	if r.table.end < 0 {
		return 0, io.EOF
	}
	if r.rest == nil {
		z, err := unpacker(io.NewSectionReader(r.table.src, r.table.end, math.MaxInt64-r.table.end))
		if err != nil {
			return 0, err
		}
		r.rest = z
	}
	return r.rest.Read(b)
}

// From returns the unpacked file without the frames before the one to begin with for
// packets stamped nano or later, and without frames that are damaged. damaged is called
// for each of these, with a FrameError, during a Read.
func (t *Table) From(nano int64, damaged func(error)) io.Reader {
	return &frameReader{table: t, frames: t.Frames[t.frameOf(nano):], left: bytes.Clone(t.header), damaged: damaged}
}
