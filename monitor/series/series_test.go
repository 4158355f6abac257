package series

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/headers"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/sim/wire"
)

const start = 1_700_000_000 // of tests, seconds

func packet(nano int64, data []byte, size int) stream.Packet {
	return stream.Packet{Data: data, Sec: uint32(nano / 1e9), Nsec: uint32(nano % 1e9), Len: uint16(size)}
}

// mixed returns a mix of traffic with copies of its frames.
func mixed(t testing.TB, c wire.MixConfig) (all []stream.Packet, truth wire.MixTruth) {
	t.Helper()
	m, err := wire.NewMix(c)
	require.NoError(t, err)
	for frames := m.Next(); len(frames) > 0; frames = m.Next() {
		for _, f := range frames {
			all = append(all, packet(f.At, slices.Clone(f.Data[:min(len(f.Data), 96)]), len(f.Data)))
		}
	}
	return all, m.Truth()
}

// clone copies a point.
func clone(p *Point) *Point {
	q := *p
	q.Series = slices.Clone(p.Series)
	return &q
}

// collect returns a Recorder whose points are appended to the list.
func collect(t testing.TB, c Config) (*Recorder, *[]*Point) {
	t.Helper()
	var all []*Point
	c.OnPoint = func(p *Point) { all = append(all, clone(p)) }
	r, err := New(c)
	require.NoError(t, err)
	return r, &all
}

func at(second float64) time.Time { return time.Unix(start, 0).Add(time.Duration(second * 1e9)) }

var dnsRise = wire.Incident{Kind: wire.MixDNSRise, Start: 2 * time.Second, Duration: time.Second, Flows: 700}

// Packets of a mix over two queues, one of them half a second behind the other.
func TestEachSecondHasItsPackets(t *testing.T) {
	const outbound = "src net 10.64.0.0/15 or src net 198.18.0.0/16 or src net 2001:2:0:1::/64 or src net 2001:2:0:11::/64"
	packets, truth := mixed(t, wire.MixConfig{Flows: 300, Rate: 10_000, Seed: 1, Count: 50_000, Start: start * 1e9, Incidents: []wire.Incident{dnsRise}})
	r, got := collect(t, Config{Outbound: outbound, Expressions: []Expression{{"dns_rise", dnsRise.Filter()}, {"web", "tcp port 80 or tcp port 443"}, {"big", "greater 1000"}, {"cut", "ether[80] > 100"}}})
	require.Equal(t, []string{"all", "ipv4", "ipv6", "non_ip", "tcp", "udp", "icmp", "sctp", "other_ip", "out", "in", "dns_rise", "web", "big", "cut"}, r.Names())
	queues := [2]*Counter{r.NewCounter(Sources{}), r.NewCounter(Sources{})}
	r.Advance(at(0))
	var split [2][]stream.Packet
	for i, p := range packets {
		split[i&1] = append(split[i&1], p)
	}
	for now := 0.0; len(split[0])+len(split[1]) > 0; now += 0.125 {
		for q, delay := range []float64{0, 0.5} {
			n := 0
			for n < len(split[q]) && split[q][n].Time().Before(at(now-delay)) {
				n++
			}
			queues[q].Add(split[q][:n])
			split[q] = split[q][n:]
		}
		r.Advance(at(now))
	}
	r.Close(at(5))

	filters := map[int]string{
		All: "", IPv4: "ip", IPv6: "ip6", TCP: "tcp", UDP: "udp", ICMP: "icmp or icmp6", builtin: outbound, builtin + 1: "not (" + outbound + ")",
		builtin + 2: dnsRise.Filter(), builtin + 3: "tcp port 80 or tcp port 443", builtin + 4: "greater 1000", builtin + 5: "ether[80] > 100",
	}
	want := map[int64][]Count{}
	for i, text := range filters {
		f, err := pcapfilter.Compile(text)
		require.NoError(t, err)
		for _, p := range packets {
			if want[int64(p.Sec)] == nil {
				want[int64(p.Sec)] = make([]Count, len(r.Names()))
			}
			if f.Match(p.Data, int(p.Len)) {
				want[int64(p.Sec)][i].add(Count{1, uint64(p.Len)})
			}
		}
	}
	var sum Count
	for i, p := range *got {
		require.EqualValues(t, start+i, p.Time)
		for k := range p.Series {
			var count Count
			if list := want[p.Time]; list != nil {
				count = list[k]
			}
			require.Equal(t, Sum{count, count}, p.Series[k], "second %d, %s", i, r.Names()[k])
		}
		require.Zero(t, p.Late.Packets+p.Early.Packets)
		sum.add(p.Series[All].Count)
	}
	require.Len(t, *got, 6)
	require.EqualValues(t, []uint32{1, 0, 0, 0, 0, 1}, []uint32{(*got)[0].Partial, (*got)[1].Partial, (*got)[2].Partial, (*got)[3].Partial, (*got)[4].Partial, (*got)[5].Partial})
	require.Equal(t, Count{truth.Total().Packets, truth.Total().Bytes}, sum)
	require.EqualValues(t, dnsRise.Flows, (*got)[2].Series[builtin+2].Packets+(*got)[3].Series[builtin+2].Packets)
}

