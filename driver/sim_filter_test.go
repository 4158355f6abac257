package driver_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/sim"
)

// steered passes frames through a port with filters and returns the queue of each, -1 if
// it was dropped. Frames must differ.
func steered(t *testing.T, cfg driver.Config, filters []driver.Filter, frames [][]byte) (queues []int) {
	t.Helper()
	cfg.RingSize, cfg.MaxFrame = 64, 1514
	r := openWire(t, &testWire{frames: frames}, sim.Config{}, cfg)
	places, err := r.port.SetFilters(filters)
	require.NoError(t, err)
	require.Len(t, places, len(filters))
	require.NoError(t, r.port.Start())
	at := map[string]int{}
	for _, f := range r.receive() {
		at[string(f.data)] = f.queue
	}
	dropped := uint64(0)
	for _, f := range frames {
		q, ok := at[string(f)]
		if !ok {
			q = -1
			dropped++
		}
		queues = append(queues, q)
	}
	s, err := r.port.Stats()
	require.NoError(t, err)
	require.NoError(t, s.Balanced())
	require.Equal(t, dropped, s.Filtered)
	require.Zero(t, s.Lost())
	truth := r.nic.Stats()
	require.Equal(t, dropped, truth.QueueDisabled)
	require.Zero(t, truth.Faults, truth.LastFault)
	return queues
}

func endpoint(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func frameOf(proto byte, src, dst string, l2 ...byte) []byte {
	return ipFrame(endpoint(src), endpoint(dst), proto, l2...)
}

func host(s string) netip.Prefix { return netip.PrefixFrom(netip.MustParseAddr(s), 32) }

// rssTo9 makes RSS send all frames to queue 9, to tell its frames from a filter's.
func rssTo9() driver.RSS {
	table := make([]int, driver.RSSTableSize)
	for i := range table {
		table[i] = 9
	}
	return driver.RSS{Table: table}
}

func TestModelFiltersOfFlows(t *testing.T) {
	frames := [][]byte{
		frameOf(protoTCP, "10.0.0.1:1000", "10.0.0.2:80"),
		frameOf(protoTCP, "10.0.0.2:80", "10.0.0.1:1000"),
		frameOf(protoUDP, "10.0.0.1:1000", "10.0.0.2:80"),
		frameOf(protoUDP, "10.0.0.3:53", "10.0.0.4:4000"),
		frameOf(protoTCP, "10.9.0.1:1", "10.9.0.2:2"),
		frameOf(protoTCP, "10.0.0.1:1000", "10.0.0.2:80", 0x81, 0, 0, 7),
		frameOf(protoTCP, "[2001:db8::1]:1000", "[2001:db8::2]:80"),
	}
	fragment := frameOf(protoTCP, "10.0.0.1:1000", "10.0.0.2:81")
	fragment[20] = 0x20
	frames = append(frames, fragment, append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xcc}, make([]byte, 46)...))
	for name, c := range map[string]struct {
		filters []driver.Filter
		want    []int
	}{
		"none": {nil, []int{9, 9, 9, 9, 9, 9, 9, 9, 0}},
		"one flow": {[]driver.Filter{
			{Family: 4, Src: host("10.0.0.1"), Dst: host("10.0.0.2"), Protocol: protoTCP, SrcPort: 1000, DstPort: 80, Queue: 3},
		}, []int{3, 9, 9, 9, 9, 3, 9, 9, 0}},
		"a host is dropped": {[]driver.Filter{
			{Family: 4, Src: host("10.0.0.1"), Drop: true}, {Family: 4, Dst: host("10.0.0.1"), Drop: true},
		}, []int{-1, -1, -1, 9, 9, -1, 9, -1, 0}},
		"the first decides": {[]driver.Filter{
			{Family: 4, Src: host("10.0.0.1"), Protocol: protoUDP, Queue: 4},
			{Family: 4, Src: host("10.0.0.1"), Queue: 5},
			{Family: 4, Protocol: protoTCP, Queue: 6},
		}, []int{5, 6, 4, 9, 6, 5, 9, 5, 0}},
		"ports and protocol": {[]driver.Filter{
			{Family: 4, Protocol: protoUDP, SrcPort: 53, Queue: 1}, {Family: 4, Protocol: protoTCP, DstPort: 80, Queue: 2},
		}, []int{2, 9, 9, 1, 9, 2, 9, 9, 0}},
		"EtherType":            {[]driver.Filter{{EtherType: 0x88cc, Queue: 8}}, []int{9, 9, 9, 9, 9, 9, 9, 9, 8}},
		"EtherType is dropped": {[]driver.Filter{{EtherType: 0x88cc, Drop: true}}, []int{9, 9, 9, 9, 9, 9, 9, 9, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, steered(t, driver.Config{Queues: 10, RSS: rssTo9()}, c.filters, frames))
		})
	}
}

