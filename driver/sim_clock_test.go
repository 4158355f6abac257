package driver_test

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// ptpSync is a Sync message over Ethernet (IEEE 1588-2008, 13.3 and annex F).
func ptpSync(sequence uint16) []byte {
	f := make([]byte, 60)
	copy(f, []byte{0x01, 0x1b, 0x19, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0x88, 0xf7, 0x00, 0x02, 0, 44})
	binary.BigEndian.PutUint16(f[14+30:], sequence)
	return f
}

// sendStamped posts a frame that is to be stamped.
func sendStamped(t *testing.T, q *driver.TxQueue, f []byte) {
	t.Helper()
	require.Eventually(t, func() bool { return q.Free() > 0 }, testtime.Deadline, time.Millisecond)
	b := q.Buffer(0)
	b.Data = append(b.Data[:0], f...)
	b.Stamp = true
	require.Equal(t, 1, q.Post(1))
}

// Two ports back to back whose oscillators differ: each message has a stamp of the sender
// and one of the receiver, and both are the model's true times within their uncertainty.
func TestModelStampsAreTheTimesOfTheWire(t *testing.T) {
	const messages, bit = 20, 8.0 / 10 // ns of a byte at 10 Gb/s
	wa, wb := wire.NewPair()
	cfg := driver.Config{RingSize: 64, TxQueues: 1, TxRingSize: 64, Clock: true}
	a := openWire(t, wa, sim.Config{ClockError: 40}, cfg)
	b := openWire(t, wb, sim.Config{ClockError: -25, Arrivals: messages}, cfg)
	for _, r := range []*rig{a, b} {
		require.NoError(t, r.port.Start())
		linkUp(t, r.port)
	}
	a.nic.RecordSent(messages)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var sent, received []driver.Stamp
	frames := make([]ring.Frame, 4)
	for i := range messages {
		sendStamped(t, a.port.TxQueue(0), ptpSync(uint16(1000+i)))
		s, err := a.port.Clock().WaitSent(ctx)
		require.NoError(t, err)
		sent = append(sent, s)
		require.Eventually(t, func() bool { return b.port.RxQueue(0).Poll(frames) == 1 }, testtime.Deadline, 100*time.Microsecond)
		require.Equal(t, [][]byte{ptpSync(uint16(1000 + i))}, b.port.RxQueue(0).Timed())
		b.port.RxQueue(0).Release()
		require.Zero(t, b.port.RxQueue(0).Poll(frames))
		require.Empty(t, b.port.RxQueue(0).Timed())
		s, err = b.port.Clock().Received()
		require.NoError(t, err)
		require.EqualValues(t, 1000+i, s.Sequence)
		received = append(received, s)
		_, err = b.port.Clock().Received()
		require.ErrorIs(t, err, driver.ErrNoStamp)
	}
	left, _ := a.nic.Sent()
	arrived, err := b.nic.Arrivals()
	require.NoError(t, err)
	for i := range messages {
		truth := left[i].At - int64(float64(left[i].Len+4)*bit)
		require.InDelta(t, 0, sent[i].Host.UnixNano()-truth, float64(sent[i].Uncertainty)+10, "message %d, sent %+v", i, sent[i])
		truth = arrived[i].At - int64(float64(arrived[i].Len+4)*bit)
		require.InDelta(t, 0, received[i].Host.UnixNano()-truth, float64(received[i].Uncertainty)+10, "message %d, received %+v", i, received[i])
	}
	require.EqualValues(t, messages, a.port.Clock().Status().Sent)
	require.EqualValues(t, messages, b.port.Clock().Status().Received)
}

