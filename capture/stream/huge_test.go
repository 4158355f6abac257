package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/hugepage/hugepagetest"
)

// Huge pages have an alignment and a file system of their own.
func TestAttachedListenerMapsHugePages(t *testing.T) {
	hugepagetest.Reserve(t, hugepage.Size2M, hugepage.AnyNode, 8)
	s := newStream(t, Config{Size: 4 * Block, Pages: hugepage.Size2M})
	srv, _ := serve(t, s, ServerConfig{})
	l := attachTo(t, srv, Options{})
	for n := range uint32(5000) {
		if !s.Producer().Append(1, n, numbered(n, 1000), 0) {
			break
		}
	}
	s.Producer().Finish()
	require.EqualValues(t, s.Stats().Frames, readAll(t, l, 0))
}
