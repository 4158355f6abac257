package capfile

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// maxWindow limits the memory for unpacking, in bytes: the limit of zstd.
const maxWindow = 128 << 20

// Magic numbers of compressed files.
var (
	gzipMagic      = []byte{0x1f, 0x8b}
	zstdMagic      = []byte{0x28, 0xb5, 0x2f, 0xfd}
	lz4Magic       = []byte{0x04, 0x22, 0x4d, 0x18}
	lz4LegacyMagic = []byte{0x02, 0x21, 0x4c, 0x18}
	bzip2Magic     = []byte("BZh")
	xzMagic        = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
)

// skippableMagic to ...5f begin skippable frames of zstd (RFC 8878, 3.1.2) and of lz4.
const skippableMagic = 0x184d2a50

// maxSkippable is the greatest length in bytes of skippable frames that are passed to
// recognise what follows them.
const maxSkippable = bufferSize - 16

// members reads the members of a gzip file (RFC 1952) one after the other, to what does
// not begin one: as gzip -d does, which passes zeros of a tape and other bytes.
type members struct {
	*gzip.Reader
	in       *bufio.Reader
	trailing func(n int64) // called once at the end if bytes follow
}

func newMembers(in *bufio.Reader, trailing func(n int64)) (*members, error) {
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &members{z, in, trailing}, nil
}

func (m *members) Read(b []byte) (int, error) {
	n, err := m.Reader.Read(b)
	if err != io.EOF {
		return n, err
	}
	head, err := m.in.Peek(len(gzipMagic))
	switch {
	case bytes.Equal(head, gzipMagic):
		if err := m.Reset(m.in); err != nil {
			return n, cut(err)
		}
		m.Multistream(false)
		return n, nil
	case err != nil && err != io.EOF:
		return n, err
	case len(head) == 0:
		return n, io.EOF
	}
	left, err := io.Copy(io.Discard, m.in)
	if err != nil {
		return n, err
	}
	m.trailing(left)
	return n, io.EOF
}

// unpack returns a reader of the unpacked bytes, in itself if they are not compressed,
// and the function that frees its memory. trailing gets the number of bytes behind the end.
func unpack(in *bufio.Reader, trailing func(n int64)) (out io.Reader, name string, free func(), err error) {
	free = func() {}
	head, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, "", free, err
	}
	if len(head) >= 4 && isSkippable(head) {
		head = behindSkippable(in)
	}
	has := func(magic []byte) bool { return bytes.HasPrefix(head, magic) }
	switch {
	case has(gzipMagic):
		name = "gzip"
		out, err = newMembers(in, trailing)
	case has(zstdMagic), len(head) >= 4 && isSkippable(head):
		name = "zstd"
		var z *zstd.Decoder
		if z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			out, free = z, z.Close
		}
	case has(lz4Magic), has(lz4LegacyMagic):
		name = "lz4"
		z := lz4.NewReader(in)
		out, err = z, z.Apply(lz4.ConcurrencyOption(1))
	case has(bzip2Magic):
		name, out = "bzip2", bzip2.NewReader(in)
	case has(xzMagic):
		return nil, "", free, errors.New("the file is compressed with xz. Unpack it with xz -d")
	default:
		return in, "", free, nil
	}
	if err != nil {
		return nil, "", free, fmt.Errorf("%s: %w", name, cut(err))
	}
	return named{out, name}, name, free, nil
}

// Recognise returns the format of a file that begins with head, of at least 12 bytes:
// pcap, pcapng, gzip, zstd, lz4, bzip2, xz or "". It is certain about files whose first
// eight bytes may also be a stamp.
func Recognise(head []byte) string {
	if len(head) < 12 {
		return ""
	}
	le, be := binary.LittleEndian, binary.BigEndian
	old := &pcap{}
	switch _, ok := old.magic(head); {
	case ok && old.version(head) == nil:
		return "pcap"
	case be.Uint32(head) == blockSection && (le.Uint32(head[8:]) == byteOrderMagic || be.Uint32(head[8:]) == byteOrderMagic):
		return "pcapng"
	case bytes.HasPrefix(head, gzipMagic) && head[2] == 8 && head[3] < 0x20:
		return "gzip"
	case bytes.HasPrefix(head, zstdMagic):
		return "zstd"
	case bytes.HasPrefix(head, lz4Magic), bytes.HasPrefix(head, lz4LegacyMagic):
		return "lz4"
	case bytes.HasPrefix(head, bzip2Magic) && be.Uint32(head[4:]) == 0x31415926:
		return "bzip2"
	case bytes.HasPrefix(head, xzMagic):
		return "xz"
	}
	return ""
}

func isSkippable(b []byte) bool {
	return binary.LittleEndian.Uint32(b)&^0xf == skippableMagic
}

// behindSkippable returns the bytes after the skippable frames at the start of in, or
// the start if the frames are too long to see that.
func behindSkippable(in *bufio.Reader) []byte {
	start, _ := in.Peek(8)
	for at := 0; ; {
		head, _ := in.Peek(at + 8)
		if len(head) < at+8 {
			return start
		}
		if !isSkippable(head[at:]) {
			return head[at:]
		}
		size := binary.LittleEndian.Uint32(head[at+4:])
		if size > maxSkippable || at+8+int(size) > maxSkippable {
			return start
		}
		at += 8 + int(size)
	}
}

// named adds the compression's name to errors other than the end.
type named struct {
	io.Reader
	name string
}

func (n named) Read(b []byte) (int, error) {
	got, err := n.Reader.Read(b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		err = fmt.Errorf("%s: %w", n.name, err)
	}
	return got, err
}
