package wire

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/pcapfilter"
)

func newMix(t testing.TB, c MixConfig) *Mix {
	t.Helper()
	m, err := NewMix(c)
	require.NoError(t, err)
	return m
}

// each calls f for every frame of a mix.
func each(m *Mix, f func(Frame)) {
	for frames := m.Next(); len(frames) > 0; frames = m.Next() {
		for _, one := range frames {
			f(one)
		}
	}
}

// incidents of both kinds in the first second.
var bothIncidents = []Incident{
	{Kind: MixDNSRise, Start: 100 * time.Millisecond, Duration: 200 * time.Millisecond, Flows: 3000},
	{Kind: MixSYNFlood, Start: 150 * time.Millisecond, Duration: 100 * time.Millisecond, Flows: 5000},
}

// Frames are checked by an independent decoder.
func TestMixPassesAnotherDecoder(t *testing.T) {
	m := newMix(t, MixConfig{Flows: 2000, Rate: 100_000, Seed: 3, Count: 30_000, Incidents: bothIncidents})
	kinds := map[gopacket.LayerType]int{}
	each(m, func(f Frame) {
		p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
		require.Nil(t, p.ErrorLayer(), "%v", p)
		for _, l := range p.Layers() {
			kinds[l.LayerType()]++
			if l, ok := l.(interface {
				SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
			}); ok {
				require.NoError(t, l.SetNetworkLayerForChecksum(p.NetworkLayer()))
			}
		}
		bad, mismatches := p.VerifyChecksums()
		require.NoError(t, bad)
		require.Empty(t, mismatches, "%v", p)
	})
	for _, l := range []gopacket.LayerType{
		layers.LayerTypeIPv4, layers.LayerTypeIPv6, layers.LayerTypeTCP, layers.LayerTypeUDP,
		layers.LayerTypeICMPv4, layers.LayerTypeICMPv6, layers.LayerTypeDNS,
	} {
		require.NotZero(t, kinds[l], "%v", l)
	}
}

// flowKey has the lower address, and its port, first.
type flowKey struct {
	proto      byte
	low, high  [16]byte
	lowP, hiP  uint16
	identifier uint16
}

// oracle counts frames with a decoder of its own.
type oracle struct {
	t       *testing.T
	flows   map[flowKey]*oracleFlow
	truth   MixTruth
	filters [MixKinds]*pcapfilter.Filter
}

type oracleFlow struct {
	kind        MixKind
	packets     uint64
	first, last int64
	next        [2]uint32 // highest sequence number of each direction, and whether there is one
	known       [2]bool
	missing     [2]bool // the segment before the highest is still to come
}

func newOracle(t *testing.T) *oracle {
	o := &oracle{t: t, flows: map[flowKey]*oracleFlow{}}
	for kind, text := range [MixKinds]string{"tcp", "udp port 53", "udp", "icmp or icmp6", Incident{Kind: MixDNSRise}.Filter(), Incident{Kind: MixSYNFlood}.Filter()} {
		f, err := pcapfilter.Compile(text)
		require.NoError(t, err)
		o.filters[kind] = f
	}
	return o
}

func (o *oracle) add(f Frame) {
	kind := MixKinds
	for _, k := range []MixKind{MixDNSRise, MixSYNFlood, MixTCP, MixDNS, MixUDP, MixICMP} {
		if o.filters[k].Match(f.Data, len(f.Data)) {
			kind = k
			break
		}
	}
	require.Less(o.t, kind, MixKinds, "%x", f.Data)
	c := &o.truth.Kinds[kind]
	c.Packets++
	c.Bytes += uint64(len(f.Data))
	var k flowKey
	ip := f.Data[14:]
	var l4 []byte
	var length int
	if ip[0]>>4 == 6 {
		o.truth.IPv6++
		k.proto, k.low, k.high = ip[6], [16]byte(ip[8:24]), [16]byte(ip[24:40])
		l4, length = ip[40:], int(binary.BigEndian.Uint16(ip[4:]))
	} else {
		k.proto = ip[9]
		copy(k.low[:], ip[12:16])
		copy(k.high[:], ip[16:20])
		l4, length = ip[20:], int(binary.BigEndian.Uint16(ip[2:]))-20
	}
	direction := 0
	if kind == MixICMP {
		k.identifier = binary.BigEndian.Uint16(l4[4:])
	} else {
		k.lowP, k.hiP = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	}
	if slices.Compare(k.low[:], k.high[:]) > 0 {
		direction = 1
		k.low, k.high, k.lowP, k.hiP = k.high, k.low, k.hiP, k.lowP
	}
	flow := o.flows[k]
	if flow == nil {
		flow = &oracleFlow{kind: kind, first: f.At}
		o.flows[k] = flow
		c.Flows++
	}
	flow.last = f.At
	flow.packets++
	if k.proto == protoTCP {
		o.tcp(flow, direction, l4, length)
	}
}

