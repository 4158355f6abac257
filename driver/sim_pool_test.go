package driver_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// captureAll captures from all pools until the wire has ended and no frame is left. each
// gets every chunk and its frames, and recycles it some time.
func (r *rig) captureAll(each func(p *driver.RxPool, c driver.Chunk, frames []ring.Frame)) (n int) {
	r.t.Helper()
	frames := make([]ring.Frame, 64)
	return r.untilEnded(func() (got int) {
		for i := range r.port.RxQueues() {
			p := r.port.RxPool(i)
			if c, k := p.Capture(frames, true); k > 0 {
				each(p, c, frames[:k])
				got += k
			}
		}
		return got
	})
}

func TestModelFillsPoolsByteForByte(t *testing.T) {
	for _, c := range []struct {
		name, options string
		cfg           driver.Config
		held          int // chunks not recycled yet
	}{
		{"full size", "gen,size=1514,count=10000,flows=50", driver.Config{Chunks: 20}, 3},
		{"all sizes", "gen,size=60-15868,count=1500", driver.Config{Chunks: 30, ChunkSize: 64}, 20},
		{"jumbo, small buffers, smallest chunks", "gen,size=60-9014,count=1000", driver.Config{Chunks: 9, ChunkSize: 16, RingSize: 64, BufferSize: 1024}, 2},
		{"fewer chunks than segments", "gen,size=60-1514,count=5000", driver.Config{Chunks: 2, ChunkSize: 8, MaxFrame: 1514}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, err := wire.ParseOptions(c.options)
			require.NoError(t, err)
			want, err := wire.NewGenerator(all)
			require.NoError(t, err)
			r := open(t, c.options+",backpressure", c.cfg)
			require.Nil(t, r.port.RxQueue(0))
			require.NoError(t, r.port.Start())
			var b, got []byte
			seen := uint64(0)
			type part struct {
				driver.Chunk
				frames []ring.Frame
			}
			var held []part
			// A chunk is read when it is recycled: until then the device leaves it alone.
			recycle := func(p *driver.RxPool, keep int) {
				for ; len(held) > keep; held = held[1:] {
					for _, f := range held[0].frames {
						got = append(got[:0], f.Data...)
						for _, b := range f.Rest {
							got = append(got, b...)
						}
						b = want.Append(b[:0], seen)
						if !bytes.Equal(b, got) {
							require.Equal(t, b, got, "frame %d", seen)
						}
						require.Equal(t, f.Data[0], p.Buffer(f.Buffer)[driver.Headroom], "the buffer is that of the frame")
						seen++
					}
					require.NoError(t, p.Recycle(held[0].Chunk))
				}
			}
			r.captureAll(func(p *driver.RxPool, chunk driver.Chunk, frames []ring.Frame) {
				held = append(held, part{chunk, append([]ring.Frame(nil), frames...)})
				recycle(p, c.held)
			})
			recycle(r.port.RxPool(0), 0)
			require.EqualValues(t, want.Count(), seen)
			s := r.balance()
			require.EqualValues(t, seen, s.Wire)
			require.Zero(t, s.Lost())
			require.Zero(t, r.port.RxPool(0).Out())
		})
	}
}

