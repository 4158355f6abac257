package sim

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/sim/wire"
)

// testWire delivers its frames at once.
type testWire struct {
	mu     sync.Mutex
	frames []wire.Frame
	ends   bool
	down   bool
	busy   bool
	sent   [][]byte
}

func (w *testWire) push(frames ...[]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range frames {
		w.frames = append(w.frames, wire.Frame{Data: f})
	}
}

func (w *testWire) pushAt(at int64, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames = append(w.frames, wire.Frame{Data: data, At: at})
}

func (w *testWire) pushBad(damage wire.Damage, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames = append(w.frames, wire.Frame{Data: data, Damage: damage, CRC: badCRC})
}

// badCRC is the CRC of frames with wire.BadCRC.
const badCRC = 0x44332211

func (w *testWire) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends = true
}

func (w *testWire) Receive(frames []wire.Frame, _ int) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.frames) == 0 && w.ends {
		return 0, io.EOF
	}
	k := min(len(frames), len(w.frames))
	for i := range k {
		frames[i] = w.frames[i]
		if frames[i].At == 0 {
			frames[i].At = int64(i)
		}
	}
	w.frames = w.frames[k:]
	return k, nil
}

func (w *testWire) Send(data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy {
		return wire.ErrBusy
	}
	w.sent = append(w.sent, append([]byte(nil), data...))
	return nil
}

func (w *testWire) Up() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.down
}

func (w *testWire) Close() error { return nil }

// testHost is a host with one piece of memory. With slow, memory is accessed by
// message only.
type testHost struct {
	base   uint64
	mem    []byte
	slow   bool
	mu     sync.Mutex
	raised map[[2]int]int
	missed int // writes to unmapped addresses
}

var errUnmapped = errors.New("not mapped")

func (h *testHost) at(iova uint64, n int) []byte {
	if iova < h.base || n < 0 || iova-h.base > uint64(len(h.mem)) || uint64(n) > uint64(len(h.mem))-(iova-h.base) {
		return nil
	}
	return h.mem[iova-h.base:][:n]
}

func (h *testHost) Bytes(iova uint64, n int, _ bool) []byte {
	if h.slow {
		return nil
	}
	return h.at(iova, n)
}

func (h *testHost) ReadDMA(iova uint64, p []byte) error {
	b := h.at(iova, len(p))
	if b == nil {
		return errUnmapped
	}
	copy(p, b)
	return nil
}

func (h *testHost) WriteDMA(iova uint64, p []byte) error {
	b := h.at(iova, len(p))
	if b == nil {
		h.missed++
		return errUnmapped
	}
	copy(b, p)
	return nil
}

func (h *testHost) Raise(irq, vector int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.raised[[2]int{irq, vector}]++
}

// rig is a NIC without a device thread: the test makes its passes.
type rig struct {
	testing.TB
	*NIC
	w *testWire
	h *testHost
}

const testBase = 0x40000000

func newRig(t testing.TB, cfg Config) *rig {
	t.Helper()
	kind, err := variantOf(cfg.ID)
	require.NoError(t, err)
	dec, err := newDecoder(registerTable(kind))
	require.NoError(t, err)
	w := &testWire{}
	r := &rig{TB: t, w: w, h: &testHost{base: testBase, mem: make([]byte, 8<<20), raised: map[[2]int]int{}}}
	r.NIC = newNIC(cfg, kind, w, dec)
	r.bells, err = newDoorbells()
	require.NoError(t, err)
	require.NoError(t, r.addVFs())
	r.powerOn()
	t.Cleanup(func() { require.NoError(t, r.closeTails()) })
	r.Attach(r.h)
	r.link.carrier = true
	r.link.resetAt = time.Now().Add(-time.Second)
	r.link.ready = time.Now().Add(-time.Second)
	r.link.restarted = time.Now().Add(-time.Second)
	require.NoError(t, r.WriteRegion(regionConfig, 4, []byte{6, 0})) // memory, bus master
	return r
}