// The device keeps the first stamp until it is read, whatever happens to the frame.
func TestModelStampIsKeptUntilItIsRead(t *testing.T) {
	w := &testWire{open: true}
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64, TxQueues: 1, TxRingSize: 64, Clock: true})
	require.NoError(t, r.port.Start())
	linkUp(t, r.port)
	c := r.port.Clock()
	_, err := c.Received()
	require.ErrorIs(t, err, driver.ErrNoStamp)
	receive := func(sequence ...uint16) {
		frames := make([]ring.Frame, 4)
		for _, s := range sequence {
			w.push(ptpSync(s))
		}
		for range sequence {
			require.Eventually(t, func() bool { return r.port.RxQueue(0).Poll(frames[:1]) == 1 }, testtime.Deadline, 100*time.Microsecond)
		}
		r.port.RxQueue(0).Release()
	}
	receive(1, 2)
	s, err := c.Received()
	require.NoError(t, err)
	require.EqualValues(t, 1, s.Sequence)
	_, err = c.Received()
	require.ErrorIs(t, err, driver.ErrNoStamp, "that of message 2 was not taken")
	receive(3)
	s, err = c.Received()
	require.NoError(t, err)
	require.EqualValues(t, 3, s.Sequence)

	// Two frames ask for stamps, and the first is not read before the second leaves.
	q := r.port.TxQueue(0)
	for i := range 2 {
		sendStamped(t, q, ptpSync(uint16(i)))
	}
	require.Eventually(t, func() bool { return len(w.sentFrames()) == 2 }, testtime.Deadline, time.Millisecond)
	_, err = c.Sent()
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.WaitSent(short)
	require.ErrorIs(t, err, driver.ErrNoStamp)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	// Send uses the same buffers, and asks for none.
	for range 600 {
		require.Eventually(t, func() bool { return q.Send([][]byte{ptpSync(9)}) == 1 }, testtime.Deadline, 10*time.Microsecond)
	}
	require.Eventually(t, func() bool { return len(w.sentFrames()) == 602 }, testtime.Deadline, time.Millisecond)
	_, err = c.Sent()
	require.ErrorIs(t, err, driver.ErrNoStamp)
	require.EqualValues(t, 2, c.Status().Received)
	require.EqualValues(t, 1, c.Status().Sent)
}

// A filter for the EtherType of PTP keeps its action, and its frames are stamped.
func TestModelStampsWithEtherTypeFilters(t *testing.T) {
	w := &testWire{open: true}
	r := openWire(t, w, sim.Config{}, driver.Config{Queues: 2, RingSize: 64, Clock: true})
	require.NoError(t, r.port.Start())
	linkUp(t, r.port)
	var filters []driver.Filter
	for i := range 8 {
		filters = append(filters, driver.Filter{EtherType: 0x88b5 + uint16(i), Queue: 0})
	}
	_, err := r.port.SetFilters(filters)
	require.ErrorContains(t, err, "7 filters of this kind")
	for _, f := range [][]driver.Filter{{{EtherType: 0x88f7, Queue: 1}}, nil} {
		_, err = r.port.SetFilters(f)
		require.NoError(t, err)
		w.push(ptpSync(7))
		frames := make([]ring.Frame, 4)
		require.Eventually(t, func() bool { return r.port.RxQueue(len(f)).Poll(frames) == 1 }, testtime.Deadline, 100*time.Microsecond)
		r.port.RxQueue(len(f)).Release()
		_, err = r.port.Clock().Received()
		require.NoError(t, err, "%v", f)
	}
}

// The clock has the cycle of the link's speed, and goes on when that changes or the device
// is reset.
func TestModelClockRunsAtTheSpeedOfTheLink(t *testing.T) {
	r := open(t, "gen,count=1,sfp=sx", driver.Config{RingSize: 64, Clock: true})
	require.Equal(t, 1000, linkUp(t, r.port).Speed)
	c := r.port.Clock()
	var before, now time.Duration
	require.Eventually(t, func() bool {
		var err error
		var from, to time.Time
		before, from, _, err = c.Now()
		require.NoError(t, err)
		time.Sleep(10 * time.Millisecond)
		now, _, to, err = c.Now()
		require.NoError(t, err)
		// Until the clock has noticed the speed it runs at a tenth and more.
		return now-before > 9*time.Millisecond && now-before <= to.Sub(from)+time.Microsecond
	}, testtime.Deadline, time.Millisecond)
	require.NoError(t, r.port.Close())
	_, _, _, err := c.Now()
	require.ErrorContains(t, err, "closed")
	_, err = c.Received()
	require.ErrorContains(t, err, "closed")
	require.NotErrorIs(t, err, driver.ErrNoStamp)
}

func TestClocksOfOtherControllersAreRefused(t *testing.T) {
	for _, id := range []string{"x540", "x550"} {
		dev, err := sim.Open("gen,count=1,id=" + id)
		require.NoError(t, err)
		_, err = driver.Open(dev, driver.Config{RingSize: 64, Clock: true})
		require.ErrorContains(t, err, strings.ToUpper(id))
		require.NoError(t, dev.Close())
	}
}

func TestPortWithoutClockHasNone(t *testing.T) {
	r := open(t, "gen,count=1", driver.Config{RingSize: 64})
	require.Nil(t, r.port.Clock())
	require.Zero(t, r.nic.ReadRegister(0x08c14), "TIMINCA")
}
