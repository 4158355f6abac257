package capture

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// bound returns the bound in ticks of the frames of the last poll, if the next one starts
// at now.
func (u *uncertainty) bound(now uint64) uint64 {
	if u.since == 0 {
		return 0
	}
	return now - u.since
}

func TestFramesArrivedAfterTheLastPollThatEmptiedTheQueue(t *testing.T) {
	u := uncertainty{clear: 1000}
	u.polled(2000, 0, 10, false)
	require.EqualValues(t, 1100, u.bound(2100), "the first frames arrived after the start")
	u.polled(2100, 10, 64, true)
	require.EqualValues(t, 200, u.bound(2200))
	u.polled(2200, 74, 64, true)
	require.EqualValues(t, 300, u.bound(2300), "a full batch may leave frames behind")
	u.polled(2300, 138, 1, false)
	require.EqualValues(t, 400, u.bound(2400), "they may be of that time, too")
	u.polled(2400, 139, 1, false)
	require.EqualValues(t, 200, u.bound(2500))
}

func TestFramesThatCannotWaitAtOnceArrivedLater(t *testing.T) {
	// A poll of 64 frames every 10,000 ticks that never empties the queue.
	run := func(capacity uint64) uint64 {
		u := uncertainty{clear: 1, capacity: capacity}
		for i := range uint64(10_000) {
			u.polled(1+10_000*i, 64*i, 64, true)
		}
		return u.bound(1 + 10_000*10_000)
	}
	require.EqualValues(t, 10_000*10_000, run(0), "nothing is known but the start")
	// 6400 frames take 100 polls. Marks are 1/16 of the capacity apart.
	require.GreaterOrEqual(t, run(6400), uint64(100*10_000))
	require.LessOrEqual(t, run(6400), uint64((100+100/16+2)*10_000))
}
