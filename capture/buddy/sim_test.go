package buddy_test

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/buddy"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
)

// unbalanced is an indirection table that gives queue 0 of four most of the hashes.
func unbalanced() []int {
	table := make([]int, driver.RSSTableSize)
	for i := range table {
		table[i] = max(0, i%16-12)
	}
	return table
}

// machine is a group of the four queues of a port on the model, whose threads are goroutines.
type machine struct {
	t    *testing.T
	nic  *sim.NIC
	dev  *sim.Device
	port *driver.Port
	*buddy.Group
	captured atomic.Uint64 // frames
	done     atomic.Bool   // nothing more is captured
	recycled atomic.Uint64
	wg       sync.WaitGroup
}

func openMachine(t *testing.T, options string, cfg buddy.Config) *machine {
	t.Helper()
	dev, err := sim.Open(options)
	require.NoError(t, err)
	m := &machine{t: t, dev: dev, nic: dev.NIC()}
	m.port, err = driver.Open(dev, driver.Config{
		Queues: 4, RingSize: 512, Chunks: 32, ChunkSize: 64, MaxFrame: 1514, Pages: hugepage.Ordinary,
		Interrupts: driver.NoInterrupts, RSS: driver.RSS{Table: unbalanced()},
	})
	require.NoError(t, err)
	var pools []*driver.RxPool
	for i := range m.port.RxQueues() {
		pools = append(pools, m.port.RxPool(i))
	}
	m.Group, err = buddy.New(cfg, pools...)
	require.NoError(t, err)
	return m
}

// capture captures from all queues, by a goroutine each, until the wire has ended.
func (m *machine) capture() {
	var threads sync.WaitGroup
	for i := range m.Queues() {
		threads.Go(func() {
			for empty := 0; empty < 3; {
				n := m.Queue(i).Capture(true)
				if m.captured.Add(uint64(n)); n > 0 {
					empty = 0
					continue
				}
				select {
				case <-m.nic.Ended():
					if m.port.Drained() {
						empty++
					}
				default:
				}
				time.Sleep(20 * time.Microsecond)
			}
		})
	}
	m.wg.Go(func() {
		threads.Wait()
		m.done.Store(true)
	})
}

// consume takes what capture queue i gives until all that was captured is recycled, or quit
// chunks were taken, if that is not 0. The last ones are not recycled then.
func (m *machine) consume(i, quit int, each func(c buddy.Chunk)) {
	for taken := 0; ; {
		done := m.done.Load() && m.recycled.Load() == m.captured.Load()
		c, ok := m.Queue(i).Next()
		switch {
		case !ok && done:
			return
		case !ok:
			time.Sleep(20 * time.Microsecond)
			continue
		}
		if taken++; taken == quit {
			return
		}
		each(c)
		frames := uint64(len(c.Frames()))
		if err := m.Recycle(c); err != nil {
			panic(err)
		}
		m.recycled.Add(frames)
	}
}

// finish waits for all goroutines, closes all, and checks that port and group balance.
func (m *machine) finish() (all []buddy.Stats) {
	t := m.t
	t.Helper()
	m.wg.Wait()
	port, err := m.port.Stats()
	require.NoError(t, err)
	require.NoError(t, port.Balanced())
	require.NoError(t, m.Close())
	all = m.Stats()
	require.NoError(t, buddy.Balanced(all))
	sum := uint64(0)
	for i, s := range all {
		require.Equal(t, s.Frames, s.Recycled, "queue %d", i)
		require.Zero(t, m.Queue(i).Pool().Out())
		sum += s.Frames
	}
	require.Equal(t, port.Received, sum)
	require.Equal(t, m.nic.Stats().Delivered, sum)
	require.NoError(t, m.port.Close())
	require.NoError(t, m.dev.Close())
	return all
}

// slow is what a chunk costs a consumer: touching its frames again and again.
func slow(c buddy.Chunk) (sum uint64) {
	for range 20 {
		for i := range c.Frames() {
			sum += uint64(binary.BigEndian.Uint32(c.Frames()[i].Data[34:]))
		}
	}
	return sum
}