func TestModelSYNFilterComesBeforeOrBehindTheTuples(t *testing.T) {
	syn, data := frameOf(protoTCP, "10.0.0.1:1000", "10.0.0.2:80"), frameOf(protoTCP, "10.0.0.1:1000", "10.0.0.2:80")
	syn[14+20+13] = 2
	other := frameOf(protoTCP, "10.0.0.5:1000", "10.0.0.6:80")
	other[14+20+13] = 2
	flow := driver.Filter{Family: 4, Src: host("10.0.0.1"), Queue: 3}
	first := driver.Filter{SYN: true, Queue: 1}
	cfg := driver.Config{Queues: 10, RSS: rssTo9()}
	require.Equal(t, []int{1, 3, 1}, steered(t, cfg, []driver.Filter{first, flow}, [][]byte{syn, data, other}))
	require.Equal(t, []int{3, 3, 1}, steered(t, cfg, []driver.Filter{flow, first}, [][]byte{syn, data, other}))
}

func TestModelFlowDirector(t *testing.T) {
	frames := [][]byte{
		frameOf(protoTCP, "10.0.0.1:1000", "10.0.0.2:80"),
		frameOf(protoTCP, "10.0.1.1:1000", "10.0.0.2:80"),
		frameOf(protoUDP, "10.0.0.1:1000", "10.0.0.2:80", 0x81, 0, 0x20, 7),
		frameOf(protoUDP, "10.0.0.1:1000", "10.0.0.2:80", 0x81, 0, 0, 8),
		frameOf(protoTCP, "[2001:db8::1]:1000", "[2001:db8::2]:80"),
		frameOf(protoTCP, "[2001:db8::2]:1000", "[2001:db8::1]:80"),
	}
	flex := [2]byte{0x03, 0xe8} // source port 1000 of IPv4 without a tag
	for name, c := range map[string]struct {
		mode    driver.FlowDirector
		filters []driver.Filter
		want    []int
	}{
		"prefix": {driver.PerfectFlows, []driver.Filter{{Family: 4, Src: netip.MustParsePrefix("10.0.1.0/24"), Queue: 3}}, []int{9, 3, 9, 9, 9, 9}},
		"two prefixes": {driver.PerfectFlows, []driver.Filter{
			{Family: 4, Src: netip.MustParsePrefix("10.0.1.0/24"), Queue: 3},
			{Family: 4, Src: netip.MustParsePrefix("10.0.0.0/24"), Drop: true}},
			[]int{-1, 3, -1, -1, 9, 9}},
		"VLAN":        {driver.PerfectFlows, []driver.Filter{{VLAN: 7, Queue: 2}}, []int{9, 9, 2, 9, 9, 9}},
		"VLANs":       {driver.PerfectFlows, []driver.Filter{{VLAN: 7, Queue: 2}, {VLAN: 8, Drop: true}}, []int{9, 9, 2, -1, 9, 9}},
		"IPv6 source": {driver.PerfectFlows, []driver.Filter{{Family: 6, Src: netip.MustParsePrefix("2001:db8::1/128"), Drop: true}}, []int{9, 9, 9, 9, -1, 9}},
		"IPv6 prefix": {driver.PerfectFlows, []driver.Filter{{Family: 6, Src: netip.MustParsePrefix("2001:db8::/64"), Queue: 1}}, []int{9, 9, 9, 9, 1, 1}},
		"port of both families": {driver.PerfectFlows, []driver.Filter{{Protocol: protoTCP, DstPort: 80, Queue: 1}},
			[]int{1, 1, 9, 9, 1, 1}},
		"family":         {driver.PerfectFlows, []driver.Filter{{Family: 6, Queue: 1}}, []int{9, 9, 9, 9, 1, 1}},
		"flexible bytes": {driver.PerfectFlows, []driver.Filter{{Family: 4, Flex: &flex, Queue: 4}}, []int{4, 4, 9, 9, 9, 9}},
		"signature of IPv6": {driver.SignatureFlows, []driver.Filter{
			{Family: 6, Src: netip.MustParsePrefix("2001:db8::1/128"), Dst: netip.MustParsePrefix("2001:db8::2/128"), Protocol: protoTCP, SrcPort: 1000, DstPort: 80, Queue: 5}},
			[]int{9, 9, 9, 9, 5, 5}}, // the hash is the same with the addresses exchanged
		"behind 5-tuple filters": {driver.PerfectFlows, []driver.Filter{
			{Family: 4, Src: host("10.0.0.1"), Queue: 1},
			{Family: 4, Src: netip.MustParsePrefix("10.0.0.0/8"), Queue: 2}},
			[]int{1, 2, 1, 1, 9, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, steered(t, driver.Config{Queues: 10, RSS: rssTo9(), FlowDirector: c.mode, FlexOffset: 34}, c.filters, frames))
		})
	}
}

