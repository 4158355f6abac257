package capture_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
)

// numberedUDP returns frame n of a flow to a UDP port, with n in its payload.
func numberedUDP(n uint64, port uint16) []byte {
	b := make([]byte, 80)
	copy(b, []byte{
		0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00,
		0x45, 0, 0, 66, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x10, 0, 0, 0, 0, 46, 0x12, 0x34,
	})
	binary.BigEndian.PutUint16(b[36:], port)
	binary.LittleEndian.PutUint64(b[42:], n)
	return b
}

func parseRules(t *testing.T, text string) *rules.Rules {
	t.Helper()
	r, err := rules.Parse(text)
	require.NoError(t, err)
	return r
}

// Rules change a thousand times during a capture. All frames that no rule drops are
// stored, in order, and every other frame is stored or counted.
func TestFilterChangesDuringACaptureLoseNoFrame(t *testing.T) {
	const changes, queues = 1000, 2
	p := capturetest.New(queues)
	for _, s := range p.Queues {
		s.Frame = func(n int) []byte { return numberedUDP(uint64(n), []uint16{53, 80, 443}[n%3]) }
	}
	e := engine(t, p, capture.Config{Stamps: clock.Adaptive, Rules: parseRules(t, "(port 53) drop")})
	require.Equal(t, "(port 53) drop; all", e.Rules(1).String())
	var readers sync.WaitGroup
	var kept, got [queues]uint64 // frames to port 80, which no rule drops; and all
	for q := range queues {
		l, err := e.Stream(q).Listen("reader", stream.Options{Policy: stream.Lossless})
		require.NoError(t, err)
		readers.Go(func() {
			before, next := int64(0), uint64(0)
			for pkt := range l.Packets(context.Background()) {
				n := binary.LittleEndian.Uint64(pkt.Data[42:])
				if n < next || pkt.UnixNano() < before {
					t.Errorf("queue %d: frame %d at %d after frame %d at %d", q, n, pkt.UnixNano(), next, before)
					return
				}
				if n%3 == 1 {
					kept[q]++
				}
				got[q]++
				next, before = n+1, pkt.UnixNano()
			}
			if err := l.Err(); err != nil {
				t.Error(err)
			}
		})
	}
	require.NoError(t, e.Start())
	r := rand.New(rand.NewPCG(1, 2))
	lists := []*rules.Rules{
		nil, parseRules(t, "(port 53) drop"), parseRules(t, "(port 443) drop; (port 80) 60; all"), parseRules(t, "(port 80) 64; drop"),
		parseRules(t, "(tcp) drop; (icmp) drop; (udp and port 80) all; (net 10.0.0.0/8) drop"),
	}
	total := 0
	for i := range changes {
		queue := r.IntN(queues+1) - 1
		require.NoError(t, e.SetRules(queue, lists[r.IntN(len(lists))]))
		if i%10 == 0 {
			n := r.IntN(300)
			for _, s := range p.Queues {
				s.Put(n)
			}
			total += n
		}
		if i%100 == 0 { // the pollers apply some of the changes on any machine
			before := total
			require.Eventually(t, func() bool {
				l, err := e.Ledger()
				return err == nil && l.Queues[0].Polled+l.Queues[1].Polled >= uint64(queues*before)
			}, 30*time.Second, time.Millisecond)
		}
	}
	require.NoError(t, e.SetRules(capture.AllQueues, lists[3]))
	require.NoError(t, e.Stop())
	readers.Wait()
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	require.Zero(t, l.Lost())
	for q := range queues {
		a := l.Queues[q]
		require.EqualValues(t, total, a.Polled)
		require.Equal(t, got[q], a.Stored)
		require.EqualValues(t, total, a.Stored+a.Filtered)
		require.NotZero(t, a.Filtered)
		require.NotZero(t, a.Cut)
		require.EqualValues(t, (total+1)/3, kept[q])
		require.Equal(t, lists[3], e.Rules(q))
	}
	require.Equal(t, clock.Adaptive, l.Clock.Policy)
	require.NotEmpty(t, l.Clock.Source)
	require.ErrorContains(t, e.SetRules(0, nil), "the capture is over")
	require.ErrorIs(t, e.SetRules(0, nil), os.ErrClosed)
}

