package pcapstore_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
)

func TestEveryPacketIsStoredInEveryFormat(t *testing.T) {
	for _, c := range []struct {
		format pcapfile.Format
		level  int
		suffix string
	}{
		{pcapfile.Pcap, 0, ".pcap"},
		{pcapfile.Pcapng, 0, ".pcapng"},
		{pcapfile.Pcap, 1, ".pcap.zst"},
		{pcapfile.Pcapng, 3, ".pcapng.zst"},
		{"", 0, ".pcapng"},
	} {
		t.Run(c.suffix, func(t *testing.T) {
			dir := t.TempDir()
			var closed []string
			st := newStorer(t, pcapstore.Config{Format: c.format, Level: c.level, Queue: 3, Closed: func(path string) { closed = append(closed, path) }}, dir)
			r := start(t, stream.Lossless, st)
			r.send(t, 4000, 700)
			require.NoError(t, r.finish(t))
			all := names(t, dir)
			require.Len(t, all, 1)
			require.Equal(t, all, closed)
			require.Equal(t, archive.FileName("test", 3, r.start, 0)+c.suffix, filepath.Base(all[0]))
			r.isAll(t, read(t, all[0]), 4000, 700)
			p := r.balanced(t)
			require.Equal(t, store.Amount{Packets: 4000, Bytes: 2_800_000}, p.Written)
			require.Equal(t, 1, st.Stats().Files)
			info, err := os.Stat(all[0])
			require.NoError(t, err)
			require.EqualValues(t, info.Size(), st.Stats().Wrote)
			if c.level != 0 {
				require.Less(t, info.Size(), int64(2_800_000/4))
			}
		})
	}
}

func TestStreamWithoutPacketsMakesNoFile(t *testing.T) {
	dir := t.TempDir()
	r := start(t, stream.Lossless, newStorer(t, pcapstore.Config{}, dir))
	r.storer.Rotate()
	require.NoError(t, r.finish(t))
	require.Empty(t, names(t, dir))
	r.balanced(t)
}

func TestFilesAreNotLargerThanTheirSize(t *testing.T) {
	for _, level := range []int{0, 1} {
		dir := t.TempDir()
		r := start(t, stream.Lossless, newStorer(t, pcapstore.Config{Size: pcapstore.MinSize, Level: level}, dir))
		n := 3000 << (2 * level)
		r.send(t, n, 1000)
		require.NoError(t, r.finish(t))
		all := names(t, dir)
		require.Greater(t, len(all), 1)
		for _, name := range all {
			info, err := os.Stat(name)
			require.NoError(t, err)
			require.LessOrEqual(t, info.Size(), int64(pcapstore.MinSize))
		}
		r.isAll(t, packets(t, dir), n, 1000)
		r.balanced(t)
	}
}

func TestFilesEndWithThePeriodOfTheirPackets(t *testing.T) {
	dir := t.TempDir()
	st := newStorer(t, pcapstore.Config{Every: 7 * time.Second, Flush: time.Hour}, dir)
	r := start(t, stream.Lossless, st)
	r.start = time.Date(2026, 11, 21, 23, 59, 30, 0, time.UTC)
	r.step = 50 * time.Millisecond
	r.send(t, 1000, 100) // 50 s
	require.NoError(t, r.finish(t))
	var firsts []string
	for _, name := range names(t, dir) {
		p := read(t, name)
		firsts = append(firsts, p[0].Time().Format("15:04:05.00"))
	}
	// Every 7 s since midnight, so at 23:59:33, and so on up to :54, and at midnight.
	require.Equal(t, []string{"23:59:30.00", "23:59:33.00", "23:59:40.00", "23:59:47.00", "23:59:54.00",
		"00:00:00.00", "00:00:07.00", "00:00:14.00"}, firsts)
	r.isAll(t, packets(t, dir), 1000, 100)
}

func TestPeriodCanBeChangedDuringACapture(t *testing.T) {
	dir := t.TempDir()
	st := newStorer(t, pcapstore.Config{Flush: time.Millisecond}, dir)
	r := start(t, stream.Lossless, st)
	r.start, r.step = time.Unix(1_700_000_000, 0), 100*time.Millisecond
	r.send(t, 100, 100)
	wait(t, "all are read", func() bool { return st.Packets().Read.Packets == 100 })
	require.NoError(t, st.SetEvery(5*time.Second))
	require.ErrorContains(t, st.SetEvery(time.Millisecond), "choose 1s to 24h")
	r.send(t, 100, 100)
	require.NoError(t, r.finish(t))
	r.isAll(t, packets(t, dir), 200, 100)
	require.GreaterOrEqual(t, len(names(t, dir)), 2)
}

