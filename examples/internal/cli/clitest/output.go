// Package clitest runs programs in tests.
package clitest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

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
