package driver_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

// sleepRig is a ring whose queue can sleep.
type sleepRig struct {
	*drivertest.Ring
	q    *driver.RxQueue
	regs *stores
	fire func()
	dead atomic.Int32 // reports of a dead vector
}

// stores keeps the last value stored to each register.
type stores struct {
	drivertest.Register
	mu      sync.Mutex
	last    map[uint32]uint32
	enabled int // stores to EIMS_EX
	hook    func(off uint32)
}

func (s *stores) Store32(off, v uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[off] = v
	if off == uint32(reg.EIMS_EX(0).Offset) {
		s.enabled++
	}
	if s.hook != nil {
		s.hook(off)
	}
}

func newSleepRig(t testing.TB, size int) *sleepRig {
	t.Helper()
	r, q := newRing(t, drivertest.Options{Size: size})
	s := &sleepRig{Ring: r, q: q, regs: &stores{last: map[uint32]uint32{}}}
	fire, free, err := q.ConnectForTest(s.regs, 2, func() { s.dead.Add(1) })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, free()) })
	s.fire = fire
	return s
}

const long = time.Minute

func (s *sleepRig) pollOnce(frames []ring.Frame) int {
	n := s.q.Poll(frames)
	s.q.Release()
	return n
}

func TestSleepEnablesTheVectorAndEndsWithItsInterrupt(t *testing.T) {
	s := newSleepRig(t, 64)
	require.True(t, s.q.CanSleep())
	s.regs.hook = func(off uint32) {
		if off == uint32(reg.EIMS_EX(0).Offset) {
			s.fire()
		}
	}
	require.True(t, s.q.Sleep(long))
	require.Equal(t, uint32(1<<2), s.regs.last[uint32(reg.EIMS_EX(0).Offset)])
	require.NotZero(t, reg.EITR_CNT_WDIS.Of(s.regs.last[uint32(reg.EITR(2).Offset)]))
	require.Equal(t, driver.SleepStats{Sleeps: 1, Interrupts: 1}, s.q.SleepStats())
}

func TestFrameBetweenPollAndEnablingIsNotMissed(t *testing.T) {
	s := newSleepRig(t, 64)
	frames := make([]ring.Frame, 8)
	require.Zero(t, s.pollOnce(frames))
	s.regs.hook = func(off uint32) {
		if off == uint32(reg.EIMS_EX(0).Offset) {
			s.Fill(1, 60) // arrives now, without an interrupt
		}
	}
	require.False(t, s.q.Sleep(long), "the load of DD after enabling sees it")
	require.Equal(t, 1, s.pollOnce(frames))
}

func TestWakeEndsTheCurrentOrTheNextSleep(t *testing.T) {
	s := newSleepRig(t, 64)
	s.q.Wake()
	require.False(t, s.q.Sleep(long), "Wake before Sleep")
	done := make(chan bool)
	go func() { done <- s.q.Sleep(long) }()
	for {
		s.regs.mu.Lock()
		enabled := s.regs.enabled >= 2
		s.regs.mu.Unlock()
		if enabled {
			break
		}
		runtime.Gosched()
	}
	s.q.Wake()
	<-done
	require.Zero(t, s.q.SleepStats().Interrupts, "Wake is no interrupt")
}

func TestSleepIsBoundedWithADeadVector(t *testing.T) {
	s := newSleepRig(t, 64)
	frames := make([]ring.Frame, 8)
	for round := 0; round < 100 && s.dead.Load() == 0; round++ {
		// Frames arrive while it sleeps, and the vector does not fire.
		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(5 * time.Millisecond)
			s.Fill(1, 60)
		}()
		require.True(t, s.q.Sleep(20*time.Millisecond))
		<-done
		require.Equal(t, 1, s.pollOnce(frames))
	}
	require.EqualValues(t, 1, s.dead.Load(), "reported once")
	require.GreaterOrEqual(t, s.q.SleepStats().Missed, uint64(3))
	before := s.regs.enabled
	begin := time.Now()
	require.True(t, s.q.Sleep(long), "limited from now on")
	require.Less(t, time.Since(begin), 30*time.Second)
	require.Equal(t, before, s.regs.enabled, "the vector is not enabled")
	s.q.Wake()
	require.True(t, s.q.Sleep(long))
	require.EqualValues(t, 1, s.dead.Load())
}

