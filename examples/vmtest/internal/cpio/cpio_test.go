package cpio_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/examples/vmtest/internal/cpio"
)

// member is an entry as the kernel's init/initramfs.c reads it.
type member struct {
	name, content string
	mode          uint64
	major, minor  uint64
}

// read parses an archive as the kernel does: fields of 8 hexadecimal digits,
// name and content each padded to 4 bytes.
func read(t *testing.T, b []byte) []member {
	t.Helper()
	var all []member
	for at := 0; ; {
		require.Equal(t, "070701", string(b[at:at+6]), "magic at %d", at)
		var field [13]uint64
		for i := range field {
			var err error
			field[i], err = strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
			require.NoError(t, err)
		}
		size, nameSize := int(field[6]), int(field[11])
		name := at + 110
		require.Zero(t, b[name+nameSize-1], "the name ends in a zero")
		data := (name + nameSize + 3) &^ 3
		m := member{name: string(b[name : name+nameSize-1]), content: string(b[data : data+size]), mode: field[1], major: field[9], minor: field[10]}
		require.Zero(t, field[2]+field[3], "owner is root")
		if m.name == "TRAILER!!!" {
			require.Zero(t, len(b)%512)
			require.Equal(t, make([]byte, len(b)-data), b[data:])
			return all
		}
		all = append(all, m)
		at = (data + size + 3) &^ 3
	}
}

func TestArchiveHoldsWhatWasAdded(t *testing.T) {
	var b bytes.Buffer
	w := cpio.NewWriter(&b)
	require.NoError(t, w.Dir("/etc", 0o755))
	require.NoError(t, w.File("etc/passwd", 0o644, []byte("root:x:0:0\n")))
	require.NoError(t, w.Link("lib", "usr/lib"))
	require.NoError(t, w.Device("dev/console", 0o600, 5, 1))
	require.NoError(t, w.File("empty", 0o400, nil))
	require.NoError(t, w.Close())
	require.Equal(t, []member{
		{name: "etc", mode: 0o040755},
		{name: "etc/passwd", content: "root:x:0:0\n", mode: 0o100644},
		{name: "lib", content: "usr/lib", mode: 0o120777},
		{name: "dev/console", mode: 0o020600, major: 5, minor: 1},
		{name: "empty", mode: 0o100400},
	}, read(t, b.Bytes()))
}

func TestTreeKeepsModesAndLinks(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "bin/tool"), []byte("#!"), 0o755))
	require.NoError(t, os.Symlink("tool", filepath.Join(root, "bin/alias")))
	var b bytes.Buffer
	w := cpio.NewWriter(&b)
	require.NoError(t, w.TreeAt("usr/local", root))
	require.NoError(t, w.Close())
	require.Equal(t, []member{
		{name: "usr", mode: 0o040755},
		{name: "usr/local", mode: 0o040755},
		{name: "usr/local/bin", mode: 0o040755},
		{name: "usr/local/bin/alias", content: "tool", mode: 0o120777},
		{name: "usr/local/bin/tool", content: "#!", mode: 0o100755},
	}, read(t, b.Bytes()))
}

// full fails when it has taken n bytes.
type full struct{ n int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestErrorOfTheWriterIsReported(t *testing.T) {
	whole := 512 // one file and the trailer
	for n := range whole {
		w := cpio.NewWriter(&full{n})
		err := w.File("name", 0o644, []byte("content"))
		if err == nil {
			err = w.Close()
		}
		require.ErrorIs(t, err, errFull, "room for %d bytes", n)
	}
}

func TestBadNamesAndMissingFilesAreRefused(t *testing.T) {
	w := cpio.NewWriter(io.Discard)
	require.ErrorContains(t, w.Dir("", 0o755), "not allowed")
	require.ErrorContains(t, w.Dir("a\x00b", 0o755), "not allowed")
	require.ErrorIs(t, w.Copy("a", 0o644, filepath.Join(t.TempDir(), "none")), os.ErrNotExist)
	require.ErrorIs(t, w.Tree(filepath.Join(t.TempDir(), "none")), os.ErrNotExist)
}
