package driver_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
)

// A device whose receive DMA has stopped is reset while its queues are polled: frames in
// memory are kept and in order, those inside the device are counted, and frames arrive
// again, in one ring and in several, whose filters and RSS change all the time.
func TestModelStalledReceptionIsRecovered(t *testing.T) {
	for _, cfg := range []driver.Config{
		{RingSize: 64, BufferSize: 1024, Clock: true},
		{RingSize: 64, Queues: 4, Interrupts: driver.QueueInterrupts},
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			events := &eventLog{}
			cfg.OnEvent = events.add
			r := open(t, "gen,count=forever,rate=50kpps,size=60-3000,flows=64,fault=rxstall:20000", driver.Hasty(cfg))
			require.NoError(t, r.port.Start())
			end := func() {}
			if cfg.Queues > 1 {
				end = r.changeFilters()
			}
			r.pollUntil(func() bool { return len(events.texts(driver.Recovered)) == 1 })
			end()
			before, err := r.port.Stats()
			require.NoError(t, err)
			r.pollUntil(func() bool { return r.nic.Stats().Delivered > before.Received+20000 })
			require.NoError(t, r.port.Stop())
			r.pollUntil(r.port.Drained)
			s, err := r.port.Stats()
			require.NoError(t, err)
			require.NoError(t, s.Balanced())
			truth := r.nic.Stats()
			require.NoError(t, truth.Balanced())
			require.Equal(t, truth.Delivered, s.Received)
			require.Equal(t, truth.Flushed, by(s.Missed, "CTRL.RST"))
			require.Equal(t, truth.Missed+truth.NoDescriptor+truth.QueueDisabled+truth.Flushed, s.Lost())
			require.Regexp(t, `^the device was reset in \S+; \d+ frames inside it are lost \(CTRL\.RST\), those in memory are kept$`, events.texts(driver.Recovered)[0])
			if c := r.port.Clock(); c != nil {
				first, _, _, err := c.Now()
				require.NoError(t, err)
				second, _, _, err := c.Now()
				require.NoError(t, err)
				require.Greater(t, second, first, "the clock goes on")
				require.Equal(t, uint32(1<<4|5<<1), r.nic.ReadRegister(0x05188), "TSYNCRXCTL")
			}
		})
	}
}

// changeFilters changes filters and RSS until end is called.
func (r *rig) changeFilters() (end func()) {
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			_, err := r.port.SetFilters([]driver.Filter{{Family: 4, Protocol: protoUDP, DstPort: uint16(1 + n%9), Queue: n % 4}})
			if err = errors.Join(err, r.port.SetRSS(driver.RSS{})); err != nil {
				done <- err
				return
			}
		}
	}()
	return func() {
		close(stop)
		require.NoError(r.t, <-done)
	}
}

