package server

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A process has at most 65530 mappings, some of them of Go's heap: a client that
// shares many files must not exhaust them.
func TestNumberOfFilesIsBounded(t *testing.T) {
	var table fileTable
	var views []*fileView
	share := func() error {
		fd, err := unix.MemfdCreate("server-test", unix.MFD_CLOEXEC)
		require.NoError(t, err)
		defer unix.Close(fd)
		require.NoError(t, unix.Ftruncate(fd, 4096))
		_, v, err := table.share(fd, 0, 4096, true)
		if err == nil {
			views = append(views, v)
		}
		return err
	}
	var err error
	for err == nil && len(views) < 8192 {
		err = share()
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	views[0].release()
	views = views[1:]
	require.NoError(t, share(), "after a release")
	for _, v := range views {
		v.release()
	}
	require.Empty(t, table.views)
	require.Zero(t, table.mapped)
}
