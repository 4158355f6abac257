package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/index"
)

// The keys of verify, repair and info are those of docs/JSON.md.
func TestDocumentedKeysAreTheEncodedOnes(t *testing.T) {
	text, err := os.ReadFile("../../docs/JSON.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "\n## hpcapq\n")
	require.True(t, ok, "docs/JSON.md has no section hpcapq")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(section, -1) {
		documented = append(documented, m[1])
	}
	full := result{
		Report: index.Report{Path: "x", Earliest: time.Unix(1, 0), Latest: time.Unix(2, 0), Writing: true, MissingSegments: 1, Gap: 1, Problems: []string{""}},
		Done:   []string{""}, Error: "x",
	}
	b, err := json.Marshal(full)
	require.NoError(t, err)
	keys := map[string]any{}
	require.NoError(t, json.Unmarshal(b, &keys))
	var encoded []string
	for k := range keys {
		encoded = append(encoded, k)
	}
	require.ElementsMatch(t, documented, encoded)
	for _, state := range []index.State{index.Complete, index.Partial, index.Missing, index.Damaged, index.Stale, index.NoIndex} {
		require.Contains(t, section, "`"+string(state)+"`")
	}
}

func TestJSONOfVerifyAndRepair(t *testing.T) {
	dir := folder(t)
	names, err := filepath.Glob(filepath.Join(dir, "*.raw"))
	require.NoError(t, err)
	raw, err := os.ReadFile(names[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(names[0], raw[:len(raw)-20], 0o644))
	line := func(status int, args ...string) (keys map[string]any) {
		out, stderr, got := call(t, args...)
		require.Equal(t, status, got, stderr)
		require.Equal(t, 1, strings.Count(out, "\n"))
		require.NoError(t, json.NewDecoder(bytes.NewBufferString(out)).Decode(&keys))
		return keys
	}
	v := line(1, "verify", "--json", names[0])
	require.EqualValues(t, len(raw)-20, v["bytes"])
	require.Equal(t, "missing", v["index"])
	require.Len(t, v["problems"], 1)
	require.NotContains(t, v, "done")
	require.NotContains(t, v, "writing")
	dry := line(1, "repair", "--json", "--dry-run", names[0])
	require.Len(t, dry["done"], 2)
	require.Equal(t, v["problems"], dry["problems"])
	r := line(0, "repair", "--json", names[0])
	require.Equal(t, dry["done"], r["done"])
	require.Equal(t, "complete", r["index"])
	require.NotContains(t, r, "problems")
	require.EqualValues(t, r["bytes"].(float64)-12, r["record_bytes"])
	require.NotZero(t, r["index_bytes"])
}
