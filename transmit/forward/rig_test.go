package forward_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
	"github.com/ixcap/ixcap/transmit/forward"
)

// testWire delivers frames to a port, as far as its packet buffer has room, and keeps those that
// it sends.
type testWire struct {
	// window, if not 0, is how many frames may be delivered ahead of those that the other
	// wire has got; the port that sends is slower then, and loses none.
	window int
	other  *testWire
	open   bool // it does not end

	mu        sync.Mutex
	frames    []wire.Frame
	delivered int
	sent      [][]byte
	got       atomic.Int64 // len(sent)
	down      atomic.Bool
}

// pair returns wires of two ports that forward to each other.
func pair(window int) (a, b *testWire) {
	a, b = &testWire{window: window}, &testWire{window: window}
	a.other, b.other = b, a
	return a, b
}

func (w *testWire) Receive(frames []wire.Frame, room int) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ahead := w.delivered
	if w.window > 0 {
		ahead -= int(w.other.got.Load())
	}
	for n < len(frames) && n < len(w.frames) && room > 16<<10 && (w.window == 0 || ahead+n < w.window) {
		frames[n] = w.frames[n]
		frames[n].At = time.Now().UnixNano()
		room -= len(frames[n].Data)
		n++
	}
	w.frames = w.frames[n:]
	w.delivered += n
	if n == 0 && len(w.frames) == 0 && !w.open {
		return 0, io.EOF
	}
	return n, nil
}

func (w *testWire) Send(data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, bytes.Clone(data))
	w.got.Add(1)
	return nil
}

func (w *testWire) Up() bool     { return !w.down.Load() }
func (w *testWire) Close() error { return nil }

func (w *testWire) push(frames ...[]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range frames {
		w.frames = append(w.frames, wire.Frame{Data: f})
	}
}

func (w *testWire) sentFrames() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([][]byte(nil), w.sent...)
}

// rig is a bridge on models.
type rig struct {
	t *testing.T
	*forward.Bridge
	nics []*sim.NIC
}

func device(t *testing.T, w wire.Wire, cfg sim.Config) (*sim.NIC, pci.Device) {
	nic, err := sim.New(cfg, w)
	require.NoError(t, err)
	dev, err := sim.Connect(nic, "sim:test")
	require.NoError(t, err)
	return nic, dev
}

// open opens a bridge between ports with these wires.
func open(t *testing.T, cfg forward.Config, wires ...wire.Wire) *rig {
	r := &rig{t: t}
	var devices []pci.Device
	for _, w := range wires {
		nic, dev := device(t, w, sim.Config{})
		r.nics, devices = append(r.nics, nic), append(devices, dev)
	}
	r.connect(cfg, devices)
	return r
}

func (r *rig) connect(cfg forward.Config, devices []pci.Device) {
	var err error
	r.Bridge, err = forward.New(cfg, devices...)
	require.NoError(r.t, err)
	r.t.Cleanup(func() {
		require.NoError(r.t, r.Close())
		for _, n := range r.nics {
			s := n.Stats()
			require.NoError(r.t, s.Balanced())
		}
	})
}

// run forwards until all wires have ended, and checks that the counters balance.
func (r *rig) run(read func(context.Context, int) error) forward.Report {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	report, err := r.Run(ctx, read)
	require.NoError(r.t, err)
	require.NoError(r.t, ctx.Err())
	require.NoError(r.t, report.Balanced())
	for i, d := range report.Directions {
		s := r.nics[i].Stats()
		require.Equal(r.t, s.Delivered, d.Received.Received)
		require.Zero(r.t, s.Faults, s.LastFault)
		to := r.nics[len(r.nics)-1-i].Stats()
		require.Equal(r.t, to.Sent, d.Sent)
	}
	return report
}

// randomFrame is frame i that a port receives: of any length up to jumbo frames, some with
// a VLAN tag.
func randomFrame(from, i, longest int) []byte {
	rnd := rand.New(rand.NewPCG(uint64(from), uint64(i)))
	f := make([]byte, 60+rnd.IntN([]int{20, 1454, longest - 60}[i%3]))
	for j := range f {
		f[j] = byte(rnd.Uint32())
	}
	binary.BigEndian.PutUint16(f[12:], 0x88b5) // local experiments
	if i%5 == 0 {
		binary.BigEndian.PutUint32(f[12:], 0x8100<<16|uint32(1+i%4000))
		binary.BigEndian.PutUint16(f[16:], 0x88b5)
	}
	return f
}

func randomFrames(from, n, longest int) (all [][]byte) {
	for i := range n {
		all = append(all, randomFrame(from, i, longest))
	}
	return all
}
