package series_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/monitor/flow"
	"github.com/ixcap/ixcap/monitor/series"
	"github.com/ixcap/ixcap/sim/wire"
)

const mix = "mix,flows=2000,rate=100kpps,count=30000,dns=5000@50ms+100ms"

// mixTruth counts what the wire sends.
func mixTruth(t *testing.T) (wire.MixTruth, string) {
	options, err := wire.ParseOptions(mix)
	require.NoError(t, err)
	config, err := wire.ParseMix(options)
	require.NoError(t, err)
	m, err := wire.NewMix(config)
	require.NoError(t, err)
	for len(m.Next()) > 0 {
		continue
	}
	return m.Truth(), config.Incidents[0].Filter()
}

// From the wire of the model over two queues to the points: their sums are what the wire
// sent, the flows those that the flow engines opened, and the ledger balances.
func TestSeriesOfACaptureAreWhatTheWireSent(t *testing.T) {
	truth, incident := mixTruth(t)
	want := truth.Total()

	var points []series.Point
	recorder, err := series.New(series.Config{
		Delay: series.MaxDelay, Expressions: []series.Expression{{Name: "dns_rise", Text: incident}},
		OnPoint: func(p *series.Point) {
			q := *p
			q.Series = append([]series.Sum(nil), p.Series...)
			points = append(points, q)
		},
	})
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := ixcap.Open(ctx, "sim:"+mix+",backpressure", ixcap.Queues(2))
	require.NoError(t, err)
	defer c.Close()
	listeners, err := c.Listen("series")
	require.NoError(t, err)
	recorder.Advance(time.Now())
	var opened uint64
	var reading sync.WaitGroup
	var mu sync.Mutex
	for _, l := range listeners {
		engine, err := flow.New(flow.Config{Flows: 1 << 14, OnRecords: func([]flow.Record) {}})
		require.NoError(t, err)
		counter := recorder.NewCounter(series.Sources{Flows: func() (uint64, uint64) {
			s := engine.Stats()
			return s.Active, s.Opened
		}})
		reading.Go(func() {
			packets := make([]stream.Packet, 1)
			for packets[0] = range l.Packets(ctx) {
				engine.Process(packets)
				counter.Add(packets)
				recorder.Advance(time.Now())
			}
			mu.Lock()
			opened += engine.Stats().Opened
			mu.Unlock()
		})
	}
	ledger, err := c.Run(ctx)
	require.NoError(t, err)
	reading.Wait()
	recorder.Close(time.Now())
	require.NoError(t, ledger.Balanced())
	require.Zero(t, ledger.Lost())
	require.Equal(t, want.Packets, ledger.Account.Received)

	var all, tcp, udp, icmp, rise series.Count
	var flows uint64
	add := func(to *series.Count, n series.Count) {
		to.Packets += n.Packets
		to.Bytes += n.Bytes
	}
	for i := range points {
		p := &points[i]
		require.Zero(t, p.Early)
		require.Zero(t, p.Late, "the test was stopped for %v", series.MaxDelay)
		for j, to := range map[int]*series.Count{series.All: &all, series.TCP: &tcp, series.UDP: &udp, series.ICMP: &icmp, len(p.Series) - 1: &rise} {
			add(to, p.Series[j].Count)
		}
		flows += p.New
	}
	count := func(kinds ...wire.MixKind) (n series.Count) {
		for _, k := range kinds {
			add(&n, series.Count{Packets: truth.Kinds[k].Packets, Bytes: truth.Kinds[k].Bytes})
		}
		return n
	}
	require.Equal(t, series.Count{Packets: want.Packets, Bytes: want.Bytes}, all)
	require.Equal(t, count(wire.MixTCP), tcp)
	require.Equal(t, count(wire.MixDNS, wire.MixUDP, wire.MixDNSRise), udp)
	require.Equal(t, count(wire.MixICMP), icmp)
	require.Equal(t, count(wire.MixDNSRise), rise)
	require.Equal(t, want.Flows, opened)
	require.Equal(t, opened, flows)
}
