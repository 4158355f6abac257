package rawfile

import (
	"bufio"
	"errors"
	"io"
)

// Files writes records to one file after the other, each but the last of
// exactly the segment's size.
type Files struct {
	open    func(n int) (io.WriteCloser, error)
	segment int64
	opened  int
	file    io.WriteCloser // nil after an error
	buf     *bufio.Writer
	w       *Writer
	err     error
}

// NewFiles opens the first file. open opens the n-th, counted from 0; segment is
// their size in bytes, or 0 for a single file without limit.
func NewFiles(segment int64, open func(n int) (io.WriteCloser, error)) (*Files, error) {
	f := &Files{open: open, segment: segment, buf: bufio.NewWriterSize(nil, Block)}
	if _, err := NewWriter(f.buf, segment); err != nil {
		return nil, err
	}
	return f, f.next()
}

func (f *Files) next() (err error) {
	if f.file, err = f.open(f.opened); err != nil {
		f.file = nil
		return err
	}
	f.opened++
	f.buf.Reset(f.file)
	f.w, err = NewWriter(f.buf, f.segment)
	return err
}

// close closes the current file after end, one of Writer's methods.
func (f *Files) close(end func(*Writer) error) error {
	err := end(f.w)
	if err == nil {
		err = f.buf.Flush()
	}
	err = errors.Join(err, f.file.Close())
	f.file = nil
	return err
}

// Write appends a record, to the next file if this one is full. After an error it
// returns the same error again.
func (f *Files) Write(r Record) error {
	if f.err != nil {
		return f.err
	}
	if !f.w.Fits(len(r.Data)) {
		if f.err = f.close((*Writer).Fill); f.err == nil {
			f.err = f.next()
		}
		if f.err != nil {
			return f.err
		}
	}
	f.err = f.w.Write(r)
	return f.err
}

// Close ends and closes the last file. After an error of Write it only closes the
// file, and returns nil.
func (f *Files) Close() error {
	if f.file == nil {
		return nil
	}
	if f.err != nil {
		f.file.Close()
		f.file = nil
		return nil
	}
	return f.close((*Writer).End)
}