func TestFileOfAPastPeriodIsClosedWithoutPackets(t *testing.T) {
	dir := t.TempDir()
	r := start(t, stream.Lossless, newStorer(t, pcapstore.Config{Every: time.Hour, Flush: time.Millisecond}, dir))
	r.send(t, 10, 100)
	wait(t, "the file has its name", func() bool {
		all, err := filepath.Glob(filepath.Join(dir, "*.pcapng"))
		return err == nil && len(all) == 1
	})
	r.isAll(t, packets(t, dir), 10, 100)
	require.NoError(t, r.finish(t))
	require.Len(t, names(t, dir), 1)
}

func TestRotateEndsTheFile(t *testing.T) {
	dir := t.TempDir()
	r := start(t, stream.Lossless, newStorer(t, pcapstore.Config{Flush: time.Millisecond}, dir))
	for i := range 3 {
		r.send(t, 10, 100)
		wait(t, "all are read", func() bool { return r.storer.Packets().Read.Packets == uint64(r.sent) })
		r.storer.Rotate()
		wait(t, "the file has its name", func() bool {
			all, err := filepath.Glob(filepath.Join(dir, "*.pcapng"))
			return err == nil && len(all) == i+1
		})
	}
	require.NoError(t, r.finish(t))
	require.Len(t, names(t, dir), 3)
	r.isAll(t, packets(t, dir), 30, 100)
}

func TestSlowTrafficIsOnDiskAfterTheFlushTime(t *testing.T) {
	for _, level := range []int{0, 1} {
		dir := t.TempDir()
		r := start(t, stream.Lossless, newStorer(t, pcapstore.Config{Flush: 10 * time.Millisecond, Level: level}, dir))
		r.send(t, 50, 100)
		var part []string
		wait(t, "all are in the file", func() bool {
			part, _ = filepath.Glob(filepath.Join(dir, "*.part"))
			return len(part) == 1 && r.storer.Packets().Written.Packets == 50
		})
		// The file after a kill.
		left, err := os.ReadFile(part[0])
		require.NoError(t, err)
		_, _, err = pcapstore.Recover(part[0])
		require.ErrorIs(t, err, archive.ErrBusy, "its storer is running")
		dead := filepath.Join(t.TempDir(), filepath.Base(part[0]))
		require.NoError(t, os.WriteFile(dead, left, 0o600))
		final, whole, err := pcapstore.Recover(dead)
		require.NoError(t, err)
		require.EqualValues(t, 50, whole.Packets)
		require.Equal(t, strings.TrimSuffix(dead, ".part"), final)
		r.isAll(t, read(t, final), 50, 100)

		r.send(t, 50, 100)
		require.NoError(t, r.finish(t))
		r.isAll(t, packets(t, dir), 100, 100)
	}
}

func TestRecoverRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	_, _, err := pcapstore.Recover(filepath.Join(dir, "x.raw.part"))
	require.ErrorContains(t, err, "not that of a file being written")
	_, _, err = pcapstore.Recover(filepath.Join(dir, "x.pcap.part"))
	require.ErrorIs(t, err, os.ErrNotExist)
	text := filepath.Join(dir, "y.pcapng.zst.part")
	require.NoError(t, os.WriteFile(text, []byte("some text"), 0o600))
	_, _, err = pcapstore.Recover(text)
	require.ErrorIs(t, err, pcapfile.ErrForeign)
	empty := filepath.Join(dir, "z.pcap.part")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	final, _, err := pcapstore.Recover(empty)
	require.NoError(t, err)
	require.Empty(t, final)
	require.NoFileExists(t, empty)
}

func TestFilteredAndCutBytesAreCounted(t *testing.T) {
	only, err := pcapfilter.Compile("ether[3] & 1 = 1")
	require.NoError(t, err)
	dir := t.TempDir()
	r := start(t, stream.Lossless, newStorer(t, pcapstore.Config{Filter: only, SnapLen: 40}, dir))
	r.send(t, 1000, 100)
	require.NoError(t, r.finish(t))
	all := packets(t, dir)
	require.Len(t, all, 500)
	for i, p := range all {
		require.Equal(t, 2*i+1, number(p))
		require.Equal(t, frame(2*i+1, 100)[:40], p.Data)
		require.EqualValues(t, 100, p.Len)
		require.Zero(t, p.Dropped, "filtered packets are not lost")
	}
	p := r.balanced(t)
	require.Equal(t, store.Amount{Packets: 500, Bytes: 50_000}, p.Filtered)
	require.Equal(t, store.Amount{Packets: 500, Bytes: 20_000}, p.Written)
	require.EqualValues(t, 30_000, p.Cut)
}

