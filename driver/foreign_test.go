package driver_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/sim"
)

func foreignMemory(t *testing.T) *hugepage.Memory {
	m, err := hugepage.Alloc(64<<10, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "foreign"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// Packets are sent from memory that the port does not own, in one piece and in several.
func TestModelSendsFromMemoryOfOthers(t *testing.T) {
	m := foreignMemory(t)
	w := &testWire{open: true}
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64, TxQueues: 1, TxRingSize: 64, TxAttach: true})
	at, err := r.port.Map(m)
	require.NoError(t, err)
	q := r.port.TxQueue(0)
	require.Panics(t, func() { q.Send([][]byte{make([]byte, 60)}) })
	for i := range m.Bytes() {
		m.Bytes()[i] = byte(i / 7)
	}
	var want [][]byte
	for i := range 40 {
		first, rest := 60+i*10, i%3*500
		place := i * 1500
		data := m.Bytes()[place : place+first+rest]
		b := q.Buffer(0)
		b.Attach(data[:first], at+dma.IOVA(place))
		b.More = rest > 0
		n := 1
		if rest > 0 {
			b := q.Buffer(1)
			b.Attach(data[first:], at+dma.IOVA(place+first))
			b.More = false
			n = 2
		}
		require.GreaterOrEqual(t, q.Free(), n)
		require.Equal(t, n, q.Post(n))
		want = append(want, bytes.Clone(data))
		require.Eventually(t, func() bool { return q.Free() == q.Buffers() }, testtime.Deadline, 10*time.Microsecond)
		clear(data) // it was read
	}
	require.Eventually(t, func() bool { return len(w.sentFrames()) == len(want) }, testtime.Deadline, time.Millisecond)
	require.Equal(t, want, w.sentFrames())
	require.Zero(t, r.nic.Stats().Faults, r.nic.Stats().LastFault)
	require.NoError(t, r.port.Unmap())
	require.NoError(t, r.port.Unmap(), "again: nothing is mapped")
}

// Unmap ends what the device still has to send: with the link down that is all of it.
func TestUnmapEndsSendingOfALinkThatIsDown(t *testing.T) {
	m := foreignMemory(t)
	w := &testWire{open: true}
	w.down.Store(true)
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64, TxQueues: 1, TxRingSize: 64, TxAttach: true})
	at, err := r.port.Map(m)
	require.NoError(t, err)
	q := r.port.TxQueue(0)
	for i := range 20 {
		q.Buffer(i).Attach(m.Bytes()[:100], at)
	}
	require.Equal(t, 20, q.Post(20))
	require.NoError(t, r.port.Unmap())
	w.down.Store(false)
	time.Sleep(20 * time.Millisecond) // the model's link comes up in 5
	require.Empty(t, w.sentFrames())
	require.Zero(t, r.nic.Stats().Faults, r.nic.Stats().LastFault)
}

// No mapping is left, and a closed port maps nothing.
func TestForeignMemoryIsUnmappedByClose(t *testing.T) {
	m := foreignMemory(t)
	d := drivertest.NewDevice()
	p, err := driver.Open(d, driver.Config{RingSize: 64, TxQueues: 1, TxRingSize: 64, TxAttach: true})
	require.NoError(t, err)
	_, err = p.Map(m)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.Zero(t, d.Mapper.Mapped())
	_, err = p.Map(m)
	require.ErrorIs(t, err, os.ErrClosed)
	require.NoError(t, p.Unmap())
}
