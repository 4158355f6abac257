package recorder_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/internal/mounttest"
	"github.com/ixcap/ixcap/internal/testtime"
	_ "github.com/ixcap/ixcap/sim"
)

func engine(t *testing.T, device string, queues int) *capture.Engine {
	t.Helper()
	p, err := nic.Open(device, nic.Config{Queues: queues})
	require.NoError(t, err)
	e, err := capture.New(p, capture.Config{Buffer: 4 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func TestRunStoresTheConfiguredQueues(t *testing.T) {
	for name, c := range map[string]struct{ queue, storers int }{
		"all": {capture.AllQueues, 2},
		"one": {1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e := engine(t, "sim:gen,count=4000,flows=64,backpressure", 2)
			l, err := recorder.Run(t.Context(), e, recorder.Config{Dirs: []string{dir}, Queue: c.queue, Store: rawstore.Config{Port: "x"}})
			require.NoError(t, err)
			require.NoError(t, l.Balanced())
			require.EqualValues(t, 4000, l.Account.Wire)
			require.Len(t, l.Storers, c.storers)
			files, err := filepath.Glob(filepath.Join(dir, "*.raw"))
			require.NoError(t, err)
			require.Len(t, files, c.storers)
			for _, s := range l.Storers {
				require.NotZero(t, s.Written)
				require.Equal(t, s.Read, s.Written)
			}
		})
	}
}

// Blocks lie in a memory of their own, however small the pool is whose frames they have.
func TestBlocksMayBeLargerThanAPool(t *testing.T) {
	p, err := nic.Open("sim:gen,size=60-9000,count=2000,backpressure", nic.Config{Chunks: 20, ChunkSize: 64})
	require.NoError(t, err)
	e, err := capture.New(p, capture.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	l, err := recorder.Run(t.Context(), e, recorder.Config{
		Dirs: []string{t.TempDir()}, Queue: capture.AllQueues, Store: rawstore.Config{Port: "x", Block: 4 << 20, Depth: 8},
	})
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	require.EqualValues(t, 2000, l.Frames())
	require.Greater(t, l.Storers[0].Written, uint64(8<<20))
	require.Equal(t, l.Storers[0].Read, l.Storers[0].Written)
}

func TestRunRefusesInvalidSettings(t *testing.T) {
	e := engine(t, "sim:gen,count=10,backpressure", 2)
	_, err := recorder.Run(t.Context(), e, recorder.Config{Dirs: []string{recorder.Null}, Queue: 2})
	require.ErrorContains(t, err, "queue 2: the port has 2, numbered from 0")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err = recorder.Run(t.Context(), e, recorder.Config{Dirs: []string{file}, Queue: capture.AllQueues})
	require.ErrorContains(t, err, "not a directory")
	dir := t.TempDir()
	_, err = recorder.Run(t.Context(), e, recorder.Config{Dirs: []string{dir, recorder.Null}})
	require.ErrorContains(t, err, "cannot be one of 2")
	_, err = recorder.Run(t.Context(), e, recorder.Config{Dirs: []string{dir}, Store: rawstore.Config{Block: 4 << 20}})
	require.ErrorContains(t, err, "choose a larger buffer")
	_, err = recorder.Run(t.Context(), e, recorder.Config{Dirs: []string{dir}, Every: time.Millisecond})
	require.ErrorContains(t, err, "choose 1s to 24h")

	l, err := recorder.Run(t.Context(), e, recorder.Config{Dirs: []string{recorder.Null}, Queue: capture.AllQueues})
	require.NoError(t, err, "the engine can still be used")
	require.EqualValues(t, 10, l.Frames())
}

func TestProgressIsReportedWhileTheCaptureRuns(t *testing.T) {
	e := engine(t, "sim:gen,rate=10kpps", 1)
	done := make(chan capture.Rate, 10)
	go func() {
		<-done
		_ = e.Stop()
	}()
	l, err := recorder.Run(t.Context(), e, recorder.Config{Dirs: []string{recorder.Null}, Progress: func(before, now capture.Counters) {
		require.True(t, now.At.After(before.At))
		done <- now.Since(before)
	}})
	require.NoError(t, err)
	require.NotZero(t, l.Frames())
	require.Greater(t, l.Duration.Seconds(), 0.5)
	require.Less(t, l.Duration.Seconds(), (60 * time.Second).Seconds())
}

// Rotations by the clock and on request begin new files in every queue, and lose no
// frame.
func TestRotationBeginsNewFilesInEveryQueue(t *testing.T) {
	for name, c := range map[string]struct {
		every time.Duration
		ask   bool
	}{
		"by the clock": {every: time.Second},
		"on request":   {ask: true},
		"set later":    {},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e := engine(t, "sim:gen,rate=20kpps,flows=64,backpressure", 2)
			r, err := recorder.New(e, recorder.Config{Dirs: []string{dir}, Queue: capture.AllQueues, Every: c.every, Store: rawstore.Config{Port: "x"}})
			require.NoError(t, err)
			ctx, end := context.WithCancel(t.Context())
			var l capture.Ledger
			done := make(chan error, 1)
			go func() {
				var err error
				l, err = r.Run(ctx)
				done <- err
			}()
			if name == "set later" {
				require.NoError(t, r.SetEvery(time.Second))
			}
			closed := func(queue string) int {
				files, err := filepath.Glob(filepath.Join(dir, "*-q"+queue+"-*.raw"))
				require.NoError(t, err)
				return len(files)
			}
			require.Eventually(t, func() bool {
				if c.ask {
					r.Rotate()
				}
				return closed("00") >= 2 && closed("01") >= 2
			}, time.Minute, 10*time.Millisecond)
			for i, st := range r.Stats() {
				require.Equal(t, i, st.Queue)
				require.NotZero(t, st.Store.Written)
				require.NotZero(t, st.Store.Latency.Count)
				require.Equal(t, recorder.Listener, st.Listener.Name)
			}
			end()
			require.NoError(t, <-done)
			require.NoError(t, l.Balanced())
			frames := uint64(0)
			files, err := filepath.Glob(filepath.Join(dir, "*.raw"))
			require.NoError(t, err)
			for _, path := range files {
				in, err := os.Open(path)
				require.NoError(t, err)
				reader := rawfile.NewReader(in)
				for _, err := range reader.Records() {
					require.NoError(t, err)
				}
				require.NoError(t, in.Close())
				require.True(t, reader.Padded())
				require.NotZero(t, reader.Count(), "every file starts with a record")
				frames += reader.Count()
			}
			require.Equal(t, l.Frames(), frames)
		})
	}
}

// A disk that fails ends neither the capture nor the other queues' files. The ledger
// counts the loss.
func TestFullDiskDoesNotEndTheCapture(t *testing.T) {
	dir := mounttest.Tmpfs(t, "5m")
	e := engine(t, "sim:gen,size=1514,count=20000,backpressure,flows=64", 1) // with several a full ring drops
	var log logtest.Recorder
	l, err := recorder.Run(t.Context(), e, recorder.Config{
		Dirs: []string{dir}, Queue: capture.AllQueues, Store: rawstore.Config{Port: "x"},
		Logger: log.Logger(),
	})
	require.ErrorIs(t, err, unix.ENOSPC)
	require.ErrorContains(t, err, "bytes were not stored")
	require.NotContains(t, err.Error(), "\n", "one line")
	require.NoError(t, l.Balanced())
	require.EqualValues(t, 20000, l.Frames(), "the capture went on")
	require.NotEmpty(t, log.Lines())
	require.Contains(t, log.Lines()[0], "no space left on device; the capture goes on")
	failed := uint64(0)
	for _, s := range l.Storers {
		require.Equal(t, dir+" q"+strconv.Itoa(s.Queue), s.Name)
		for _, f := range s.Failed {
			require.Equal(t, "ENOSPC", f.Cause)
			failed += f.Bytes
		}
	}
	require.Greater(t, failed, uint64(20<<20))
	frames := uint64(0)
	files, err := filepath.Glob(filepath.Join(dir, "*.raw"))
	require.NoError(t, err)
	for _, path := range files {
		in, err := os.Open(path)
		require.NoError(t, err)
		reader := rawfile.NewReader(in)
		for _, err := range reader.Records() {
			require.NoError(t, err)
		}
		require.NoError(t, in.Close())
		frames += reader.Count()
	}
	require.Equal(t, l.Frames(), frames+l.Storers[0].FailedFrames, "frames in files and failed")
}

// Config.NewStorer replaces RAW files.
func TestAnotherStorerGetsTheFrames(t *testing.T) {
	e := engine(t, "sim:gen,count=1000,backpressure,flows=64", 2)
	counters := map[int]*counter{}
	l, err := recorder.Run(t.Context(), e, recorder.Config{
		Dirs: []string{"somewhere"}, Queue: capture.AllQueues,
		NewStorer: func(queue int, s *stream.Stream) (recorder.Storer, error) {
			counters[queue] = &counter{}
			return counters[queue], nil
		},
	})
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	require.Len(t, counters, 2)
	require.EqualValues(t, 1000, counters[0].frames.Load()+counters[1].frames.Load())
	require.NoDirExists(t, "somewhere")
	for q, s := range l.Storers {
		require.Equal(t, counters[q].frames.Load(), s.Written)
	}
}

// counter counts frames.
type counter struct{ frames atomic.Uint64 }

func (c *counter) Run(ctx context.Context, l *stream.Listener) error {
	for range l.Packets(ctx) {
		c.frames.Add(1)
	}
	return l.Err()
}

func (c *counter) Rotate() {}

func (c *counter) SetEvery(time.Duration) error { return nil }

func (c *counter) Stats() store.Stats {
	n := c.frames.Load()
	return store.Stats{Read: n, Written: n}
}

// slowHandle is a file on a disk that takes its time.
type slowHandle struct{ store.Handle }

func (h slowHandle) WriteAt(b []byte, off int64) (int, error) {
	time.Sleep(200 * time.Millisecond)
	return h.Handle.WriteAt(b, off)
}

// slowStorer is a rawstore.Storer as a recorder.Storer.
type slowStorer struct{ *rawstore.Storer }

func (s slowStorer) Run(ctx context.Context, l *stream.Listener) error { return s.Storer.Run(ctx, l) }

// Blocks of 1 MiB that take 200 ms each are 20 MB/s for 100 MB/s of frames.
func TestASlowDiskIsTheCauseOfALoss(t *testing.T) {
	e := engine(t, "sim:gen,size=1000,rate=100kpps", 1)
	r, err := recorder.New(e, recorder.Config{NewStorer: func(_ int, s *stream.Stream) (recorder.Storer, error) {
		dir, err := store.OpenDir(t.TempDir())
		if err != nil {
			return nil, err
		}
		dir.Wrap(func(h store.Handle) store.Handle { return slowHandle{h} })
		st, err := rawstore.New(rawstore.Config{Port: "x", Buffer: s.Config().Size, Rotate: s.Rotate}, dir)
		return slowStorer{st}, err
	}})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), testtime.Deadline)
	defer cancel()
	found := make(chan sched.LossCause, 1)
	go func() {
		for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			l, _ := e.Ledger()
			for _, c := range l.LossCauses {
				if c.Cause == sched.CauseDisk {
					found <- c
					cancel()
					return
				}
			}
		}
	}()
	l, err := r.Run(ctx)
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	require.NotEmpty(t, found, "%+v", l.LossCauses)
	worst := (<-found).Worst
	require.Equal(t, recorder.Listener, worst.Listener)
	require.NotZero(t, worst.Writing)
	require.NotZero(t, worst.Backpressure)
}
