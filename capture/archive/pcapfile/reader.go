package pcapfile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/klauspost/compress/zstd"

	"github.com/ixcap/ixcap/capture/archive"
)

// Reader reads the packets of one file: pcap or pcapng of any program, compressed
// with zstd or not, recognized by the first bytes.
type Reader struct {
	pcap   *pcapgo.Reader
	ng     *pcapgo.NgReader // one of the two
	in     *bufio.Reader
	unpack *zstd.Decoder // nil: not compressed
	from   int64         // packets with earlier stamps are skipped, ns
	count  uint64
	err    error // what Next returns from now on

	file   *os.File // of Open
	header []byte   // of the file, unpacked
	frames []Frame  // that reading may begin with; nil: it begins at the first byte
	timed  bool     // their times are known
}

// bufferSize is the size of reads, in bytes.
const bufferSize = 128 << 10

// NewReader reads the header of a file.
func NewReader(src io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(src, bufferSize), from: math.MinInt64}
	if err := r.begin(); err != nil {
		r.release()
		return nil, err
	}
	return r, nil
}

// Open opens a file, for SeekTime too. The Reader holds a reader's lock until Close,
// so that retention does not delete the file.
func Open(path string) (_ *Reader, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &Reader{in: bufio.NewReaderSize(f, bufferSize), from: math.MinInt64, file: f}
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
	return r, r.begin()
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

func (r *Reader) release() {
	if r.unpack != nil {
		r.unpack.Close()
		r.unpack = nil
	}
}

// begin reads a file's header from in.
func (r *Reader) begin() error {
	magic, err := r.in.Peek(4)
	if err != nil {
		return fmt.Errorf("read capture header: %w", cut(err))
	}
	if m := binary.LittleEndian.Uint32(magic); m == zstdMagic || m&^0xf == skippableMagic {
		r.unpack, err = zstd.NewReader(r.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
		return r.open(bufio.NewReaderSize(r.unpack, bufferSize))
	}
	return r.open(r.in)
}

// open reads the header of a pcap or pcapng file that is not compressed.
func (r *Reader) open(in *bufio.Reader) (err error) {
	r.pcap, r.ng = nil, nil
	magic, err := in.Peek(4)
	if err != nil {
		return fmt.Errorf("read capture header: %w", cut(err))
	}
	var link layers.LinkType
	if binary.LittleEndian.Uint32(magic) == blockSection {
		// The reader takes the first interface's link type for all, or with this option
		// reports packets of another one.
		r.ng, err = pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{ErrorOnMismatchingLinkType: true})
		if err != nil {
			return fmt.Errorf("read pcapng header: %w", cut(err))
		}
		link = r.ng.LinkType()
	} else {
		if r.pcap, err = pcapgo.NewReader(in); err != nil {
			return fmt.Errorf("neither pcap nor pcapng: %w", cut(err))
		}
		link = r.pcap.LinkType()
	}
	if link != layers.LinkTypeEthernet {
		return fmt.Errorf("link type %v: Ethernet frames only", link)
	}
	return nil
}

// cut returns err for a file that ends too early.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Next returns the next packet; Data is valid until the following call. The error
// is io.EOF at the end and wraps io.ErrUnexpectedEOF when the file is cut. It stays
// until SeekTime.
func (r *Reader) Next() (Packet, error) {
	for r.err == nil {
		p, err := r.next()
		if err == nil && p.Nano < r.from {
			continue
		}
		if err == nil {
			r.count++
			return p, nil
		}
		if err != io.EOF {
			err = fmt.Errorf("after %d whole packets: %w", r.count, err)
		}
		r.err = err
	}
	return Packet{}, r.err
}

// Count returns the number of packets delivered.
func (r *Reader) Count() uint64 { return r.count }

func (r *Reader) next() (p Packet, err error) {
	var info gopacket.CaptureInfo
	var options pcapgo.NgPacketOptions
	if r.ng != nil {
		p.Data, info, options, err = r.ng.ZeroCopyReadPacketDataWithOptions()
	} else {
		p.Data, info, err = r.pcap.ZeroCopyReadPacketData()
	}
	if err == io.EOF && info.CaptureLength > 0 {
		err = io.ErrUnexpectedEOF // cut between a packet's header and its first byte
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return p, err
	case errors.Is(err, io.EOF):
		return p, io.EOF
	case err != nil:
		return p, err
	case len(p.Data) > info.Length:
		return p, fmt.Errorf("a packet of %d bytes of which %d were captured", info.Length, len(p.Data))
	}
	// An int64 of nanoseconds spans 1677 to 2262.
	const most = math.MaxInt64/1_000_000_000 - 1
	if sec := info.Timestamp.Unix(); sec < -most || sec > most {
		return p, fmt.Errorf("a packet stamped %v: out of range", info.Timestamp)
	}
	p.Nano, p.Len = info.Timestamp.UnixNano(), uint32(info.Length)
	p.Comment = strings.Join(options.Comments, "\n")
	if options.DropCount != nil {
		p.Dropped = *options.DropCount
	}
	return p, nil
}
