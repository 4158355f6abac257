package driver_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// Two ports back to back: what one driver sends, the other receives, in order
// and byte for byte, both ways at once.
func TestModelsBackToBackCarryFramesBothWays(t *testing.T) {
	const frames = 3000
	wa, wb := wire.NewPair()
	cfg := driver.Config{RingSize: 512, TxQueues: 1, TxRingSize: 512}
	ports := []*rig{openWire(t, wa, sim.Config{}, cfg), openWire(t, wb, sim.Config{}, cfg)}
	for _, r := range ports {
		require.NoError(t, r.port.Start())
	}
	for _, r := range ports {
		_, err := r.port.WaitLink(t.Context())
		require.NoError(t, err)
	}
	frame := func(from, i int) []byte {
		rnd := rand.New(rand.NewPCG(uint64(from), uint64(i)))
		f := make([]byte, 60+rnd.IntN([]int{20, 1454, 8940}[i%3]))
		for j := range f {
			f[j] = byte(rnd.Uint32())
		}
		binary.BigEndian.PutUint16(f[12:], 0x88b5) // local experiments: no VLAN, no pause
		return f
	}
	var sent, got [2]int
	batch := make([]ring.Frame, 32)
	check := deadline(t, testtime.Deadline)
	for got != [2]int{frames, frames} {
		check("sent %v, received %v: %+v", sent, got, ports[0].nic.Stats())
		for i, r := range ports {
			// At most as many in flight as the other ring holds: there is no flow control.
			if sent[i] < frames && sent[i]-got[1-i] < 64 && r.port.TxQueue(0).Send([][]byte{frame(i, sent[i])}) == 1 {
				sent[i]++
			}
			q := r.port.RxQueue(0)
			for _, f := range batch[:q.Poll(batch)] {
				all := bytes.Join(append([][]byte{f.Data}, f.Rest...), nil)
				require.True(t, bytes.Equal(frame(1-i, got[i]), all), "frame %d to port %d", got[i], i)
				got[i]++
			}
			q.Release()
		}
	}
	for _, r := range ports {
		s := r.balance()
		require.EqualValues(t, frames, s.Received)
		require.EqualValues(t, frames, s.Sent)
	}
}

// A change of the link signals the eventfd that is connected to its vector.
func TestModelSignalsLinkChangesByEventFD(t *testing.T) {
	w := &testWire{open: true}
	w.down.Store(true)
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64})
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	defer unix.Close(fd)
	const vector = 3
	require.NoError(t, r.dev.SetVectors(pci.MSIX, vector, []int{fd}))

	bar, err := r.dev.BAR(0)
	require.NoError(t, err)
	const (
		gpie, eims, ivarMisc = 0x00898, 0x00880, 0x00a00
		multipleMSIX, pba    = 1 << 4, 1 << 31
		other, valid         = 31, 0x80
	)
	bar.Store32(gpie, multipleMSIX|pba)
	bar.Store32(ivarMisc, (vector|valid)<<8) // "other causes", LSC among them
	bar.Store32(eims, 1<<20|1<<other)

	signals := func() uint64 {
		var b [8]byte
		if n, err := unix.Read(fd, b[:]); err != nil || n != 8 {
			return 0
		}
		return binary.NativeEndian.Uint64(b[:])
	}
	require.Zero(t, signals())
	for _, down := range []bool{false, true, false} {
		w.down.Store(down)
		require.Eventually(t, func() bool { return signals() > 0 }, testtime.Deadline, time.Millisecond, "down: %v", down)
		bar.Load32(0x00800)               // EICR: read to clear
		bar.Store32(eims, 1<<20|1<<other) // auto-masked
	}
}

// A 1 Gb/s module brings the link up at its speed.
func TestModelLinkOf1Gigabit(t *testing.T) {
	r := open(t, "gen,size=60,count=1000,rate=100kpps,sfp=sx", driver.Config{RingSize: 512, Speed: 1000})
	require.NoError(t, r.port.Start())
	l, err := r.port.WaitLink(t.Context())
	require.NoError(t, err)
	require.Equal(t, "up at 1000 Mb/s", l.String())
	require.Len(t, r.receive(), 1000)
	r.balance()
}
