package query

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/archivetest"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// A query that follows queues with storers of random speed returns every frame once, in
// the order of each queue, and ends with the capture.
func TestFollowedQueuesHaveNoGapAndNoDuplicate(t *testing.T) {
	const frames, queues = 8000, 2
	dir := t.TempDir()
	var all []*liveQueue
	request := Request{Queue: capture.AllQueues, Follow: true}
	for i := range queues {
		q := newLiveQueue(t, dir, i, uint64(90+i))
		q.allowed.Store(frames / 4)
		go q.produce(frames)
		go q.store()
		all = append(all, q)
		request.Live = append(request.Live, q.socket)
	}
	polls := 0
	request.BeforeRead = func() error {
		if polls++; polls%3 == 0 {
			for _, q := range all {
				q.allowed.Add(frames / 8)
			}
		}
		if t.Context().Err() != nil {
			return t.Context().Err()
		}
		for _, q := range all {
			select {
			case <-q.ended:
				for _, srv := range q.stream.Servers() {
					if err := srv.Close(); err != nil {
						return err
					}
				}
			default:
			}
		}
		return nil
	}
	s, err := Find(request, dir)
	require.NoError(t, err)
	defer s.Close()
	var next [queues]int
	for {
		p, err := s.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		q, n := binary.BigEndian.Uint32(p.Data), int(binary.BigEndian.Uint32(p.Data[4:]))
		require.Equal(t, next[q], n, "queue %d", q)
		require.True(t, bytes.Equal(all[q].numbered(n), p.Data))
		next[q]++
	}
	require.NoError(t, s.Faults())
	require.Equal(t, [queues]int{frames, frames}, next)
	require.Greater(t, s.Stats().Files, queues)
}

// stepFollow begins a query that follows a directory. Each step is done before a poll;
// after the last one the query ends.
func stepFollow(t *testing.T, q Request, dir string, steps ...func()) (got []rawfile.Record, s *Result) {
	over := errors.New("over")
	q.Queue, q.Follow = capture.AllQueues, true
	var r *Result
	q.BeforeRead = func() error {
		if r == nil || len(r.active) > 0 && !r.active[0].ready && r.active[0].key < r.follow.until() {
			return nil // before a read
		}
		r.follow.polled = time.Time{}.Add(time.Hour) // poll at once
		if len(steps) == 0 {
			return over
		}
		steps[0]()
		steps = steps[1:]
		return nil
	}
	var err error
	r, err = Find(q, dir)
	require.NoError(t, err)
	defer r.Close()
	for {
		p, err := r.Next()
		if err != nil {
			require.ErrorIs(t, err, over)
			return got, r
		}
		got = append(got, recordOf(p))
	}
}

// Files that grow by any number of bytes are read up to their last whole packet, and
// their rest when it is there; files that appear, and their final names, are noticed.
func TestGrowingFilesOfAllFormatsAreFollowed(t *testing.T) {
	for _, suffix := range []string{".raw", ".pcap", ".pcapng", ".pcapng.zst"} {
		t.Run(suffix, func(t *testing.T) {
			dir := t.TempDir()
			records := archivetest.Traffic(21, 3000, 10, archivetest.Day, time.Millisecond)
			var steps []func()
			for seq, part := range [][]rawfile.Record{records[:1000], records[1000:2000], records[2000:]} {
				path := filepath.Join(dir, archive.FileName("eth2", 0, part[0].Time(), seq)+suffix)
				b := archivetest.Raw(t, part)
				if suffix != ".raw" {
					b = packetFile(t, suffix, part)
				}
				for at := 0; at < len(b); {
					n := min(len(b)-at, len(b)/7+seq)
					chunk := b[at : at+n]
					steps = append(steps, func() {
						f, err := os.OpenFile(path+archive.Part, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
						require.NoError(t, err)
						_, err = f.Write(chunk)
						require.NoError(t, errors.Join(err, f.Close()))
					})
					at += n
				}
				steps = append(steps, func() { require.NoError(t, os.Rename(path+archive.Part, path)) }, func() {})
			}
			got, s := stepFollow(t, Request{}, dir, steps...)
			require.NoError(t, s.Faults())
			same(t, records, got, suffix)
			require.Equal(t, 3, s.Stats().Files)
			require.Zero(t, s.Stats().Late)
			q := Request{Filter: compile(t, "udp or arp"), From: records[500].Time(), To: records[2500].Time()}
			for _, path := range []string{"*.raw", "*.pcap*"} {
				old, err := filepath.Glob(filepath.Join(dir, path))
				require.NoError(t, err)
				for _, f := range old {
					require.NoError(t, os.Remove(f))
				}
			}
			q.Queue, q.Follow = capture.AllQueues, true
			n := 0
			q.BeforeRead = func() error {
				if n < len(steps) {
					steps[n]()
					n++
				}
				return nil
			}
			for range 3 { // the window is over: what is there is the answer
				for n < len(steps) {
					require.NoError(t, q.BeforeRead())
				}
			}
			followed, _, _, faults := ask(t, q, dir)
			require.NoError(t, faults)
			same(t, brute([]capFile{{"", records}}, q), followed, suffix)
		})
	}
}

// A file that is cut when its writer closes it is a fault, and packets that are stored
// late are counted.
func TestFollowedFilesThatEndBadlyOrComeLate(t *testing.T) {
	dir := t.TempDir()
	early := archivetest.Traffic(22, 100, 10, archivetest.Day, time.Millisecond)
	late := archivetest.Traffic(23, 50, 10, archivetest.Day, time.Microsecond)
	path := filepath.Join(dir, archive.FileName("eth2", 0, early[0].Time(), 0)+".pcapng")
	b := packetFile(t, ".pcapng", early)
	got, s := stepFollow(t, Request{}, dir,
		func() { archivetest.Put(t, dir, filepath.Base(path)+".part", b[:len(b)/2]) },
		func() { require.NoError(t, os.Rename(path+".part", path)) },
		func() {
			archivetest.Put(t, dir, archive.FileName("eth2", 1, late[0].Time(), 0)+".raw", archivetest.Raw(t, late))
		},
		func() {},
	)
	require.ErrorIs(t, s.Faults(), io.ErrUnexpectedEOF)
	require.ErrorContains(t, s.Faults(), path)
	n := len(got) - len(late)
	same(t, early[:n], got[:n], "")
	same(t, late, got[n:], "")
	require.NotZero(t, s.Stats().Late)
}

// A file that is deleted while it is followed is read to its end: the descriptor is open.
func TestFollowedFileThatIsDeleted(t *testing.T) {
	dir := t.TempDir()
	records := archivetest.Traffic(24, 100, 10, archivetest.Day, time.Millisecond)
	path := filepath.Join(dir, archive.FileName("eth2", 0, records[0].Time(), 0)+".raw.part")
	got, s := stepFollow(t, Request{}, dir,
		func() { archivetest.Put(t, dir, filepath.Base(path), archivetest.Raw(t, records)) },
		func() {},
		func() { require.NoError(t, os.Remove(path)) },
		func() {},
	)
	require.NoError(t, s.Faults())
	same(t, records, got, "")
}
