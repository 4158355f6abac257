package driver_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
)

// eventLog collects the events of a port.
type eventLog struct {
	mu  sync.Mutex
	all []driver.Event
}

func (d *eventLog) add(e driver.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, e)
}

// texts returns the texts of the events of a kind.
func (d *eventLog) texts(kind driver.EventKind) (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.all {
		if e.Kind == kind {
			all = append(all, e.Text)
		}
	}
	return all
}

func (d *eventLog) wait(t *testing.T, kind driver.EventKind, n int) []string {
	t.Helper()
	require.Eventually(t, func() bool { return len(d.texts(kind)) >= n }, testtime.Deadline, time.Millisecond, "%d events of kind %d", n, kind)
	return d.texts(kind)
}

func TestInterruptsAreRoutedAsInTheDatasheet(t *testing.T) {
	fds, _ := handles(t)
	d := drivertest.NewDevice()
	d.MSIX = 64
	p, err := driver.Open(d, driver.Config{Queues: 3, RingSize: 64, Interrupts: driver.QueueInterrupts})
	require.NoError(t, err)
	require.Equal(t, 4, d.Connected())
	require.Equal(t, uint32(1<<31|1<<30|1<<5|1<<4|1<<2|1<<1), d.Value(reg.GPIE))
	require.Equal(t, uint32(0x0081_0080), d.Value(reg.IVAR(0)))
	require.Equal(t, uint32(0x82), d.Value(reg.IVAR(1)))
	require.Equal(t, uint32(0x8300), d.Value(reg.IVAR_MISC))
	require.Equal(t, uint32(0xffff), d.Value(reg.EIAC))
	require.Equal(t, ^uint32(0), d.Value(reg.EIAM_EX(1)))
	require.Equal(t, uint32(1<<31|1<<3), d.Value(reg.EITR(2)), "2 us, half a ring of 64 frames")
	require.False(t, d.Armed(0), "no reader sleeps yet")
	require.Contains(t, p.Registers().String(), "IVAR[1]")

	q := p.RxQueue(1)
	go func() {
		for !d.Armed(1) {
			time.Sleep(100 * time.Microsecond)
		}
		d.Raise(1)
	}()
	require.True(t, q.Sleep(time.Minute))
	require.EqualValues(t, 1, q.SleepStats().Interrupts)
	require.False(t, d.Armed(1), "it masks itself")
	require.NoError(t, p.Close())
	require.Zero(t, d.Connected())
	now, _ := handles(t)
	require.Equal(t, fds, now)
}

func TestSharedVectorWakesAllItsQueues(t *testing.T) {
	d := drivertest.NewDevice()
	d.MSIX = 1
	events := &eventLog{}
	p, err := driver.Open(d, driver.Config{Queues: 2, RingSize: 64, Interrupts: driver.QueueInterrupts, OnEvent: events.add})
	require.NoError(t, err)
	done := make(chan bool, 2)
	for i := range 2 {
		go func() { done <- p.RxQueue(i).Sleep(time.Minute) }()
	}
	require.Eventually(t, func() bool {
		return p.RxQueue(0).SleepStats().Sleeps == 1 && p.RxQueue(1).SleepStats().Sleeps == 1
	}, testtime.Deadline, time.Millisecond)
	d.Raise(0)
	require.True(t, <-done)
	require.True(t, <-done)
	// Causes other than queues use the same vector.
	events.wait(t, driver.LinkChanged, 1)
	d.Set(reg.LINKS, 0)
	d.RaiseOther(reg.EICR_LSC.Mask())
	require.Equal(t, []string{"link up at 10000 Mb/s", "link down"}, events.wait(t, driver.LinkChanged, 2))
	require.Empty(t, events.texts(driver.VectorDead))
	require.NoError(t, p.Close())
}

func TestDeviceWithoutMSIXIsPolledOrRefused(t *testing.T) {
	d := drivertest.NewDevice()
	_, err := driver.Open(d, driver.Config{RingSize: 64, Interrupts: driver.QueueInterrupts})
	require.ErrorContains(t, err, "open fake:82599: connect interrupts: the device has no MSI-X vectors")
	require.NotContains(t, err.Error(), "\n")
	require.Zero(t, d.Mapper.Mapped())
	for _, how := range []driver.Interrupts{driver.LinkInterrupts, driver.NoInterrupts} {
		d := drivertest.NewDevice()
		events := &eventLog{}
		p, err := driver.Open(d, driver.Config{RingSize: 64, Interrupts: how, OnEvent: events.add})
		require.NoError(t, err)
		require.False(t, p.RxQueue(0).CanSleep())
		events.wait(t, driver.LinkChanged, 1)
		d.Set(reg.LINKS, 0)
		require.Equal(t, "link down", events.wait(t, driver.LinkChanged, 2)[1], "read once a second")
		s, err := p.Stats()
		require.NoError(t, err)
		require.EqualValues(t, 1, s.LinkDowns)
		require.NoError(t, p.Close())
	}
	_, err = driver.Open(drivertest.NewDevice(), driver.Config{Interrupts: 9})
	require.ErrorContains(t, err, "interrupts 9: want LinkInterrupts")
}

