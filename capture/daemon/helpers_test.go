package daemon_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/internal/logtest"
	_ "github.com/ixcap/ixcap/pci/vfiouser"
	_ "github.com/ixcap/ixcap/sim"
)

func parse(t *testing.T, text string) *settings.Settings {
	t.Helper()
	s, err := settings.Parse("f", text)
	require.NoError(t, err)
	return s
}

// rig is a Daemon and its log.
type rig struct {
	*daemon.Daemon
	log logtest.Recorder
}

// open opens a Daemon that is closed at the end of the test.
func open(t *testing.T, s *settings.Settings, cfg daemon.Config) *rig {
	t.Helper()
	r := &rig{}
	cfg.Logger = r.log.Logger()
	var err error
	r.Daemon, err = daemon.Open(s, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// start runs the Daemon until the function that it returns is called, or the test
// is over.
func (r *rig) start(t *testing.T) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	end = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { require.NoError(t, end()) })
	return end
}

// files are the paths in a folder that match a pattern.
func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	return all
}

// folder is a folder with a short path: those of sockets are bounded.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ixcap-d-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// descriptors is the number of this process's open files.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}