func TestThreadsShareUnbalancedTraffic(t *testing.T) {
	for _, mode := range []buddy.Mode{buddy.Basic, buddy.Chunks, buddy.Flows} {
		t.Run(mode.String(), func(t *testing.T) {
			m := openMachine(t, "gen,size=60,flows=500,count=60000,rate=1Mpps", buddy.Config{Mode: mode, Threshold: 0.1})
			require.NoError(t, m.port.Start())
			var order sync.Map // of a flow: the number of its last chunk
			m.capture()
			for i := range m.Queues() {
				m.wg.Go(func() {
					for i == 0 && mode != buddy.Basic && m.Stats()[0].MovedFrames == 0 && !m.done.Load() {
						time.Sleep(20 * time.Microsecond) // its backlog passes the threshold
					}
					m.consume(i, 0, func(c buddy.Chunk) {
						slow(c)
						if mode == buddy.Chunks {
							return
						}
						for j := range c.Frames() {
							f := &c.Frames()[j]
							if last, found := order.Swap(flowOf(f), c.Number()); found && last.(uint64) > c.Number() {
								panic("a flow has lost its order")
							}
						}
					})
				})
			}
			all := m.finish()
			moved := uint64(0)
			for i, s := range all {
				moved += s.MovedFrames
				require.Positive(t, s.Frames)
				require.LessOrEqual(t, s.Frames, all[0].Frames, "queue %d", i)
				require.Equal(t, s.Placed, s.Taken)
			}
			require.Equal(t, mode == buddy.Basic, moved == 0)
		})
	}
}

// flowOf identifies a flow by the ports and addresses of its frames.
func flowOf(f *ring.Frame) [12]byte { return [12]byte(f.Data[26:38]) }

func TestConsumerThatEndsLosesNothing(t *testing.T) {
	for _, mode := range []buddy.Mode{buddy.Basic, buddy.Chunks, buddy.Flows} {
		t.Run(mode.String(), func(t *testing.T) {
			m := openMachine(t, "gen,size=60-300,flows=500,count=40000,rate=1Mpps", buddy.Config{Mode: mode, Threshold: 0.2})
			require.NoError(t, m.port.Start())
			m.capture()
			for i := range m.Queues() {
				m.wg.Go(func() {
					quit := 0
					if i == 0 {
						quit = 5
					}
					m.consume(i, quit, func(c buddy.Chunk) { slow(c) })
					if quit > 0 { // its goroutine has ended with a chunk in its hands
						before := m.Stats()[0].Reclaimed
						if err := m.Queue(i).Close(); err != nil {
							panic(err)
						}
						m.recycled.Add(m.Stats()[0].Reclaimed - before)
					}
				})
			}
			all := m.finish()
			require.Positive(t, all[0].Reclaimed)
			for _, s := range all {
				require.Zero(t, s.Discarded)
			}
		})
	}
}

// The port may go first: the memory stays until the last chunk is back.
func TestPortClosesWithChunksOut(t *testing.T) {
	for _, mode := range []buddy.Mode{buddy.Chunks, buddy.Flows} {
		m := openMachine(t, "gen,size=200,flows=100,count=3000,backpressure", buddy.Config{Mode: mode, Threshold: 0.1})
		require.NoError(t, m.port.Start())
		m.capture()
		var held []buddy.Chunk
		require.Eventually(t, func() bool {
			if c, ok := m.Queue(0).Next(); ok {
				held = append(held, c)
			}
			return m.done.Load() && len(held) > 1
		}, time.Minute, 10*time.Microsecond)
		m.wg.Wait()
		require.NoError(t, m.port.Close())
		require.NoError(t, m.dev.Close())
		require.NoError(t, m.Close())
		for _, c := range held {
			require.NotNil(t, m.Queue(c.Queue()).Pool().Memory().Bytes())
			for i := range c.Frames() {
				require.Len(t, c.Frames()[i].Data, 200)
			}
			require.NoError(t, m.Recycle(c))
			require.ErrorIs(t, m.Recycle(c), driver.ErrRecycled)
		}
		for i := range m.Queues() {
			require.Nil(t, m.Queue(i).Pool().Memory().Bytes(), "the last chunk frees it")
		}
		all := m.Stats()
		require.NoError(t, buddy.Balanced(all))
		discarded := uint64(0)
		for _, s := range all {
			require.Equal(t, s.Frames, s.Recycled)
			discarded += s.Discarded
		}
		require.Positive(t, discarded)
	}
}