func (r *rig) read(off uint32) uint32 {
	r.Helper()
	var p [4]byte
	require.NoError(r, r.ReadRegion(regionRegisters, uint64(off), p[:]))
	return binary.LittleEndian.Uint32(p[:])
}

func (r *rig) write(off, v uint32) {
	r.Helper()
	require.NoError(r, r.WriteRegion(regionRegisters, uint64(off), binary.LittleEndian.AppendUint32(nil, v)))
}

// run makes passes of the device thread until one is idle.
func (r *rig) run() {
	r.Helper()
	for range 10000 {
		r.mu.Lock()
		busy, _ := r.step(time.Now())
		r.mu.Unlock()
		if !busy {
			require.NoError(r, r.Stats().Balanced())
			return
		}
	}
	r.Fatal("the device thread never becomes idle")
}

// rxRing is a receive ring of the driver: descriptors at ring, buffers at buf.
type rxRing struct {
	r         *rig
	q         int
	n         int
	ring, buf uint64
	size      int
	next      int
}

// rx sets up queue q with n descriptors and buffers of size bytes (whole KiB), posts
// all but one and enables reception.
func (r *rig) rx(q, n, size int) *rxRing {
	r.Helper()
	x := &rxRing{r: r, q: q, n: n, size: size, ring: testBase + uint64(q)*0x10000, buf: testBase + 0x200000 + uint64(q)*0x40000}
	r.write(rxReg(q, qBAL), uint32(x.ring))
	r.write(rxReg(q, qBAH), uint32(x.ring>>32))
	r.write(rxReg(q, qLEN), uint32(n*16))
	r.write(rxReg(q, qSRR), uint32(size>>10)|1<<25)
	r.write(rxReg(q, qDCTL), 1<<25)
	require.NotZero(r, r.read(rxReg(q, qDCTL))&(1<<25))
	for i := range n {
		x.post(i)
	}
	r.write(rxReg(q, qTAIL), uint32(n-1))
	r.write(rRXCTRL, 1)
	return x
}

func (x *rxRing) desc(i int) []byte { return x.r.h.at(x.ring+uint64(i)*16, 16) }

func (x *rxRing) post(i int) {
	binary.LittleEndian.PutUint64(x.desc(i), x.buf+uint64(i*x.size))
	binary.LittleEndian.PutUint64(x.desc(i)[8:], 0)
}

// got is a received frame with the descriptor words of its last descriptor.
type got struct {
	data   []byte
	lo, hi uint64
}

func (g got) status() uint32 { return uint32(g.hi) }
func (g got) vlan() uint16   { return uint16(g.hi >> 48) }
func (g got) hash() uint32   { return uint32(g.lo >> 32) }

// pop returns the next frame, or false.
func (x *rxRing) pop() (g got, ok bool) {
	for i := x.next; ; i = (i + 1) % x.n {
		g.lo = binary.LittleEndian.Uint64(x.desc(i))
		g.hi = binary.LittleEndian.Uint64(x.desc(i)[8:])
		if g.hi&1 == 0 {
			return g, false
		}
		g.data = append(g.data, x.r.h.at(x.buf+uint64(i*x.size), int(g.hi>>32&0xffff))...)
		if g.hi&2 == 0 {
			continue
		}
		for k := x.next; ; k = (k + 1) % x.n {
			x.post(k)
			if k == i {
				break
			}
		}
		x.next = (i + 1) % x.n
		return g, true
	}
}

// refill posts the descriptors of the frames popped.
func (x *rxRing) refill() { x.r.write(rxReg(x.q, qTAIL), uint32((x.next+x.n-1)%x.n)) }

func (x *rxRing) all() (list []got) {
	for {
		g, ok := x.pop()
		if !ok {
			return list
		}
		list = append(list, g)
	}
}

// promiscuous accepts all frames and strips CRCs.
func (r *rig) promiscuous() {
	r.write(rFCTRL, 1<<8|1<<9|1<<10)
	r.write(rRDRXCTL, r.read(rRDRXCTL)|2)
	r.write(rRXCSUM, 1<<13)
}
