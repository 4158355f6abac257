package capture_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// stampedPort is a port whose source stamps its frames with their numbers, in seconds.
type stampedPort struct {
	*capturetest.Port
	source stampedSource
}

func (p *stampedPort) Sources() []capture.Source { return []capture.Source{&p.source} }

type stampedSource struct {
	*capturetest.Queue
	polled int
	stamps []clock.Stamp
}

func (s *stampedSource) Poll(frames []ring.Frame) int {
	n := s.Queue.Poll(frames)
	s.stamps = s.stamps[:0]
	for range n {
		s.polled++
		s.stamps = append(s.stamps, clock.Stamp(s.polled))
	}
	return n
}

func (s *stampedSource) Stamps() []clock.Stamp { return s.stamps }
func (s *stampedSource) StampedBy() string     { return "test, by number" }

func newStampedPort(frame func(n int) []byte) *stampedPort {
	p := capturetest.New(1)
	p.Queues[0].Frame = frame
	return &stampedPort{p, stampedSource{Queue: p.Queues[0]}}
}

// The stamps of a source are stored with their frames, on each path of the poller.
func TestFramesKeepTheStampsOfTheirSource(t *testing.T) {
	const frames = 1000
	for name, cfg := range map[string]capture.Config{
		"plain": {}, "rules": {Rules: parseRules(t, "(port 53) drop")}, "count": {Count: frames / 2},
		"duplicates": {Dedup: &dedup.Config{}}, "full": {Entries: 64},
	} {
		t.Run(name, func(t *testing.T) {
			p := newStampedPort(func(n int) []byte { return numberedUDP(uint64(n), []uint16{53, 80}[n%2]) })
			cfg.Buffer = 1 << 20
			e, err := capture.New(p, cfg)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, e.Close()) })
			l, err := e.Stream(0).Listen("reader", stream.Options{Policy: stream.Lossless})
			require.NoError(t, err)
			p.source.Put(frames)
			require.NoError(t, e.Start())
			stopped := make(chan error)
			go func() { stopped <- e.Stop() }()
			n := 0
			for pkt := range l.Packets(context.Background()) {
				require.EqualValues(t, int(pkt.Data[42])+int(pkt.Data[43])<<8+1, pkt.Time().Unix())
				n++
			}
			require.NoError(t, l.Err())
			require.NoError(t, <-stopped)
			want := map[string]int{"rules": frames / 2, "count": frames / 2}[name]
			if want == 0 {
				want = frames
			}
			require.Equal(t, want, n)
			ledger, err := e.Ledger()
			require.NoError(t, err)
			require.NoError(t, ledger.Balanced())
			require.Equal(t, "test, by number", ledger.Clock.StampedBy)
			require.Zero(t, ledger.Queues[0].Uncertainty)
			var text strings.Builder
			require.NoError(t, ledger.WriteText(&text))
			require.Contains(t, text.String(), "stamps: test, by number\n")
			require.NotContains(t, text.String(), "clock error")
		})
	}
}

func TestAPolicyOfStampsIsRefusedWhereTheSourceStamps(t *testing.T) {
	_, err := capture.New(newStampedPort(nil), capture.Config{Stamps: clock.Adaptive})
	require.EqualError(t, err, "stamps adaptive: the frames of fake have stamps (test, by number). Leave the policy out")
}