// pollUntil polls all queues until done.
func (r *rig) pollUntil(done func() bool) {
	r.t.Helper()
	frames := make([]ring.Frame, 64)
	check := deadline(r.t, 2*time.Minute)
	for last := time.Now(); ; {
		got := 0
		for _, q := range rxQueues(r.port) {
			got += q.Poll(frames)
			q.Release()
		}
		if got > 0 && time.Since(last) < 10*time.Millisecond {
			continue
		}
		last = time.Now()
		if done() {
			return
		}
		check("not done: %+v", r.nic.Stats())
		if got == 0 {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// Readers that do not poll keep a reset waiting. Stop, Start and Close do not wait for it.
func TestModelStopStartAndCloseDuringAReset(t *testing.T) {
	t.Parallel()
	events := &eventLog{}
	r := open(t, "gen,count=forever,rate=20kpps,size=60,fault=rxstall:20", driver.Hasty(driver.Config{RingSize: 64, OnEvent: events.add}))
	require.NoError(t, r.port.Start())
	events.wait(t, driver.Hung, 1)
	require.NoError(t, r.port.Stop())
	require.NoError(t, r.port.Start())
	require.Empty(t, events.texts(driver.Recovered))
	r.pollUntil(func() bool { return len(events.texts(driver.Recovered)) == 1 })
	require.Contains(t, events.texts(driver.Recovered)[0], "was reset")
	r.pollUntil(func() bool { return r.nic.Stats().Delivered > 1000 })

	events = &eventLog{}
	r = open(t, "gen,count=forever,rate=20kpps,size=60,fault=rxstall:20", driver.Hasty(driver.Config{RingSize: 64, OnEvent: events.add}))
	require.NoError(t, r.port.Start())
	events.wait(t, driver.Hung, 1)
	require.NoError(t, r.port.Close())
}

// A queue that is taken over drops the descriptors of a frame that the device has not
// completed, keeps those of complete frames, and continues at the index that it polls next.
func TestQueueIsTakenOverInTheMiddleOfAFrame(t *testing.T) {
	for _, overlong := range []bool{false, true} {
		r, q := newRing(t, drivertest.Options{Size: 16, MaxChain: 3, RefillBatch: 4})
		frames := make([]ring.Frame, 8)
		r.Fill(2, 60)
		require.Equal(t, 2, q.Poll(frames))
		q.Release() // not yet a batch
		r.Fill(1, 60)
		for range 2 {
			r.Complete(0, ring.RxDD.WithLength(2048))
		}
		next := 3
		if overlong { // its rest is being skipped
			r.Complete(0, ring.RxDD.WithLength(2048))
			next = 6
		}
		q.AskRestart()
		require.Equal(t, 1, q.Poll(frames), "a complete frame comes first")
		require.Zero(t, q.Poll(frames))
		at, parked := q.Parked()
		require.True(t, parked)
		require.EqualValues(t, next, at)
		q.Release()

		r.Restart(at)
		before, _ := r.Tail()
		enabled := q.EnableRestart()
		require.Zero(t, q.Poll(frames))
		require.True(t, enabled())
		tail, _ := r.Tail()
		require.GreaterOrEqual(t, tail, before)
		require.Equal(t, 10, min(r.Owned(), 10))
		sent := r.Fill(5, 60) // it panics unless the descriptors are refilled
		require.Equal(t, sent, q.Poll(frames))
		for i := range sent {
			require.EqualValues(t, 60, frames[i].Len)
			require.EqualValues(t, 3+i, number(&frames[i]))
		}
	}
}

// A transmit DMA that has stopped is reset: the ring is emptied, and what is sent afterwards
// reaches the wire. Frames are received all the time before and after.
func TestModelHungTransmitIsRecovered(t *testing.T) {
	t.Parallel()
	w := &testWire{open: true}
	events := &eventLog{}
	r := openWire(t, w, sim.Config{Faults: sim.Faults{TxHang: 3}}, driver.Hasty(driver.Config{RingSize: 64, TxQueues: 2, HeadWriteBack: true, OnEvent: events.add}))
	linkUp(t, r.port)
	q := r.port.TxQueue(0)
	frames := make([][]byte, 40)
	for i := range frames {
		frames[i] = make([]byte, 60)
		frames[i][0], frames[i][59] = 2, byte(i)
	}
	require.Equal(t, 40, q.Send(frames))
	check := deadline(t, time.Minute)
	for ; len(events.texts(driver.Recovered)) == 0; time.Sleep(time.Millisecond) {
		q.Pending()
		check("not recovered: %v", events.texts(driver.Hung))
	}
	require.Contains(t, events.texts(driver.Hung)[0], "the transmit DMA has stopped: packets are in the ring, and none is sent although the link is up")
	require.EqualValues(t, 37, q.Discarded())
	require.Len(t, w.sentFrames(), 3)
	linkUp(t, r.port)
	require.Equal(t, 5, q.Send(frames[:5]))
	require.Equal(t, 5, r.port.TxQueue(1).Send(frames[10:15]))
	for ; len(w.sentFrames()) < 13; time.Sleep(time.Millisecond) {
		q.Pending()
		r.port.TxQueue(1).Pending()
		check("not sent: %d", len(w.sentFrames()))
	}
	require.Zero(t, q.Pending()+r.port.TxQueue(1).Pending())
	s, err := r.port.Stats()
	require.NoError(t, err)
	require.EqualValues(t, 13, s.Sent)
}

func TestPendingRequestsEndByAFunctionLevelReset(t *testing.T) {
	r := open(t, "gen,count=1,fault=pending:1h", driver.Config{RingSize: 64})
	begin := time.Now()
	require.NoError(t, r.port.Close())
	require.Less(t, time.Since(begin), time.Minute)
	require.Zero(t, r.nic.ReadRegister(uint32(reg.CTRL_EXT.Offset)), "as after power-on")
}
