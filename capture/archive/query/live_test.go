package query

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/archivetest"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

func init() { liveTimeout = 10 * time.Minute }

// liveQueue is a queue of a running capture with a storer of random speed, which writes
// blocks in any order.
type liveQueue struct {
	t         *testing.T
	dir       string
	queue     int
	stream    *stream.Stream
	listener  *stream.Listener
	socket    string
	allowed   atomic.Int64 // frames that may be produced
	published atomic.Int64 // frames
	ended     chan struct{}
	r         *rand.Rand

	raw  *os.File
	side *os.File // nil: no sidecar
	b    *index.Builder
	seq  int
}

func newLiveQueue(t *testing.T, dir string, queue int, seed uint64) *liveQueue {
	s, err := stream.New(stream.Config{Interface: "eth2", Queue: queue, Size: 2 << 20, Segment: 2 << 20, Node: hugepage.AnyNode})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	q := &liveQueue{t: t, dir: dir, queue: queue, stream: s, ended: make(chan struct{}), r: rand.New(rand.NewPCG(seed, 9))}
	q.socket = filepath.Join(t.TempDir(), fmt.Sprintf("queue%d.sock", queue))
	_, err = s.Serve(stream.ServerConfig{Path: q.socket, Mode: 0o600})
	require.NoError(t, err)
	q.listener, err = s.Listen("storer", stream.Options{Start: stream.FromOldest, Aligned: true})
	require.NoError(t, err)
	return q
}

// numbered returns frame n of a queue, with both numbers.
func (q *liveQueue) numbered(n int) []byte {
	b := bytes.Repeat([]byte{byte(n)}, 60+n*7919%1400)
	binary.BigEndian.PutUint32(b, uint32(q.queue))
	binary.BigEndian.PutUint32(b[4:], uint32(n))
	return b
}

// produce publishes frames, many of which have the same stamp.
func (q *liveQueue) produce(n int) {
	p := q.stream.Producer()
	defer p.Finish()
	for i := range n {
		for q.allowed.Load() <= int64(i) {
			p.Publish()
			q.published.Store(int64(i))
			if q.t.Context().Err() != nil {
				return
			}
			time.Sleep(50 * time.Microsecond)
		}
		f := ring.Frame{Data: q.numbered(i)}
		f.Len = uint32(len(f.Data))
		for !p.Append(uint32(archivetest.Day.Unix()), uint32(i/10), &f, 0) {
			if q.t.Context().Err() != nil {
				return
			}
			time.Sleep(20 * time.Microsecond)
		}
		if i%37 == 0 {
			p.Publish()
			q.published.Store(int64(i + 1))
		}
	}
	p.Publish()
	q.published.Store(int64(n))
}

// store stores the stream until it ends.
func (q *liveQueue) store() {
	defer close(q.ended)
	defer q.listener.Close()
	type block struct {
		b  []byte
		at int64
	}
	var inFlight []block
	at := int64(0)
	complete := func() {
		for _, i := range q.r.Perm(len(inFlight)) {
			_, err := q.raw.WriteAt(inFlight[i].b, inFlight[i].at)
			q.must(err)
			if q.r.IntN(3) == 0 {
				time.Sleep(time.Duration(q.r.IntN(500)) * time.Microsecond)
			}
		}
		for _, x := range inFlight {
			if _, err := q.b.Write(x.b); err != nil {
				q.must(err)
			}
			if q.side != nil {
				_, err := q.side.Write(q.b.Encoded())
				q.must(err)
			}
			q.must(q.listener.Consume(len(x.b)))
		}
		inFlight = inFlight[:0]
	}
	for {
		b, err := q.listener.ReadBlock(context.Background(), 64<<10)
		if errors.Is(err, stream.ErrReadAhead) {
			complete()
			continue
		}
		if err == io.EOF {
			break
		}
		q.must(err)
		if q.raw == nil {
			h := rawfile.DecodeHeader(b)
			q.open(rawfile.Record{Sec: h.Sec, Nsec: h.Nsec}.Time())
			at = 0
		}
		inFlight = append(inFlight, block{b, at})
		at += int64(len(b))
		if last := q.listener.SegmentEnd(); last || len(inFlight) == 4 {
			complete()
			if last {
				q.close(at)
			}
		}
	}
	complete()
	if q.raw != nil {
		q.must(q.raw.Truncate(at + rawfile.HeaderLen))
		q.close(at + rawfile.HeaderLen)
	}
}

func (q *liveQueue) must(err error) {
	if err != nil && q.t.Context().Err() != nil {
		runtime.Goexit() // the test has failed
	}
	if err != nil {
		panic(err)
	}
}

