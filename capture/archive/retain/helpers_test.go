package retain

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// stem is the name, without its ending, of a queue's n-th file, stamped a number
// of seconds ago.
func stem(seconds, queue, n int) string {
	return archive.FileName("eth2", queue, time.Now().Add(-time.Duration(seconds)*time.Second), n)
}

// put writes a file of some bytes, as old as its name.
func put(t *testing.T, dir, name string, size int) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte{7}, size), 0o644))
	if n, ok := archive.ParseStored(name); ok {
		require.NoError(t, os.Chtimes(path, time.Time{}, n.First))
	}
	return path
}

// names are those of a folder's files.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// events collects the events of a Cleaner.
type events struct {
	mu  sync.Mutex
	all []Event
}

func (e *events) add(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

func (e *events) take() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

// cleaner makes a Cleaner that scans only when Clean is called.
func cleaner(t *testing.T, p Policy, dirs ...string) (*Cleaner, *events) {
	t.Helper()
	var e events
	k, err := New(Config{Dirs: dirs, Policy: p, Every: time.Hour, OnEvent: e.add})
	require.NoError(t, err)
	return k, &e
}

// lock opens a file and locks it.
func lock(t *testing.T, path string, how int) *os.File {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, unix.Flock(int(f.Fd()), how))
	return f
}

// store opens a file for writing and locks it, as a storer does.
func store(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	return f
}

// raw returns a closed RAW file of n records, and where each of them ends.
func raw(t testing.TB, n int) (b []byte, ends []int) {
	t.Helper()
	var out bytes.Buffer
	w, err := rawfile.NewWriter(&out, 0)
	require.NoError(t, err)
	for i := range n {
		at := time.Now().Add(time.Duration(i-n) * time.Millisecond)
		data := bytes.Repeat([]byte{byte(i)}, i*37%101)
		require.NoError(t, w.Write(rawfile.Record{Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond()), Len: uint16(len(data)), Data: data}))
		ends = append(ends, out.Len())
	}
	require.NoError(t, w.End())
	return out.Bytes(), ends
}
