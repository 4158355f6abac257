// Package clitest runs programs in tests.
package clitest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// Output runs a program in this process, which must not fail, and returns what it prints.
func Output(t *testing.T, program *cobra.Command, args ...string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	require.NoError(t, err)
	defer f.Close()
	stdout := os.Stdout
	defer func() { os.Stdout = stdout }()
	os.Stdout = f
	require.NoError(t, cli.Execute(program, args...))
	text, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	return string(text)
}

// Frames are the frames of a capture file.
func Frames(t *testing.T, name string) (all [][]byte) {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	r, err := capfile.NewReader(f, capfile.Options{})
	require.NoError(t, err)
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		all = append(all, bytes.Clone(p.Data))
	}
}
