package driver_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/sim"
)

func TestModelSendsTheFramesOfTheQueues(t *testing.T) {
	w := &testWire{open: true}
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64, TxQueues: 2, TxRingSize: 64})
	rnd := rand.New(rand.NewPCG(3, 4))
	want := map[string]int{}
	bytesSent := 0
	for i := range 2000 {
		f := make([]byte, 1+rnd.IntN([]int{80, 1514, 15868}[rnd.IntN(3)]))
		for j := range f {
			f[j] = byte(rnd.Uint32())
		}
		q := r.port.TxQueue(i % 2)
		require.Eventually(t, func() bool { return q.Send([][]byte{f}) == 1 }, testtime.Deadline, 10*time.Microsecond)
		padded := append(bytes.Clone(f), make([]byte, max(0, 60-len(f)))...)
		want[string(padded)]++
		bytesSent += len(padded)
	}
	require.Eventually(t, func() bool { return r.port.TxQueue(0).Pending()+r.port.TxQueue(1).Pending() == 0 }, testtime.Deadline, time.Millisecond)
	// A descriptor is done once its frame was fetched; the wire gets it later.
	require.Eventually(t, func() bool { return len(w.sentFrames()) == 2000 }, testtime.Deadline, time.Millisecond)
	for _, f := range w.sentFrames() {
		want[string(f)]--
	}
	for f, n := range want {
		require.Zero(t, n, "%d bytes %x...", len(f), f[:20])
	}
	s, err := r.port.Stats()
	require.NoError(t, err)
	require.EqualValues(t, 2000, s.Sent)
	require.Equal(t, []uint64{1000, 1000}, s.SentQueue)
	require.Zero(t, r.nic.Stats().Faults, r.nic.Stats().LastFault)
}

func TestModelLinkGoesUpAndDownWithTheWire(t *testing.T) {
	w := &testWire{open: true}
	w.down.Store(true)
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64})
	require.Equal(t, "down", r.port.Link().String())
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err := r.port.WaitLink(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "wait for the link of sim:test: LINKS 0x")
	w.down.Store(false)
	long, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, err := r.port.WaitLink(long)
	require.NoError(t, err)
	require.Equal(t, driver.Link{Up: true, Speed: 10000}, l)
	require.Equal(t, "up at 10000 Mb/s", l.String())
	w.down.Store(true)
	require.Eventually(t, func() bool { return !r.port.Link().Up }, testtime.Deadline, time.Millisecond)
}

func TestModelAddressComesFromTheEEPROM(t *testing.T) {
	mac := [6]byte{0x02, 0, 0, 0xaa, 0xbb, 0xcc}
	r := openWire(t, &testWire{open: true}, sim.Config{MAC: mac}, driver.Config{RingSize: 64})
	require.Equal(t, mac[:], []byte(r.port.MAC()))
	require.Contains(t, r.port.Registers().String(), "RETA[31]")
}

func TestModelCloseEndsWithALinkThatIsDownAndFramesUnsent(t *testing.T) {
	w := &testWire{open: true}
	w.down.Store(true)
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64, TxQueues: 1, TxRingSize: 64})
	require.Equal(t, 5, r.port.TxQueue(0).Send(make5()))
	begin := time.Now()
	require.NoError(t, r.port.Close())
	require.Less(t, time.Since(begin), 30*time.Second)
}

func make5() (f [][]byte) {
	for range 5 {
		f = append(f, make([]byte, 60))
	}
	return f
}

func TestSemaphoresOfADeadDriverAreAcquired(t *testing.T) {
	t.Parallel()
	dev, err := sim.Open("gen,count=1")
	require.NoError(t, err)
	const swsm, swFwSync = 0x10140, 0x10160
	dev.NIC().ReadRegister(swsm) // acquires SMBI
	dev.NIC().WriteRegister(swFwSync, 1)
	r := openDevice(t, dev, driver.Config{RingSize: 64})
	require.Zero(t, dev.NIC().ReadRegister(swFwSync))
	require.Zero(t, dev.NIC().ReadRegister(swsm)&1, "released")
	require.NoError(t, r.port.Close())
}
