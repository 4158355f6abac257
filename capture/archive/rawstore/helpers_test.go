package rawstore_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

const (
	segment = 2 << 20
)

// rig is a stream with a lossless listener that is being stored.
type rig struct {
	stream   *stream.Stream
	listener *stream.Listener
	storer   *rawstore.Storer
	dirs     []*store.Dir
	stop     context.CancelFunc
	done     chan error
	sent     int

	log logtest.Recorder

	mu     sync.Mutex
	closed []string // files that got their final name
}

func start(t *testing.T, dir string, cfg rawstore.Config) *rig {
	t.Helper()
	d, err := store.OpenDir(dir)
	require.NoError(t, err)
	return startIn(t, cfg, d)
}

func startIn(t *testing.T, cfg rawstore.Config, dirs ...*store.Dir) *rig {
	t.Helper()
	return startWith(t, cfg, func(*rawstore.Storer) {}, dirs...)
}

func startWith(t *testing.T, cfg rawstore.Config, prepare func(*rawstore.Storer), dirs ...*store.Dir) *rig {
	t.Helper()
	r := &rig{done: make(chan error, 1), dirs: dirs}
	var err error
	r.stream, err = stream.New(stream.Config{Interface: "test", Size: 4 << 20, Segment: segment, Node: hugepage.AnyNode})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.stream.Close()) })
	r.listener, err = r.stream.Listen("store", stream.Options{Policy: stream.Lossless, Start: stream.FromOldest, Aligned: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.listener.Close()) })
	cfg.Port, cfg.Segment, cfg.Rotate = "test", segment, r.stream.Rotate
	cfg.Buffer = cmp.Or(cfg.Buffer, 1<<30) // else a busy machine's index would lag
	cfg.Logger = r.log.Logger()
	cfg.Closed = func(path string) { r.note(&r.closed, path) }
	r.storer, err = rawstore.New(cfg, dirs...)
	require.NoError(t, err)
	r.storer.SetRetry(20 * time.Millisecond)
	prepare(r.storer)
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() {
		err := r.storer.Run(ctx, r.listener)
		if err != nil {
			r.listener.Close() // else it would block the producer
		}
		r.done <- err
	}()
	return r
}

func (r *rig) note(to *[]string, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*to = append(*to, text)
}

func (r *rig) warnings() []string { return r.log.Lines() }

// frame is the n-th frame: it names itself.
func frame(n, size int) []byte {
	b := bytes.Repeat([]byte{byte(n)}, size)
	binary.BigEndian.PutUint32(b, uint32(n))
	return b
}

// isFrame reports whether b is the n-th frame.
func isFrame(b []byte, n, size int) bool {
	return len(b) == size && binary.BigEndian.Uint32(b) == uint32(n) && bytes.Count(b[4:], []byte{byte(n)}) == size-4
}

func (r *rig) send(t *testing.T, frames, size int) {
	t.Helper()
	p := r.stream.Producer()
	for range frames {
		f := ring.Frame{Data: frame(r.sent, size), Len: uint32(size)}
		for end := time.Now().Add(testtime.Deadline); !p.Append(uint32(1+r.sent/1e6), uint32(r.sent%1e6), &f, 0); {
			require.True(t, time.Now().Before(end), "blocked for %v", testtime.Deadline)
			time.Sleep(10 * time.Microsecond)
		}
		r.sent++
	}
	p.Publish()
}

// until sends frames at intervals until happened returns true.
func (r *rig) until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(testtime.Deadline); !happened(); {
		require.True(t, time.Now().Before(end), "%s: not within %v; %v", what, testtime.Deadline, r.warnings())
		r.send(t, 20, 1500)
		time.Sleep(time.Millisecond)
	}
}

func (r *rig) finish(t *testing.T) error {
	t.Helper()
	r.stream.Producer().Finish()
	select {
	case err := <-r.done:
		return err
	case <-time.After(testtime.Deadline):
		require.Fail(t, "the storer did not end with the stream")
		return nil
	}
}

// balanced requires that every byte and frame that was read is accounted for, and
// that the written ones are in the files.
func (r *rig) balanced(t *testing.T, dirs ...string) store.Stats {
	t.Helper()
	st := r.storer.Stats()
	failed := uint64(0)
	for _, n := range st.Failed {
		failed += n
	}
	require.Equal(t, st.Read, st.Written+failed, "%+v", st)
	ls := r.listener.Stats()
	require.NoError(t, ls.Balanced())
	inFiles, frames, files := uint64(0), uint64(0), 0
	for _, dir := range dirs {
		for _, f := range specFiles(t, dir) {
			inFiles += uint64(f.streamBytes)
			frames += uint64(len(f.records))
			files++
		}
	}
	require.Equal(t, st.Written, inFiles, "bytes written, and in files")
	require.Equal(t, st.Files, files)
	require.Equal(t, ls.Read, frames+st.FailedFrames, "frames read, in files and failed")
	return st
}

// files reads all RAW files of a folder, in the order of their names, and requires
// that they hold frames 0, 1, ..., that all but the last are full segments, and
// that each has its sidecar.
func files(t *testing.T, dir string, size int) (names []string, frames int) {
	t.Helper()
	all := specFiles(t, dir)
	for i, f := range all {
		names = append(names, f.path)
		if i < len(all)-1 {
			require.EqualValues(t, segment, f.size, f.path)
		}
		numbers := f.frames(t, size)
		if len(numbers) > 0 {
			require.Equal(t, []int{frames, frames + len(numbers) - 1}, []int{numbers[0], numbers[len(numbers)-1]}, f.path)
		}
		frames += len(numbers)
	}
	return names, frames
}

// entries returns the names in a folder that end in one of the suffixes.
func entries(t *testing.T, dir string, suffixes ...string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range all {
		for _, s := range suffixes {
			if strings.HasSuffix(e.Name(), s) {
				names = append(names, filepath.Join(dir, e.Name()))
			}
		}
	}
	return names
}

// wholeFrames returns the numbers of the whole frames at the start of an unclosed file.
func wholeFrames(t *testing.T, file []byte, size int) (numbers []int) {
	t.Helper()
	r := rawfile.NewReader(bytes.NewReader(file))
	for {
		rec, err := r.Next()
		if err != nil {
			require.True(t, err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
			return numbers
		}
		n := int(rec.Sec-1)*1e6 + int(rec.Nsec)
		if !isFrame(rec.Data, n, size) {
			require.Fail(t, "changed", "frame %d of the file differs from frame %d", len(numbers), n)
		}
		numbers = append(numbers, n)
	}
}

func (r *rig) closedFiles() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.closed...)
}
