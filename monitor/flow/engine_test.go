package flow

import (
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/headers"
	"github.com/ixcap/ixcap/capture/stream"
)

const second = int64(time.Second)

// udp is a packet between two of 2^16 hosts.
func udp(g *traffic, a, b int, stamp int64) stream.Packet {
	ip := &layers.IPv4{Version: 4, IHL: 5, Protocol: layers.IPProtocolUDP, SrcIP: []byte{10, 0, byte(a >> 8), byte(a)}, DstIP: []byte{10, 1, byte(b >> 8), byte(b)}}
	eth := &layers.Ethernet{SrcMAC: g.mac(a), DstMAC: g.mac(b), EthernetType: layers.EthernetTypeIPv4}
	frame := g.serialize(eth, ip, &layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload(make([]byte, 18)))
	return input(frame, len(frame), stamp)
}

// collect makes an engine and the list of its records.
func collect(t testing.TB, c Config) (*Engine, *[]Record) {
	all := new([]Record)
	c.OnRecords = func(r []Record) { *all = append(*all, r...) }
	e, err := New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e, all
}

func TestShortEntriesLoseNothingButPayload(t *testing.T) {
	for name, c := range configs() {
		t.Run(name, func(t *testing.T) {
			packets := generated(7, 2000)
			c.Payload, c.Short = 0, 2000
			o := newOracle(c)
			for i := range packets {
				o.process(&packets[i])
			}
			want := o.flush()
			e, records := collect(t, c)
			e.spare = c.Flows // every flow begins in a short entry
			e.Process(packets)
			e.Flush()
			require.NoError(t, e.Stats().Balanced())
			require.NotZero(t, e.Stats().Short)
			got := *records
			sortRecords(got)
			require.Len(t, got, len(want))
			for i := range got {
				packets := got[i].Directions[Forward].Packets + got[i].Directions[Reverse].Packets
				require.Equal(t, packets == 1, got[i].Short)
				got[i].Short = false
				if want[i].Ended != EndFlushed && got[i].Ended == EndFlushed {
					got[i].Ended = want[i].Ended
				}
				require.Equal(t, want[i], got[i])
			}
		})
	}
}

func TestFloodOfSinglePacketsLeavesOtherFlowsAlone(t *testing.T) {
	const flows, flood = 160, 12_000
	g := newTraffic(1)
	e, records := collect(t, Config{Flows: 200, Short: 20})
	now := int64(1.7e18)
	for i := range flows * 2 {
		e.Process([]stream.Packet{udp(g, i%flows, 0, now)})
	}
	for i := range flood {
		now += 20e3
		batch := []stream.Packet{udp(g, i, 1, now)}
		if i%50 == 0 {
			batch = append(batch, udp(g, i/50%flows, 0, now))
		}
		e.Process(batch)
	}
	e.Flush()
	s := e.Stats()
	require.NoError(t, s.Balanced())
	long := 0
	for _, r := range *records {
		packets := r.Directions[Forward].Packets
		if r.Dst == netip.MustParseAddr("10.1.0.0") {
			require.Greater(t, packets, uint64(2), "%v", r)
			long++
			continue
		}
		require.EqualValues(t, 1, packets)
	}
	require.Equal(t, flows, long, "a flow of more packets was split or displaced")
	require.EqualValues(t, flows+flood, s.Opened)
	require.Greater(t, s.Ended[EndEvicted], uint64(flood*9/10))
	require.Greater(t, s.Short, uint64(flood*9/10))
}

func TestFullTableEndsTheFlowThatIsIdleLongest(t *testing.T) {
	const flows = 256
	g := newTraffic(1)
	e, records := collect(t, Config{Flows: flows, Short: 2 * flows, Idle: time.Minute})
	e.spare = -1 // no short entries until the table is full
	now := int64(1.7e18)
	var packets []stream.Packet
	for i := range flows {
		now += 1e9 / 10
		packets = append(packets, udp(g, i, 0, now))
	}
	// The older half gets another packet, the first of them last.
	for i := flows/2 - 1; i >= 0; i-- {
		now += 1e9 / 10
		packets = append(packets, udp(g, i, 0, now))
	}
	e.Process(packets)
	require.Empty(t, *records)
	e.spare = 0
	for i := range flows {
		now += 1e6
		e.Process([]stream.Packet{udp(g, 1000+i, 0, now), udp(g, 1000+i, 0, now)})
	}
	require.Len(t, *records, flows)
	tick := int64(1) << e.wheel.shift
	for i, r := range *records {
		require.Equal(t, EndEvicted, r.Ended)
		if i > 0 {
			require.Greater(t, r.Last, (*records)[i-1].Last-tick, "record %d", i)
		}
	}
	e.Flush()
	require.NoError(t, e.Stats().Balanced())
}

