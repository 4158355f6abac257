package flow

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/sim/wire"
)

// mixed are the packets of a generated backbone link, with the start of each frame.
type mixed struct {
	*wire.Mix
	frames  []wire.Frame
	packets []stream.Packet
	memory  []byte
}

func newMixed(t testing.TB, c wire.MixConfig, packets int) *mixed {
	c.Start = 1.7e18
	m, err := wire.NewMix(c)
	require.NoError(t, err)
	return &mixed{Mix: m, packets: make([]stream.Packet, packets), memory: make([]byte, packets*loadFrame)}
}

// fill makes the next packets.
func (m *mixed) fill() {
	for i := range m.packets {
		if len(m.frames) == 0 {
			m.frames = m.Next()
		}
		if len(m.frames) == 0 {
			m.packets = m.packets[:i]
			return
		}
		f := &m.frames[0]
		b := m.memory[i*loadFrame:][:min(loadFrame, len(f.Data))]
		copy(b, f.Data)
		m.packets[i] = input(b, len(f.Data), f.At)
		m.frames = m.frames[1:]
	}
}

func TestRecordsOfAMixAreItsTruth(t *testing.T) {
	m := newMixed(t, wire.MixConfig{Flows: 2000, Rate: 20e3, Seed: 5, Count: 60_000, Incidents: []wire.Incident{
		{Kind: wire.MixSYNFlood, Start: time.Second, Duration: time.Second, Flows: 3000},
		{Kind: wire.MixDNSRise, Start: time.Second, Duration: time.Second, Flows: 1000},
	}}, 60_000)
	m.fill()
	records, s := run(t, Config{Flows: 20_000}, m.packets, 256)
	truth := m.Truth()
	var got wire.MixTruth
	var total wire.MixCount
	for _, r := range records {
		for _, d := range r.Directions {
			total.Packets, total.Bytes = total.Packets+d.Packets, total.Bytes+d.Bytes
			if r.EtherType == typeIPv6 {
				got.IPv6 += d.Packets
			}
			got.FIN += uint64(d.Flags[FIN])
			got.RST += uint64(d.Flags[RST])
			got.SYN += uint64(d.Flags[SYN])
			got.ZeroWindow += uint64(d.ZeroWindows)
			got.Retransmitted += uint64(d.Retransmitted)
			got.OutOfOrder += uint64(d.OutOfOrder)
		}
	}
	want := truth.Total()
	require.Equal(t, want.Packets, total.Packets)
	require.Equal(t, want.Bytes, total.Bytes)
	require.Equal(t, truth.IPv6, got.IPv6)
	require.Equal(t, truth.FIN, got.FIN)
	require.Equal(t, truth.RST, got.RST)
	require.Equal(t, truth.SYN+truth.SYNACK, got.SYN)
	require.Equal(t, want.Flows, s.Opened)
	require.Equal(t, truth.ZeroWindow, got.ZeroWindow)
	// Of two gaps at once the engine knows the last one, so it may take one for the other.
	require.Equal(t, truth.Retransmitted+truth.OutOfOrder, got.Retransmitted+got.OutOfOrder)
	require.InDelta(t, truth.OutOfOrder, got.OutOfOrder, 2)
}

func BenchmarkMix(b *testing.B) {
	for _, c := range []wire.MixConfig{
		{Flows: 1_000_000, Rate: 1.65e6, Seed: 1},
		{Flows: 2_250_000, Rate: 1.65e6, Seed: 1},
	} {
		b.Run(fmt.Sprint(c.Flows), func(b *testing.B) {
			e := benchEngine(b, max(2_500_000, c.Flows*8/7+1))
			m := newMixed(b, c, loadPackets)
			g := &load{packets: m.packets}
			g.measure(e, 10*1_650_000, m.fill)
			runtime.GC()
			b.ResetTimer()
			ns := g.measure(e, b.N, m.fill)
			report(b, e, ns)
			b.ReportMetric(float64(e.Stats().Active), "flows")
			b.Log(e.Stats())
		})
	}
}
