package hugepagetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/hugepage"
)

func TestReservedPagesCanBeAllocated(t *testing.T) {
	Reserve(t, hugepage.Size2M, 0, 3)
	m, err := hugepage.Alloc(3*int(hugepage.Size2M), hugepage.Options{Pages: hugepage.Size2M, Node: 0, Name: "reserved"})
	require.NoError(t, err)
	require.NoError(t, m.Close())
}

// Other tests may change the pool at the same time; what one change added is
// measured under the pool's lock.
func TestResizeRemovesWhatItAdded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root is needed to change the pool of huge pages: sudo go test ./hugepage/hugepagetest")
	}
	Reserve(t, hugepage.Size2M, 0, 1)
	file := hugepage.PoolFile(hugepage.Sysfs, hugepage.Size2M, 0)
	got, err := resize(file, 2)
	require.NoError(t, err)
	require.Equal(t, 2, got)
	got, err = resize(file, -2)
	require.NoError(t, err)
	require.Equal(t, -2, got)
}

func TestResizeNamesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nr_hugepages")
	_, err := resize(file, 1)
	require.ErrorContains(t, err, file)
	require.NoError(t, os.WriteFile(file, []byte("none\n"), 0o600))
	_, err = resize(file, 1)
	require.Error(t, err)
}
