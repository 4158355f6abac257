package driver_test

import (
	"fmt"
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

func TestModelEvery82599Receives(t *testing.T) {
	for id, cage := range map[string]bool{
		"10fb": true, "1507": true, "1529": true, "154a": true, "154d": true, "1557": true,
		"10f7": false, "10f8": false, "10f9": false, "10fc": false, "1514": false, "1517": false, "152a": false, "154f": false,
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			r := open(t, "gen,size=60,count=500,backpressure,id="+id, driver.Config{Queues: 2, RingSize: 512})
			require.Equal(t, "8086:"+id, fmt.Sprint(r.dev.ID()))
			require.Contains(t, r.port.Model(), "82599")
			require.NoError(t, r.port.Start())
			require.Len(t, r.receive(), 500)
			require.Equal(t, driver.Link{Up: true, Speed: 10000}, r.port.Link())
			r.balance()
			m, err := r.port.Module()
			if cage {
				require.NoError(t, err)
				require.Equal(t, driver.Module10GSR, m.Kind)
				return
			}
			require.ErrorContains(t, err, r.port.Model()+" has no SFP+ cage")
			_, err = r.port.Diagnostics()
			require.ErrorContains(t, err, r.port.Model()+" has no SFP+ cage")
		})
	}
}

// others are the controllers that are no 82599.
var others = []string{"x540", "x550", "1560", "15d1"}

func eachOther(t *testing.T, test func(t *testing.T, id string)) {
	for _, id := range others {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			test(t, "id="+id)
		})
	}
}

func TestModelX540AndX550Receive(t *testing.T) {
	eachOther(t, func(t *testing.T, id string) {
		const options = "gen,size=60-9014,count=1000"
		all, err := wire.ParseOptions(options)
		require.NoError(t, err)
		want, err := wire.NewGenerator(all)
		require.NoError(t, err)
		r := open(t, options+",backpressure,"+id, driver.Config{RingSize: 256})
		require.NoError(t, r.port.Start())
		for i, f := range r.receive() {
			require.Equal(t, want.Append(nil, uint64(i)), f.data, "frame %d", i)
			require.Equal(t, ring.HasHash|ring.IPv4|ring.UDP|ring.IPChecked|ring.L4Checked, f.info)
		}
		s := r.balance()
		require.EqualValues(t, 1000, s.Wire)
		require.Equal(t, driver.Link{Up: true, Speed: 10000, Negotiated: true}, r.port.Link())
		c := r.port.Capabilities()
		require.Contains(t, r.port.Model(), c.Name)
		require.Equal(t, 384<<10, c.PacketBuffer)
		require.Equal(t, []int{10000, 1000, 100}, c.Speeds)
		_, err = r.port.Diagnostics()
		require.ErrorContains(t, err, "has no SFP+ cage")
		require.Equal(t, strings.Contains(r.port.Model(), "X550"), strings.Contains(r.port.Registers().String(), "ERETA[95]"))
	})
}

func TestModelX540AndX550OverrunsAreCounted(t *testing.T) {
	eachOther(t, func(t *testing.T, id string) {
		for queues, register := range map[int]string{1: "RXMPC", 2: "QPRDC"} {
			r := open(t, "gen,size=60,flows=100,count=20000,rate=5Mpps,"+id, driver.Config{RingSize: 64, Queues: queues})
			require.NoError(t, r.port.Start())
			require.Eventually(t, func() bool { return r.nic.Stats().Offered == 20000 }, testtime.Deadline, time.Millisecond)
			got := len(r.receive())
			s := r.balance()
			require.EqualValues(t, 20000, s.Wire)
			require.EqualValues(t, got, s.Received)
			require.Equal(t, s.Lost(), by(s.Missed, register))
			require.NotZero(t, s.Lost())
		}
	})
}

// The table of an X550 has 512 entries of 64 queues.
func TestModelX540AndX550SpreadFlows(t *testing.T) {
	for id, reached := range map[string]int{"x540": driver.MaxRSSQueues, "x550": 64} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			r := open(t, "gen,size=60,flows=2000,count=4000,rate=500kpps,backpressure,id="+id, driver.Config{
				Queues: driver.MaxQueues, RingSize: 128, RSS: driver.RSS{Key: &driver.MicrosoftKey}})
			require.NoError(t, r.port.Start())
			seen := map[int]bool{}
			for _, f := range r.receive() {
				hash := driver.MicrosoftKey.Hash(endpoints(f.data))
				require.Equal(t, hash, f.hash)
				require.Equal(t, r.port.RSS().QueueOf(hash), f.queue)
				seen[f.queue] = true
			}
			require.Len(t, seen, reached)
			r.balance()

			short := make([]int, driver.RSSTableSize)
			for i := range short {
				short[i] = i % 3
			}
			require.NoError(t, r.port.SetRSS(driver.RSS{Table: short}))
			require.Equal(t, 127%3, r.port.RSS().QueueOf(511), "a short table is used in turn")
			require.ErrorContains(t, r.port.SetRSS(driver.RSS{Table: make([]int, 256)}), "indirection table of 256 entries")
		})
	}
}

