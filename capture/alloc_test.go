//go:build !race

package capture

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver/drivertest"
)

// The receive path allocates nothing, whether it copies or leaves frames in a pool, with any
// policy of stamps.
func TestPollersDoNotAllocate(t *testing.T) {
	policies := []clock.Policy{clock.PerPacket, clock.Batch, clock.Uniform, clock.Weighted, clock.Adaptive}
	for _, policy := range policies {
		for _, zeroCopy := range []bool{false, true} {
			var r *drivertest.Ring
			var p *poller
			if zeroCopy {
				var s *stream.Stream
				r, s, p = benchPoolPoller(t, policy)
				_, err := s.Listen("reader", stream.Options{Policy: stream.Lossy})
				require.NoError(t, err)
			} else {
				r, p = benchPollerAs(t, policy, pollerConfig{Core: AnyCore})
			}
			polled := 0
			round := func() {
				for left := r.Fill(1000, 60); left > 0; {
					n := p.poll()
					polled, left = polled+n, left-n
				}
			}
			round()
			require.Zero(t, testing.AllocsPerRun(50, round), "%v, zero copy %t", policy, zeroCopy)
			require.Equal(t, 52*1000, polled)
		}
	}
}
