package wire

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// all receives and copies the frames of a wire until it ends, with a virtual clock.
func all(t *testing.T, w Wire) [][]byte {
	t.Helper()
	r := w.(*replay)
	v := &virtual{}
	r.clock = v
	frames := make([]Frame, 100)
	var got [][]byte
	for {
		n, err := w.Receive(frames, plenty)
		if err == io.EOF {
			return got
		}
		require.NoError(t, err)
		for _, f := range frames[:n] {
			got = append(got, append([]byte(nil), f.Data...))
		}
		v.now += 20_000
	}
}

func TestGeneratedFramesAreValidInOrderAndEqualToAppend(t *testing.T) {
	for _, options := range []string{
		"gen,size=60,count=5000",
		"gen,size=60,count=5000,proto=tcp,vlan=7",
		"gen,size=60,count=5000,vlan=4094,flows=37",
		"gen,size=61,count=3000,proto=tcp",
		"gen,size=60-1514,count=9000,flows=1000,seed=9",
		"gen,size=imix,count=9000,flows=5000,proto=tcp",
		"gen,size=9000,count=100,rate=5Gbps",
	} {
		t.Run(options, func(t *testing.T) {
			o, err := ParseOptions(options)
			require.NoError(t, err)
			w, err := Parse(o)
			require.NoError(t, err)
			g, err := NewGenerator(o)
			require.NoError(t, err)
			got := all(t, w)
			require.EqualValues(t, g.Count(), len(got))
			for i, frame := range got {
				seq, err := Sequence(frame)
				require.NoError(t, err, "frame %d", i)
				require.EqualValues(t, i, seq)
				require.Equal(t, g.Append(nil, seq), frame)
			}
		})
	}
}

// Frames are checked by an independent decoder.
func TestGeneratedFramesPassAnotherDecoder(t *testing.T) {
	for _, options := range []string{"size=60", "size=60,proto=tcp,vlan=100", "size=60-1514,flows=300", "size=imix,proto=tcp,flows=7", "size=61-67,vlan=1"} {
		o, err := ParseOptions(options)
		require.NoError(t, err)
		g, err := NewGenerator(o)
		require.NoError(t, err)
		for _, seq := range []uint64{0, 1, 77, 0xffff, 0x10000, 0xfffe0001, 1<<32 + 5, 1<<63 - 1, 1<<64 - 1} {
			frame := g.Append(nil, seq)
			p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
			require.Nil(t, p.ErrorLayer(), options)
			ip := p.NetworkLayer()
			for _, l := range p.Layers() {
				if l, ok := l.(interface {
					SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
				}); ok {
					require.NoError(t, l.SetNetworkLayerForChecksum(ip))
				}
			}
			bad, mismatches := p.VerifyChecksums()
			require.NoError(t, bad)
			require.Empty(t, mismatches, "%s frame %d", options, seq)
			require.NotNil(t, p.TransportLayer())
			got, err := Sequence(frame)
			require.NoError(t, err)
			require.Equal(t, seq, got)
		}
	}
}

func TestFlowsAreDistinctAndEqual(t *testing.T) {
	g, err := NewGenerator([]Option{{"flows", "70000"}, {"size", "60"}})
	require.NoError(t, err)
	seen := map[[13]byte]int{}
	for seq := range uint64(140_000) {
		f := g.Append(nil, seq)
		var key [13]byte
		copy(key[:], f[26:38])
		key[12] = f[23]
		seen[key]++
	}
	require.Len(t, seen, 70_000)
	for _, n := range seen {
		require.Equal(t, 2, n)
	}
}

func TestImixHasItsRatios(t *testing.T) {
	g, err := NewGenerator([]Option{{"size", "imix"}})
	require.NoError(t, err)
	count := map[int]int{}
	for seq := range uint64(1200) {
		count[len(g.Append(nil, seq))]++
	}
	require.Equal(t, map[int]int{60: 700, 590: 400, 1514: 100}, count)
}

func TestSeedDeterminesContent(t *testing.T) {
	frame := func(seed string) []byte {
		g, err := NewGenerator([]Option{{"seed", seed}, {"size", "60-1514"}})
		require.NoError(t, err)
		return g.Append(nil, 3)
	}
	require.Equal(t, frame("5"), frame("5"))
	require.NotEqual(t, frame("5"), frame("6"))
}

func TestSequenceRefusesDamage(t *testing.T) {
	for _, options := range [][]Option{{{"size", "100"}}, {{"size", "100"}, {"proto", "tcp"}, {"vlan", "3"}}} {
		g, err := NewGenerator(options)
		require.NoError(t, err)
		good := g.Append(nil, 12345)
		_, err = Sequence(append(append([]byte(nil), good...), 0, 0))
		require.NoError(t, err, "padding is allowed")
		l := g.mark.layout
		for i := range good {
			if i >= l.ip-2 && i < l.ip || i >= 14 && i < l.ip-2 { // EtherType: another frame; tag: not summed
				continue
			}
			b := append([]byte(nil), good...)
			b[i] ^= 0x10
			_, err := Sequence(b)
			require.Error(t, err, "byte %d", i)
		}
		for n := range good {
			_, err := Sequence(good[:n])
			require.Error(t, err, "cut to %d", n)
		}
	}
}

func TestFoldIsTheOnesComplementSum(t *testing.T) {
	slow := func(b []byte) uint16 {
		var sum uint32
		for i := 0; i < len(b); i += 2 {
			w := uint32(b[i]) << 8
			if i+1 < len(b) {
				w |= uint32(b[i+1])
			}
			if sum += w; sum > 0xffff {
				sum -= 0xffff
			}
		}
		return uint16(sum)
	}
	g, err := NewGenerator([]Option{{"size", "1514"}})
	require.NoError(t, err)
	b := g.Append(nil, 0)
	for n := range b {
		require.Equal(t, slow(b[:n]), fold(sumWords(0, b[:n])))
	}
	require.EqualValues(t, 0xffff, fold(1<<64-1))
	ones := make([]byte, 65536)
	for i := range ones {
		ones[i] = 0xff
	}
	require.EqualValues(t, 0xffff, fold(sumWords(binary.BigEndian.Uint64(ones)>>16, ones)))
}
