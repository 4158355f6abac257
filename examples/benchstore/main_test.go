package main

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/internal/jsondoc"
)

func TestDocumentedKeysAreTheEncodedOnes(t *testing.T) {
	jsondoc.Check(t, "../../docs/JSON.md", "benchstore", map[string]reflect.Type{"": reflect.TypeFor[row]()})
}

func TestEachMeasurementRunsAndRemovesItsFiles(t *testing.T) {
	for _, mode := range []string{"--zero-copy=false", "--zero-copy"} {
		t.Run(mode, func(t *testing.T) { eachMeasurement(t, mode) })
	}
}

func eachMeasurement(t *testing.T, mode string) {
	dir := t.TempDir()
	var out bytes.Buffer
	require.NoError(t, cli.Execute(command(func(o options) error { return run(&out, o) }),
		"-w", dir, "--bytes", "16MiB", "-C", "8MiB", "--buffer", "8MiB", "--rounds", "2", "--json", mode))
	var rows []row
	require.NoError(t, json.Unmarshal(out.Bytes(), &rows))
	var names []string
	for _, r := range rows {
		names = append(names, r.Name)
		require.Positive(t, r.GBps, r.Name)
		require.Positive(t, r.CPU, r.Name)
		require.LessOrEqual(t, r.Least, r.Most)
	}
	require.Equal(t, []string{"raw", "stream 1514", "null 1514", "stream 60", "null 60", "model 1514", "model 60"}, names)
	remaining, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, remaining)
	out.Reset()
	require.NoError(t, printTable(&out, options{rounds: 2}, rows))
	require.Contains(t, out.String(), "of target")
}

func TestLineRateIsThatOf10GbE(t *testing.T) {
	require.InDelta(t, 14.880952e6*72/1e9, lineRate(60), 1e-6)
	require.InDelta(t, 812743*1526/1e9, lineRate(1514), 1e-5)
	require.Equal(t, 2.5, median([]float64{4, 1, 3, 2}))
	require.Equal(t, 2.0, median([]float64{4, 1, 2}))
}