func (q *liveQueue) open(first time.Time) {
	var err error
	name := filepath.Join(q.dir, archive.FileName("eth2", q.queue, first, q.seq))
	q.raw, err = os.OpenFile(name+".raw.part", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	q.must(err)
	q.must(archive.LockExclusive(q.raw))
	q.b = index.NewBuilder()
	if q.r.IntN(4) > 0 {
		q.side, err = os.Create(name + archive.Index)
		q.must(err)
	}
	q.seq++
	time.Sleep(time.Duration(q.r.IntN(2000)) * time.Microsecond)
}

func (q *liveQueue) close(length int64) {
	if q.side != nil {
		_, err := q.side.Write(q.b.Finish(length))
		q.must(err)
		q.must(q.side.Close())
		q.side = nil
	}
	name := q.raw.Name()
	q.must(os.Rename(name, name[:len(name)-len(".part")]))
	q.must(q.raw.Close())
	q.raw = nil
}

// At any time of a capture the result is what has been captured so far: every frame
// once, in order, from files and memory.
func TestLiveResultsHaveNoGapAndNoDuplicate(t *testing.T) {
	const frames, queues = 10_000, 2
	dir := t.TempDir()
	var all []*liveQueue
	var sockets []string
	for i := range queues {
		q := newLiveQueue(t, dir, i, uint64(50+i))
		go q.produce(frames)
		go q.store()
		all = append(all, q)
		sockets = append(sockets, q.socket)
	}
	filter := compile(t, "ether[7] & 1 = 1") // odd numbers
	r := rand.New(rand.NewPCG(55, 9))
	queries, live := 0, uint64(0)
	for done := false; !done; queries++ {
		done = true
		var before [queues]int64
		for i, q := range all {
			before[i] = q.published.Load()
			q.allowed.Add([]int64{100, 700, 700, 4000}[r.IntN(4)]) // produced and stored during the query
			select {
			case <-q.ended:
			default:
				done = false
			}
		}
		files, err := archive.List(dir)
		require.NoError(t, err)
		for _, f := range files {
			r, err := index.Verify(f)
			require.NoError(t, err)
			require.Empty(t, r.Problems, "%+v", r)
		}
		request := Request{Live: sockets}
		step := 1
		if queries%3 == 1 {
			request.Filter, step = filter, 2
		}
		got, s, _, faults := ask(t, request, dir)
		require.NoError(t, faults)
		live += s.Live
		var next [queues]int
		for i := range next {
			next[i] = step - 1
		}
		last := time.Time{}
		for _, r := range got {
			q, n := binary.BigEndian.Uint32(r.Data), int(binary.BigEndian.Uint32(r.Data[4:]))
			require.Equal(t, next[q], n, "result %d, queue %d", queries, q)
			require.True(t, bytes.Equal(all[q].numbered(n), r.Data))
			require.False(t, r.Time().Before(last))
			last = r.Time()
			next[q] += step
		}
		for i := range next {
			require.Greater(t, int64(next[i]+step), before[i], "result %d, queue %d: includes what was published before", queries, i)
		}
	}
	require.NotZero(t, live)
	t.Logf("%d results, %d of their packets from memory", queries, live)
	files, err := archive.List(dir)
	require.NoError(t, err)
	n := uint64(0)
	for _, f := range files {
		r, err := index.Verify(f)
		require.NoError(t, err)
		require.Empty(t, r.Problems)
		n += r.Frames
	}
	require.EqualValues(t, queues*frames, n)
}

func TestLiveDataOfOtherPortsAndQueuesIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	q := newLiveQueue(t, dir, 1, 60)
	q.allowed.Store(100)
	go q.produce(100) // less than a block: no file before the end
	require.Eventually(t, func() bool { return q.published.Load() == 100 }, 30*time.Second, time.Millisecond)
	request := Request{Live: []string{q.socket}, Queue: 1}
	got, s, warned, _ := ask(t, request, dir)
	require.Len(t, got, 100)
	require.EqualValues(t, 100, s.Live)
	require.Empty(t, warned)
	got, _, _, _ = ask(t, Request{Live: []string{q.socket}, Queue: 2}, dir)
	require.Empty(t, got)
	got, _, warned, _ = ask(t, Request{Live: []string{q.socket}, Port: "eth2"}, dir)
	require.Empty(t, got)
	require.Contains(t, fmt.Sprint(warned), "so its port is not known")
	go q.store()
	<-q.ended
	for port, n := range map[string]int{"eth2": 100, "eth3": 0} {
		got, s, warned, _ = ask(t, Request{Live: []string{q.socket}, Port: port}, dir)
		require.Len(t, got, n)
		require.Zero(t, s.Live)
		require.Empty(t, warned)
	}
	_, err := Find(Request{Live: []string{filepath.Join(dir, "nosuch.sock")}}, dir)
	require.ErrorContains(t, err, "no capture serves a stream there")
}

// The bound of the order is that of the streams for what is in memory or in files that
// are being written, and is not known without them.
func TestOrderOfGrowingFilesIsThatOfTheirStreams(t *testing.T) {
	for _, follow := range []bool{false, true} {
		dir := t.TempDir()
		request := Request{Queue: capture.AllQueues, Follow: follow}
		for i := range 2 {
			q := newLiveQueue(t, dir, i, uint64(70+i))
			q.stream.Producer().SetUncertainty(uint64(i+1) * 1000)
			q.allowed.Store(2000) // less than a segment
			go q.produce(2500)
			go q.store()
			defer func() {
				q.allowed.Store(2500)
				<-q.ended
			}()
			require.Eventually(t, func() bool { return q.published.Load() == 2000 }, 30*time.Second, time.Millisecond)
			request.Live = append(request.Live, q.socket)
		}
		stop := make(chan struct{})
		close(stop)
		request.Stop = stop
		order := func(q Request) Order {
			s, err := Find(q, dir)
			require.NoError(t, err)
			defer s.Close()
			n := 0
			for ; err == nil; n++ {
				_, err = s.Next()
			}
			require.Equal(t, io.EOF, err)
			if len(q.Live) == 2 {
				require.Equal(t, 4000, n-1)
			}
			return s.Order()
		}
		require.Equal(t, Order{Sources: 2, Bound: 3000}, order(request))
		request.Live = request.Live[:1]
		require.Equal(t, Order{Sources: 2, Bound: 1000, Unknown: 1}, order(request))
	}
}