func (o *oracle) tcp(flow *oracleFlow, d int, l4 []byte, length int) {
	flags := l4[13]
	switch flags & 0x12 {
	case 0x02:
		o.truth.SYN++
	case 0x12:
		o.truth.SYNACK++
	}
	if flags&1 != 0 {
		o.truth.FIN++
	}
	if flags&4 != 0 {
		o.truth.RST++
		return
	}
	if binary.BigEndian.Uint16(l4[14:]) == 0 {
		o.truth.ZeroWindow++
	}
	seq := binary.BigEndian.Uint32(l4[4:])
	n := uint32(length - int(l4[12]>>4)*4)
	if flags&2 != 0 {
		flow.known[d], flow.next[d] = true, seq+1
	}
	if n == 0 {
		return
	}
	switch end := seq + n; {
	case flow.known[d] && int32(seq-flow.next[d]) < 0 && flow.missing[d]:
		flow.missing[d] = false
		o.truth.OutOfOrder++
	case flow.known[d] && int32(seq-flow.next[d]) < 0:
		o.truth.Retransmitted++
	default:
		flow.missing[d] = flow.known[d] && seq != flow.next[d]
		flow.known[d] = true
		flow.next[d] = end
	}
}

// The truth is what an independent count of the frames finds. In flows that are open at
// the start, one of 512, a swap of the first two segments is seen as a retransmission.
func TestMixTruthIsWhatAnotherCountFinds(t *testing.T) {
	for _, c := range []MixConfig{
		{Flows: 3000, Rate: 400_000, Seed: 1, Count: 80_001, Incidents: bothIncidents},
		{Flows: 1, Rate: 10_000, Seed: 2, Count: 30_000},
		{Flows: 60_000, Rate: 1e6, Seed: 3, Count: 70_002},
		{Incidents: bothIncidents},
	} {
		m := newMix(t, c)
		o := newOracle(t)
		each(m, o.add)
		got, want := m.Truth(), o.truth
		for k := range got.Kinds {
			want.Kinds[k].Ended = got.Kinds[k].Ended
		}
		require.InDelta(t, want.OutOfOrder, got.OutOfOrder, 5+float64(c.Flows)/256)
		require.Equal(t, want.OutOfOrder+want.Retransmitted, got.OutOfOrder+got.Retransmitted)
		want.OutOfOrder, want.Retransmitted = got.OutOfOrder, got.Retransmitted
		require.Equal(t, want, got)
		sum := got.Total()
		require.LessOrEqual(t, sum.Flows-sum.Ended, uint64(c.Flows))
		if c.Count > 0 {
			require.EqualValues(t, c.Count, sum.Packets)
		}
	}
}

func TestMixIsDeterminedByItsConfiguration(t *testing.T) {
	digest := func(seed uint64) (sum uint64) {
		m := newMix(t, MixConfig{Flows: 1000, Rate: 1e5, Seed: seed, Count: 20_000, Noise: 0.1, Incidents: bothIncidents})
		each(m, func(f Frame) {
			for _, b := range f.Data {
				sum = sum*31 + uint64(b)
			}
			sum = sum*31 + uint64(f.At)
		})
		return sum
	}
	require.Equal(t, digest(1), digest(1))
	require.NotEqual(t, digest(1), digest(2))
}

