package packetsource_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/packetsource"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

// direction is a frame of TCP over IPv4 of a flow, there or back.
func direction(flow int, back bool) []byte {
	b := make([]byte, 60)
	copy(b[12:], []byte{8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 6})
	from, to := 26, 30
	if back {
		from, to = to, from
	}
	copy(b[from:], []byte{10, 0, byte(flow >> 8), byte(flow)})
	copy(b[to:], []byte{10, 1, 0, 1})
	binary.BigEndian.PutUint16(b[34+(from-26)/2:], uint16(1024+flow))
	binary.BigEndian.PutUint16(b[34+(to-26)/2:], 443)
	return b
}

// A group over two queues: a flow has one direction in each, and both go to the members
// of one name, in the order of stamps.
func TestMembersOverSeveralQueuesGetWholeFlowsInOrder(t *testing.T) {
	for _, mode := range []string{"hash", "consistent"} {
		var queues []*stream.Stream
		for q := range 2 {
			s, err := stream.New(stream.Config{Interface: "eth0", Queue: q, Size: 4 << 20, Node: hugepage.AnyNode})
			require.NoError(t, err)
			defer s.Close()
			queues = append(queues, s)
		}
		names := []string{"a", "b", "c"}
		sources := make([][]*packetsource.Source, len(names))
		for q, s := range queues {
			for i := range names {
				n := (i + q) % len(names) // they join in another order
				l, err := s.Listen(names[n], stream.Options{Fanout: fmt.Sprintf("group=7\nmode=%s\nmember=%s", mode, names[n])})
				require.NoError(t, err)
				sources[n] = append(sources[n], packetsource.New(l, nil))
			}
		}
		const flows, packets = 100, 4000
		for i := range packets {
			back := i%2 == 1
			frame := direction(i/2%flows, back)
			p := queues[i%2].Producer()
			require.True(t, p.Append(100, uint32(i), &ring.Frame{Data: frame, Len: 60}, 0))
		}
		for _, s := range queues {
			s.Producer().Publish()
			s.Producer().Finish()
		}
		member, seen := map[int]int{}, 0
		for n := range names {
			m := packetsource.NewMerge(time.Hour, sources[n]...)
			last := -1
			for _, p := range m.Packets(t.Context()) {
				require.Greater(t, int(p.Nsec), last, "in order")
				last = int(p.Nsec)
				flow := last / 2 % flows
				if known, ok := member[flow]; ok {
					require.Equal(t, known, n, "flow %d", flow)
				}
				member[flow] = n
				seen++
			}
			require.NoError(t, m.Err())
			require.Zero(t, m.Late())
			for _, src := range sources[n] {
				require.NoError(t, src.Stats().Balanced())
			}
			require.NoError(t, m.Close())
		}
		require.Equal(t, packets, seen, "each packet reaches one member")
		require.Len(t, member, flows)
	}
}
