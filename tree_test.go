// Package ixcap_test holds the rules that the whole tree keeps.
package ixcap_test

import (
	"cmp"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/ixcap/ixcap"

// goFiles calls f for every Go file of the tree: its path with slashes and the
// packages it imports.
func goFiles(t *testing.T, f func(file string, imports []string)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != "." {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, i := range src.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, p)
		}
		f(filepath.ToSlash(name), imports)
		n++
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, n, 50, "the walk found the tree")
}

func TestUnsafeStaysInItsBoxes(t *testing.T) {
	boxes := map[string]string{}
	goFiles(t, func(file string, imports []string) {
		if !slices.Contains(imports, "unsafe") {
			return
		}
		if !strings.HasSuffix(file, "_unsafe.go") && !strings.HasSuffix(file, "_unsafe_test.go") {
			t.Errorf("%s imports unsafe: move that into the package's *_unsafe.go", file)
			return
		}
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		dir := path.Dir(file)
		if other, twice := boxes[dir]; twice {
			t.Errorf("%s and %s: a package has one unsafe file", other, file)
		}
		boxes[dir] = file
	})
}

// layer is the order of the top-level packages: imports point from a higher number
// to a lower or equal one. "ixcap" is the root package. See docs/DESIGN.md, Packages.
var layer = map[string]int{
	"internal": 0, "hugepage": 0, "dma": 1, "ring": 2, "pci": 2, "driver": 3, "capture": 4, "monitor": 5, "doctor": 6, "ixcap": 7,
	"examples": 8, "sim": 3,
}

// mayImport limits a top-level package to some packages of this module, besides
// its own.
var mayImport = map[string][]string{
	"pci":    {"hugepage", "dma"},
	"doctor": {"hugepage", "pci", "capture/sched/topology"},
}

func TestImportsPointOneWay(t *testing.T) {
	goFiles(t, func(file string, imports []string) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		from, _, nested := strings.Cut(file, "/")
		if !nested {
			from = "ixcap"
		}
		require.Contains(t, layer, from, "%s: a top-level folder that the design does not have", file)
		for _, i := range imports {
			rest, ours := strings.CutPrefix(i, module)
			if !ours {
				continue
			}
			rest = strings.TrimPrefix(rest, "/")
			to, _, _ := strings.Cut(cmp.Or(rest, "ixcap"), "/")
			if to == from {
				continue
			}
			require.Contains(t, layer, to, "%s imports %s: a top-level folder that the design does not have", file, i)
			if only, limited := mayImport[from]; limited && !slices.Contains(only, rest) {
				t.Errorf("%s imports %s: %s may import only %v", file, i, from, only)
			}
			if layer[to] > layer[from] {
				t.Errorf("%s imports %s: imports point from examples towards hugepage, never back", file, i)
			}
			if to == "sim" && from != "examples" && from != "ixcap" {
				t.Errorf("%s imports %s: only the root package, examples and tests import the model", file, i)
			}
			if from == "sim" && slices.Contains([]string{"driver", "ring", "capture"}, to) {
				t.Errorf("%s imports %s: the model shares nothing with the driver", file, i)
			}
		}
	})
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	dirs := map[string]bool{}
	goFiles(t, func(file string, _ []string) {
		if dir := path.Dir(file); dir != "." && !strings.HasSuffix(file, "_test.go") {
			dirs[dir] = true
		}
	})
	for dir := range dirs {
		if strings.HasPrefix(dir, "examples/") {
			continue
		}
		_, err := os.Stat(filepath.Join(filepath.FromSlash(dir), "doc.go"))
		require.NoError(t, err, "%s: a package has a doc.go", dir)
	}
}