// As many flows are open as configured, as soon as all had their first turn; the rate of
// new flows does not change then.
func TestMixKeepsItsFlowsOpen(t *testing.T) {
	const flows = 5000
	m := newMix(t, MixConfig{Flows: flows, Rate: 200_000, Seed: 5, Count: 1_000_000})
	var ended [4]uint64
	for quarter := range ended {
		for m.left > int64(3-quarter)*250_000 {
			if len(m.Next()) == 0 {
				break
			}
			if quarter > 0 {
				sum := m.truth.Total()
				require.EqualValues(t, flows, sum.Flows-sum.Ended, "%d packets", sum.Packets)
			}
		}
		ended[quarter] = m.truth.Total().Ended
	}
	second, last := ended[1]-ended[0], ended[3]-ended[2]
	require.InEpsilon(t, second, last, 0.15, "flows that ended in the second and in the last quarter")
}

func TestMixFlowSizesHaveAHeavyTail(t *testing.T) {
	m := newMix(t, MixConfig{Flows: 1500, Rate: 500_000, Seed: 7, Count: 200_000})
	o := newOracle(t)
	each(m, o.add)
	var sizes []uint64
	var sum, top uint64
	for _, f := range o.flows {
		sizes = append(sizes, f.packets)
		sum += f.packets
	}
	slices.Sort(sizes)
	for _, n := range sizes[len(sizes)*99/100:] {
		top += n
	}
	require.LessOrEqual(t, sizes[len(sizes)/2], uint64(12), "half of the flows are short")
	require.Greater(t, float64(top)/float64(sum), 0.2, "packets of the largest hundredth of the flows")

	// Hill's estimator over the largest hundredth of the drawn sizes.
	drawn := make([]float64, 100_000)
	for i := range drawn {
		drawn[i] = m.size()
	}
	slices.Sort(drawn)
	tail := drawn[len(drawn)*99/100:]
	logs := 0.0
	for _, x := range tail {
		logs += math.Log(x / tail[0])
	}
	require.InDelta(t, sizeShape, float64(len(tail))/logs, 0.1)
	require.EqualValues(t, sizeLeast, drawn[0])
	require.LessOrEqual(t, drawn[len(drawn)-1], float64(sizeMost))
}

func TestMixHasItsMeanSizeAndShares(t *testing.T) {
	for _, size := range []int{minMixSize, mixMeanSize, maxMixSize} {
		m := newMix(t, MixConfig{Flows: 20_000, Rate: 1e6, Size: size, Seed: 9, Count: 150_000})
		each(m, func(Frame) {})
		got, sum := m.Truth(), m.truth.Total()
		require.InEpsilon(t, size, float64(sum.Bytes)/float64(sum.Packets), 0.01)
		share := func(k MixKind) float64 { return float64(got.Kinds[k].Packets) / float64(sum.Packets) }
		require.InDelta(t, 0.72, share(MixTCP), 0.12)
		require.InDelta(t, 0.22, share(MixUDP), 0.12)
		require.InDelta(t, 0.2, float64(got.IPv6)/float64(sum.Packets), 0.1)
		for k := range MixDNSRise {
			require.NotZero(t, share(k), "%v", k)
		}
		for _, n := range []uint64{got.SYN, got.SYNACK, got.FIN, got.RST, got.Retransmitted, got.OutOfOrder, got.ZeroWindow} {
			require.NotZero(t, n, "%+v", got)
		}
	}
}

