package capfile

import (
	"bufio"
	"fmt"
	"io"
)

// bufferSize is the size of reads and of the longest record without a copy, bytes.
const bufferSize = 128 << 10

// input reads parts of a file.
type input struct {
	r    *bufio.Reader
	at   int64  // bytes taken of the unpacked file
	held int    // of these, in the buffer still
	long []byte // for parts longer than the buffer
}

// take returns the next n bytes, valid until the next call. The error is io.EOF if
// there are none and io.ErrUnexpectedEOF if there are fewer.
func (in *input) take(n int) ([]byte, error) {
	in.release()
	if n <= bufferSize {
		b, err := in.r.Peek(n)
		in.held = len(b)
		in.at += int64(len(b))
		if err == io.EOF && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return b, err
	}
	in.long = in.long[:0]
	for len(in.long) < n { // a length that the file does not have takes no memory
		done := len(in.long)
		part := min(n-done, max(bufferSize, done))
		in.long = append(in.long, make([]byte, part)...)
		got, err := io.ReadFull(in.r, in.long[done:])
		in.at += int64(got)
		if err != nil {
			if done > 0 {
				err = cut(err)
			}
			return nil, err
		}
	}
	return in.long, nil
}

// skip passes n bytes.
func (in *input) skip(n int64) error {
	in.release()
	for n > 0 {
		got, err := in.r.Discard(int(min(n, 1<<30)))
		in.at += int64(got)
		n -= int64(got)
		if err != nil {
			return cut(err)
		}
	}
	return nil
}

func (in *input) release() {
	_, _ = in.r.Discard(in.held) // they are in the buffer
	in.held = 0
}

// errZeros is the error of a file whose space was not written.
var errZeros = fmt.Errorf("zeros: %w", io.ErrUnexpectedEOF)

// cut returns err for a file that ends too early.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