func TestFailingToConnectLeavesNothingBehind(t *testing.T) {
	fds, maps := handles(t)
	d := drivertest.NewDevice()
	d.MSIX = 64
	d.VectorErr = errors.New("no room for interrupts")
	_, err := driver.Open(d, driver.Config{RingSize: 64})
	require.ErrorIs(t, err, d.VectorErr)
	require.ErrorContains(t, err, "connect 1 MSI-X vectors (Config.Interrupts = NoInterrupts does without)")
	f, m := handles(t)
	require.Equal(t, [2]int{fds, maps}, [2]int{f, m})
	require.Zero(t, d.Mapper.Mapped())
	p, err := driver.Open(d, driver.Config{RingSize: 64, Interrupts: driver.NoInterrupts})
	require.NoError(t, err)
	require.NoError(t, p.Close())
}

func TestDeadVectorsAreReportedByNumber(t *testing.T) {
	d := drivertest.NewDevice()
	d.MSIX = 64
	d.Dead[1], d.Dead[2] = true, true
	events := &eventLog{}
	p, err := driver.Open(d, driver.Config{Queues: 2, RingSize: 64, Interrupts: driver.QueueInterrupts, OnEvent: events.add})
	require.NoError(t, err)
	require.Contains(t, events.wait(t, driver.VectorDead, 2)[0], "MSI-X vector 1 (receive queue 1) is dead: it never fired")
	require.Contains(t, events.wait(t, driver.VectorDead, 2)[1], "MSI-X vector 2 (link changes) is dead: it never fired")
	begin := time.Now()
	require.True(t, p.RxQueue(1).Sleep(time.Minute), "limited")
	require.Less(t, time.Since(begin), 30*time.Second)
	require.NoError(t, p.Close())
}

func TestFaultsOfTheDeviceAreReported(t *testing.T) {
	d := drivertest.NewDevice()
	d.MSIX = 64
	d.Identity.Device = 0x151c // has a temperature sensor
	events := &eventLog{}
	p, err := driver.Open(d, driver.Config{RingSize: 64, OnEvent: events.add})
	require.NoError(t, err)
	events.wait(t, driver.LinkChanged, 1)
	for range 2 {
		d.RaiseOther(reg.EICR_ECC.Mask() | reg.EICR_GPI_SDP0.Mask())
		time.Sleep(10 * time.Millisecond)
	}
	require.Contains(t, events.wait(t, driver.MemoryError, 2)[0], "EICR.ECC")
	require.Contains(t, events.wait(t, driver.Overheated, 2)[0], "EICR.GPI_SDP0")
	_, err = p.Module()
	require.ErrorContains(t, err, "has no SFP+ cage")
	require.NoError(t, p.Close())
}

func TestModelLinkFlapsAreReported(t *testing.T) {
	events := &eventLog{}
	r := open(t, "gen,size=60,count=100,rate=1kpps,fault=flap:50ms", driver.Config{RingSize: 64, OnEvent: events.add})
	require.NoError(t, r.port.Start())
	all := events.wait(t, driver.LinkChanged, 5)
	for i, text := range all {
		require.Equal(t, []string{"link up at 10000 Mb/s", "link down"}[i%2], text)
	}
	s, err := r.port.Stats()
	require.NoError(t, err)
	require.NotZero(t, s.LinkDowns)
	require.Empty(t, events.texts(driver.VectorDead))
}

// Plugging in a module raises SDP2, as a store to EICS does.
func TestModelModuleThatIsPluggedInIsReportedAndSetUp(t *testing.T) {
	events := &eventLog{}
	r := open(t, "gen,count=1,backpressure,sfp=lr", driver.Config{RingSize: 64, OnEvent: events.add})
	events.wait(t, driver.LinkChanged, 1)
	bar, err := r.dev.BAR(0)
	require.NoError(t, err)
	bar.Store32(0x00808, 1<<26)
	require.Equal(t, "module plugged in: 10GBASE-LR (ixcap model SOFTWARE SFP+)", events.wait(t, driver.ModuleChanged, 1)[0])
	require.Equal(t, []string{"link up at 10000 Mb/s", "link down", "link up at 10000 Mb/s"}, events.wait(t, driver.LinkChanged, 3),
		"the link was set up again: told even if it was down for a shorter time than a reading takes")
}

