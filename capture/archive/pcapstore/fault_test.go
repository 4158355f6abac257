package pcapstore_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/internal/mounttest"
)

// disk replaces the disk of a storer: it can fail, and it can hang.
type disk struct {
	bad   atomic.Bool   // writes fail with EIO after half of their bytes
	lying atomic.Bool   // syncs fail
	gate  chan struct{} // nil: writes do not wait for it
}

type diskFile struct {
	store.Handle
	disk *disk
}

func (d *disk) wrap(h store.Handle) store.Handle { return diskFile{h, d} }

func (f diskFile) WriteAt(b []byte, off int64) (int, error) {
	if f.disk.gate != nil {
		<-f.disk.gate
	}
	if f.disk.bad.Load() {
		n, _ := f.Handle.WriteAt(b[:len(b)/2], off)
		return n, unix.EIO
	}
	return f.Handle.WriteAt(b, off)
}

func (f diskFile) Sync() error {
	if f.disk.lying.Load() {
		return unix.EIO
	}
	return f.Handle.Sync()
}

// count is the number of log lines that contain part.
func count(log *logtest.Recorder, part string) (n int) {
	for _, text := range log.Lines() {
		if strings.Contains(text, part) {
			n++
		}
	}
	return n
}

// isSubset requires that packets are frames in order, none twice.
func isSubset(t *testing.T, all []pcapfile.Packet, size int) {
	t.Helper()
	last := -1
	for _, p := range all {
		require.Greater(t, number(p), last)
		last = number(p)
		require.Equal(t, frame(last, size), p.Data)
	}
}

func TestWriteErrorsAreCountedAndStoringGoesOn(t *testing.T) {
	for _, level := range []int{0, 1} {
		dir := t.TempDir()
		d, log := &disk{}, &logtest.Recorder{}
		st := newStorer(t, pcapstore.Config{Level: level, Flush: time.Millisecond, Logger: log.Logger()}, dir)
		st.Wrap("", d.wrap)
		st.SetRetry(time.Millisecond)
		r := start(t, stream.Lossless, st)
		r.send(t, 1000, 1000)
		wait(t, "some are written", func() bool { return st.Packets().Written.Packets == 1000 })
		d.bad.Store(true)
		for failed(st.Packets()).Packets == 0 || !st.Stats().Failing {
			r.send(t, 1000, 1000)
			time.Sleep(time.Millisecond)
		}
		require.Equal(t, 1, count(log, "input/output error; the capture goes on"))
		require.Contains(t, st.Stats().Dirs[0].Failing, "input/output error")
		d.bad.Store(false)
		before := st.Packets().Written.Packets
		for st.Packets().Written.Packets == before {
			r.send(t, 1000, 1000)
			time.Sleep(time.Millisecond)
		}
		wait(t, "it has recovered", func() bool { return count(log, "storing goes on after") == 1 })
		require.ErrorIs(t, r.finish(t), unix.EIO)
		p := r.balanced(t)
		require.NotZero(t, p.Failed["EIO"].Packets)
		require.EqualValues(t, r.sent, p.Read.Packets)
		all := packets(t, dir)
		isSubset(t, all, 1000)
		require.Len(t, all, int(p.Written.Packets))
		require.GreaterOrEqual(t, len(names(t, dir)), 2)
		require.False(t, st.Stats().Failing)

		// The file has a comment about the packets missing before it.
		in, err := os.Open(names(t, dir)[len(names(t, dir))-1])
		require.NoError(t, err)
		if level == 0 {
			ng, err := pcapgo.NewNgReader(in, pcapgo.DefaultNgReaderOptions)
			require.NoError(t, err)
			require.Contains(t, ng.SectionInfo().Comment, "packets before this file could not be stored")
		}
		require.NoError(t, in.Close())
	}
}

func TestAnotherFolderReplacesOneThatFails(t *testing.T) {
	good, bad := t.TempDir(), t.TempDir()
	faulty := &disk{}
	faulty.bad.Store(true)
	st := newStorer(t, pcapstore.Config{Size: pcapstore.MinSize}, bad, good)
	st.Wrap(bad, faulty.wrap)
	st.SetRetry(time.Hour)
	r := start(t, stream.Lossless, st)
	r.send(t, 2000, 1000)
	require.NoError(t, r.finish(t))
	p := r.balanced(t)
	require.Empty(t, p.Failed)
	r.isAll(t, packets(t, good), 2000, 1000)
	require.Empty(t, names(t, bad))
}

func TestSeveralFoldersTakeTurns(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	r := start(t, stream.Lossless, newStorer(t, pcapstore.Config{Size: pcapstore.MinSize}, a, b))
	r.send(t, 2000, 1000)
	require.NoError(t, r.finish(t))
	require.InDelta(t, len(names(t, a)), len(names(t, b)), 1)
	require.Len(t, packets(t, a, b), 2000)
	r.balanced(t)
}