// 1,000 random flows each get a filter of their own; each frame goes where its filter says,
// and frames of other flows do not. The hash is computed here and in the model by code that
// shares nothing.
func TestModelFlowDirectorFindsEachOf1000Flows(t *testing.T) {
	for mode, flows := range map[driver.FlowDirector]int{driver.PerfectFlows: 1000, driver.SignatureFlows: 200} {
		rnd := rand.New(rand.NewPCG(3, 4))
		var filters []driver.Filter
		var frames [][]byte
		want := map[string]int{}
		for i := range 2 * flows {
			src, dst := randomFlow(rnd)
			for src.Addr().Is6() || src.Port() == 0 || dst.Port() == 0 {
				src, dst = randomFlow(rnd)
			}
			proto := []byte{protoTCP, protoUDP}[i/2%2]
			f := ipFrame(src, dst, proto, 0x81, 0, 0, 5)
			frames = append(frames, f)
			want[string(f)] = 9
			if i%2 == 0 {
				want[string(f)] = i % 9
				filters = append(filters, driver.Filter{
					Family: 4, Src: netip.PrefixFrom(src.Addr(), 32), Dst: netip.PrefixFrom(dst.Addr(), 32),
					Protocol: proto, SrcPort: src.Port(), DstPort: dst.Port(), VLAN: 5, Queue: i % 9,
				})
			}
		}
		r := openWire(t, &testWire{open: true}, sim.Config{}, driver.Config{Queues: 10, RingSize: 2048, RSS: rssTo9(), FlowDirector: mode})
		places, err := r.port.SetFilters(filters)
		require.NoError(t, err)
		require.Equal(t, driver.Place{Engine: driver.FlowDirectorFilter, Index: flows - 1}, places[flows-1])
		require.NoError(t, r.port.Start())
		for _, f := range r.through(frames) {
			require.Equal(t, want[string(f.data)], f.queue)
		}
		r.balance()
		all, err := r.port.Counters()
		require.NoError(t, err)
		count := map[string]uint64{}
		for _, c := range all {
			count[c.Name] = c.Value
		}
		require.EqualValues(t, flows, count["fdir_match"])
		require.EqualValues(t, flows, count["fdir_miss"])
	}
}