func TestModelX540AndX550NegotiateTheSpeed(t *testing.T) {
	for _, c := range []struct {
		peer  string
		speed int // Config.Speed
		want  int
	}{
		{"10g", 0, 10000}, {"1g", 0, 1000}, {"100m", 0, 100}, {"10g", 1000, 1000}, {"1g", 10000, 0},
	} {
		eachOther(t, func(t *testing.T, id string) {
			r := open(t, "gen,count=1,linkdelay=1ms,peer="+c.peer+","+id, driver.Config{RingSize: 64, Speed: c.speed})
			if c.want == 0 {
				time.Sleep(20 * time.Millisecond)
				require.False(t, r.port.Link().Up)
				return
			}
			require.Equal(t, driver.Link{Up: true, Speed: c.want, Negotiated: true}, linkUp(t, r.port))
		})
	}
}

func TestModelX540AndX550Send(t *testing.T) {
	for _, id := range []uint16{0x1528, 0x1563} {
		w := &testWire{open: true}
		r := openWire(t, w, sim.Config{ID: id}, driver.Config{RingSize: 64, TxQueues: 1, TxRingSize: 64})
		require.Equal(t, 5, r.port.TxQueue(0).Send(make5()))
		require.Eventually(t, func() bool { return len(w.sentFrames()) == 5 }, testtime.Deadline, time.Millisecond)
		require.Equal(t, make5(), w.sentFrames())
		s, err := r.port.Stats()
		require.NoError(t, err)
		require.EqualValues(t, 5, s.Sent)
	}
}

// Start, stop, close and open again; a link that flaps; semaphores that are given back.
func TestModelX540AndX550CyclesLeaveNothingBehind(t *testing.T) {
	eachOther(t, func(t *testing.T, id string) {
		dev, err := sim.Open("gen,size=60,rate=100kpps,fault=flap:60ms,linkdelay=5ms," + id)
		require.NoError(t, err)
		defer func() { require.NoError(t, dev.Close()) }()
		for range 3 {
			flaps := make(chan driver.Event, 100)
			p, err := driver.Open(dev, driver.Config{Queues: 2, RingSize: 64, OnEvent: func(e driver.Event) { flaps <- e }})
			require.NoError(t, err)
			require.NoError(t, p.Start())
			frames := make([]ring.Frame, 64)
			poll := func() (n int) {
				for _, q := range rxQueues(p) {
					n += q.Poll(frames)
					q.Release()
				}
				return n
			}
			require.Eventually(t, func() bool { return poll() > 0 }, testtime.Deadline, time.Millisecond)
			require.NoError(t, p.Stop())
			require.Eventually(t, func() bool { poll(); return p.Drained() }, testtime.Deadline, time.Millisecond)
			require.NoError(t, p.Start())
			require.Eventually(t, func() bool { return poll() > 0 }, testtime.Deadline, time.Millisecond)
			for down := false; !down; {
				e := <-flaps
				down = e.Kind == driver.LinkChanged && !e.Link.Up
			}
			require.NoError(t, p.Close())
			const swFwSync = 0x10160
			require.Zero(t, dev.NIC().ReadRegister(swFwSync), "nothing is held")
			dev.NIC().WriteRegister(swFwSync, 0)
		}
	})
}

func TestModelX540AndX550NVMIsChecked(t *testing.T) {
	eachOther(t, func(t *testing.T, id string) {
		dev, err := sim.Open("gen,count=1,fault=eeprom-checksum," + id)
		require.NoError(t, err)
		defer func() { require.NoError(t, dev.Close()) }()
		_, err = driver.Open(dev, driver.Config{RingSize: 64})
		require.ErrorContains(t, err, "the EEPROM is damaged")
		p, err := driver.Open(dev, driver.Config{RingSize: 64, SkipEEPROMCheck: true})
		require.NoError(t, err)
		require.NoError(t, p.Close())
	})
}

func TestModelX540AndX550SayThatTheyAreTooHot(t *testing.T) {
	eachOther(t, func(t *testing.T, id string) {
		events := make(chan driver.Event, 10)
		r := open(t, "gen,count=1,"+id, driver.Config{RingSize: 64, OnEvent: func(e driver.Event) { events <- e }})
		linkUp(t, r.port)
		const eics, ts, sdp0 = 0x808, 1 << 23, 1 << 24
		r.nic.WriteRegister(eics, ts|sdp0)
		e := <-events
		for e.Kind == driver.LinkChanged {
			e = <-events
		}
		require.Equal(t, driver.Overheated, e.Kind)
		require.Contains(t, e.Text, "(EICR.TS)")
	})
}

func TestX540AndX550RefuseVirtualFunctions(t *testing.T) {
	dev, err := sim.Open("gen,count=1,id=x540")
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	_, err = driver.Open(dev, driver.Config{VFs: make([]driver.VF, 2)})
	require.ErrorContains(t, err, "of an X540: not supported")
}

func TestSemaphoresOfADeadDriverOfAnX540AreAcquired(t *testing.T) {
	t.Parallel()
	dev, err := sim.Open("gen,count=1,id=x540")
	require.NoError(t, err)
	const swsm, swFwSync = 0x10140, 0x10160
	dev.NIC().ReadRegister(swsm)     // acquires SMBI
	dev.NIC().ReadRegister(swFwSync) // acquires REGSMP
	dev.NIC().WriteRegister(swFwSync, 1<<31|1)
	openDevice(t, dev, driver.Config{RingSize: 64})
	require.Zero(t, dev.NIC().ReadRegister(swFwSync))
}
