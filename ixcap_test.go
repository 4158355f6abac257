package ixcap_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap"
	"github.com/ixcap/ixcap/capture/packetsource"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/internal/testtime"
)

// drain is how long Run waits for listeners that do not read.
const drain = 5 * time.Second

const endless = "sim:gen,size=60,rate=20kpps,flows=64,backpressure"

func open(t *testing.T, port string, options ...ixcap.Option) *ixcap.Capture {
	t.Helper()
	c, err := ixcap.Open(t.Context(), port, append([]ixcap.Option{ixcap.Buffer(4 << 20)}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestErrorsOfOpenSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		port   string
		option ixcap.Option
		says   string
	}{
		"unknown scheme": {"smoke:x", ixcap.Queues(1), "smoke"},
		"no such file":   {"sim:pcap=/none.pcap", ixcap.Queues(1), "no such file"},
		"queues":         {endless, ixcap.Queues(99), "99"},
		"buffer":         {endless, ixcap.Buffer(3 << 20), "power of two"},
		"rules":          {endless, ixcap.Rules("(tcp) sometimes"), "rules: line 1"},
		"empty rules":    {endless, ixcap.Rules(""), "rules"},
		"port filters":   {endless, ixcap.PortFilters("(not udp) drop"), `does not compare "not"`},
		"no filters":     {endless, ixcap.PortFilters(""), "filters of the port: none"},
		"filter":         {endless, ixcap.Filter("prot 7"), "filter: column 1"},
		"stamps":         {endless, ixcap.Stamps("lunar"), "lunar"},
		"chunks":         {endless, ixcap.ZeroCopy(1, 0), "pools of 1 chunks: want at least 2"},
		"chunk size":     {endless, ixcap.ZeroCopy(0, 12), "chunks of 12 buffers: want a multiple of 8"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ixcap.Open(t.Context(), c.port, c.option)
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := ixcap.Open(t.Context(), "sim:pcap=/none.pcap")
	require.ErrorIs(t, err, os.ErrNotExist)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = ixcap.Open(canceled, endless)
	require.ErrorIs(t, err, context.Canceled)
}

func TestPortFiltersChangeWhileFramesArrive(t *testing.T) {
	var log logtest.Recorder
	c := open(t, "sim:gen,size=100,flows=256,rate=20kpps,backpressure", ixcap.PortFilters("(ip src host 198.18.0.1) drop"), ixcap.Filter("udp"), ixcap.Logger(log.Logger()))
	ctx, cancel := context.WithCancel(t.Context())
	var ledger ixcap.Ledger
	var running sync.WaitGroup
	running.Go(func() {
		var err error
		ledger, err = c.Run(ctx)
		require.NoError(t, err)
	})
	filtered := func() uint64 {
		l, err := c.Engine().Ledger()
		require.NoError(t, err)
		return l.Account.Filtered
	}
	require.Eventually(t, func() bool { return filtered() > 0 }, testtime.Deadline, time.Millisecond)
	require.NoError(t, c.SetPortFilters("none"))
	before := filtered()
	require.NoError(t, c.SetPortFilters("(ip src host 198.18.0.2 and udp) drop"))
	require.Eventually(t, func() bool { return filtered() > before+10 }, testtime.Deadline, time.Millisecond)
	require.ErrorContains(t, c.SetPortFilters("(vlan 7) drop"), "restart the capture")
	require.ErrorContains(t, c.SetPortFilters("udp drop"), "an expression in parentheses")
	cancel()
	running.Wait()
	require.NoError(t, ledger.Balanced())
	require.Zero(t, ledger.Lost())
	require.Equal(t, "(ip src host 198.18.0.2 and udp) drop; (udp) all; drop", c.Engine().Rules(0).String())
	require.Contains(t, log.Text(), "port filter (ip src host 198.18.0.2 and udp) drop: in the chip: 1 5-tuple filter; not in the chip: fragments")
}

func TestRunEndsWithTheContextAndTheLedgerBalances(t *testing.T) {
	c := open(t, endless, ixcap.Queues(2))
	listeners, err := c.Listen("count")
	require.NoError(t, err)
	require.Len(t, listeners, 2)
	var read atomic.Uint64
	var reading sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for q, l := range listeners {
		require.Equal(t, q, l.Queue())
		reading.Go(func() {
			for range l.Packets(context.Background()) {
				if read.Add(1) == 1000 {
					cancel()
				}
			}
			require.NoError(t, l.Err())
		})
	}
	ledger, err := c.Run(ctx)
	require.NoError(t, err, "a context that is done is no error")
	reading.Wait()
	require.NoError(t, ledger.Balanced())
	require.Equal(t, ledger.Frames(), read.Load(), "the listeners have read everything when Run returns")
	require.GreaterOrEqual(t, read.Load(), uint64(1000))
	require.Zero(t, ledger.Lost())
	require.Equal(t, read.Load(), c.Counters().Polled)
	_, err = c.Run(t.Context())
	require.Error(t, err, "a capture runs once")
}

// Reading with the context of Run is what a program writes first.
func TestOneContextForReadersAndRunEndsBothAtOnce(t *testing.T) {
	c := open(t, endless)
	listeners, err := c.Listen("same context")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var reading sync.WaitGroup
	reading.Go(func() {
		n := 0
		for range listeners[0].Packets(ctx) {
			if n++; n == 100 {
				cancel()
			}
			require.LessOrEqual(t, n, 100, "no packet after the context is done")
		}
		require.ErrorIs(t, listeners[0].Err(), context.Canceled)
	})
	began := time.Now()
	ledger, err := c.Run(ctx)
	require.NoError(t, err)
	reading.Wait()
	require.Less(t, time.Since(began), drain, "Run does not wait for a listener that is not read any more")
	require.NoError(t, ledger.Balanced())
	_, err = listeners[0].Next(t.Context())
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = c.Run(t.Context())
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestListenerThatDoesNotReadDoesNotHoldRun(t *testing.T) {
	c := open(t, "sim:gen,size=60,count=100,backpressure")
	_, err := c.Listen("idle")
	require.NoError(t, err)
	began := time.Now()
	ledger, err := c.Run(t.Context())
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
	require.Less(t, time.Since(began), time.Minute)
}

func TestCountEndsTheCaptureExactly(t *testing.T) {
	dir := t.TempDir()
	for name, options := range map[string][]ixcap.Option{
		"one queue":  nil,
		"two queues": {ixcap.Queues(2)},
		"rules":      {ixcap.Rules("(udp) 64; drop")},
		"dedup":      {ixcap.Dedup(time.Second), ixcap.Stamps("adaptive")},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, "sim:gen,size=60-1514,flows=64,rate=20kpps,backpressure", append(options, ixcap.Count(1234), ixcap.Store(dir))...)
			ledger, err := c.Run(t.Context())
			require.NoError(t, err)
			require.NoError(t, ledger.Balanced())
			require.EqualValues(t, 1234, ledger.Frames())
			require.Zero(t, ledger.Lost(), "frames after the last one are not lost")
		})
	}
}

func TestZeroCopyIsReadAsCopies(t *testing.T) {
	const frames = 20000 // each buffer of the pool is used several times
	var log logtest.Recorder
	c := open(t, "sim:gen,size=60-3000,flows=64,backpressure", ixcap.ZeroCopy(0, 128), ixcap.Count(frames), ixcap.Logger(log.Logger()))
	listeners, err := c.Listen("reader")
	require.NoError(t, err)
	read := 0
	var reading sync.WaitGroup
	reading.Go(func() {
		for p := range listeners[0].Packets(context.Background()) {
			if p.Len >= 60 && len(p.Data) == int(p.Len) {
				read++
			}
		}
	})
	ledger, err := c.Run(t.Context())
	require.NoError(t, err)
	reading.Wait()
	require.NoError(t, ledger.Balanced())
	require.Equal(t, frames, read)
	pool := ledger.Queues[0].Pool
	require.NotNil(t, pool)
	require.Equal(t, (4096+4<<20/2112)/128, pool.Chunks, "of the ring's buffers, and the stream's memory")
	require.Contains(t, strings.Join(log.Lines(), "\n"), "zero copy: frames stay in the packet buffers, each queue has a pool of "+pool.String())
}

func TestReadingAClosedListenerIsErrClosed(t *testing.T) {
	c := open(t, endless)
	listeners, err := c.Listen("closed")
	require.NoError(t, err)
	l := listeners[0]
	require.NoError(t, l.Close())
	_, err = l.Next(t.Context())
	require.ErrorIs(t, err, ixcap.ErrClosed)
	require.ErrorIs(t, err, os.ErrClosed)
	_, _, err = l.ReadPacketData()
	require.Equal(t, io.EOF, err, "gopacket retries other errors forever")

	listeners, err = c.Listen("canceled")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range listeners[0].Packets(ctx) {
		t.Fatal("no packet can come")
	}
	require.ErrorIs(t, listeners[0].Err(), context.Canceled)
}

func TestListenFilterPassesWhatMatches(t *testing.T) {
	const tcp = "tcp and host 192.0.2.1"
	_, err := ixcap.Attach("/none.sock", "x", ixcap.ListenFilter(" "))
	require.ErrorContains(t, err, "expression is empty")
	_, err = ixcap.Attach("/none.sock", "x", ixcap.ListenFilter("prot 7"))
	require.True(t, errors.As(err, new(*pcapfilter.Error)))

	c := open(t, port)
	all, err := c.Listen("all")
	require.NoError(t, err)
	some, err := c.Listen("some", ixcap.ListenFilter(tcp))
	require.NoError(t, err)
	filter, err := pcapfilter.Compile(tcp)
	require.NoError(t, err)
	var want, got, total int
	var reading sync.WaitGroup
	reading.Go(func() {
		for p := range all[0].Packets(context.Background()) {
			total++
			if filter.Match(p.Data, int(p.Len)) {
				want++
			}
		}
	})
	reading.Go(func() {
		for {
			_, info, err := some[0].ZeroCopyReadPacketData()
			if err == io.EOF {
				return
			}
			require.NoError(t, err)
			require.Positive(t, info.Length)
			require.False(t, info.Timestamp.IsZero())
			got++
		}
	})
	_, err = c.Run(t.Context())
	require.NoError(t, err)
	reading.Wait()
	require.Positive(t, got)
	require.Equal(t, want, got)
	require.EqualValues(t, total-want, some[0].Filtered())
}

// Threads of a group share two queues: each frame reaches one, flows are whole and in
// order.
func TestMembersOfAGroupShareTheQueues(t *testing.T) {
	c := open(t, endless, ixcap.Queues(2), ixcap.Count(5000))
	var mu sync.Mutex
	flows, read := map[string]string{}, uint64(0)
	var reading sync.WaitGroup
	for _, name := range []string{"one", "two", "three"} {
		listeners, err := c.Listen(name, ixcap.ListenGroup("group=1\nmode=hash\nmember="+name))
		require.NoError(t, err)
		m := packetsource.NewMerge(time.Minute, listeners...)
		reading.Go(func() {
			last := int64(0)
			for _, p := range m.Packets(context.Background()) {
				mu.Lock()
				flow := string(p.Data[26:38])
				if flows[flow] == "" {
					flows[flow] = name
				}
				assert.Equal(t, flows[flow], name)
				assert.GreaterOrEqual(t, p.UnixNano(), last)
				last = p.UnixNano()
				read++
				mu.Unlock()
			}
			assert.NoError(t, m.Err())
			assert.Zero(t, m.Late())
			assert.NoError(t, m.Close())
		})
	}
	ledger, err := c.Run(t.Context())
	require.NoError(t, err)
	reading.Wait()
	require.NoError(t, ledger.Balanced())
	require.EqualValues(t, 5000, read)
	require.Len(t, flows, 64)
	_, err = c.Listen("late", ixcap.ListenGroup("mode=hash"))
	require.ErrorContains(t, err, "group=N")
}

func TestGopacketKeepsPacketsThatWereCopied(t *testing.T) {
	c := open(t, port)
	listeners, err := c.Listen("copy")
	require.NoError(t, err)
	go func() { _, _ = c.Run(t.Context()) }()
	var data [][]byte
	var info []gopacket.CaptureInfo
	for {
		d, i, err := listeners[0].ReadPacketData()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		data, info = append(data, d), append(info, i)
	}
	require.Len(t, data, 4019)
	for i, d := range data {
		require.Len(t, d, info[i].CaptureLength)
		p := gopacket.NewPacket(d, layers.LinkTypeEthernet, gopacket.NoCopy)
		require.NotNil(t, p.LinkLayer())
	}
}

func TestStoredAndSharedAtOnce(t *testing.T) {
	dir, sockets := t.TempDir(), filepath.Join(t.TempDir(), "share")
	c := open(t, "sim:gen,size=200,count=3000,backpressure", ixcap.Store(dir), ixcap.Share(sockets), ixcap.Stamps("adaptive"), ixcap.Dedup(time.Second))
	l, err := ixcap.Attach(filepath.Join(sockets, "queue0.sock"), "second")
	require.NoError(t, err)
	read := 0
	var reading sync.WaitGroup
	reading.Go(func() {
		for range l.Packets(context.Background()) {
			read++
		}
	})
	ledger, err := c.Run(t.Context())
	require.NoError(t, err)
	reading.Wait()
	require.NoError(t, l.Close())
	require.NoError(t, ledger.Balanced())
	require.Equal(t, 3000, read)
	require.Len(t, ledger.Storers, 1)
	files, err := filepath.Glob(filepath.Join(dir, "*.raw"))
	require.NoError(t, err)
	require.Len(t, files, 1)
}
