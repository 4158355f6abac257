package vfiouser_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfiouser"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

func listen(t testing.TB, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func TestDialErrorsHaveOneLine(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(plain, nil, 0o600))

	dead := filepath.Join(dir, "dead")
	l := listen(t, dead)
	l.SetUnlinkOnClose(false)
	l.Close()

	// Servers of other protocols.
	other := func(name string, serve func(c net.Conn)) string {
		path := filepath.Join(dir, name)
		l := listen(t, path)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serve(c)
				c.Close()
			}
		}()
		return path
	}
	talker := other("talker", func(c net.Conn) { c.Write([]byte(strings.Repeat("220 mail.example ESMTP ready\r\n", 20))) })
	hangup := other("hangup", func(c net.Conn) {})
	silent := other("silent", func(c net.Conn) { time.Sleep(300 * time.Millisecond) })

	for _, c := range []struct{ path, want string }{
		{"", "no path"},
		{filepath.Join(dir, "nothing"), "no such socket"},
		{plain, "no server listens"},
		{dead, "no server listens"},
		{talker, "not a vfio-user server"},
		{hangup, "not a vfio-user server"},
		{silent, "not a vfio-user server"},
		{strings.Repeat("x", 200), "invalid argument"},
	} {
		t.Run(c.want, func(t *testing.T) {
			servertest.NoLeak(t)
			_, err := vfiouser.Dial(c.path, vfiouser.Timeout(100*time.Millisecond))
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "vfio-user:"+c.path)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	d, err := pci.Open("vfio-user:" + filepath.Join(dir, "nothing"))
	require.ErrorContains(t, err, "no such socket")
	require.Nil(t, d)
}
