package rawstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

const (
	benchFile  = 64 << 20 // written again and again
	benchBlock = 1 << 20
	benchRound = 16384 // frames
)

// BenchmarkStorePool compares ways to write the frames of a pool to a file: gathered in
// blocks, as the storer does, and not written (gather), without the page cache (direct) or
// through it (copy); and with pwritev, each record a piece of it, which is for the page cache
// alone. Processor time is that of the process: what the kernel writes back later is not in it.
func BenchmarkStorePool(b *testing.B) {
	for _, size := range []int{60, 1514} {
		for _, way := range []string{"gather", "direct", "copy", "pwritev"} {
			b.Run(fmt.Sprintf("size=%d/%s", size, way), func(b *testing.B) { benchStorePool(b, size, way) })
		}
	}
}

// poolWriter writes the frames of a pool to a file.
type poolWriter struct {
	*buffers
	l      *stream.Listener
	fd     int
	off    int64
	frames int

	unwritten bool // nothing is written
}

func benchStorePool(b *testing.B, size int, way string) {
	w := &poolWriter{buffers: newBuffers(b, 2*benchRound), unwritten: way == "gather"}
	s, err := stream.New(stream.Config{Interface: "test", Pool: &w.Pool, Node: hugepage.AnyNode})
	require.NoError(b, err)
	defer s.Close()
	w.l, err = s.Listen("store", stream.Options{})
	require.NoError(b, err)
	defer w.l.Close()
	flags := 0
	if way == "direct" {
		flags = unix.O_DIRECT
	}
	path := filepath.Join(b.TempDir(), "file")
	require.NoError(b, os.WriteFile(path, make([]byte, benchFile), 0o600))
	w.fd, err = unix.Open(path, unix.O_WRONLY|flags, 0)
	require.NoError(b, err)
	defer unix.Close(w.fd)
	require.NoError(b, unix.Fsync(w.fd))

	p, data := s.Producer(), frame(1, size)
	var wall, cpu time.Duration
	for w.frames < b.N {
		for range benchRound {
			p.Place([]clock.Stamp{1}, []uint32{uint32(size)}, []ring.Frame{w.put(data)})
		}
		p.Publish()
		began, used := time.Now(), cpuTime(b)
		if way == "pwritev" {
			w.pieces(b, benchRound, size)
		} else {
			w.blocks(b, int64(s.Stats().Bytes))
		}
		wall += time.Since(began)
		cpu += cpuTime(b) - used
		require.True(b, p.Reuse(uint64(w.frames)))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(wall.Nanoseconds())/float64(w.frames), "ns/frame")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(w.frames), "cpu-ns/frame")
}

// blocks writes whole blocks of what is published.
func (w *poolWriter) blocks(b *testing.B, published int64) {
	for int64(w.l.Offset())+benchBlock <= published {
		block, err := w.l.ReadBlock(b.Context(), benchBlock)
		require.NoError(b, err)
		if !w.unwritten {
			_, err = unix.Pwrite(w.fd, block, w.off%benchFile)
			require.NoError(b, err)
		}
		w.off += int64(len(block))
		w.frames += w.l.BlockFrames()
		require.NoError(b, w.l.Consume(len(block)))
	}
}

// pieces writes records where they lie, as many in a call as the kernel takes.
func (w *poolWriter) pieces(b *testing.B, frames, size int) {
	const most = 1024 // IOV_MAX
	packets, records := make([]stream.Packet, most), make([][]byte, most)
	for frames > 0 {
		n, err := w.l.ReadBatch(b.Context(), packets)
		require.NoError(b, err)
		bytes := 0
		for i := range n {
			at := (w.frames+i)%w.Buffers*w.Stride + w.Headroom - stream.RecordHeader
			records[i] = w.Memory.Bytes()[at : at+stream.RecordHeader+size]
			bytes += len(records[i])
		}
		if w.off+int64(bytes) > benchFile {
			w.off = 0
		}
		_, err = unix.Pwritev(w.fd, records[:n], w.off)
		require.NoError(b, err)
		w.off += int64(bytes)
		w.frames += n
		frames -= n
	}
	_, _ = w.l.TryReadBatch(packets) // releases the last ones
}

// cpuTime is the processor time that the process has used.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
