package rawstore

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/store"
)

// file is one RAW file being written. Three kinds of goroutines use it: the
// Storer's own, the workers that write blocks (work), and its finalizer.
type file struct {
	*store.File

	// Of the Storer's goroutine.
	scarce   bool  // the disk has no space for a reservation
	read     int64 // bytes read from the stream
	frames   int   // that begin in these bytes
	writing  int   // blocks that are being written
	indexing int   // blocks that are being indexed
	complete bool  // all of it has been written
	failure  error // the first write that failed
	closed   bool  // its finalizer has got its ending

	stored       atomic.Int64 // bytes written, without a gap from the file's start
	storedFrames atomic.Int64 // that begin in these bytes
	failed       atomic.Bool  // blocks in flight need not be written
	end          chan ending  // to its finalizer
	side         *sidecar     // nil: none
}

// ending says how a file ends.
type ending struct {
	size   int64 // in bytes, if cause is nil
	frames int   // that begin in the bytes read
	cause  error // why it ends early; nil: in order
}

// reserve reserves disk space up to byte end. If that fails, the file is written
// without a reservation; on a full disk a write fails later.
func (f *file) reserve(end, segment int64, grow bool) {
	if f.Reserved < 0 || end <= f.Reserved {
		return
	}
	to := max(min(f.Reserved+store.Reservation, segment), end)
	if err := f.Reserve(f.Reserved, to-f.Reserved, grow); err != nil {
		f.Reserved, f.scarce = -1, err != unix.EOPNOTSUPP
		return
	}
	f.Reserved = to
}

// cut makes the file, of which written bytes are written, size bytes long. Cutting
// releases the disk space reserved after its end, extending does not.
func (f *file) cut(written, size int64) error {
	err := f.Truncate(min(size, written))
	if err == nil && size > written {
		err = f.Truncate(size)
	}
	return err
}

// wholeRecords returns the length in bytes of the whole records at the start of
// the file's first size bytes, and their number. It indexes what the indexer has
// not seen of them.
func (f *file) wholeRecords(size int64) (length int64, frames int, err error) {
	in, err := f.OpenRead()
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	x := f.side
	if x == nil {
		x = newSidecar()
		x.off.Store(true) // it only finds the end of the records
	}
	buf := make([]byte, Block)
	for x.fed < size {
		n, err := in.ReadAt(buf[:min(size-x.fed, Block)], x.fed)
		if n == 0 {
			return 0, 0, err
		}
		if x.digest(buf[:n]) != nil {
			break // no records from there on
		}
		if out := x.b.Encoded(); !x.off.Load() {
			x.put(out)
		}
	}
	return x.b.Records(), int(x.b.Frames()), nil
}
