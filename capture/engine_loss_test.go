package capture_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

// linePort is a port of one queue on which frames arrive at a rate, by the clock. It
// misses those for which its ring has no room.
type linePort struct {
	*capturetest.Port
	line *lineQueue
}

// lineQueue is the queue of a linePort.
type lineQueue struct {
	perFrame time.Duration
	descs    int
	work     time.Duration // of the poller, for each batch

	mu             sync.Mutex
	began          time.Time // zero: stopped
	arrived        uint64    // by the clock, as far as known
	held           int       // in the ring
	missed, polled uint64
}

func newLine(perFrame time.Duration, descs int, work time.Duration) linePort {
	return linePort{capturetest.New(1), &lineQueue{perFrame: perFrame, descs: descs, work: work}}
}

// receive lets the frames arrive that are due. It needs mu.
func (q *lineQueue) receive() {
	if q.began.IsZero() {
		return
	}
	now := uint64(time.Since(q.began) / q.perFrame)
	room := uint64(q.descs - q.held)
	fit := min(now-q.arrived, room)
	q.held += int(fit)
	q.missed += now - q.arrived - fit
	q.arrived = now
}

// Poll implements capture.Source.
func (q *lineQueue) Poll(frames []ring.Frame) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.receive()
	n := min(len(frames), q.held)
	for i := range n {
		frames[i] = ring.Frame{Data: capturetest.Payload, Len: uint32(len(capturetest.Payload))}
	}
	q.held -= n
	q.polled += uint64(n)
	return n
}

// Release implements capture.Source.
func (q *lineQueue) Release() {
	for began := time.Now(); q.work > 0 && time.Since(began) < q.work; {
	}
}

// Size implements capture.Ring.
func (q *lineQueue) Size() int { return q.descs }

func (p linePort) Sources() []capture.Source { return []capture.Source{p.line} }

func (p linePort) Start() error {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	p.line.began = time.Now()
	return nil
}

func (p linePort) Stop() error {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	p.line.receive()
	p.line.began = time.Time{}
	return nil
}

func (p linePort) Account() (capture.Account, error) {
	q := p.line
	q.mu.Lock()
	defer q.mu.Unlock()
	q.receive()
	received := q.polled + uint64(q.held)
	return capture.Account{
		Wire: q.arrived, Received: received, Queue: []uint64{received}, Missed: []capture.Count{{Cause: "ring", Frames: q.missed}},
	}, nil
}

// causes are the frames of a ledger by cause.
func causes(l capture.Ledger) map[sched.Cause]uint64 {
	all := map[sched.Cause]uint64{}
	for _, c := range l.LossCauses {
		all[c.Cause] = c.Frames
	}
	return all
}

// Frames arrive every two nanoseconds: no poller keeps up, whatever else the machine does.
func TestASustainedOverloadIsNoGap(t *testing.T) {
	for name, work := range map[string]time.Duration{"fast": 0, "batches longer than a gap": 2 * sched.LongGap} {
		t.Run(name, func(t *testing.T) {
			var log logtest.Recorder
			e, err := capture.New(newLine(2*time.Nanosecond, 64, work), capture.Config{Buffer: 8 << 20, Logger: log.Logger()})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, e.Close()) })
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			l, err := e.Run(ctx, 0)
			require.NoError(t, err)
			require.NoError(t, l.Balanced())
			require.NotEmpty(t, l.LossCauses)
			worst := l.LossCauses[0]
			require.Equal(t, sched.CauseOverload, worst.Cause, "%+v %+v", causes(l), worst.Worst)
			require.Greater(t, worst.Worst.Offered, worst.Worst.Processed)
			require.NotZero(t, worst.Worst.Processed)
			require.Contains(t, log.Text(), "overload: poller busy")
			require.NotContains(t, causes(l), sched.CausePending)
		})
	}
}

func TestASlowListenerIsNamedAsTheCauseOfALoss(t *testing.T) {
	var log logtest.Recorder
	e, err := capture.New(newLine(time.Microsecond, 256, 0), capture.Config{Buffer: 1 << 20, Logger: log.Logger()})
	require.NoError(t, err)
	l, err := e.Stream(0).Listen("tardy", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		require.NoError(t, e.Close())
	})
	require.NoError(t, e.Start())
	packets := make([]stream.Packet, 16)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			if _, err := l.ReadBatch(context.Background(), packets); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	var found sched.LossCause
	require.Eventually(t, func() bool {
		now, err := e.Ledger()
		require.NoError(t, err)
		for _, c := range now.LossCauses {
			if c.Cause == sched.CauseBackpressure {
				found = c
			}
		}
		return found.Frames > 0
	}, testtime.Deadline, 50*time.Millisecond)
	require.Equal(t, "tardy", found.Worst.Listener)
	require.NotZero(t, found.Worst.Backpressure)
	require.NotZero(t, found.Worst.Unread)
	require.Contains(t, log.Text(), "backpressure of a lossless listener")
	require.NoError(t, l.Close())
	<-read
	require.NoError(t, e.Stop())
	final, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, final.Balanced())
}