func TestFlowsExpireWithoutPackets(t *testing.T) {
	g := newTraffic(1)
	const idle = 10 * second
	e, records := collect(t, Config{Flows: 1000, Idle: 10 * time.Second})
	now := int64(1.7e18)
	for i := range 500 {
		e.Process([]stream.Packet{udp(g, i, 0, now+int64(i)*second/100)})
	}
	require.EqualValues(t, 500, e.Stats().Active)
	for stamp := now; stamp < now+20*second; stamp += second / 10 {
		e.Advance(stamp)
		for _, r := range *records {
			require.Less(t, r.Last, stamp-idle)
			require.Equal(t, EndIdle, r.Ended)
		}
		expired := max(0, min(500, (stamp-idle-idle/100-now)/(second/100)))
		require.GreaterOrEqual(t, len(*records), int(expired), "late by more than a hundredth")
	}
	require.Len(t, *records, 500)
	require.NoError(t, e.Stats().Balanced())
}

func TestReasonsOfTheEnd(t *testing.T) {
	segment := func(a, b int, stamp int64, set func(*layers.TCP)) stream.Packet {
		g := newTraffic(1)
		tcp := &layers.TCP{SrcPort: layers.TCPPort(a), DstPort: layers.TCPPort(b), Window: 1, ACK: true}
		set(tcp)
		ip := &layers.IPv4{Version: 4, IHL: 5, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 0, 0, byte(a)}, DstIP: []byte{10, 0, 0, byte(b)}}
		frame := g.serialize(&layers.Ethernet{SrcMAC: g.mac(a), DstMAC: g.mac(b), EthernetType: layers.EthernetTypeIPv4}, ip, tcp)
		return input(frame, len(frame), stamp)
	}
	now := int64(1.7e18)
	e, records := collect(t, Config{Flows: 10, Active: 20 * time.Second})
	e.Process([]stream.Packet{
		segment(2, 1, now, func(s *layers.TCP) { s.SYN = true }), // the answer comes first: 1 opened it
		segment(1, 2, now+1, func(s *layers.TCP) { s.FIN = true }),
		segment(2, 1, now+2, func(s *layers.TCP) { s.FIN = true }),
		segment(1, 2, now+3, func(s *layers.TCP) {}),                             // the last acknowledgement
		segment(1, 2, now+4, func(s *layers.TCP) { s.SYN, s.ACK = true, false }), // a new connection
		segment(1, 2, now+19*second, func(s *layers.TCP) {}),                     // of 19 s
		segment(1, 2, now+21*second, func(s *layers.TCP) {}),                     // active for too long
		segment(2, 1, now+22*second, func(s *layers.TCP) { s.RST = true }),       // closed at once
		segment(2, 1, now+24*second, func(s *layers.TCP) { s.RST = true }),       // later than Linger
	})
	e.Flush()
	want := []struct {
		ended            End
		forward, reverse uint64
		src              string
	}{{EndClosed, 2, 2, "10.0.0.1"}, {EndActive, 2, 0, "10.0.0.1"}, {EndClosed, 1, 1, "10.0.0.1"}, {EndFlushed, 1, 0, "10.0.0.2"}}
	require.Len(t, *records, len(want))
	for i, w := range want {
		r := (*records)[i]
		require.Equal(t, w.ended, r.Ended, "record %d", i)
		require.Equal(t, w.forward, r.Directions[Forward].Packets, "record %d", i)
		require.Equal(t, w.reverse, r.Directions[Reverse].Packets, "record %d", i)
		require.Equal(t, w.src, r.Src.String(), "record %d", i)
	}
	require.NoError(t, e.Stats().Balanced())
}

func TestNothingIsAllocatedForAPacketOrFlow(t *testing.T) {
	packets := generated(3, 2000)
	e, err := New(Config{Flows: 100, Short: 100, Tunnels: headers.AllTunnels, Payload: 20, OnRecords: func([]Record) {}})
	require.NoError(t, err)
	defer e.Close()
	later := int64(0)
	n := testing.AllocsPerRun(20, func() {
		later += 50
		for i := range packets {
			packets[i].Sec += 50 // all flows expired, and begin again
		}
		e.Process(packets)
		e.Advance(packets[len(packets)-1].UnixNano() + 40*second)
	})
	require.Zero(t, n)
	e.Flush()
	require.NoError(t, e.Stats().Balanced())
}

func TestUselessConfigsAreRefused(t *testing.T) {
	ok := func([]Record) {}
	for text, c := range map[string]Config{
		"OnRecords":    {},
		"active time":  {OnRecords: ok, Active: 1},
		"idle time":    {OnRecords: ok, Idle: 1},
		"linger time":  {OnRecords: ok, Idle: time.Second, Linger: time.Minute},
		"-1 flows":     {OnRecords: ok, Flows: -1},
		"short flows":  {OnRecords: ok, Short: -1},
		"payload of -": {OnRecords: ok, Payload: -1},
	} {
		_, err := New(c)
		require.ErrorContains(t, err, text)
	}
}

func FuzzProcess(f *testing.F) {
	for _, p := range generated(9, 40) {
		f.Add(p.Data, uint16(60))
	}
	e, err := New(Config{Flows: 4, Short: 2, VLAN: true, Tunnels: headers.AllTunnels, Payload: 9, OnRecords: func([]Record) {}})
	require.NoError(f, err)
	now := int64(0)
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		now += second / 3
		first := data[:min(len(data), int(cut))]
		e.Process([]stream.Packet{input(data, len(data), now), input(first, len(data), now+1), input(data, len(data), now-1)})
		e.Flush()
		require.NoError(t, e.Stats().Balanced())
	})
}
