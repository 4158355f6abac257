package pcappipe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcappipe"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

// rig is a pipe with the streams of its storers.
type rig struct {
	*pcappipe.Pipe
	t       *testing.T
	streams []*stream.Stream
	storers []*pcappipe.Storer
	errs    []chan error
}

func newRig(t *testing.T, out io.Writer, queues int, cfg pcappipe.Config) *rig {
	t.Helper()
	p, err := pcappipe.New(out, cfg)
	require.NoError(t, err)
	r := &rig{Pipe: p, t: t}
	for range queues {
		s, err := stream.New(stream.Config{Interface: "test", Size: 2 << 20, Segment: 2 << 20, Node: hugepage.AnyNode})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		r.streams = append(r.streams, s)
		r.storers = append(r.storers, p.NewStorer(pcappipe.Source{Interface: pcapfile.Interface{Name: "test"}}))
	}
	p.Start()
	for q, s := range r.streams {
		l, err := s.Listen("pipe", stream.Options{})
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() {
			err := r.storers[q].Run(t.Context(), l)
			done <- errors.Join(err, l.Close())
		}()
		r.errs = append(r.errs, done)
	}
	return r
}

// send publishes a frame that holds its number, at a time. It waits for room. It returns how
// long after its stamp the frame was published, at most.
func (r *rig) send(queue, number int, at time.Time) time.Duration {
	r.t.Helper()
	data := make([]byte, 60)
	binary.BigEndian.PutUint32(data, uint32(number))
	f := ring.Frame{Data: data, Len: 60}
	p := r.streams[queue].Producer()
	for end := time.Now().Add(testtime.Deadline); !p.Append(uint32(at.Unix()), uint32(at.Nanosecond()), &f, 0); {
		require.True(r.t, time.Now().Before(end), "blocked")
		time.Sleep(10 * time.Microsecond)
	}
	p.Publish()
	return time.Since(at)
}

// finish ends all streams and returns the errors of the storers and of the pipe.
func (r *rig) finish() error {
	for _, s := range r.streams {
		s.Producer().Finish()
	}
	var errs []error
	for _, done := range r.errs {
		errs = append(errs, <-done)
	}
	return errors.Join(append(errs, r.Close())...)
}

// buffer is an output that several goroutines use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

// numbers returns the numbers of the packets of an output and the interfaces they came by.
func numbers(t *testing.T, out []byte) (frames []int, interfaces []int) {
	t.Helper()
	f, err := capfile.NewReader(bytes.NewReader(out), capfile.Options{})
	require.NoError(t, err)
	defer f.Close()
	for {
		p, err := f.Next()
		if err == io.EOF {
			return frames, interfaces
		}
		require.NoError(t, err)
		frames = append(frames, int(binary.BigEndian.Uint32(p.Data)))
		interfaces = append(interfaces, p.Interface)
	}
}

func TestPacketsOfQueuesAreMergedByTheirStamps(t *testing.T) {
	const frames = 20_000
	for _, format := range []pcapfile.Format{pcapfile.Pcap, pcapfile.Pcapng} {
		for _, queues := range []int{1, 3} {
			var out buffer
			r := newRig(t, &out, queues, pcappipe.Config{Format: format})
			longest := time.Duration(0)
			random, queue := rand.New(rand.NewPCG(1, 2)), make([]int, frames)
			for n := range frames {
				if queue[n] = random.IntN(queues); n > frames/2 {
					queue[n] = 0 // the others have nothing: it does not wait for them
				}
				longest = max(longest, r.send(queue[n], n, time.Now()))
			}
			require.NoError(t, r.finish())
			for _, s := range r.storers {
				st := s.Stats()
				require.Equal(t, st.Read, st.Written)
				require.Empty(t, st.Failed)
			}
			got, by := numbers(t, out.bytes())
			require.Len(t, got, frames)
			if longest > 5*time.Millisecond && queues > 1 {
				continue // the test had no core: its packets come later than a port's
			}
			require.Zero(t, r.Late())
			for n := range frames {
				require.Equal(t, n, got[n])
				if format == pcapfile.Pcapng {
					require.Equal(t, queue[n], by[n])
				}
			}
		}
	}
}