func TestModelPoolsThatAreExhaustedLoseAndCount(t *testing.T) {
	for _, c := range []struct {
		name, register string
		cfg            driver.Config
	}{
		{"one queue: the packet buffer overflows", "RXMPC", driver.Config{Chunks: 4, ChunkSize: 32}},
		{"two queues: the rings run dry", "QPRDC", driver.Config{Chunks: 4, ChunkSize: 32, Queues: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, "gen,size=60,flows=100,count=50000,rate=5Mpps", c.cfg)
			require.NoError(t, r.port.Start())
			held := map[driver.Chunk]*driver.RxPool{}
			frames := make([]ring.Frame, 64)
			got, check := 0, deadline(t, time.Minute)
			whole := c.cfg.Chunks * c.cfg.ChunkSize * r.port.RxQueues()
			for got < whole || r.nic.Stats().Offered < 50000 { // nothing is recycled
				for i := range r.port.RxQueues() {
					p := r.port.RxPool(i)
					if chunk, n := p.Capture(frames, true); n > 0 {
						held[chunk] = p
						got += n
					}
				}
				check("the wire did not end")
			}
			require.Equal(t, whole, got, "R x M frames each")
			for chunk, p := range held {
				require.NoError(t, p.Recycle(chunk))
			}
			got += r.captureAll(func(p *driver.RxPool, chunk driver.Chunk, _ []ring.Frame) {
				require.NoError(t, p.Recycle(chunk))
			})
			s := r.balance()
			require.EqualValues(t, 50000, s.Wire)
			require.EqualValues(t, got, s.Received)
			require.NotZero(t, by(s.Missed, c.register))
			require.Equal(t, s.Lost(), by(s.Missed, c.register), "in no other register")
		})
	}
}

func TestModelPortClosesWithChunksOut(t *testing.T) {
	r := open(t, "gen,size=600,count=1000,backpressure", driver.Config{Chunks: 10, ChunkSize: 128})
	require.NoError(t, r.port.Start())
	p := r.port.RxPool(0)
	frames := make([]ring.Frame, 1000)
	var first, second driver.Chunk
	require.Eventually(t, func() bool {
		var n int
		first, n = p.Capture(frames, false)
		return n == 128
	}, testtime.Deadline, time.Millisecond)
	require.Eventually(t, func() bool {
		var n int
		second, n = p.Capture(frames[128:], true)
		return n > 0
	}, testtime.Deadline, time.Millisecond)
	before := bytes.Clone(frames[100].Data)
	require.NoError(t, r.port.Close())
	require.NoError(t, r.dev.Close())
	require.Equal(t, 2, p.Out())
	require.Equal(t, before, frames[100].Data, "the memory is still there")
	require.NoError(t, p.Recycle(first))
	require.NotNil(t, p.Memory().Bytes())
	require.NoError(t, p.Recycle(second))
	require.Nil(t, p.Memory().Bytes(), "the last chunk frees it")
	require.ErrorIs(t, p.Recycle(second), driver.ErrRecycled)
}

func TestModelPoolOfARemovedDevice(t *testing.T) {
	r := open(t, "gen,size=60,count=100000,rate=2Mpps,fault=remove:5000", driver.Config{Chunks: 40, ChunkSize: 128})
	require.NoError(t, r.port.Start())
	p := r.port.RxPool(0)
	require.Eventually(t, func() bool {
		_, err := r.port.Stats()
		return errors.Is(err, driver.ErrGone)
	}, testtime.Deadline, time.Millisecond)
	frames := make([]ring.Frame, 64)
	got := 0
	var held []driver.Chunk
	for c, n := p.Capture(frames, true); n > 0; c, n = p.Capture(frames, true) {
		got += n
		held = append(held, c)
	}
	require.LessOrEqual(t, got, 5000)
	require.NoError(t, r.port.Close())
	for _, c := range held {
		require.NoError(t, p.Recycle(c))
	}
}

func TestModelPoolSleepsUntilAFrameArrives(t *testing.T) {
	w := &testWire{open: true}
	r := openWire(t, w, sim.Config{}, driver.Config{Chunks: 4, ChunkSize: 16, Interrupts: driver.QueueInterrupts})
	require.NoError(t, r.port.Start())
	p := r.port.RxPool(0)
	require.True(t, p.CanSleep())
	frames := make([]ring.Frame, 4)
	check := deadline(t, time.Minute)
	for got := 0; got < 200; {
		c, n := p.Capture(frames, true)
		if n > 0 {
			require.NoError(t, p.Recycle(c))
			got += n
			continue
		}
		w.push(udpFrame(t, false, false, false))
		p.Sleep(time.Second)
		check("frames are missing")
	}
	require.NotZero(t, p.SleepStats().Sleeps)
	r.balance()
}
