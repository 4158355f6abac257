package pcapfile_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

// The pieces of a file that grows by any number of bytes have its packets, each once.
func TestTailReadsAFileThatGrows(t *testing.T) {
	packets := some(400)
	for _, e := range []pcapfile.Encoder{{Format: pcapfile.Pcap}, {Format: pcapfile.Pcapng, Interface: pcapfile.Interface{Name: "eth2"}}} {
		for _, level := range []int{0, 1} {
			file := write(t, e, level, 30, packets, nil)
			for _, step := range []int{61, 9770, len(file)} {
				tail := pcapfile.NewTail(bytes.NewReader(file))
				n := 0
				for size := 0; size < len(file); {
					size = min(size+step, len(file))
					for {
						src, err := tail.Next(int64(size))
						if err != nil {
							require.Equal(t, io.EOF, err)
							break
						}
						r, err := pcapfile.NewReader(src)
						require.NoError(t, err)
						piece, err := drain(r)
						require.Equal(t, io.EOF, err, "a piece is whole")
						for _, p := range piece {
							require.Equal(t, packets[n].Nano, p.Nano)
							require.Equal(t, packets[n].Data, p.Data)
							n++
						}
					}
				}
				require.Equal(t, len(packets), n, "%s, level %d, step %d", e.Format, level, step)
				require.True(t, tail.Whole(int64(len(file))))
			}
		}
	}
	_, err := pcapfile.NewTail(bytes.NewReader([]byte("no capture"))).Next(10)
	require.ErrorIs(t, err, pcapfile.ErrForeign)
	file := append(write(t, pcapfile.Encoder{Format: pcapfile.Pcap}, 0, 0, packets[:3], nil), make([]byte, 1<<20)...)
	tail := pcapfile.NewTail(bytes.NewReader(file))
	_, err = tail.Next(int64(len(file)))
	require.NoError(t, err)
	_, err = tail.Next(int64(len(file)))
	require.ErrorContains(t, err, "no packet begins at byte ")
}

// FuzzTail: no bytes make a Tail panic or go on without end.
func FuzzTail(f *testing.F) {
	for _, level := range []int{0, 1} {
		b := write(f, pcapfile.Encoder{Format: pcapfile.Pcapng}, level, 5, some(20), nil)
		f.Add(b, uint32(len(b)/3))
	}
	f.Fuzz(func(t *testing.T, file []byte, cut uint32) {
		tail := pcapfile.NewTail(bytes.NewReader(file))
		for _, size := range []int64{int64(cut) % int64(len(file)+1), int64(len(file))} {
			for n := 0; ; n++ {
				require.LessOrEqual(t, n, len(file), "each piece is of at least a byte")
				src, err := tail.Next(size)
				if err != nil {
					break
				}
				_, err = io.Copy(io.Discard, src)
				require.NoError(t, err)
			}
		}
	})
}