func TestFullDiskIsWrittenAgainWhenThereIsSpace(t *testing.T) {
	dir := mounttest.Tmpfs(t, "5m")
	st := newStorer(t, pcapstore.Config{Size: 1 << 20, Flush: time.Millisecond}, dir)
	st.SetRetry(time.Millisecond)
	r := start(t, stream.Lossless, st)
	for st.Packets().Failed["ENOSPC"].Packets == 0 {
		r.send(t, 1000, 1000)
	}
	full := closedFiles(t, dir)
	require.NotEmpty(t, full)
	isSubset(t, packetsOf(t, full), 1000)
	for _, name := range full[:3] {
		require.NoError(t, os.Remove(name))
	}
	before := st.Packets().Written.Packets
	for st.Packets().Written.Packets == before {
		r.send(t, 100, 1000)
		time.Sleep(time.Millisecond)
	}
	require.ErrorIs(t, r.finish(t), unix.ENOSPC)
	r.balanced(t)
	isSubset(t, packets(t, dir), 1000)
}

// closedFiles returns the files of a folder that have their final names.
func closedFiles(t *testing.T, dir string) []string {
	all, err := filepath.Glob(filepath.Join(dir, "*.pcapng"))
	require.NoError(t, err)
	return all
}

func packetsOf(t *testing.T, names []string) (all []pcapfile.Packet) {
	for _, name := range names {
		all = append(all, read(t, name)...)
	}
	return all
}

func TestRemovedFolderIsMadeAgainAndTheLossCounted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	st := newStorer(t, pcapstore.Config{Flush: time.Millisecond}, dir)
	st.SetRetry(time.Millisecond)
	r := start(t, stream.Lossless, st)
	r.send(t, 100, 1000)
	wait(t, "they are written", func() bool { return st.Packets().Written.Packets == 100 })
	require.NoError(t, os.RemoveAll(dir))
	wait(t, "the loss is noticed", func() bool { return st.Packets().Failed["ENOENT"].Packets >= 100 })
	for len(closedFiles(t, dir)) == 0 && st.Packets().Written.Packets == 0 {
		r.send(t, 10, 1000)
		time.Sleep(time.Millisecond)
	}
	require.ErrorIs(t, r.finish(t), unix.ENOENT)
	p := r.balanced(t)
	all := packets(t, dir)
	require.Len(t, all, int(p.Written.Packets))
	isSubset(t, all, 1000)
}

func TestFailedSyncCountsUnsyncedPacketsAsLost(t *testing.T) {
	for name, sync := range map[string]store.Sync{"at close": store.SyncAtClose, "every 10ms": store.Sync(10 * time.Millisecond)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := &disk{}
			st := newStorer(t, pcapstore.Config{Flush: time.Millisecond, Sync: sync}, dir)
			st.Wrap("", d.wrap)
			st.SetRetry(time.Millisecond)
			r := start(t, stream.Lossless, st)
			d.lying.Store(true)
			r.send(t, 100, 1000)
			wait(t, "they are written", func() bool {
				p := st.Packets()
				return p.Written.Packets+failed(p).Packets == 100
			})
			require.ErrorIs(t, r.finish(t), unix.EIO)
			require.EqualValues(t, 100, r.balanced(t).Failed["EIO"].Packets)
			part, err := filepath.Glob(filepath.Join(dir, "*.part"))
			require.NoError(t, err)
			require.NotEmpty(t, part, "it is left for Recover")
		})
	}
}

func TestLossesAreInTheCommentOfTheNextPacket(t *testing.T) {
	dir := t.TempDir()
	d := &disk{gate: make(chan struct{})}
	var dropped atomic.Uint64
	st := newStorer(t, pcapstore.Config{Flush: time.Millisecond, Counters: func() pcapstore.Counters {
		return pcapstore.Counters{Received: 1000 + dropped.Load(), Dropped: dropped.Load()}
	}}, dir)
	st.Wrap("", d.wrap)
	st.SetRetry(time.Millisecond)
	r := start(t, stream.Lossy, st)
	r.send(t, 20_000, 1000) // 10 times the size of the stream, and more than the chunks hold
	close(d.gate)
	wait(t, "the rest is read", func() bool {
		p := st.Packets()
		return p.Read.Packets+p.Overrun == 20_000
	})
	dropped.Store(17)
	wait(t, "the port's loss is noted", func() bool {
		r.send(t, 1, 1000)
		time.Sleep(10 * time.Millisecond)
		return r.sent > 20_050
	})
	require.NoError(t, r.finish(t))
	p := r.balanced(t)
	require.NotZero(t, p.Overrun)
	all := packets(t, dir)
	isSubset(t, all, 1000)
	require.Len(t, all, int(p.Written.Packets))
	last, lost, port := -1, uint64(0), uint64(0)
	for _, p := range all {
		lost += p.Dropped
		missing := uint64(number(p) - last - 1)
		if p.Dropped != missing {
			port += p.Dropped - missing
			require.Contains(t, p.Comment, "17 packets lost before this one by the port")
		}
		require.Equal(t, p.Dropped != 0, p.Comment != "")
		last = number(p)
	}
	require.EqualValues(t, 17, port)
	require.Equal(t, p.Overrun+17, lost)

	// The statistics at the file's end have it, too.
	var got pcapgo.NgInterfaceStatistics
	file, err := os.ReadFile(names(t, dir)[0])
	require.NoError(t, err)
	ng, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{StatisticsCallback: func(_ int, s pcapgo.NgInterfaceStatistics) { got = s }})
	require.NoError(t, err)
	for err == nil {
		_, _, err = ng.ReadPacketData()
	}
	require.ErrorIs(t, err, io.EOF)
	require.EqualValues(t, 17, got.PacketsReceived)
	require.EqualValues(t, 17, got.PacketsDropped)
	require.False(t, got.EndTime.Before(got.StartTime))
}
