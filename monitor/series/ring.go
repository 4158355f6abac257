package series

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A ring is a file of fixed size: a header, and slots of one length. A span of time has the
// slot (time / step) modulo their number, so no pointer says where the ring begins, and a
// slot that has another time or a wrong checksum is a missing span. All numbers are little-
// endian.
//
//	header, 4096 bytes:
//	     0  8  "ixseries"
//	     8  4  version 1
//	    12  4  step, seconds
//	    16  4  slots
//	    20  4  series
//	    24  4  bytes of the names
//	    28  4  CRC-32C of the header with 0 here
//	    32  n  names of the series, a line feed after each
//	slot, 88 + 32 n bytes:
//	     0  8  time, seconds since 1970
//	     8  4  CRC-32C of the slot with 0 here
//	    12  4  seconds that are recorded
//	    16  4  of these, partial ones
//	    20  4  0
//	    24  8  sum over the seconds of active flows    32  8  the most of a second
//	    40  8  new flows
//	    48  8  late packets      56  8  their bytes
//	    64  8  early packets     72  8  their bytes
//	    80  8  lost packets
//	    88     for each series 8 bytes each: packets, bytes, most packets and most bytes of
//	           a second
const (
	ringMagic   = "ixseries"
	ringVersion = 1
	ringHeader  = 4096
	slotHeader  = 88
	slotSeries  = 32

	maxSlots  = 1 << 27
	maxSeries = (ringHeader - 32) / 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// shape is what a ring's header says.
type shape struct {
	step  int64
	slots int64
	names []string
}

func (s *shape) slotBytes() int64 { return slotHeader + slotSeries*int64(len(s.names)) }

func (s *shape) equal(t *shape) bool {
	return s.step == t.step && s.slots == t.slots && strings.Join(s.names, "\n") == strings.Join(t.names, "\n")
}

func (s *shape) encode() []byte {
	b := make([]byte, ringHeader)
	names := strings.Join(s.names, "\n") + "\n"
	copy(b, ringMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], ringVersion)
	le.PutUint32(b[12:], uint32(s.step))
	le.PutUint32(b[16:], uint32(s.slots))
	le.PutUint32(b[20:], uint32(len(s.names)))
	le.PutUint32(b[24:], uint32(len(names)))
	copy(b[32:], names)
	le.PutUint32(b[28:], crc32.Checksum(b, castagnoli))
	return b
}

var errNotRing = errors.New("not a ring of series, or a damaged one")

func decodeShape(b []byte) (s shape, err error) {
	le := binary.LittleEndian
	if len(b) < ringHeader || string(b[:8]) != ringMagic {
		return s, errNotRing
	}
	sum := le.Uint32(b[28:])
	head := append([]byte(nil), b[:ringHeader]...)
	clear(head[28:32])
	if crc32.Checksum(head, castagnoli) != sum {
		return s, errNotRing
	}
	if v := le.Uint32(b[8:]); v != ringVersion {
		return s, fmt.Errorf("a ring of version %d: this program reads version %d", v, ringVersion)
	}
	series, size := le.Uint32(head[20:]), le.Uint32(head[24:])
	s.step, s.slots = int64(le.Uint32(head[12:])), int64(le.Uint32(head[16:]))
	if s.step == 0 || s.slots == 0 || s.slots > maxSlots || series == 0 || series > maxSeries || size == 0 || size > ringHeader-32 {
		return s, errNotRing
	}
	names := string(head[32 : 32+size])
	s.names = strings.Split(strings.TrimSuffix(names, "\n"), "\n")
	if len(s.names) != int(series) || !strings.HasSuffix(names, "\n") {
		return s, errNotRing
	}
	return s, nil
}

func encodePoint(b []byte, p *Point) {
	le := binary.LittleEndian
	for i, v := range [...]uint64{
		uint64(p.Time), uint64(p.Seconds) << 32, uint64(p.Partial), p.Active, p.PeakActive, p.New,
		p.Late.Packets, p.Late.Bytes, p.Early.Packets, p.Early.Bytes, p.Lost,
	} {
		le.PutUint64(b[8*i:], v)
	}
	for i := range p.Series {
		s, at := &p.Series[i], b[slotHeader+slotSeries*i:]
		le.PutUint64(at, s.Packets)
		le.PutUint64(at[8:], s.Bytes)
		le.PutUint64(at[16:], s.Peak.Packets)
		le.PutUint64(at[24:], s.Peak.Bytes)
	}
	le.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
}