// What is not in its second is counted once, where it is seen.
func TestLateEarlyAndQuietSeconds(t *testing.T) {
	r, got := collect(t, Config{})
	c := r.NewCounter(Sources{})
	add := func(second float64) { c.Add([]stream.Packet{packet(at(second).UnixNano(), nil, 100)}) }
	r.Advance(at(0.5))
	add(0.6)
	add(window + 0.1) // early: beyond the window
	r.Advance(at(1.9))
	require.Empty(t, *got, "second 0 is open for a second more")
	add(0.9)
	r.Advance(at(2))
	add(0.95) // late
	r.Advance(at(4))
	add(3.5)
	r.Advance(at(5))
	r.Advance(at(30)) // was not called for longer than the window
	add(29.5)
	r.Close(at(30.5))
	var times []int64
	var sum, late, early uint64
	for _, p := range *got {
		times = append(times, p.Time-start)
		sum += p.Series[All].Packets
		late += p.Late.Packets
		early += p.Early.Packets
		require.EqualValues(t, 1, p.Seconds)
	}
	require.Equal(t, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 29, 30}, times)
	require.EqualValues(t, 2, (*got)[0].Series[All].Packets)
	require.EqualValues(t, 1, (*got)[0].Early.Packets)
	require.EqualValues(t, 1, (*got)[1].Late.Packets, "in the second that is closed next")
	require.EqualValues(t, 100, (*got)[1].Late.Bytes)
	require.EqualValues(t, 1, (*got)[3].Series[All].Packets)
	require.EqualValues(t, 1, (*got)[12].Series[All].Packets)
	require.Equal(t, []uint64{4, 1, 1}, []uint64{sum, late, early})
	require.EqualValues(t, []uint32{1, 0, 1}, []uint32{(*got)[0].Partial, (*got)[1].Partial, (*got)[13].Partial})
}

// A clock that steps back closes nothing until it has come so far again.
func TestClockStepsBack(t *testing.T) {
	r, got := collect(t, Config{})
	c := r.NewCounter(Sources{})
	r.Advance(at(100))
	r.Advance(at(103))
	require.Len(t, *got, 2)
	r.Advance(at(50))
	c.Add([]stream.Packet{packet(at(50).UnixNano(), nil, 60)})
	r.Advance(at(103.5))
	require.Len(t, *got, 2)
	r.Advance(at(104))
	require.Len(t, *got, 3)
	require.Equal(t, Count{1, 60}, (*got)[2].Late)
}

func TestFilesCloseSecondsByStamps(t *testing.T) {
	r, got := collect(t, Config{ByStamps: true})
	c := r.NewCounter(Sources{})
	for _, s := range []float64{0.5, 1.5, 1.4, 60.2, 59.9, 20, 60.3, 100_000} {
		c.Add([]stream.Packet{packet(at(s).UnixNano(), nil, 60)})
	}
	r.Close(time.Time{})
	seconds := map[int64]uint64{}
	var late uint64
	for _, p := range *got {
		seconds[p.Time-start] = p.Series[All].Packets
		late += p.Late.Packets
	}
	require.EqualValues(t, 1, seconds[0])
	require.EqualValues(t, 2, seconds[1])
	require.EqualValues(t, 1, seconds[59])
	require.EqualValues(t, 2, seconds[60])
	require.EqualValues(t, 1, seconds[100_000])
	require.EqualValues(t, 1, late)
	require.Contains(t, seconds, int64(30), "a pause of a minute is quiet")
	require.NotContains(t, seconds, int64(5000), "a longer one than an hour is missing")
}

func TestFlowsAndLossesAreThoseOfTheSecond(t *testing.T) {
	var active, opened, lost uint64 = 10, 1000, 50
	r, got := collect(t, Config{})
	sources := Sources{Flows: func() (uint64, uint64) { return active, opened }, Lost: func() uint64 { return lost }}
	c := r.NewCounter(sources)
	r.NewCounter(sources)
	r.Advance(at(0))
	active, opened, lost = 12, 1005, 51
	r.Advance(at(1)) // the end of second 0
	active, opened = 20, 1020
	c.Add([]stream.Packet{packet(at(2.1).UnixNano(), nil, 60)}) // the end of second 1, of this queue
	active, opened = 30, 1030
	r.Advance(at(2.5))
	active, opened = 7, 1100
	r.Advance(at(4))
	r.Close(at(4))
	var list [][4]uint64
	for _, p := range *got {
		list = append(list, [4]uint64{p.Active, p.PeakActive, p.New, p.Lost})
	}
	require.Equal(t, [][4]uint64{{24, 24, 10, 2}, {50, 50, 40, 0}, {14, 14, 150, 0}, {14, 14, 0, 0}, {14, 14, 0, 0}}, list)
}

