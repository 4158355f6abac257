package capfile_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
)

// order is a byte order that appends.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

var orders = []order{binary.LittleEndian, binary.BigEndian}

// oldHeader makes the header of a pcap file.
func oldHeader(o order, magic uint32, major, minor uint16, link uint32) []byte {
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(o.AppendUint16(b, major), minor)
	b = append(b, make([]byte, 8)...)
	return o.AppendUint32(o.AppendUint32(b, 262144), link)
}

// u32 appends words.
func u32(b []byte, o order, v ...uint32) []byte {
	for _, x := range v {
		b = o.AppendUint32(b, x)
	}
	return b
}

// ng builds pcapng files.
type ng struct {
	order
	b []byte
}

func (f *ng) block(kind uint32, body ...[]byte) *ng {
	b := bytes.Join(body, nil)
	b = append(b, make([]byte, -len(b)&3)...)
	f.b = u32(f.b, f.order, kind, uint32(len(b)+12))
	f.b = u32(append(f.b, b...), f.order, uint32(len(b)+12))
	return f
}

func (f *ng) words(v ...uint32) []byte { return u32(nil, f.order, v...) }

func (f *ng) section() *ng {
	return f.block(0x0a0d0d0a, f.words(0x1a2b3c4d), f.AppendUint16(f.AppendUint16(nil, 1), 0), bytes.Repeat([]byte{0xff}, 8))
}

func (f *ng) option(code uint16, value ...byte) []byte {
	b := append(f.AppendUint16(f.AppendUint16(nil, code), uint16(len(value))), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func (f *ng) iface(link uint16, snaplen uint32, options ...[]byte) *ng {
	return f.block(1, f.AppendUint16(nil, link), []byte{0, 0}, f.words(snaplen), bytes.Join(options, nil))
}

func (f *ng) packet(iface uint32, stamp uint64, length int, data []byte, options ...[]byte) *ng {
	pad := make([]byte, -len(data)&3)
	return f.block(6, f.words(iface, uint32(stamp>>32), uint32(stamp), uint32(len(data)), uint32(length)), data, pad, bytes.Join(options, nil))
}

func newNG(o order) *ng { return (&ng{order: o}).section() }

// frame is an Ethernet frame of n bytes.
func frame(fill byte, n int) []byte {
	b := bytes.Repeat([]byte{fill}, n)
	copy(b, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
	return b
}

// all reads a file to its end, and returns copies of the packets.
func all(t testing.TB, file []byte, o capfile.Options) ([]capfile.Packet, *capfile.Reader, error) {
	t.Helper()
	r, err := capfile.NewReader(bytes.NewReader(file), o)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(r.Close)
	var list []capfile.Packet
	for {
		p, err := r.Next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return list, r, err
		}
		p.Data = bytes.Clone(p.Data)
		list = append(list, p)
	}
}

// whole reads a file that has no error.
func whole(t testing.TB, file []byte) ([]capfile.Packet, *capfile.Reader) {
	t.Helper()
	list, r, err := all(t, file, capfile.Options{})
	require.NoError(t, err)
	require.EqualValues(t, len(list), r.Delivered())
	return list, r
}

// lines are the counts as text.
func lines(r *capfile.Reader) (list []string) {
	for _, c := range r.Counts() {
		list = append(list, c.String())
	}
	return list
}