// receiveAsleep receives n frames from queue i and sleeps between them, as a capture does.
func receiveAsleep(t *testing.T, p *driver.Port, i, n int, each func(*ring.Frame)) (polls int) {
	t.Helper()
	frames := make([]ring.Frame, 64)
	q := p.RxQueue(i)
	for check := deadline(t, 60*time.Second); n > 0; {
		k := q.Poll(frames)
		for j := range frames[:k] {
			each(&frames[j])
		}
		q.Release()
		n -= k
		if polls++; k == 0 {
			q.Sleep(50 * time.Millisecond)
			check("%d frames have not arrived: %+v", n, q.SleepStats())
		}
	}
	return polls
}

func TestModelFramesWakeASleepingQueue(t *testing.T) {
	for _, queues := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d queues", queues), func(t *testing.T) {
			events := &eventLog{}
			r := open(t, "gen,size=60,flows=100,count=4000,rate=20kpps,backpressure",
				driver.Config{Queues: queues, RingSize: 512, Interrupts: driver.QueueInterrupts, OnEvent: events.add})
			require.NoError(t, r.port.Start())
			if queues == 1 {
				n := 0
				receiveAsleep(t, r.port, 0, 4000, func(*ring.Frame) { n++ })
				require.Equal(t, 4000, n)
				require.NotZero(t, r.port.RxQueue(0).SleepStats().Interrupts)
			} else {
				require.Len(t, r.receive(), 4000)
			}
			s := r.balance()
			require.Zero(t, s.Lost())
			require.Empty(t, events.texts(driver.VectorDead))
		})
	}
}

func TestModelIdleQueueSleeps(t *testing.T) {
	w := &testWire{open: true}
	r := openWire(t, w, sim.Config{}, driver.Config{Interrupts: driver.QueueInterrupts})
	require.NoError(t, r.port.Start())
	frames := make([]ring.Frame, 64)
	q := r.port.RxQueue(0)
	polls := 0
	for end := time.Now().Add(time.Second); time.Now().Before(end); polls++ {
		require.Zero(t, q.Poll(frames))
		q.Sleep(50 * time.Millisecond)
	}
	// 20 sleeps of 50 ms; the Go runtime's signals may cut some short.
	require.Less(t, polls, 500, "%+v", q.SleepStats())

	// A burst at line rate after that: the wire waits for the port, so no frame may be lost.
	burst := make([][]byte, 50_000)
	one := udpFrame(t, false, false, false)
	for i := range burst {
		burst[i] = one
	}
	w.mu.Lock()
	w.frames = burst
	w.mu.Unlock()
	n := 0
	receiveAsleep(t, r.port, 0, len(burst), func(*ring.Frame) { n++ })
	require.Equal(t, len(burst), n)
	s := r.balance()
	require.Zero(t, s.Lost())
}

func TestModelModuleIsIdentified(t *testing.T) {
	for sfp, want := range map[string]driver.ModuleKind{
		"sr": driver.Module10GSR, "lr": driver.Module10GLR, "da": driver.ModulePassiveDA, "sx": driver.Module1GSX, "none": driver.NoModule,
	} {
		t.Run(sfp, func(t *testing.T) {
			events := &eventLog{}
			r := open(t, "gen,count=1,backpressure,sfp="+sfp, driver.Config{RingSize: 64, OnEvent: events.add})
			m, err := r.port.Module()
			require.Equal(t, want, m.Kind)
			if sfp == "none" {
				require.ErrorContains(t, err, "no module answers in the cage")
				require.Contains(t, events.wait(t, driver.LinkChanged, 1)[0], "link down")
				return
			}
			require.NoError(t, err)
			require.Equal(t, "ixcap model", m.Vendor)
			require.Equal(t, "SOFTWARE SFP+", m.Part)
			require.Equal(t, [3]byte{0x00, 0x1b, 0x21}, m.OUI)
			require.Contains(t, m.String(), "(ixcap model SOFTWARE SFP+)")
			l, err := r.port.WaitLink(t.Context())
			require.NoError(t, err)
			speed := 10000
			if sfp == "sx" {
				speed = 1000
			}
			require.Equal(t, speed, l.Speed, "that of the module")
			require.Empty(t, events.texts(driver.ModuleUnsupported))
		})
	}
}