func TestProtocols(t *testing.T) {
	ether := func(etype ...byte) []byte { return append(make([]byte, 12), etype...) }
	v4 := func(proto byte) []byte {
		return append([]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, proto}, make([]byte, 10)...)
	}
	v6 := func(next byte, rest ...byte) []byte {
		return append(append([]byte{0x60, 0, 0, 0, 0, 0, next, 64}, make([]byte, 32)...), rest...)
	}
	for _, c := range []struct {
		frame              []byte
		network, transport int
	}{
		{nil, NonIP, 0},
		{ether(8, 6), NonIP, 0},
		{ether(0x81, 0, 0, 1), NonIP, 0},
		{append(ether(8, 0), v4(6)...), IPv4, TCP},
		{append(ether(8, 0), v4(17)...), IPv4, UDP},
		{append(ether(8, 0), v4(1)...), IPv4, ICMP},
		{append(ether(8, 0), v4(58)...), IPv4, OtherIP},
		{append(ether(8, 0), v4(132)...), IPv4, SCTP},
		{append(ether(8, 0), 0x45), IPv4, OtherIP},
		{append(ether(0x81, 0, 0, 1, 8, 0), v4(6)...), IPv4, TCP},
		{append(ether(0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0), v4(6)...), IPv4, TCP},
		{append(ether(0x86, 0xdd), v6(6)...), IPv6, TCP},
		{append(ether(0x86, 0xdd), v6(58)...), IPv6, ICMP},
		{append(ether(0x86, 0xdd), v6(1)...), IPv6, OtherIP},
		{append(ether(0x86, 0xdd), v6(0, 44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 9, 0, 0, 0, 0)...), IPv6, UDP},
		{append(ether(0x86, 0xdd), v6(60, 6, 9)...), IPv6, OtherIP},
		{append(ether(0x86, 0xdd), 0x60), IPv6, OtherIP},
	} {
		network, transport := protocols(new(headers.Headers), c.frame)
		require.Equal(t, [2]int{c.network, c.transport}, [2]int{network, transport}, "%x", c.frame)
	}
}

func FuzzProtocolsAreThoseOfTheWalk(f *testing.F) {
	packets, _ := mixed(f, wire.MixConfig{Flows: 50, Rate: 1e5, Seed: 1, Count: 60, Start: start * 1e9})
	for _, p := range packets {
		f.Add(p.Data)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var h headers.Headers
		network, transport := protocols(&h, frame)
		n, tr := walk(&h, frame)
		require.Equal(t, [2]int{n, tr}, [2]int{network, transport}, "%x", frame)
	})
}

func TestConfigIsChecked(t *testing.T) {
	for says, c := range map[string]Config{
		"delay":              {Delay: 6 * time.Second},
		"direction":          {Outbound: "src"},
		"series web":         {Expressions: []Expression{{"web", "port"}}},
		"1 to 32 letters":    {Expressions: []Expression{{"a b", "tcp"}}},
		"given twice":        {Expressions: []Expression{{"tcp", "tcp"}}},
		"at most 48 are pos": {Expressions: make([]Expression, 49)},
	} {
		_, err := New(c)
		require.ErrorContains(t, err, says)
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	packets, _ := mixed(t, wire.MixConfig{Flows: 100, Rate: 1e5, Seed: 1, Count: 64, Start: start * 1e9})
	r, err := New(Config{Outbound: "src net 10.64.0.0/15", Expressions: []Expression{{"web", "tcp port 443"}}})
	require.NoError(t, err)
	c := r.NewCounter(Sources{})
	r.Advance(at(0))
	now := 0.0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for i := range packets {
			packets[i].Sec = uint32(at(now).Unix())
		}
		c.Add(packets)
		now += 0.25
		r.Advance(at(now))
	}))
}

func BenchmarkAdd(b *testing.B) {
	packets, _ := mixed(b, wire.MixConfig{Flows: 10_000, Rate: 1e5, Seed: 1, Count: 64 * 256, Start: start * 1e9})
	for i := range packets {
		packets[i].Sec = start
	}
	for name, c := range map[string]Config{
		"protocols":               {},
		"direction":               {Outbound: "src net 10.64.0.0/15 or src net 198.18.0.0/16"},
		"direction,expressions=4": {Outbound: "src net 10.64.0.0/15 or src net 198.18.0.0/16", Expressions: []Expression{{"web", "tcp port 443 or tcp port 80"}, {"dns", "udp port 53"}, {"quic", "udp port 443"}, {"syn", "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn"}}},
	} {
		b.Run(name, func(b *testing.B) {
			r, err := New(c)
			require.NoError(b, err)
			counter := r.NewCounter(Sources{})
			r.Advance(at(0))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += 64 {
				at := n % len(packets)
				counter.Add(packets[at : at+64])
			}
		})
	}
}