// Times rise by at least what a frame takes on the line, and each second has its packets.
func TestMixKeepsItsRateAndTheLine(t *testing.T) {
	const start = 1_700_000_000_000_000_000
	m := newMix(t, MixConfig{Flows: 1000, Rate: 1234.5, Seed: 1, Count: 12_345, Start: start, Incidents: []Incident{{MixSYNFlood, 2 * time.Second, time.Millisecond, 20_000}}})
	perSecond := map[int64]int{}
	last := int64(start)
	each(m, func(f Frame) {
		require.GreaterOrEqual(t, f.At-last, wireTicks(len(f.Data))/10-1)
		last = f.At
		perSecond[(f.At-start)/1e9]++
	})
	require.Equal(t, map[int64]int{0: 1234, 1: 1235, 2: 9876}, map[int64]int{0: perSecond[0], 1: perSecond[1], 2: 12_345 - 1234 - 1235})
	require.Equal(t, 9876, perSecond[2], "a flood that the line does not carry is late")

	// 100 s of a day, the highest rate in their middle, and noise.
	m = newMix(t, MixConfig{Flows: 100, Rate: 1000, Seed: 1, Count: 100_000, Day: 100 * time.Second, Swing: 0.5})
	clear(perSecond)
	each(m, func(f Frame) { perSecond[f.At/1e9]++ })
	require.InDelta(t, 500, perSecond[0], 3)
	require.InDelta(t, 1500, perSecond[50], 3)
	m = newMix(t, MixConfig{Flows: 100, Rate: 1000, Seed: 1, Count: 200_000, Noise: 0.1})
	clear(perSecond)
	each(m, func(f Frame) { perSecond[f.At/1e9]++ })
	variance := 0.0
	for s := range int64(190) {
		variance += math.Pow(float64(perSecond[s])/1000-1, 2)
	}
	require.InDelta(t, 0.1, math.Sqrt(variance/190), 0.015)
}

func TestMixIncidentsAreWhatTheySay(t *testing.T) {
	m := newMix(t, MixConfig{Flows: 1000, Rate: 50_000, Seed: 1, Count: 70_000, Incidents: bothIncidents})
	for i, one := range bothIncidents {
		require.Len(t, one.Targets(), 2-i)
	}
	o := newOracle(t)
	each(m, o.add)
	for _, one := range bothIncidents {
		require.Equal(t, MixCount{one.Flows, one.Flows, one.Flows, m.truth.Kinds[one.Kind].Bytes}, m.truth.Kinds[one.Kind])
		for k, f := range o.flows {
			if f.kind != one.Kind {
				continue
			}
			require.GreaterOrEqual(t, f.first, int64(one.Start))
			require.Less(t, f.last, int64(one.Start+one.Duration+time.Millisecond))
			source, target := address(binary.BigEndian.Uint32(k.low[:])), address(binary.BigEndian.Uint32(k.high[:]))
			if !one.Sources().Contains(source) {
				source, target = target, source
			}
			require.True(t, one.Sources().Contains(source))
			require.Contains(t, one.Targets(), target)
		}
	}
}

// No two flows have the same client, as permuted numbers are distinct.
func TestPermutedNumbersAreDistinct(t *testing.T) {
	for _, first := range []uint32{0, 1<<31 - 1<<17, math.MaxUint32 - 1<<18} {
		all := make([]uint32, 1<<18)
		for i := range all {
			all[i] = permute(first + uint32(i))
		}
		slices.Sort(all)
		require.Len(t, slices.Compact(all), 1<<18)
	}
}

func TestMixDoesNotAllocate(t *testing.T) {
	m := newMix(t, MixConfig{Flows: 10_000, Rate: 1e6, Noise: 0.1, Day: time.Hour, Swing: 0.5, Incidents: bothIncidents})
	require.Zero(t, testing.AllocsPerRun(1000, func() { m.Next() }))
}

func TestMixRefusesWhatItCannotMake(t *testing.T) {
	flood := Incident{MixSYNFlood, 0, time.Second, 1}
	for says, c := range map[string]MixConfig{
		"flows at once":     {Flows: maxMixFlows + 1, Rate: 1},
		"the line carries":  {Flows: 1, Rate: 1.7e6},
		"more than 0":       {Flows: 1},
		"no incidents":      {},
		"mean size":         {Flows: 1, Rate: 1, Size: 199},
		"frames":            {Flows: 1, Rate: 1, Count: -1},
		"period":            {Flows: 1, Rate: 1, Day: time.Millisecond},
		"swing":             {Flows: 1, Rate: 1, Swing: 1},
		"noise":             {Flows: 1, Rate: 1, Noise: math.NaN()},
		"at most 16":        {Incidents: slices.Repeat([]Incident{flood}, 17)},
		"of 0 flows":        {Incidents: []Incident{{MixSYNFlood, 0, time.Second, 0}}},
		"want dns_rise":     {Incidents: []Incident{{MixTCP, 0, time.Second, 1}}},
		"a duration above":  {Incidents: []Incident{{MixSYNFlood, 0, 0, 1}}},
		"want a start from": {Incidents: []Incident{{MixSYNFlood, -1, time.Second, 1}}},
	} {
		_, err := NewMix(c)
		require.ErrorContains(t, err, says)
	}
}

