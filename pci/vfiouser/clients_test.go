package vfiouser

import (
	"encoding/binary"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestClientsAreThoseTheServerHasAccepted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	defer l.Close()
	require.Empty(t, clientsOf(path))
	waiting, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer waiting.Close()
	require.Empty(t, clientsOf(path), "one in the backlog is not served")
	served, err := l.Accept()
	require.NoError(t, err)
	require.Equal(t, []string{"this process"}, clientsOf(path))
	require.NoError(t, served.Close())
	require.Empty(t, clientsOf(path))
	require.Empty(t, clientsOf(filepath.Join(t.TempDir(), "none")))
}

func FuzzDiag(f *testing.F) {
	file := socketFile{ino: 7, dev: 1}
	m := binary.NativeEndian.AppendUint32(nil, 16+16+12+8)
	m = binary.NativeEndian.AppendUint16(m, diagByFamily)
	m = append(m, make([]byte, 10)...)
	m = append(m, unix.AF_UNIX, unix.SOCK_STREAM, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	m = append(m, 12, 0, diagVFS, 0, 7, 0, 0, 0, 1, 0, 0, 0, 8, 0, diagPeer, 0, 42, 0, 0, 0)
	list, done, err := file.peers(m)
	require.NoError(f, err)
	require.False(f, done)
	require.Equal(f, []uint32{42}, list)
	f.Add(m)
	f.Add(append(m, m[:20]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, done, err := file.peers(b)
		require.True(t, done || err == nil)
		require.LessOrEqual(t, len(list), len(b)/(unix.NLMSG_HDRLEN+diagMessage))
	})
}