func TestQueueUnderLoadIsPolled(t *testing.T) {
	s := newSleepRig(t, 64) // full within 4 us at line rate
	frames := make([]ring.Frame, 64)
	polled := false
	for check := deadline(t, 60*time.Second); !polled; check("Sleep does not decline under load") {
		// More than a ring in a millisecond.
		for range 1000 {
			s.Fill(60, 60)
			s.pollOnce(frames)
		}
		before := s.regs.enabled
		if !s.q.Sleep(time.Microsecond) && s.regs.enabled == before {
			polled = true
		}
	}
	require.Eventually(t, func() bool { return s.q.Sleep(time.Microsecond) }, testtime.Deadline, time.Microsecond, "it sleeps soon after the load")
}

func TestSleepAndWakeDoNotAllocate(t *testing.T) {
	s := newSleepRig(t, 64)
	var ignored drivertest.Register
	_, free, err := s.q.ConnectForTest(&ignored, 2, func() {})
	require.NoError(t, err)
	defer func() { require.NoError(t, free()) }()
	frames := make([]ring.Frame, 8)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		s.Fill(3, 60)
		if s.pollOnce(frames) != 3 {
			t.Error("frames lost")
		}
		s.q.Sleep(10 * time.Microsecond)
		s.q.Wake()
		s.q.Sleep(long)
	}))
}

func TestQueueWithoutInterruptsDoesNotSleep(t *testing.T) {
	_, q := newRing(t, drivertest.Options{Size: 64})
	require.False(t, q.CanSleep())
	require.False(t, q.Sleep(long))
	q.Wake()
	require.Zero(t, q.SleepStats())
}

func TestModerationFollowsTheRateWithinTheRing(t *testing.T) {
	const us = time.Microsecond
	for _, c := range []struct {
		ring            int
		rate            uint64
		interval, quiet time.Duration
	}{
		{4096, 0, 10 * us, 0},
		{4096, 5_000, 10 * us, 0},
		{4096, 50_000, 63 * us, 0},
		{4096, 100_000, 126 * us, 0},
		{4096, 4_000_000, 126 * us, 0},
		{4096, 5_000_000, 126 * us, 100 * us},
		{512, 0, 10 * us, 0},
		{512, 400_000, 17 * us, 0}, // half of 512 x 67 ns
		{512, 600_000, 17 * us, 100 * us},
		{8, 0, 0, 0},
		{8, 14_880_000, 0, 100 * us},
	} {
		interval, quiet := driver.NewModeration(c.ring).At(c.rate)
		require.InDelta(t, float64(c.interval), float64(interval), 2100, "ring %d at %d/s", c.ring, c.rate)
		require.LessOrEqual(t, interval, time.Duration(c.ring)*67*time.Nanosecond/2)
		require.Equal(t, c.quiet, quiet, "ring %d at %d/s", c.ring, c.rate)
	}
	m := driver.NewModeration(4096)
	require.Zero(t, m.Measure(500*us, 100), "shorter than a window")
	require.EqualValues(t, 100_000, m.Measure(2000*us, 200))
	require.EqualValues(t, 100_000, m.Measure(2500*us, 9999))
	require.EqualValues(t, 1_000_000, m.Measure(3000*us, 1200))
	hour := 3000*us + time.Hour
	require.EqualValues(t, 14_000_000, m.Measure(hour, 1200+3600*14_000_000), "an hour without an empty poll")
}

func TestVectorsAreSharedIfThereAreTooFew(t *testing.T) {
	for _, c := range []struct {
		have, queues int
		queue        []int
		other, used  int
	}{
		{64, 0, nil, 0, 1},
		{64, 3, []int{0, 1, 2}, 3, 4},
		{4, 3, []int{0, 1, 2}, 3, 4},
		{3, 3, []int{0, 1, 0}, 2, 3},
		{2, 3, []int{0, 0, 0}, 1, 2},
		{1, 3, []int{0, 0, 0}, 0, 1},
	} {
		queue, other, used := driver.Assign(c.have, c.queues)
		require.Equal(t, c.queue, queue)
		require.Equal(t, c.other, other)
		require.Equal(t, c.used, used)
	}
}