// decodePoint reads a slot into p, which has its time, step and series. It reports whether
// the slot has that time and is whole; p is a missing span otherwise.
func decodePoint(b []byte, p *Point) bool {
	le := binary.LittleEndian
	sum := le.Uint32(b[8:])
	le.PutUint32(b[8:], 0)
	seconds := le.Uint32(b[12:])
	if int64(le.Uint64(b)) != p.Time || seconds == 0 || int64(seconds) > p.Step || crc32.Checksum(b, castagnoli) != sum {
		return false
	}
	p.Seconds, p.Partial = seconds, le.Uint32(b[16:])
	for i, v := range [...]*uint64{
		&p.Active, &p.PeakActive, &p.New, &p.Late.Packets, &p.Late.Bytes, &p.Early.Packets, &p.Early.Bytes, &p.Lost,
	} {
		*v = le.Uint64(b[24+8*i:])
	}
	for i := range p.Series {
		s, at := &p.Series[i], b[slotHeader+slotSeries*i:]
		s.Packets, s.Bytes = le.Uint64(at), le.Uint64(at[8:])
		s.Peak = Count{le.Uint64(at[16:]), le.Uint64(at[24:])}
	}
	return true
}

// medium is where a ring is: a file, or memory.
type medium interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// memory is a ring without a file.
type memory []byte

func (m memory) ReadAt(b []byte, at int64) (int, error)  { return copy(b, m[at:]), nil }
func (m memory) WriteAt(b []byte, at int64) (int, error) { return copy(m[at:], b), nil }
func (m memory) Close() error                            { return nil }

// ringFile reads and writes the slots of one ring, in a file or in memory. It is for one
// goroutine.
type ringFile struct {
	shape
	medium medium
	slot   []byte
}

func newRing(s shape, m medium) *ringFile {
	return &ringFile{shape: s, medium: m, slot: make([]byte, s.slotBytes())}
}

func newMemoryRing(s shape) *ringFile {
	return newRing(s, make(memory, ringHeader+s.slots*s.slotBytes()))
}

// createRing opens a file for writing, and makes it if there is none. A file of other series
// is an error. Another process that writes it is one, too.
func createRing(path string, s shape) (*ringFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeRing(path, s); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR, 0)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open ring: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("open ring %s: another process writes it: choose another folder", path), f.Close())
	}
	got, err := readShape(f)
	if err == nil && !got.equal(&s) {
		err = fmt.Errorf("it has other series or another size: move it away, or choose another folder")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open ring %s: %w", path, err), f.Close())
	}
	return newRing(s, f), nil
}

// makeRing makes a file under another name and renames it, so that no file is half a ring.
func makeRing(path string, s shape) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(s.encode())
	if err == nil {
		err = f.Truncate(ringHeader + s.slots*s.slotBytes())
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// openRing opens a file for reading.
func openRing(path string) (*ringFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open ring: %w", err)
	}
	s, err := readShape(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open ring %s: %w", path, err), f.Close())
	}
	return newRing(s, f), nil
}

func readShape(f io.ReaderAt) (shape, error) {
	head := make([]byte, ringHeader)
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		return shape{}, err
	}
	return decodeShape(head)
}

func (r *ringFile) offset(at int64) int64 { return ringHeader + at/r.step%r.slots*r.slotBytes() }

// A slot that its writer changes is read again.
const (
	readTries = 5
	readPause = 100 * time.Microsecond
)

// read reads the span at a time, a multiple of the step, into p. Missing spans are no error.
func (r *ringFile) read(at int64, p *Point) error {
	for try := range readTries {
		if try > 0 {
			time.Sleep(readPause)
		}
		p.reset(at, r.step, len(r.names))
		n, err := r.medium.ReadAt(r.slot, r.offset(at))
		if n < len(r.slot) {
			if err == io.EOF {
				return nil // a file that was cut
			}
			return err
		}
		if decodePoint(r.slot, p) || int64(binary.LittleEndian.Uint64(r.slot)) != at {
			return nil
		}
	}
	return nil
}

func (r *ringFile) write(p *Point) error {
	encodePoint(r.slot, p)
	_, err := r.medium.WriteAt(r.slot, r.offset(p.Time))
	return err
}
