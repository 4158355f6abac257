package stream

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSocketFileBelongsToOneServer(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	dir := t.TempDir()
	path := filepath.Join(dir, "q.sock")
	for _, mode := range []fs.FileMode{0, 0o600, 0o660, 0o666} {
		srv, err := s.Serve(ServerConfig{Path: path, Mode: mode})
		require.NoError(t, err)
		st, err := os.Stat(path)
		require.NoError(t, err)
		want := mode
		if mode == 0 {
			want = 0o600
		}
		require.Equal(t, want, st.Mode().Perm())
		_, err = s.Serve(ServerConfig{Path: path})
		require.ErrorContains(t, err, "another program serves this socket")
		require.NoError(t, srv.Close())
		require.NoFileExists(t, path)
	}
	_, err := s.Serve(ServerConfig{Path: filepath.Join(dir, strings.Repeat("x", 108))})
	require.ErrorContains(t, err, "choose a file of at most 107")
	_, err = s.Serve(ServerConfig{Path: filepath.Join(dir, "none", "q.sock")})
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = s.Serve(ServerConfig{Path: path, Mode: fs.ModeSetuid})
	require.ErrorContains(t, err, "permission bits")
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = s.Serve(ServerConfig{Path: path})
	require.ErrorContains(t, err, "Choose another path")
	_, err = Attach(path, "x", Options{})
	require.Error(t, err)
	require.NoError(t, os.Remove(path))

	// The socket file of a killed program: no process listens.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	require.NoError(t, unix.Close(fd))
	srv, err := s.Serve(ServerConfig{Path: path})
	require.NoError(t, err)
	// A file of another program in its place is not removed.
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, srv.Close())
	require.FileExists(t, path)
}

// Of many servers that start at once over the socket of a killed one, one serves it.
func TestOneOfManyServersReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	for range 10 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
		require.NoError(t, unix.Close(fd))
		var starting sync.WaitGroup
		var served atomic.Int32
		s := newStream(t, Config{Size: Block})
		for range 8 {
			starting.Go(func() {
				if _, err := s.Serve(ServerConfig{Path: path}); err == nil {
					served.Add(1)
				}
			})
		}
		starting.Wait()
		require.EqualValues(t, 1, served.Load())
		l, err := Attach(path, "reader", Options{})
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.NoError(t, s.Close())
	}
}

// Any user who may read a folder may lock it.
func TestAFolderThatAnotherProcessLocksDelaysAServerOnly(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	dir := t.TempDir()
	other, err := os.Open(dir)
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, unix.Flock(int(other.Fd()), unix.LOCK_EX))
	srv, err := s.Serve(ServerConfig{Path: filepath.Join(dir, "q.sock")})
	require.NoError(t, err)
	require.NoError(t, srv.Close())
}
