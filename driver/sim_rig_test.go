package driver_test

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// deadline returns a function that fails the test once limit has passed.
func deadline(t *testing.T, limit time.Duration) (check func(format string, args ...any)) {
	end := time.Now().Add(limit)
	return func(format string, args ...any) {
		t.Helper()
		require.True(t, time.Now().Before(end), append([]any{format}, args...)...)
	}
}

// rig is a port on the software 82599.
type rig struct {
	t    *testing.T
	port *driver.Port
	nic  *sim.NIC
	dev  *sim.Device
	wire *testWire // nil: another
}

// open opens a port on a model with the given "sim:" options.
func open(t *testing.T, options string, cfg driver.Config) *rig {
	t.Helper()
	dev, err := sim.Open(options)
	require.NoError(t, err)
	return openDevice(t, dev, cfg)
}

// openWire opens a port on a model with the given wire.
func openWire(t *testing.T, w wire.Wire, mc sim.Config, cfg driver.Config) *rig {
	t.Helper()
	nic, err := sim.New(mc, w)
	require.NoError(t, err)
	dev, err := sim.Connect(nic, "sim:test")
	require.NoError(t, err)
	r := openDevice(t, dev, cfg)
	r.wire, _ = w.(*testWire)
	return r
}

func openDevice(t *testing.T, dev *sim.Device, cfg driver.Config) *rig {
	t.Helper()
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	p, err := driver.Open(dev, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return &rig{t: t, port: p, nic: dev.NIC(), dev: dev}
}

// frame is a copy of a received frame.
type frame struct {
	data  []byte
	queue int
	hash  uint32
	vlan  uint16
	info  ring.Info
}

// drain polls all queues until the wire has ended and no frame is left.
func (r *rig) drain(each func(q int, f *ring.Frame)) (n int) {
	r.t.Helper()
	frames := make([]ring.Frame, 64)
	return r.untilEnded(func() (got int) {
		for i := range r.port.RxQueues() {
			q := r.port.RxQueue(i)
			k := q.Poll(frames)
			for j := range frames[:k] {
				each(i, &frames[j])
			}
			q.Release()
			got += k
		}
		return got
	})
}

// untilEnded calls poll, which returns the number of frames it got, until the wire has ended
// and no frame is left.
func (r *rig) untilEnded(poll func() int) (n int) {
	r.t.Helper()
	check := deadline(r.t, 2*time.Minute)
	for idle := 0; idle < 3; {
		got := poll()
		n += got
		check("the wire did not end: %+v", r.nic.Stats())
		if got > 0 {
			idle = 0
			continue
		}
		select {
		case <-r.nic.Ended():
			// The device may have written a frame since the last poll.
			if r.port.Drained() {
				idle++
			}
		default:
			time.Sleep(100 * time.Microsecond)
		}
	}
	return n
}

func (r *rig) receive() (all []frame) {
	r.drain(func(q int, f *ring.Frame) {
		data := bytes.Clone(f.Data)
		for _, b := range f.Rest {
			data = append(data, b...)
		}
		require.Len(r.t, data, int(f.Len))
		all = append(all, frame{data, q, f.Hash, f.VLAN, f.Info})
	})
	return all
}

// balance checks that the port's statistics balance and agree with the model's, and
// returns them.
func (r *rig) balance() driver.Stats {
	r.t.Helper()
	s, err := r.port.Stats()
	require.NoError(r.t, err)
	require.NoError(r.t, s.Balanced())
	truth := r.nic.Stats()
	require.NoError(r.t, truth.Balanced())
	require.Equal(r.t, truth.Delivered, s.Received)
	require.Equal(r.t, truth.Missed+truth.NoDescriptor+truth.QueueDisabled, s.Lost())
	require.Zero(r.t, truth.Faults, truth.LastFault)
	return s
}

func by(counts []driver.RegisterCount, register string) uint64 {
	for _, c := range counts {
		if c.Register == register {
			return c.Frames
		}
	}
	return 0
}

// testWire delivers frames and keeps those that are sent.
type testWire struct {
	mu     sync.Mutex
	frames [][]byte
	sent   [][]byte
	open   bool // more may come: no io.EOF
	down   atomic.Bool
}

func (w *testWire) Receive(frames []wire.Frame, room int) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n < len(frames) && len(w.frames) > 0 && len(w.frames[0]) < room {
		room -= len(w.frames[0])
		frames[n] = wire.Frame{Data: w.frames[0], At: time.Now().UnixNano()}
		w.frames = w.frames[1:]
		n++
	}
	if len(w.frames) == 0 && n == 0 && !w.open {
		return 0, io.EOF
	}
	return n, nil
}

func (w *testWire) Send(data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, bytes.Clone(data))
	return nil
}

func (w *testWire) sentFrames() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([][]byte(nil), w.sent...)
}

func (w *testWire) Up() bool     { return !w.down.Load() }
func (w *testWire) Close() error { return nil }

func rxQueues(p *driver.Port) (all []*driver.RxQueue) {
	for i := range p.RxQueues() {
		all = append(all, p.RxQueue(i))
	}
	return all
}

// scriptWire delivers its frames once.
type scriptWire struct{ frames []wire.Frame }

func (w *scriptWire) Receive(frames []wire.Frame, _ int) (int, error) {
	if len(w.frames) == 0 {
		return 0, io.EOF
	}
	n := copy(frames, w.frames)
	w.frames = w.frames[n:]
	return n, nil
}

func (w *scriptWire) Send([]byte) error { return nil }
func (w *scriptWire) Up() bool          { return true }
func (w *scriptWire) Close() error      { return nil }

// linkUp waits until the link is up.
func linkUp(t *testing.T, p *driver.Port) driver.Link {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := p.WaitLink(ctx)
	require.NoError(t, err)
	return l
}

// push makes frames arrive.
func (w *testWire) push(frames ...[]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames = append(w.frames, frames...)
}