// A packet is in the output before the next one is captured, and so is the header before
// the first; a queue without packets does not delay it.
func TestPacketsAreWrittenAsTheyArrive(t *testing.T) {
	var out buffer
	r := newRig(t, &out, 2, pcappipe.Config{})
	require.Eventually(t, func() bool { return len(out.bytes()) == 24 }, testtime.Deadline, time.Millisecond)
	for n := range 5 {
		r.send(1, n, time.Now())
		require.Eventually(t, func() bool { return len(out.bytes()) == 24+(n+1)*(16+60) }, testtime.Deadline, time.Millisecond)
	}
	require.NoError(t, r.finish())
}

func TestLatePacketsAreWrittenAndCounted(t *testing.T) {
	var out buffer
	r := newRig(t, &out, 2, pcappipe.Config{})
	now := time.Now()
	r.send(0, 0, now)
	require.Eventually(t, func() bool { return len(out.bytes()) == 24+16+60 }, testtime.Deadline, time.Millisecond)
	r.send(1, 1, now.Add(-time.Second))
	require.NoError(t, r.finish())
	require.EqualValues(t, 1, r.Late())
	require.Len(t, out.bytes(), 24+2*(16+60))
}

func TestReaderThatCloses(t *testing.T) {
	in, out, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close()
	r := newRig(t, out, 2, pcappipe.Config{Name: "-"})
	r.send(0, 0, time.Now())
	_, err = io.ReadFull(in, make([]byte, 24+16+60))
	require.NoError(t, err)
	require.NoError(t, in.Close())
	r.send(0, 1, time.Now())
	<-r.Failed()
	err = r.finish()
	require.ErrorIs(t, err, unix.EPIPE)
	require.ErrorContains(t, err, "write packets to -: ")
	st := r.storers[0].Stats()
	require.EqualValues(t, 120, st.Read)
	require.EqualValues(t, 60, st.Written)
	require.Equal(t, map[string]uint64{"EPIPE": 60}, st.Failed)
}

func TestReaderThatDoesNotReadHoldsTheEndForATime(t *testing.T) {
	in, out, err := os.Pipe()
	require.NoError(t, err)
	defer in.Close()
	defer out.Close()
	r := newRig(t, out, 1, pcappipe.Config{Timeout: 50 * time.Millisecond})
	for n := range 10_000 { // more than a pipe takes, and less than the stream
		r.send(0, n, time.Now())
	}
	err = r.finish()
	require.ErrorIs(t, err, pcappipe.ErrUnread)
	st := r.storers[0].Stats()
	require.EqualValues(t, 600_000, st.Read)
	require.Equal(t, st.Read, st.Written+st.Failed["not read"])
}

// gate is an output that takes nothing once it is shut.
type gate struct{ shut chan struct{} }

func (g gate) Write(b []byte) (int, error) {
	select {
	case <-g.shut:
		select {} // as a write to a full pipe
	default:
		return len(b), nil
	}
}

// The reader stops between the last packet and the counters.
func TestReaderThatDoesNotReadTheCountersHoldsTheEndForATime(t *testing.T) {
	g := gate{make(chan struct{})}
	r := newRig(t, g, 1, pcappipe.Config{Format: pcapfile.Pcapng, Timeout: time.Millisecond})
	r.send(0, 0, time.Now())
	require.Eventually(t, func() bool { return r.storers[0].Stats().Written == 60 }, testtime.Deadline, time.Millisecond)
	close(g.shut)
	require.ErrorIs(t, r.finish(), pcappipe.ErrUnread)
}

func TestUnknownFormatIsRefused(t *testing.T) {
	_, err := pcappipe.New(io.Discard, pcappipe.Config{Format: "raw"})
	require.ErrorContains(t, err, `format "raw"`)
}

func TestFilterAndSnapLen(t *testing.T) {
	var out buffer
	filter, err := pcapfilter.Compile("ether[3] & 1 = 0")
	require.NoError(t, err)
	r := newRig(t, &out, 1, pcappipe.Config{Format: pcapfile.Pcapng, Filter: filter, SnapLen: 40})
	for n := range 100 {
		r.send(0, n, time.Now())
	}
	require.NoError(t, r.finish())
	got, _ := numbers(t, out.bytes())
	require.Len(t, got, 50)
	st := r.storers[0].Stats()
	require.EqualValues(t, 6000, st.Read)
	require.EqualValues(t, 3000, st.Filtered)
	require.EqualValues(t, 50*20, st.Cut)
	require.EqualValues(t, 50*40, st.Written)
}
