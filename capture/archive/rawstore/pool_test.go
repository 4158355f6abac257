package rawstore_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

// buffers are packet buffers that frames are put into in turn, as a device does.
type buffers struct {
	stream.Pool
	next int
}

func newBuffers(t testing.TB, n int) *buffers {
	const stride, headroom, size = 2112, 64, 2048
	m, err := hugepage.Alloc(n*stride, hugepage.Options{Name: "pool", Pages: hugepage.Ordinary, Node: hugepage.AnyNode})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return &buffers{Pool: stream.Pool{Memory: m, Buffers: n, Stride: stride, Headroom: headroom, BufferSize: size}}
}

// put writes a frame into the next buffers.
func (b *buffers) put(data []byte) ring.Frame {
	f := ring.Frame{Len: uint32(len(data)), Buffer: uint32(b.next)}
	for left := data; len(left) > 0; b.next = (b.next + 1) % b.Buffers {
		at := b.next*b.Stride + b.Headroom
		part := b.Memory.Bytes()[at : at+b.BufferSize]
		part = part[:copy(part, left)]
		if left = left[len(part):]; f.Data == nil {
			f.Data = part
		} else {
			f.Rest = append(f.Rest, part)
		}
	}
	return f
}

// storer is what stores a stream.
type storer interface {
	Run(ctx context.Context, l *stream.Listener) error
	Stats() store.Stats
}

type rawStorer struct{ *rawstore.Storer }

func (s rawStorer) Run(ctx context.Context, l *stream.Listener) error { return s.Storer.Run(ctx, l) }

// storeTraffic stores the same random traffic from a stream that copies or has a pool, and
// returns the files by name.
func storeTraffic(t *testing.T, pooled bool, newStorer func(dir *store.Dir, rotate func()) (storer, error)) map[string]string {
	cfg := stream.Config{Interface: "test", Size: 4 << 20, Segment: segment, Node: hugepage.AnyNode}
	b := newBuffers(t, 512) // gives way to a storer after 512 frames
	if pooled {
		cfg.Pool = &b.Pool
	}
	s, err := stream.New(cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	l, err := s.Listen("store", stream.Options{Start: stream.FromOldest, Aligned: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	path := t.TempDir()
	dir, err := store.OpenDir(path)
	require.NoError(t, err)
	st, err := newStorer(dir, s.Rotate)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- st.Run(t.Context(), l) }()

	p, random := s.Producer(), rand.New(rand.NewPCG(1, 2))
	await := func(what string, happened func() bool) {
		for end := time.Now().Add(testtime.Deadline); !happened(); time.Sleep(10 * time.Microsecond) {
			require.True(t, time.Now().Before(end), "%s: not within %v", what, testtime.Deadline)
		}
	}
	for n := range 6000 {
		data := frame(n, []int{60, 60, 60, 200, 1514, 1514, 3000, 9000}[random.IntN(8)])
		kept := uint32(len(data))
		if random.IntN(10) == 0 {
			kept = random.Uint32N(kept) + 1
		}
		if n == 2500 { // a segment that ends early
			p.Publish()
			s.Rotate()
			p.Publish() // ends it at the next MiB
		}
		f, stamps, keep := ring.Frame{Data: data, Len: uint32(len(data))}, []clock.Stamp{clock.Stamp(uint64(1+n/1000) | uint64(n)<<32)}, []uint32{kept}
		if pooled {
			if b.next+8 > b.Buffers || n%100 == 0 { // a frame takes up to 5 buffers
				await("all frames are released", func() bool { return p.Reuse(p.Next()) })
			}
			p.Place(stamps, keep, []ring.Frame{b.put(f.Data)})
		} else {
			await("there is room", func() bool { return p.AppendStamped(stamps, keep, []ring.Frame{f}) == 1 })
		}
		if n%50 == 0 {
			p.Publish()
		}
	}
	p.Finish()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(testtime.Deadline):
		require.Fail(t, "the storer did not end with the stream")
	}
	require.Empty(t, st.Stats().Failed)
	require.NoError(t, l.Stats().Balanced())
	require.EqualValues(t, 6000, l.Stats().Read)
	return contents(t, path)
}

// contents returns the files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		all[filepath.Base(path)] = string(b)
	}
	return all
}

// Storers of bytes and of packets write the same files whether frames are copied or stay in a
// pool: frames over several buffers, truncated ones, and segments that end early too.
func TestFilesOfAPoolAreThoseOfACopyingStream(t *testing.T) {
	raw := func(c rawstore.Config) func(*store.Dir, func()) (storer, error) {
		return func(dir *store.Dir, rotate func()) (storer, error) {
			c.Port, c.Segment, c.Rotate, c.Buffer = "test", segment, rotate, 1<<30
			s, err := rawstore.New(c, dir)
			return rawStorer{s}, err
		}
	}
	packets := func(c pcapstore.Config) func(*store.Dir, func()) (storer, error) {
		return func(dir *store.Dir, _ func()) (storer, error) {
			c.Port, c.Size = "test", segment
			return pcapstore.New(c, dir)
		}
	}
	for name, newStorer := range map[string]func(*store.Dir, func()) (storer, error){
		"raw":                 raw(rawstore.Config{}),
		"raw, 2 MiB, in turn": raw(rawstore.Config{Block: 2 << 20, Depth: 1}),
		"raw, flushed often":  raw(rawstore.Config{Flush: time.Millisecond}),
		"pcap":                packets(pcapstore.Config{Format: pcapfile.Pcap}),
		"pcap, shortened":     packets(pcapstore.Config{Format: pcapfile.Pcap, SnapLen: 4000}),
	} {
		t.Run(name, func(t *testing.T) {
			copied, placed := storeTraffic(t, false, newStorer), storeTraffic(t, true, newStorer)
			require.NotEmpty(t, copied)
			require.Len(t, placed, len(copied))
			for file, want := range copied {
				got, there := placed[file]
				require.True(t, there && want == got, "%s differs: %d bytes, %d of the pool", file, len(want), len(got))
			}
		})
	}
}
