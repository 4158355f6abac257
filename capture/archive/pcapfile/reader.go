package pcapfile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive"
)

// Reader reads the Ethernet packets of one file, of any program: what capfile reads.
// Of a file of an Encoder that is compressed it finds packets by their time.
type Reader struct {
	packets *capfile.Reader // nil after an error of SeekTime
	from    int64           // packets with earlier stamps are skipped, ns
	count   uint64
	err     error // what Next returns from now on

	file  *os.File // of Open
	table *Table   // nil: reading begins at the first byte

	damaged []error // frames that were left out
}

// NewReader reads the header of a file.
func NewReader(src io.Reader) (*Reader, error) {
	r := &Reader{from: math.MinInt64}
	if err := r.begin(src); err != nil {
		return nil, err
	}
	return r, nil
}

// Open opens a file, for SeekTime too. The Reader holds a reader's lock until Close,
// so that no repair changes the file.
func Open(path string) (_ *Reader, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &Reader{from: math.MinInt64, file: f}
	defer func() {
		if err != nil {
			r.Close()
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	_ = archive.LockShared(f) // it fails while the file is being written
	if err := r.index(); err != nil {
		return nil, err
	}
	return r, r.seek()
}

// Close closes the file.
func (r *Reader) Close() error {
	r.release()
	r.err = os.ErrClosed
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// release ends the decompression.
func (r *Reader) release() {
	if r.packets != nil {
		r.packets.Close()
	}
}

// begin reads the header of a file.
func (r *Reader) begin(src io.Reader) (err error) {
	r.packets, err = capfile.NewReader(src, capfile.Options{})
	return err
}

// leaveOut notes a frame that is damaged.
func (r *Reader) leaveOut(err error) { r.damaged = append(r.damaged, err) }

// Next returns the next packet; Data is valid until the following call. The error
// is io.EOF at the end and wraps io.ErrUnexpectedEOF when the file is cut. In place of
// io.EOF it is that about the frames that were left out. It stays until SeekTime.
func (r *Reader) Next() (Packet, error) {
	for r.err == nil {
		p, err := r.packets.Next()
		if err != nil && r.file != nil && archive.Reclaimed(r.file) {
			err = fmt.Errorf("packet %d: %w", r.count+1, archive.ErrReclaimed)
		}
		if err == io.EOF && len(r.damaged) > 0 {
			err = errors.Join(r.damaged...)
		}
		if err != nil {
			r.err = err
			break
		}
		if p.Nano < r.from {
			continue
		}
		r.count++
		return Packet{Nano: p.Nano, Len: p.Len, Data: p.Data, Dropped: p.Dropped, Comment: p.Comment}, nil
	}
	return Packet{}, r.err
}

// Count returns the number of packets delivered.
func (r *Reader) Count() uint64 { return r.count }
