package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/sim/wire"
)

// loopWire delivers left frames, the same ones in a loop.
type loopWire struct {
	frames [][]byte
	i      int
	left   int
}

func (w *loopWire) Receive(frames []wire.Frame, _ int) (int, error) {
	n := min(len(frames), w.left)
	for k := range n {
		frames[k] = wire.Frame{Data: w.frames[w.i]}
		if w.i++; w.i == len(w.frames) {
			w.i = 0
		}
	}
	w.left -= n
	return n, nil
}

func (w *loopWire) Send([]byte) error { return nil }
func (w *loopWire) Up() bool          { return true }
func (w *loopWire) Close() error      { return nil }

// benchRig receives size-byte UDP frames of 64 flows into one queue of 4096.
func benchRig(t testing.TB, cfg Config, size int, host *testHost) (*rig, *loopWire) {
	r := newRig(t, cfg)
	host.mem = make([]byte, 16<<20)
	r.h = host
	r.Attach(host)
	w := &loopWire{}
	for i := range 64 {
		w.frames = append(w.frames, udp4("10.0.0.1", fmt.Sprintf("10.0.1.%d", i), uint16(1000+i), 80, size-42))
	}
	r.wire = w
	r.promiscuous()
	r.write(rMRQC, 1|mrqcTCP4|mrqcIP4|mrqcUDP4)
	for i := range uint32(10) {
		r.write(rRSSRK+4*i, 0x5bda56a5*(i+1))
	}
	x := &rxRing{r: r, n: 4096, size: 2048, ring: testBase, buf: testBase + 0x100000}
	r.write(rxReg(0, qBAL), uint32(x.ring))
	r.write(rxReg(0, qLEN), 4096*16)
	r.write(rxReg(0, qSRR), 2|1<<25)
	r.write(rxReg(0, qDCTL), 1<<25)
	for i := range x.n {
		x.post(i)
	}
	r.write(rRXCTRL, 1)
	return r, w
}

// repost posts n descriptors from index from on, as a driver after a poll.
func repost(r *rig, from, n int) {
	x := &rxRing{r: r, n: 4096, size: 2048, ring: testBase, buf: testBase + 0x100000}
	for i := range n {
		x.post((from + i) & 4095)
	}
	r.bells.rx(0).Store(uint32((from + n) & 4095))
}

// BenchmarkReceive measures the model's cost of a frame, with parsing, RSS and
// checksums; ns/op is per frame.
func BenchmarkReceive(b *testing.B) {
	for _, c := range []struct {
		size   int
		record bool
	}{{60, false}, {60, true}, {1514, false}, {1514, true}} {
		b.Run(fmt.Sprintf("size=%d/record=%v", c.size, c.record), func(b *testing.B) {
			cfg := Config{}
			if c.record {
				cfg.Arrivals = b.N + 4096
			}
			r, w := benchRig(b, cfg, c.size, &testHost{base: testBase, raised: map[[2]int]int{}})
			head := 0
			step := func(n int) {
				w.left = n
				for w.left > 0 || r.NIC.rx.next < r.NIC.rx.got {
					r.step(time.Now())
				}
			}
			repost(r, 0, 2048)
			step(2048)
			head = 2048
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; {
				n := min(b.N-done, 2048)
				b.StopTimer()
				repost(r, head, n)
				b.StartTimer()
				step(n)
				head = (head + n) & 4095
				done += n
			}
			b.StopTimer()
			s := r.Stats()
			require.Equal(b, s.Offered, s.Delivered)
		})
	}
}

func TestReceivingAllocatesNothing(t *testing.T) {
	r, w := benchRig(t, Config{}, 60, &testHost{base: testBase, raised: map[[2]int]int{}})
	head := 0
	allocs := testing.AllocsPerRun(100, func() {
		repost(r, head, 256)
		w.left = 256
		r.step(time.Now())
		head = (head + 256) & 4095
	})
	require.Zero(t, allocs)
	require.EqualValues(t, 101*256, r.Stats().Delivered)
}
