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
	"github.com/ixcap/ixcap/ring"
)

// sleepRig is a ring whose queue can sleep.
type sleepRig struct {
	*drivertest.Ring
	q    *driver.RxQueue
	regs *stores
	fire func()
	told atomic.Int32
}

// stores remembers what was stored to which register last.
type stores struct {
	drivertest.Register
	mu   sync.Mutex
	last map[uint32]uint32
	arms int
	hook func(off uint32)
}

func (s *stores) Store32(off, v uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[off] = v
	if off == uint32(reg.EIMS_EX(0).Offset) {
		s.arms++
	}
	if s.hook != nil {
		s.hook(off)
	}
}

func newSleepRig(t testing.TB, size int) *sleepRig {
	t.Helper()
	r, q := newRing(t, drivertest.Options{Size: size})
	s := &sleepRig{Ring: r, q: q, regs: &stores{last: map[uint32]uint32{}}}
	fire, free, err := q.ConnectForTest(s.regs, 2, func() { s.told.Add(1) })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, free()) })
	s.fire = fire
	return s
}

const far = time.Minute

func (s *sleepRig) take(frames []ring.Frame) int {
	n := s.q.Poll(frames)
	s.q.Release()
	return n
}

func TestSleepArmsTheVectorAndEndsWithItsInterrupt(t *testing.T) {
	s := newSleepRig(t, 64)
	require.True(t, s.q.CanSleep())
	s.regs.hook = func(off uint32) {
		if off == uint32(reg.EIMS_EX(0).Offset) {
			s.fire()
		}
	}
	require.True(t, s.q.Sleep(far))
	require.Equal(t, uint32(1<<2), s.regs.last[uint32(reg.EIMS_EX(0).Offset)])
	require.NotZero(t, reg.EITR_CNT_WDIS.Of(s.regs.last[uint32(reg.EITR(2).Offset)]))
	require.Equal(t, driver.SleepStats{Sleeps: 1, Interrupts: 1}, s.q.SleepStats())
}

func TestFrameThatComesBetweenPollAndArmingIsNotSleptOver(t *testing.T) {
	s := newSleepRig(t, 64)
	frames := make([]ring.Frame, 8)
	require.Zero(t, s.take(frames))
	s.regs.hook = func(off uint32) {
		if off == uint32(reg.EIMS_EX(0).Offset) {
			s.Fill(1, 60) // it arrives just now, and no interrupt follows
		}
	}
	require.False(t, s.q.Sleep(far), "the look after arming sees it")
	require.Equal(t, 1, s.take(frames))
}

func TestWakeEndsASleepAtOnceAndTheNextOneIfNobodySleeps(t *testing.T) {
	s := newSleepRig(t, 64)
	s.q.Wake()
	require.False(t, s.q.Sleep(far), "nobody slept yet")
	done := make(chan bool)
	go func() { done <- s.q.Sleep(far) }()
	for {
		s.regs.mu.Lock()
		armed := s.regs.arms >= 2
		s.regs.mu.Unlock()
		if armed {
			break
		}
		runtime.Gosched()
	}
	s.q.Wake()
	<-done
	require.Zero(t, s.q.SleepStats().Interrupts, "a wake is no interrupt")
}

func TestSleepIsBoundedAndFindsFramesWithoutInterrupts(t *testing.T) {
	s := newSleepRig(t, 64)
	frames := make([]ring.Frame, 8)
	for round := 0; round < 100 && s.told.Load() == 0; round++ {
		// Frames come while it sleeps, and the vector stays silent.
		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(5 * time.Millisecond)
			s.Fill(1, 60)
		}()
		require.True(t, s.q.Sleep(20*time.Millisecond))
		<-done
		require.Equal(t, 1, s.take(frames))
	}
	require.EqualValues(t, 1, s.told.Load(), "told once")
	require.GreaterOrEqual(t, s.q.SleepStats().Late, uint64(3))
	arms := s.regs.arms
	begin := time.Now()
	require.True(t, s.q.Sleep(far), "a nap from now on")
	require.Less(t, time.Since(begin), 30*time.Second)
	require.Equal(t, arms, s.regs.arms, "and nothing is armed")
	s.q.Wake()
	require.True(t, s.q.Sleep(far))
	require.EqualValues(t, 1, s.told.Load())
}

func TestLoadIsPolledNotSleptThrough(t *testing.T) {
	s := newSleepRig(t, 64) // full within 4 us at line rate
	frames := make([]ring.Frame, 64)
	polled := false
	for end := time.Now().Add(60 * time.Second); !polled && time.Now().Before(end); {
		// As much as fits, again and again: more than a ring a millisecond.
		for range 1000 {
			s.Fill(60, 60)
			s.take(frames)
		}
		arms := s.regs.arms
		if !s.q.Sleep(time.Microsecond) && s.regs.arms == arms {
			polled = true
		}
	}
	require.True(t, polled, "Sleep declines under load")
	require.Eventually(t, func() bool { return s.q.Sleep(time.Microsecond) }, 30*time.Second, time.Microsecond, "not for long after it")
}

func TestSleepAndWakeDoNotAllocate(t *testing.T) {
	s := newSleepRig(t, 64)
	var quiet drivertest.Register
	_, free, err := s.q.ConnectForTest(&quiet, 2, func() {})
	require.NoError(t, err)
	defer func() { require.NoError(t, free()) }()
	frames := make([]ring.Frame, 8)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		s.Fill(3, 60)
		if s.take(frames) != 3 {
			t.Error("frames lost")
		}
		s.q.Sleep(10 * time.Microsecond)
		s.q.Wake()
		s.q.Sleep(far)
	}))
}

func TestQueueWithoutInterruptsDoesNotSleep(t *testing.T) {
	_, q := newRing(t, drivertest.Options{Size: 64})
	require.False(t, q.CanSleep())
	require.False(t, q.Sleep(far))
	q.Wake()
	require.Zero(t, q.SleepStats())
}

func TestModerationFollowsTheRateAndNeverOutlastsTheRing(t *testing.T) {
	const us = time.Microsecond
	for _, c := range []struct {
		ring               int
		rate               uint64
		interval, patience time.Duration
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
		interval, patience := driver.NewModeration(c.ring).At(c.rate)
		require.InDelta(t, float64(c.interval), float64(interval), 2100, "ring %d at %d/s", c.ring, c.rate)
		require.LessOrEqual(t, interval, time.Duration(c.ring)*67*time.Nanosecond/2)
		require.Equal(t, c.patience, patience, "ring %d at %d/s", c.ring, c.rate)
	}
	m := driver.NewModeration(4096)
	require.Zero(t, m.Measure(500*us, 100), "no window has passed")
	require.EqualValues(t, 100_000, m.Measure(2000*us, 200))
	require.EqualValues(t, 100_000, m.Measure(2500*us, 9999))
	require.EqualValues(t, 1_000_000, m.Measure(3000*us, 1200))
	hour := 3000*us + time.Hour
	require.EqualValues(t, 14_000_000, m.Measure(hour, 1200+3600*14_000_000), "an hour without an empty poll")
}

func TestVectorsAreSharedWhenThereAreTooFew(t *testing.T) {
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
