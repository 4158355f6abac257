//go:build vmtest

package vmtest

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
)

// packet is a frame of a file.
type packet struct {
	len  int // on the wire
	data []byte
}

func readPcap(t *testing.T, path string) (all []packet) {
	t.Helper()
	in, err := os.Open(path)
	require.NoError(t, err)
	defer in.Close()
	r, err := convert.NewReader(in, capfile.Options{})
	require.NoError(t, err)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return all
		}
		require.NoError(t, err, path)
		all = append(all, packet{int(rec.Len), bytes.Clone(rec.Data)})
	}
}

// readRaw reads the RAW files of a folder, which must contain only them and their indices.
func readRaw(t *testing.T, dir string) (all []packet) {
	t.Helper()
	entries, err := os.ReadDir(dir) // sorted by name
	require.NoError(t, err)
	for _, e := range entries {
		if filepath.Ext(e.Name()) == archive.Index {
			continue
		}
		require.True(t, strings.HasSuffix(e.Name(), ".raw"), e.Name())
		in, err := os.Open(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		for rec, err := range rawfile.NewReader(in).Records() {
			require.NoError(t, err, e.Name())
			all = append(all, packet{int(rec.Len), bytes.Clone(rec.Data)})
		}
		require.NoError(t, in.Close())
	}
	return all
}

// padded returns a frame as it is received: the sender's MAC pads it to 60 bytes.
func padded(f []byte) []byte {
	if len(f) >= 60 {
		return f
	}
	return append(bytes.Clone(f), make([]byte, 60-len(f))...)
}

func sameFrames(t *testing.T, sent, got []packet) {
	t.Helper()
	for i := range min(len(sent), len(got)) {
		if want := padded(sent[i].data); !bytes.Equal(want, got[i].data) || got[i].len != max(sent[i].len, 60) {
			t.Fatalf("frame %d of %d: sent %d bytes, captured %d (%d on the wire); first difference at byte %d",
				i, len(sent), len(want), len(got[i].data), got[i].len, difference(want, got[i].data))
		}
	}
	require.Equal(t, len(sent), len(got), "frames")
}

// same reports whether the first n frames are equal, or all of sent if it is shorter.
func same(sent, got []packet, n int) bool {
	for i := range n {
		if i >= len(sent) {
			return i > 0
		}
		if !bytes.Equal(padded(sent[i].data), got[i].data) {
			return false
		}
	}
	return true
}

func difference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// goBuild builds a program of the tree, static.
func goBuild(to, from string) ([]byte, error) {
	cmd := exec.Command("go", "build", "-o", to, from)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return cmd.CombinedOutput()
}
