package nic_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/sim/wire"
)

func TestFramesInPoolsAreThoseOfTheWire(t *testing.T) {
	for _, c := range []struct {
		name, gen string
		cfg       nic.Config
		capture   capture.Config
		slow      time.Duration
	}{
		{"short", "gen,size=60,count=60000", nic.Config{Chunks: 24}, capture.Config{}, 0},
		{"jumbo", "gen,size=60-9014,count=4000", nic.Config{Chunks: 30, ChunkSize: 64}, capture.Config{}, 0},
		{"asleep", "gen,size=60-1514,count=20000,rate=50kpps", nic.Config{Chunks: 9, ChunkSize: 64, RingSize: 256, Interrupts: driver.QueueInterrupts}, capture.Config{Idle: capture.IdleSleep}, 0},
		{"adaptive, slow reader", "gen,size=60-1514,count=20000", nic.Config{Chunks: 9, ChunkSize: 64, RingSize: 256}, capture.Config{Stamps: clock.Adaptive}, 50 * time.Microsecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			options, err := wire.ParseOptions(c.gen)
			require.NoError(t, err)
			want, err := wire.NewGenerator(options)
			require.NoError(t, err)
			port, err := nic.Open("sim:"+c.gen+",backpressure", c.cfg)
			require.NoError(t, err)
			engine, err := capture.New(port, c.capture)
			require.NoError(t, err)
			defer func() { require.NoError(t, engine.Close()) }()
			l, err := engine.Stream(0).Listen("reader", stream.Options{})
			require.NoError(t, err)
			var reading sync.WaitGroup
			seen, last := uint64(0), int64(0)
			reading.Go(func() {
				defer func() { _ = l.Close() }()
				batch := make([]stream.Packet, 64)
				var b []byte
				for {
					n, err := l.ReadBatch(context.Background(), batch)
					for i := range batch[:n] {
						p := &batch[i]
						if b = want.Append(b[:0], seen); !bytes.Equal(b, p.Data) || p.UnixNano() < last {
							t.Errorf("frame %d differs", seen)
							return
						}
						last = p.UnixNano()
						seen++
					}
					time.Sleep(c.slow)
					if err == io.EOF {
						return
					}
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ledger, err := engine.Run(ctx, 10*time.Second)
			require.NoError(t, err)
			reading.Wait()
			require.NoError(t, ledger.Balanced())
			require.EqualValues(t, want.Count(), seen)
			require.EqualValues(t, seen, ledger.Frames())
		})
	}
}

func TestPoolsThatListenersHoldLoseInThePort(t *testing.T) {
	port, err := nic.Open("sim:gen,size=60,count=100000,rate=3Mpps", nic.Config{Chunks: 8, ChunkSize: 64, RingSize: 256})
	require.NoError(t, err)
	r, err := rules.Parse("(udp) 64")
	require.NoError(t, err)
	engine, err := capture.New(port, capture.Config{Rules: r})
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Close()) }()
	lossless, err := engine.Stream(0).Listen("lossless", stream.Options{})
	require.NoError(t, err)
	lossy, err := engine.Stream(0).Listen("lossy", stream.Options{Policy: stream.Lossy})
	require.NoError(t, err)
	var reading sync.WaitGroup
	for _, l := range []*stream.Listener{lossless, lossy} {
		reading.Go(func() {
			time.Sleep(20 * time.Millisecond) // the pool is full
			batch := make([]stream.Packet, 64)
			for {
				if _, err := l.ReadBatch(context.Background(), batch); err != nil {
					require.Equal(t, io.EOF, err)
					require.NoError(t, l.Close())
					return
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ledger, err := engine.Run(ctx, 10*time.Second)
	require.NoError(t, err)
	reading.Wait()
	require.NoError(t, ledger.Balanced())
	require.NotZero(t, ledger.TotalLost())
	require.Zero(t, lossless.Stats().Overrun)
}

// Two members read two queues, of which one gets all frames. The one whose queue it is does not
// read before the other has taken over some.
func TestMembersOfABuddyGroupShareAQueue(t *testing.T) {
	port, err := nic.Open("sim:gen,size=60-9000,count=5000,flows=1,backpressure", nic.Config{Queues: 2, Chunks: 32, ChunkSize: 64, RingSize: 256})
	require.NoError(t, err)
	engine, err := capture.New(port, capture.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Close()) }()
	var reading sync.WaitGroup
	const least = 200
	var own, others atomic.Uint64
	taken := make(chan struct{})
	for m := range 2 {
		for q := range 2 {
			l, err := engine.Stream(q).Listen("member", stream.Options{Fanout: fmt.Sprintf("group=1\nmode=buddy\nmember=%d", m)})
			require.NoError(t, err)
			reading.Go(func() {
				batch := make([]stream.Packet, 16)
				for {
					n, err := l.ReadBatch(context.Background(), batch)
					if q == m && n > 0 {
						own.Add(uint64(n))
						<-taken
					} else if all := others.Add(uint64(n)); all >= least && all-uint64(n) < least {
						close(taken)
					}
					if err != nil {
						require.Equal(t, io.EOF, err)
						require.NoError(t, l.Close())
						return
					}
				}
			})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ledger, err := engine.Run(ctx, 10*time.Second)
	require.NoError(t, err)
	reading.Wait()
	require.NoError(t, ledger.Balanced())
	require.Equal(t, ledger.Frames(), own.Load()+others.Load())
	require.NotZero(t, own.Load())
	require.GreaterOrEqual(t, others.Load(), uint64(least))
}

// A listener of this process that hangs keeps the pool, and what comes behind stays in the
// port, which the ledger counts, also if buffers are left that are too few for a frame.
func TestHungListenerOfAPoolDelaysStopByTheStallTimeout(t *testing.T) {
	for _, c := range []struct {
		gen    string
		frames int // in 512 buffers
	}{
		{"size=60,rate=1Mpps", 512},
		{"size=9000,rate=100kpps", 512 / 5},
	} {
		t.Run(c.gen, func(t *testing.T) {
			port, err := nic.Open("sim:gen,count=100000,"+c.gen, nic.Config{Chunks: 8, ChunkSize: 64, RingSize: 256})
			require.NoError(t, err)
			engine, err := capture.New(port, capture.Config{StallTimeout: 200 * time.Millisecond})
			require.NoError(t, err)
			defer func() { require.NoError(t, engine.Close()) }()
			hung, err := engine.Stream(0).Listen("hung", stream.Options{})
			require.NoError(t, err)
			defer func() { require.NoError(t, hung.Close()) }()
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			began := time.Now()
			ledger, err := engine.Run(ctx, 200*time.Millisecond)
			require.ErrorContains(t, err, "a lossless listener read nothing for 200ms; frames were left in the port")
			require.Less(t, time.Since(began), 5*time.Second)
			require.NoError(t, ledger.Balanced())
			require.EqualValues(t, c.frames, ledger.Frames())
			missed := ledger.Account.Missed
			require.Equal(t, "left in the port at the end", missed[len(missed)-1].Cause)
			require.NotZero(t, missed[len(missed)-1].Frames)
			require.NotZero(t, engine.Stream(0).Stats().Listeners[0].Held)
		})
	}
}

// A device that goes away takes no frame with it that was received: listeners read all, in
// place and bytes, and what the poller took is accounted for.
func TestFramesInPoolsOutliveTheirDevice(t *testing.T) {
	port, err := nic.Open("sim:gen,size=60-9014,count=5000,backpressure,fault=remove:1000", nic.Config{Chunks: 100, ChunkSize: 64, RingSize: 256})
	require.NoError(t, err)
	engine, err := capture.New(port, capture.Config{})
	require.NoError(t, err)
	s := engine.Stream(0)
	slow, err := s.Listen("slow", stream.Options{})
	require.NoError(t, err)
	blocks, err := s.Listen("blocks", stream.Options{})
	require.NoError(t, err)
	var read seen
	var reading sync.WaitGroup
	reading.Go(func() {
		if err := read.readSegments(blocks); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, engine.Start())
	batch := make([]stream.Packet, 64)
	_, err = slow.ReadBatch(ctx, batch[:1])
	require.NoError(t, err)
	_ = engine.Wait(ctx) // the wire ends, or the device is found to be gone first
	frames := uint64(1)
	reading.Go(func() {
		for {
			n, err := slow.ReadBatch(ctx, batch)
			if err != nil {
				require.Equal(t, io.EOF, err)
				return
			}
			frames += uint64(n)
		}
	})
	_ = engine.Stop() // the device cannot be stopped
	reading.Wait()
	ledger, err := engine.Ledger()
	require.ErrorContains(t, err, "gone from the bus")
	q := ledger.Queues[0]
	require.Equal(t, q.Polled, q.Stored)
	require.Equal(t, q.Stored, frames)
	require.Len(t, read.maskStamps(), int(frames))
	require.NoError(t, slow.Close())
	require.NoError(t, engine.Close())
}

// hangEnv is the socket of a stream for a process that attaches and reads nothing.
const hangEnv = "IXCAP_NIC_TEST_HANG"

func TestMain(m *testing.M) {
	if path := os.Getenv(hangEnv); path != "" {
		_, err := stream.Attach(path, "hung", stream.Options{})
		fmt.Println(err)
		select {}
	}
	os.Exit(m.Run())
}

// A listener of another process that hangs with the pool is detached when the capture ends,
// and what it kept in the port is read by the others.
func TestHungProcessDoesNotKeepAPool(t *testing.T) {
	port, err := nic.Open("sim:gen,size=60,count=2000,backpressure", nic.Config{Chunks: 8, ChunkSize: 64, RingSize: 256})
	require.NoError(t, err)
	engine, err := capture.New(port, capture.Config{StallTimeout: 200 * time.Millisecond})
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Close()) }()
	server, err := engine.Stream(0).Serve(stream.ServerConfig{Path: filepath.Join(t.TempDir(), "q.sock")})
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	hung := exec.Command(exe)
	hung.Env = append(os.Environ(), hangEnv+"="+server.Path())
	out, err := hung.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, hung.Start())
	defer func() {
		_ = hung.Process.Kill()
		_ = hung.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "<nil>\n", line)
	l, err := engine.Stream(0).Listen("reader", stream.Options{})
	require.NoError(t, err)
	var read seen
	var reading sync.WaitGroup
	reading.Go(func() {
		if err := read.readSegments(l); err != nil {
			t.Error(err)
		}
	})
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	require.NoError(t, engine.Start())
	_ = engine.Wait(ctx)
	require.EqualValues(t, 512, engine.Stream(0).Stats().Frames, "the pool is full")
	require.NoError(t, engine.Stop())
	reading.Wait()
	ledger, err := engine.Ledger()
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
	require.Zero(t, ledger.TotalLost())
	require.Greater(t, ledger.Frames(), uint64(512), "those in the port were received at the end")
	require.Len(t, read.maskStamps(), int(ledger.Frames()))
	require.Equal(t, "on request: read nothing for 200ms while the capture ended", ledger.Queues[0].Listeners[0].DetachReason)
}