func TestStoppingKeepsThePacketsRead(t *testing.T) {
	dir := t.TempDir()
	r := start(t, stream.Lossless, newStorer(t, pcapstore.Config{}, dir))
	r.send(t, 1000, 500)
	wait(t, "some are read", func() bool { return r.storer.Packets().Read.Packets > 100 })
	r.stop()
	require.ErrorIs(t, <-r.done, context.Canceled)
	p := r.storer.Packets()
	require.NoError(t, p.Balanced())
	r.isAll(t, packets(t, dir), int(p.Written.Packets), 500)
	require.Equal(t, p.Read, p.Written)
}

func TestFileOfAnotherCaptureIsNeverReplaced(t *testing.T) {
	dir := t.TempDir()
	r := start(t, stream.Lossless, newStorer(t, pcapstore.Config{}, dir))
	for _, seq := range []int{0, 1} {
		name := filepath.Join(dir, archive.FileName("test", 0, r.start, seq)+".pcapng"+[]string{"", ".part"}[seq])
		require.NoError(t, os.WriteFile(name, []byte("precious"), 0o644))
	}
	r.send(t, 10, 60)
	require.NoError(t, r.finish(t))
	for _, seq := range []int{0, 1} {
		kept, err := os.ReadFile(filepath.Join(dir, archive.FileName("test", 0, r.start, seq)+".pcapng"+[]string{"", ".part"}[seq]))
		require.NoError(t, err)
		require.Equal(t, "precious", string(kept))
	}
	r.isAll(t, read(t, filepath.Join(dir, archive.FileName("test", 0, r.start, 2)+".pcapng")), 10, 60)
}

func TestInvalidSettingsAreRefused(t *testing.T) {
	d, err := store.OpenDir(t.TempDir())
	require.NoError(t, err)
	for want, c := range map[string]pcapstore.Config{
		`format "doc": must be pcap or pcapng`:            {Format: "doc"},
		"zstd level 23: choose 1 (fast) to 22":            {Level: 23},
		"files of 1000 bytes: choose at least":            {Size: 1000},
		"new files every 1ms: choose 1s to 24h":           {Every: time.Millisecond},
		"70000 bytes of a packet: choose 1 to":            {SnapLen: 70000},
		"flush after -1s: must not be negative":           {Flush: -time.Second},
		"-1 frames compressed at once: choose at least 1": {Workers: -1},
	} {
		_, err := pcapstore.New(c, d)
		require.ErrorContains(t, err, want)
	}
	_, err = pcapstore.New(pcapstore.Config{})
	require.ErrorContains(t, err, "no folder")
}

// script is a source that returns given batches and errors.
type script struct {
	batches [][]stream.Packet
	errs    []error
	missed  uint64
}

func (s *script) Stats() stream.ListenerStats { return stream.ListenerStats{Overrun: s.missed} }

func (s *script) Uncertainty() time.Duration { return 0 }

func (s *script) ReadBatch(ctx context.Context, p []stream.Packet) (int, error) {
	if len(s.batches) == 0 {
		return 0, io.EOF
	}
	b, err := s.batches[0], s.errs[0]
	s.batches, s.errs = s.batches[1:], s.errs[1:]
	if err != nil {
		s.missed += uint64(len(b))
		return 0, err
	}
	return copy(p, b), nil
}

func TestBatchThatWasOverrunIsNotStored(t *testing.T) {
	batch := func(from, n, size int) (b []stream.Packet) {
		for i := range n {
			b = append(b, stream.Packet{Sec: uint32(1000 + from + i), Data: frame(from+i, size), Len: uint16(size)})
		}
		return b
	}
	for _, size := range []int{60, 9000} { // within a chunk, and filling several
		for _, every := range []time.Duration{0, 10 * time.Second} {
			t.Run(fmt.Sprintf("%d bytes, files every %v", size, every), func(t *testing.T) {
				dir := t.TempDir()
				st := newStorer(t, pcapstore.Config{Size: pcapstore.MinSize, Every: every}, dir)
				src := &script{
					batches: [][]stream.Packet{batch(0, 64, size), batch(64, 64, size), batch(64, 64, size), batch(128, 64, size)},
					errs:    []error{nil, nil, stream.ErrOverrun, nil},
				}
				require.NoError(t, st.RunSource(t.Context(), src))
				all := packets(t, dir)
				require.Len(t, all, 128)
				for i, p := range all {
					want := i
					if i >= 64 {
						want += 64
					}
					require.Equal(t, frame(want, size), p.Data, "packet %d", i)
				}
				require.EqualValues(t, 64, all[64].Dropped)
				require.Equal(t, "64 packets lost before this one: the storer was too slow", all[64].Comment)
				got := st.Packets()
				require.NoError(t, got.Balanced())
				require.EqualValues(t, 128, got.Read.Packets)
				require.EqualValues(t, 64, got.Overrun)
			})
		}
	}
}
