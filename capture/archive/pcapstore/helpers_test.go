package pcapstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

// rig is a stream with a listener that is being stored.
type rig struct {
	stream   *stream.Stream
	listener *stream.Listener
	storer   *pcapstore.Storer
	stop     context.CancelFunc
	done     chan error
	sent     int
	start    time.Time     // stamp of the first frame
	step     time.Duration // between two frames
}

// newStorer makes a storer of files in dirs.
func newStorer(tb testing.TB, cfg pcapstore.Config, dirs ...string) *pcapstore.Storer {
	tb.Helper()
	var opened []*store.Dir
	for _, dir := range dirs {
		d, err := store.OpenDir(dir)
		require.NoError(tb, err)
		opened = append(opened, d)
	}
	cfg.Port = "test"
	st, err := pcapstore.New(cfg, opened...)
	require.NoError(tb, err)
	return st
}

func start(tb testing.TB, policy stream.Policy, st *pcapstore.Storer) *rig {
	tb.Helper()
	s, err := stream.New(stream.Config{Interface: "test", Size: 2 << 20, Segment: 2 << 20, Node: hugepage.AnyNode})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	l, err := s.Listen("store", stream.Options{Policy: policy, Start: stream.FromOldest})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, l.Close()) })
	ctx, stop := context.WithCancel(tb.Context())
	tb.Cleanup(stop)
	r := &rig{stream: s, listener: l, storer: st, stop: stop, done: make(chan error, 1), start: time.Unix(1_700_000_000, 0), step: time.Microsecond}
	go func() {
		err := st.Run(ctx, l)
		if err != nil {
			l.Close() // else it would block the producer
		}
		r.done <- err
	}()
	return r
}

// frame is the n-th frame: it has its number, and bytes that do not compress.
func frame(n, size int) []byte {
	b := bytes.Repeat([]byte{byte(n)}, size)
	for i, x := 4, uint32(n); i < min(size, 100); i++ {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	binary.BigEndian.PutUint32(b, uint32(n))
	return b
}

func (r *rig) stamp(n int) time.Time { return r.start.Add(time.Duration(n) * r.step) }

func (r *rig) send(tb testing.TB, frames, size int) {
	tb.Helper()
	p := r.stream.Producer()
	for range frames {
		f := ring.Frame{Data: frame(r.sent, size), Len: uint32(size)}
		at := r.stamp(r.sent)
		for end := time.Now().Add(testtime.Deadline); !p.Append(uint32(at.Unix()), uint32(at.Nanosecond()), &f, 0); {
			require.True(tb, time.Now().Before(end), "blocked")
			time.Sleep(10 * time.Microsecond)
		}
		r.sent++
	}
	p.Publish()
}

func (r *rig) finish(tb testing.TB) error {
	tb.Helper()
	r.stream.Producer().Finish()
	select {
	case err := <-r.done:
		return err
	case <-time.After(testtime.Deadline):
		require.Fail(tb, "storer did not end with the stream")
		return nil
	}
}

// wait waits until happened returns true.
func wait(tb testing.TB, what string, happened func() bool) {
	tb.Helper()
	for end := time.Now().Add(testtime.Deadline); !happened(); time.Sleep(time.Millisecond) {
		require.True(tb, time.Now().Before(end), what)
	}
}

// read reads a file to its end.
func read(tb testing.TB, path string) []pcapfile.Packet {
	tb.Helper()
	r, err := pcapfile.Open(path)
	require.NoError(tb, err)
	defer r.Close()
	var all []pcapfile.Packet
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all
		}
		require.NoError(tb, err, path)
		p.Data = bytes.Clone(p.Data)
		all = append(all, p)
	}
}

// names returns the files of a folder, sorted. It requires that none is being written.
func names(tb testing.TB, dir string) (all []string) {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(tb, err)
	for _, e := range entries {
		require.False(tb, strings.HasSuffix(e.Name(), ".part"), e.Name())
		all = append(all, filepath.Join(dir, e.Name()))
	}
	return all
}

// packets returns the packets of all files of folders.
func packets(tb testing.TB, dirs ...string) (all []pcapfile.Packet) {
	tb.Helper()
	for _, dir := range dirs {
		for _, name := range names(tb, dir) {
			all = append(all, read(tb, name)...)
		}
	}
	return all
}

// number returns the number of a packet's frame.
func number(p pcapfile.Packet) int { return int(binary.BigEndian.Uint32(p.Data)) }

// isAll requires packets to be frames 0 to n-1.
func (r *rig) isAll(tb testing.TB, all []pcapfile.Packet, n, size int) {
	tb.Helper()
	require.Len(tb, all, n)
	for i, p := range all {
		want := pcapfile.Packet{Nano: r.stamp(i).UnixNano(), Len: uint32(size), Data: frame(i, size)}
		if !slices.Equal(p.Data, want.Data) || p.Nano != want.Nano || p.Len != want.Len || p.Dropped != 0 {
			require.Equal(tb, want, p, "packet %d", i)
		}
	}
}

// failed returns the sum of all causes.
func failed(p pcapstore.Packets) (n store.Amount) {
	for _, f := range p.Failed {
		n.Packets += f.Packets
		n.Bytes += f.Bytes
	}
	return n
}

// balanced requires that the storer's counters balance, and agree with the listener's.
func (r *rig) balanced(tb testing.TB) pcapstore.Packets {
	tb.Helper()
	p := r.storer.Packets()
	require.NoError(tb, p.Balanced())
	l := r.listener.Stats()
	require.NoError(tb, l.Balanced())
	require.Equal(tb, l.Read, p.Read.Packets)
	require.Equal(tb, l.Overrun, p.Overrun)
	st := r.storer.Stats()
	var lost uint64
	for _, n := range st.Failed {
		lost += n
	}
	require.Equal(tb, st.Read, st.Written+st.Filtered+st.Cut+lost)
	return p
}
