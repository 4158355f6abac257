package flow_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap"
	"github.com/ixcap/ixcap/monitor/flow"
)

const hosts = "sim:pcap=../../testdata/hosts.pcap,rate=line,backpressure"

// The flows of a capture: here the software 82599 replays a file.
func Example() {
	ctx := context.Background()
	c, err := ixcap.Open(ctx, hosts)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	listeners, err := c.Listen("flows")
	if err != nil {
		log.Fatal(err)
	}
	var flows, packets uint64
	reader, err := flow.NewReader(listeners[0].Listener, flow.Config{OnRecords: func(records []flow.Record) {
		for i := range records {
			flows++
			packets += records[i].Directions[flow.Forward].Packets + records[i].Directions[flow.Reverse].Packets
		}
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()
	var reading sync.WaitGroup
	reading.Go(func() { err = reader.Run(ctx) })
	if _, err := c.Run(ctx); err != nil {
		log.Fatal(err)
	}
	if reading.Wait(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(packets, "packets in flows; balanced:", reader.Ledger().Balanced() == nil && flows > 0)
	// Output: 4019 packets in flows; balanced: true
}

// ports are traffic with a known end: files and generated flows.
func ports(t *testing.T) []string {
	ports := []string{hosts, "sim:mix,count=30000,seed=3,backpressure"}
	more, err := filepath.Glob("../../../shared/pcaps/*.pcap")
	require.NoError(t, err)
	if len(more) == 0 {
		t.Log("no captures in ../shared/pcaps, beside the checkout: put pcap files there for more")
	}
	for _, file := range more {
		if info, err := os.Stat(file); err == nil && info.Size() < 1<<20 {
			ports = append(ports, "sim:pcap="+file+",rate=line,backpressure")
		}
	}
	return ports
}

// Several queues, one engine each: the sums over all records are those of the capture.
func TestLedgerOfALiveCaptureBalances(t *testing.T) {
	for _, port := range ports(t) {
		c, err := ixcap.Open(t.Context(), port, ixcap.Queues(2), ixcap.Buffer(4<<20))
		require.NoError(t, err)
		listeners, err := c.Listen("flows")
		require.NoError(t, err)
		var readers []*flow.Reader
		var running sync.WaitGroup
		frames, bytes := make([]uint64, len(listeners)), make([]uint64, len(listeners))
		for i, l := range listeners {
			r, err := flow.NewReader(l.Listener, flow.Config{Flows: 200, OnRecords: func(records []flow.Record) {
				for _, record := range records {
					for _, d := range record.Directions {
						frames[i], bytes[i] = frames[i]+d.Packets, bytes[i]+d.Bytes
					}
				}
			}})
			require.NoError(t, err)
			readers = append(readers, r)
			running.Go(func() { require.NoError(t, r.Run(context.Background())) })
		}
		ledger, err := c.Run(t.Context())
		require.NoError(t, err)
		running.Wait()
		require.NoError(t, ledger.Balanced())
		for _, r := range readers {
			require.NoError(t, r.Ledger().Balanced(), r.Ledger())
			require.NoError(t, r.Close())
		}
		require.NotZero(t, ledger.Frames())
		require.Equal(t, ledger.Frames(), frames[0]+frames[1], port)
		require.Equal(t, ledger.Bytes(), bytes[0]+bytes[1], port)
		require.NoError(t, c.Close())
	}
}

// A reader that is stopped closes its listener, and accounts for what it has read.
func TestReaderStops(t *testing.T) {
	c, err := ixcap.Open(t.Context(), "sim:gen,size=60,rate=50kpps,flows=64,backpressure", ixcap.Buffer(4<<20))
	require.NoError(t, err)
	listeners, err := c.Listen("flows")
	require.NoError(t, err)
	r, err := flow.NewReader(listeners[0].Listener, flow.Config{Flows: 1000, OnRecords: func([]flow.Record) {}})
	require.NoError(t, err)
	capturing, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		ledger, err := c.Run(capturing)
		require.NoError(t, err)
		require.NoError(t, ledger.Balanced())
	})
	ctx, cancel := context.WithCancel(t.Context())
	reading := make(chan error)
	go func() { reading <- r.Run(ctx) }()
	require.Eventually(t, func() bool { return r.Stats().Frames > 1000 }, 20*time.Second, time.Millisecond)
	require.EqualValues(t, 64, r.Stats().Active)
	cancel()
	require.ErrorIs(t, <-reading, context.Canceled)
	require.NoError(t, r.Ledger().Balanced(), r.Ledger())
	require.NotEmpty(t, r.Ledger().Listener.DetachReason)
	stop()
	running.Wait()
	require.NoError(t, r.Close())
	require.NoError(t, c.Close())
}