func TestSetFilterRejectsUnknownQueues(t *testing.T) {
	e := engine(t, capturetest.New(2), capture.Config{})
	for _, q := range []int{-2, 2} {
		require.ErrorContains(t, e.SetRules(q, nil), fmt.Sprintf("set rules of queue %d: the capture has queues 0 to 1", q))
	}
	require.Nil(t, e.Rules(0))
	require.NoError(t, e.SetRules(1, parseRules(t, "64")))
	require.Nil(t, e.Rules(0))
	require.Equal(t, "64", e.Rules(1).String())
}

func TestDuplicatesAreRemovedAndCounted(t *testing.T) {
	for _, policy := range []clock.Policy{clock.PerPacket, clock.Weighted, clock.Sample(8)} {
		p := capturetest.New(1)
		// Of each ten frames, the last two equal the first two.
		p.Queues[0].Frame = func(n int) []byte {
			if n%10 >= 8 {
				n -= 8
			}
			return numberedUDP(uint64(n), 80)
		}
		e := engine(t, p, capture.Config{Stamps: policy, Dedup: &dedup.Config{Window: time.Hour, Records: 1 << 16, Pools: 16}})
		l, err := e.Stream(0).Listen("reader", stream.Options{Policy: stream.Lossless})
		require.NoError(t, err)
		var reader sync.WaitGroup
		next := 0
		reader.Go(func() {
			for pkt := range l.Packets(context.Background()) {
				if next%10 == 8 {
					next += 2
				}
				if n := int(binary.LittleEndian.Uint64(pkt.Data[42:])); n != next {
					t.Errorf("frame %d, want %d", n, next)
					return
				}
				next++
			}
		})
		require.NoError(t, e.Start())
		p.Queues[0].Put(20_000)
		require.NoError(t, e.Stop())
		reader.Wait()
		ledger, err := e.Ledger()
		require.NoError(t, err)
		require.NoError(t, ledger.Balanced())
		require.EqualValues(t, 4000, ledger.Queues[0].Duplicates)
		require.EqualValues(t, 16_000, ledger.Frames())
		require.Equal(t, 19_998, next)
		require.Zero(t, ledger.Lost())
	}
}

// Copies that a table or a buffer was too small for are stored, and the end says so.
func TestDuplicatesThatAreMissedAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  capture.Config
		told string
	}{
		"table": {
			capture.Config{Dedup: &dedup.Config{Window: time.Hour, Records: 8, Pools: 8}},
			"duplicates: the table forgot 4992 frames within the window; later copies of these are stored. Choose more records",
		},
		"buffer": {
			capture.Config{Dedup: &dedup.Config{Window: time.Hour, Records: 1 << 16, Pools: 16}, Entries: 64},
			"duplicates: 2500 frames stored without a comparison, because the buffer no longer held the original. Choose a larger buffer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := capturetest.New(1)
			p.Queues[0].Frame = func(n int) []byte { return numberedUDP(uint64(n%2500), 80) }
			var log bytes.Buffer
			c.cfg.Logger, c.cfg.Buffer = slog.New(slog.NewTextHandler(&log, nil)), 1<<20
			e, err := capture.New(p, c.cfg)
			require.NoError(t, err)
			require.NoError(t, e.Start())
			p.Queues[0].Put(5000)
			require.NoError(t, e.Stop())
			ledger, err := e.Ledger()
			require.NoError(t, err)
			require.NoError(t, ledger.Balanced())
			require.EqualValues(t, 5000, ledger.Frames())
			require.NoError(t, e.Close()) // flushes the log
			require.Contains(t, log.String(), c.told)
		})
	}
}
