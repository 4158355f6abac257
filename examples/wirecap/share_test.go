package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/buddy"
)

const (
	testCost   = 25 * time.Microsecond
	testLength = 900 * time.Millisecond
)

// small is a pool that a second of unbalanced traffic fills several times.
var small = variant{40, 128}

func lossOf(t *testing.T, s system, tr traffic, load float64) shared {
	t.Helper()
	r, err := share(s, tr, load, testCost, testLength)
	require.NoError(t, err, "%s, %v, T %v, load %v", tr.name, s.mode, s.threshold, load)
	return r
}

// WireCAP's advanced mode loses at most a tenth of what the basic mode loses, wherever the
// consumers together have time for all frames, and so while forwarding.
func TestAdvancedModeLosesATenthAtMost(t *testing.T) {
	for _, tr := range traffics {
		for _, c := range []struct{ load, threshold float64 }{
			{0.625, 0.6}, {0.875, 0.6}, {0.95, 0.1},
		} {
			basic := lossOf(t, system{variant: small, mode: buddy.Basic}, tr, c.load)
			require.Greater(t, basic.loss, 0.05, "%s: a queue is overloaded", tr.name)
			require.Zero(t, basic.moved)
			s := system{variant: small, mode: buddy.Chunks, threshold: c.threshold}
			advanced := lossOf(t, s, tr, c.load)
			require.LessOrEqual(t, advanced.loss, basic.loss/10, "%s: T %v, load %v", tr.name, c.threshold, c.load)
			require.Positive(t, advanced.moved)
			if c.load == 0.875 {
				s.forward = true
				forwarded := lossOf(t, s, tr, c.load)
				require.LessOrEqual(t, forwarded.loss, basic.loss/10, "%s: forwarding, T %v", tr.name, c.threshold)
				require.Positive(t, forwarded.sent)
			}
		}
	}
}

// Whole flows that are moved early do as well.
func TestWholeFlowsLoseATenthAtMost(t *testing.T) {
	for _, tr := range traffics {
		basic := lossOf(t, system{variant: small, mode: buddy.Basic}, tr, 0.75)
		flows := lossOf(t, system{variant: small, mode: buddy.Flows, threshold: buddy.DefaultFlowThreshold}, tr, 0.75)
		require.LessOrEqual(t, flows.loss, basic.loss/10, tr.name)
		require.Positive(t, flows.moved)
	}
}

// Without capacity no mode helps: what the consumers have no time for is lost.
func TestOverloadedGroupLosesWhatItHasNoTimeFor(t *testing.T) {
	const load = 1.6
	r := lossOf(t, system{variant: small, mode: buddy.Chunks, threshold: 0.6}, longTerm, load)
	frames := load * queues * testLength.Seconds() / testCost.Seconds()
	buffered := float64(queues * small.buffers())
	most := frames - queues*testLength.Seconds()/testCost.Seconds()
	require.InDelta(t, most/frames, r.loss, buffered/frames+0.02)
	require.Positive(t, r.loss)
}

// A threshold of the whole length is the basic mode.
func TestThresholdOfTheWholeLengthMovesNothing(t *testing.T) {
	basic := lossOf(t, system{variant: small, mode: buddy.Basic}, longTerm, 0.75)
	whole := lossOf(t, system{variant: small, mode: buddy.Chunks, threshold: 1}, longTerm, 0.75)
	require.Equal(t, basic, whole)
}
