package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// portBuffer is how many of the frames the packet buffer of the port holds (512 KiB).
const portBuffer = 512 << 10 / frameSize

// The burst that is survived grows in proportion to R x M: each further buffer takes one more
// frame, and the port's own packet buffer comes on top once.
func TestSurvivedBurstGrowsWithRTimesM(t *testing.T) {
	const cost = 25 * time.Microsecond
	const served = frameTime / float64(cost*tick) // frames consumed during one of the burst
	lengths := []uint64{80_000}
	var before result
	for _, chunks := range []int{64, 128, 256, 512} {
		r, err := burst(variant{chunks, 64}, cost, lengths)
		require.NoError(t, err)
		require.InEpsilon(t, float64(r.buffers()+portBuffer)/(1-served), float64(r.survived), 0.02, "%v", r.variant)
		if before.chunks > 0 {
			more := float64(r.buffers()-before.buffers()) / (1 - served)
			require.InEpsilon(t, more, float64(r.survived-before.survived), 0.03, "%v", r.variant)
			require.Less(t, r.loss[0], before.loss[0])
		}
		// Behind it every frame is lost that the consumer is not in time for.
		lost := float64(lengths[0]-r.survived) * (1 - served)
		require.InEpsilon(t, lost/float64(lengths[0]), r.loss[0], 0.02, "%v", r.variant)
		before = r
	}
}

// R and M do not matter as long as their product is the same.
func TestOnlyTheProductOfRAndMCounts(t *testing.T) {
	var first result
	for i, v := range []variant{{32, 256}, {64, 128}, {128, 64}, {256, 32}} {
		r, err := burst(v, 25*time.Microsecond, []uint64{1000, 16_000, 40_000})
		require.NoError(t, err)
		require.Zero(t, r.loss[0], "a burst below the capacity")
		require.Zero(t, r.loss[1])
		require.Positive(t, r.loss[2])
		if i == 0 {
			first = r
		}
		require.InEpsilon(t, first.survived, r.survived, 0.02, "%v", v)
		require.InEpsilon(t, first.loss[2], r.loss[2], 0.02, "%v", v)
	}
}

// A ring alone survives what ring and packet buffer hold, far less than a pool.
func TestRingAloneSurvivesItsDescriptors(t *testing.T) {
	r, err := burst(variant{}, 25*time.Microsecond, []uint64{40_000})
	require.NoError(t, err)
	require.InEpsilon(t, ringAlone+portBuffer, r.survived, 0.02)
}

// A consumer that is faster than the line loses nothing, however long the burst is.
func TestFastConsumerLosesNothing(t *testing.T) {
	for _, v := range []variant{{}, {16, 128}} {
		r, err := burst(v, 50*time.Nanosecond, []uint64{400_000})
		require.NoError(t, err)
		require.Zero(t, r.loss[0])
		require.EqualValues(t, 400_000, r.survived)
	}
}