func TestMixOptions(t *testing.T) {
	o, err := ParseOptions("mix,flows=2250000,rate=1.5Mpps,size=700,seed=4,count=9,day=24h,swing=0.25,noise=0.05,dns=50000@30s+1m,syn=15000000@10s+20s")
	require.NoError(t, err)
	c, err := ParseMix(o)
	require.NoError(t, err)
	require.Equal(t, MixConfig{
		Flows: 2_250_000, Rate: 1.5e6, Size: 700, Seed: 4, Count: 9, Day: 24 * time.Hour, Swing: 0.25, Noise: 0.05,
		Incidents: []Incident{{MixDNSRise, 30 * time.Second, time.Minute, 50_000}, {MixSYNFlood, 10 * time.Second, 20 * time.Second, 15_000_000}},
	}, c)
	for _, text := range []string{
		"mix=1", "mix,flows=-1", "mix,flows=16777217", "mix,rate=line", "mix,rate=9Gbps", "mix,rate=1.7Mpps", "mix,size=1514", "mix,seed=x", "mix,count=0",
		"mix,day=0", "mix,swing=2", "mix,noise=nan", "mix,dns=1", "mix,dns=0@1s+1s", "mix,syn=5@1s", "mix,syn=5@1s+1", "mix,vlan=1", "mix,gen",
	} {
		o, err := ParseOptions(text)
		require.NoError(t, err)
		_, err = Parse(o)
		require.Error(t, err, text)
	}
}

// The wire sends the frames of the mix at their times.
func TestMixWireSendsTheMix(t *testing.T) {
	c := MixConfig{Flows: 500, Rate: 1e6, Seed: 11, Count: 5000}
	var want []Frame
	each(newMix(t, c), func(f Frame) {
		f.Data = slices.Clone(f.Data)
		want = append(want, f)
	})
	for _, backpressure := range []bool{false, true} {
		v := &virtual{}
		w := newMixWire(newMix(t, c), playback{burst: DefaultBurst, backpressure: backpressure}, v)
		frames := make([]Frame, 100)
		_, err := w.Receive(frames, plenty)
		require.NoError(t, err)
		start := w.start
		got := 0
		for step := 0; ; step++ {
			room := plenty
			if step%3 == 0 {
				room = 1000
			}
			n, err := w.Receive(frames, room)
			if err != nil {
				require.EqualValues(t, len(want), got)
				break
			}
			for _, f := range frames[:n] {
				require.Equal(t, want[got].Data, f.Data)
				require.Equal(t, want[got].At+start+w.shift/10, f.At)
				got++
				room -= len(f.Data)
			}
			require.True(t, !backpressure || room >= 0)
			v.now += 10_000
		}
		require.Equal(t, backpressure, w.Late() > 0)
		require.NoError(t, w.Close())
		require.False(t, w.Up())
		require.Error(t, w.Send(nil))
	}
}

func BenchmarkMix(b *testing.B) {
	for name, c := range map[string]MixConfig{
		"flows=10000":    {Flows: 10_000, Rate: mixRate},
		"flows=1000000":  {Flows: 1_000_000, Rate: mixRate},
		"flows=2250000":  {Flows: 2_250_000, Rate: mixRate},
		"flood=15000000": {Incidents: []Incident{{MixSYNFlood, 0, 24 * time.Hour, 1 << 32}}},
	} {
		b.Run(name, func(b *testing.B) {
			m := newMix(b, c)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				n += len(m.Next())
			}
			sum := m.truth.Total()
			b.ReportMetric(float64(sum.Bytes)/float64(sum.Packets), "B/packet")
			b.ReportMetric(float64(sum.Flows)/float64(sum.Packets), "flows/packet")
		})
	}
}
