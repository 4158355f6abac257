package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/sim/wire"
)

// With every timestamp policy, rules and deduplication: the stored frames are those
// that were sent, in order, and the others are counted.
func TestEveryFrameIsStoredOrCountedWithEachPolicy(t *testing.T) {
	const frames = 10_000
	r, err := rules.Parse("(src net 198.18.0.0/27) drop; (ip) 64")
	require.NoError(t, err)
	for _, policy := range []clock.Policy{clock.PerPacket, clock.Batch, clock.Uniform, clock.Weighted, clock.Adaptive, clock.Sample(8)} {
		for name, cfg := range map[string]capture.Config{
			"stamps": {}, "rules": {Rules: r}, "dedup": {Dedup: &dedup.Config{}, SnapLen: 96},
		} {
			t.Run(policy.String()+"/"+name, func(t *testing.T) {
				cfg.Stamps, cfg.Segment = policy, 1<<20
				device := fmt.Sprintf("sim:gen,size=60-1514,flows=64,count=%d,backpressure", frames)
				e, model := openEngine(t, device, nic.Config{}, cfg)
				var readers sync.WaitGroup
				for q := range e.Queues() {
					l, err := e.Stream(q).Listen("reader", stream.Options{Policy: stream.Lossless})
					require.NoError(t, err)
					readers.Go(func() {
						next, before := uint64(0), int64(0)
						for pkt := range l.Packets(context.Background()) {
							if pkt.UnixNano() < before {
								t.Errorf("queue %d: %d after %d", q, pkt.UnixNano(), before)
							}
							before = pkt.UnixNano()
							if len(pkt.Data) < int(pkt.Len) {
								continue // a cut frame has no sequence number
							}
							n, err := wire.Sequence(pkt.Data)
							if err != nil || n < next {
								t.Errorf("queue %d: frame %d after %d: %v", q, n, next, err)
								return
							}
							next = n + 1
						}
						if err := l.Err(); err != nil {
							t.Error(err)
						}
					})
				}
				require.NoError(t, e.Start())
				requireReturns(t, "Wait", e.Wait)
				require.NoError(t, e.Stop())
				readers.Wait()
				l := audit(t, e, model)
				require.Zero(t, l.Lost())
				require.EqualValues(t, frames, l.Account.Received)
				var filtered, cut uint64
				for _, q := range l.Queues {
					filtered += q.Filtered
					cut += q.Cut
					require.Zero(t, q.Duplicates, "frames with sequence numbers are no duplicates")
				}
				require.EqualValues(t, frames, l.Frames()+filtered)
				require.Equal(t, cfg.Rules != nil, filtered != 0)
				require.Equal(t, cfg.Rules != nil || cfg.SnapLen != 0, cut != 0)
			})
		}
	}
}