func TestFiltersThatTheChipCannotApplyAreRefused(t *testing.T) {
	r := openWire(t, &testWire{}, sim.Config{}, driver.Config{Queues: 4, RingSize: 64})
	perfect := openWire(t, &testWire{}, sim.Config{}, driver.Config{Queues: 4, RingSize: 64, FlowDirector: driver.PerfectFlows})
	signature := openWire(t, &testWire{}, sim.Config{}, driver.Config{Queues: 4, RingSize: 64, FlowDirector: driver.SignatureFlows})
	all16 := openWire(t, &testWire{}, sim.Config{}, driver.Config{Queues: 16, RingSize: 64})
	prefix := netip.MustParsePrefix("10.0.0.0/8")
	many := make([]driver.Filter, 129)
	for i := range many {
		many[i] = driver.Filter{Family: 4, Protocol: protoTCP, SrcPort: uint16(i + 1)}
	}
	var turns []driver.Filter
	for i := range 8 {
		turns = append(turns, driver.Filter{Family: 4, Protocol: protoTCP, SrcPort: uint16(i + 1), Queue: i % 2})
	}
	for _, c := range []struct {
		rig     *rig
		want    string
		filters []driver.Filter
	}{
		{r, "filter 1: 5-tuple filters compare whole addresses, no prefixes: only the Flow Director can, which is off", []driver.Filter{{Family: 4, Src: prefix}}},
		{r, "filter 2: queue 4: want 0 to 3", []driver.Filter{{Family: 4, Src: host("10.0.0.1")}, {Family: 4, Src: host("10.0.0.1"), Queue: 4}}},
		{r, "filter 1: no condition", []driver.Filter{{}}},
		{r, "filter 1: EtherType 0x0800", []driver.Filter{{EtherType: 0x800}}},
		{r, "filter 129: the chip has 128 filters of this kind (5-tuple filter)", many},
		{r, "filter 8: 5-tuple filters have 7 priorities", turns},
		{r, "port without a protocol", []driver.Filter{{Family: 4, SrcPort: 5}}},
		{r, "address 10.0.0.0/8: want one of family 6", []driver.Filter{{Family: 6, Src: prefix}}},
		{r, "a SYN filter has no other condition", []driver.Filter{{SYN: true, DstPort: 80}}},
		{r, "protocol 1: the chip tells TCP, UDP and SCTP apart", []driver.Filter{{Family: 4, Protocol: 1}}},
		{all16, "a port with 16 queues has no counter left for dropped frames: use at most 15", []driver.Filter{{Family: 4, Protocol: protoTCP, Drop: true}}},
		{perfect, "perfect filters of the Flow Director compare no IPv6 destination", []driver.Filter{{Family: 6, Dst: netip.MustParsePrefix("::1/128")}}},
		{perfect, "filter 2: all filters of the Flow Director compare the same fields", []driver.Filter{{Family: 4, Src: prefix}, {Family: 4, Dst: prefix}}},
		{perfect, "filter 2: it would decide before filter 1, which is one of the Flow Director", []driver.Filter{{Family: 4, Src: prefix}, {Family: 4, Src: host("10.0.0.1"), Queue: 1}}},
		{perfect, "filter 2: it would decide before filter 1, which is one of the Flow Director", []driver.Filter{{Family: 4, Src: prefix}, {SYN: true, Queue: 1}}},
		{r, "filter 3: it would decide before filter 2, which is of SYNs", []driver.Filter{{Family: 4, Src: host("10.0.0.1")}, {SYN: true, Queue: 1}, {Family: 4, Dst: host("10.0.0.1")}}},
		{perfect, "the Flow Director compares no ports of SCTP", []driver.Filter{{VLAN: 7, Protocol: protoSCTP, DstPort: 80}}},
		{perfect, "filter 2: filter 1 of the Flow Director matches the same frames", []driver.Filter{{VLAN: 7}, {Family: 6, VLAN: 7, Queue: 1}}},
		{signature, "filter 2: filter 1 of the Flow Director matches the same frames", []driver.Filter{
			{Family: 4, Src: host("10.0.0.1"), Dst: host("10.0.0.2"), VLAN: 7}, {Family: 4, Src: host("10.0.0.2"), Dst: host("10.0.0.1"), VLAN: 7, Queue: 1}}},
		{signature, "signature filters drop nothing", []driver.Filter{{Family: 4, Src: prefix, Drop: true}}},
	} {
		_, err := c.rig.port.SetFilters(c.filters)
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n")
	}
}

// Filters change while frames arrive; none is lost, and those dropped are counted.
func TestModelFiltersChangeWithoutLoss(t *testing.T) {
	r := openWire(t, &testWire{open: true}, sim.Config{}, driver.Config{Queues: 4, RingSize: 2048, FlowDirector: driver.PerfectFlows})
	require.NoError(t, r.port.Start())
	drop := []driver.Filter{{Family: 4, Src: netip.MustParsePrefix("128.0.0.0/1"), Drop: true}}
	got, sent := r.whileTraffic(func(n int) error {
		filters := []driver.Filter{{Family: 4, Protocol: protoUDP, Queue: n % 4}}
		if n%2 == 0 {
			filters = drop
		}
		_, err := r.port.SetFilters(filters)
		return err
	})
	_, err := r.port.SetFilters(drop)
	require.NoError(t, err)
	got, sent = append(got, r.through(randomFrames(500))...), sent+500
	s, err := r.port.Stats()
	require.NoError(t, err)
	require.NoError(t, s.Balanced())
	require.EqualValues(t, sent, uint64(len(got))+s.Filtered)
	require.NotZero(t, s.Filtered)
	require.Zero(t, s.Lost())
}
