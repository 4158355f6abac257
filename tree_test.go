//go:build !race

// Package ixcap_test holds the rules that the whole tree keeps.
package ixcap_test

import (
	"cmp"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
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
	"internal": 0, "capfile": 0, "hugepage": 0, "dma": 1, "ring": 2, "pci": 2, "driver": 3, "sim": 3, "capture": 4, "transmit": 5, "monitor": 5, "doctor": 6,
	"ixcap": 7, "examples": 8,
}

// mayImport limits a wing, or a package in it, to some packages of this module. The
// longest entry that fits a package counts; "" stands for the package capture itself.
var mayImport = map[string][]string{
	"capfile": {},
	"pci":     {"pci", "hugepage", "dma"},
	"sim":     {"sim", "pci", "capfile", "internal/asynclog"}, // it shares nothing with the driver; files are not the device
	"doctor":  {"pci", "hugepage", "capture/sched/topology", "capture/units"},
	"driver":  {"driver", "pci", "dma", "hugepage", "ring"},

	// The live path imports nothing that is at rest, and no device.
	"capture":              {"capture/clock", "capture/dedup", "capture/rules", "capture/sched", "capture/stream", "capture/units", "hugepage", "internal/asynclog", "ring"},
	"capture/buddy":        {"driver", "ring"},
	"capture/capturetest":  {"capture", "capture/clock", "capture/stream", "hugepage", "ring"},
	"capture/clock":        {"ring"},
	"capture/dedup":        {"capture/clock", "capture/internal", "ring"},
	"capture/fanout":       {"capture/headers", "capture/internal", "capture/pcapfilter", "capture/stream/entry", "ring"},
	"capture/headers":      {"capture/internal"},
	"capture/hwfilter":     {"capture/pcapfilter", "driver"},
	"capture/internal":     {},
	"capture/nic":          {"capture", "capture/stream", "driver", "hugepage", "pci", "ring"},
	"capture/packet":       {"capture", "capture/clock", "capture/internal", "ring"},
	"capture/packetsource": {"capture/pcapfilter", "capture/stream"},
	"capture/pcapfilter":   {"capture/internal", "ring"},
	"capture/ports":        {"capture", "capture/hwfilter", "capture/internal", "capture/nic", "capture/packet", "capture/rules", "capture/xdp", "driver", "pci"},
	"capture/rules":        {"capture/internal", "capture/pcapfilter", "ring"},
	"capture/sched":        {"capture/sched", "capture/units"},
	"capture/stream":       {"capture/clock", "capture/fanout", "capture/stream/entry", "hugepage", "internal/asynclog", "ring"},
	"capture/stream/entry": {},
	"capture/units":        {},
	"capture/xdp":          {"capture", "capture/clock", "capture/internal", "hugepage", "ring"},

	// Files know streams, not ports; the recorder knows the engine.
	"capture/archive":          {"capfile", "capture/archive", "capture/internal", "capture/pcapfilter", "capture/stream", "capture/units", "internal/asynclog", "ring"},
	"capture/archive/index":    {"capfile", "capture/archive", "capture/internal", "capture/pcapfilter", "capture/stream", "capture", "ring"},
	"capture/archive/query":    {"capfile", "capture/archive", "capture/internal", "capture/pcapfilter", "capture/stream", "capture", "ring"},
	"capture/archive/recorder": {"capture", "capture/archive", "capture/sched", "capture/stream", "capture/units", "internal/asynclog"},

	// What sends knows the driver; what it replays comes from the archive.
	"transmit":         {"capture/sched", "driver", "pci", "ring"},
	"transmit/probe":   {},
	"transmit/traffic": {"transmit", "transmit/probe"},
	"transmit/trace":   {"capture/archive/query", "transmit"},
	"transmit/forward": {"capture", "capture/nic", "capture/pcapfilter", "dma", "driver", "hugepage", "pci", "ring"},

	// What is computed from packets knows streams, no ports and no files.
	"monitor": {"capture/headers", "capture/pcapfilter", "capture/stream", "hugepage", "monitor", "ring"},

	"capture/daemon": {"capture", "driver", "hugepage", "internal/asynclog", "pci"},
}

// allowed returns what a package may import of this module, and whether it is limited.
func allowed(dir string) (list []string, limited bool) {
	for {
		if list, limited = mayImport[dir]; limited || !strings.Contains(dir, "/") {
			return list, limited
		}
		dir = path.Dir(dir)
	}
}

// permits reports whether the list has a package or a folder above it. "capture" in a
// list is that package alone, unless the importer stands in capture/daemon.
func permits(list []string, from, to string) bool {
	for _, one := range list {
		if one == to || strings.HasPrefix(to, one+"/") && (one != "capture" || strings.HasPrefix(from, "capture/daemon")) {
			return true
		}
	}
	return false
}

func TestImportsPointOneWay(t *testing.T) {
	goFiles(t, func(file string, imports []string) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		dir := path.Dir(file)
		from, _, nested := strings.Cut(file, "/")
		if !nested {
			from = "ixcap"
		}
		require.Contains(t, layer, from, "%s: a top-level folder that the design does not have", file)
		list, limited := allowed(dir)
		for _, i := range imports {
			rest, ours := strings.CutPrefix(i, module)
			if !ours {
				continue
			}
			rest = strings.TrimPrefix(rest, "/")
			to, _, _ := strings.Cut(cmp.Or(rest, "ixcap"), "/")
			require.Contains(t, layer, to, "%s imports %s: a top-level folder that the design does not have", file, i)
			switch {
			case layer[to] > layer[from]:
				t.Errorf("%s imports %s: imports point from examples towards hugepage, never back", file, i)
			case to == "sim" && from != "sim" && from != "examples" && from != "ixcap":
				t.Errorf("%s imports %s: only the root package, examples and tests import the model", file, i)
			case limited && !permits(list, dir, rest):
				t.Errorf("%s imports %s: %s may import only %v", file, i, dir, list)
			}
		}
	})
}

// rows reads the picture of the packages in docs/DESIGN.md: the row of each package
// or folder, from the top.
func rows(t *testing.T) map[string]int {
	text, err := os.ReadFile("docs/DESIGN.md")
	require.NoError(t, err)
	_, picture, found := strings.Cut(string(text), "<!-- packages -->\n```text\n")
	require.True(t, found)
	picture, _, _ = strings.Cut(picture, "```")
	row := map[string]int{}
	for i, line := range strings.Split(picture, "\n") {
		names := strings.Fields(line)
		if len(names) == 0 || names[0] == "│" {
			continue
		}
		row[names[0]] = i
		for _, name := range names[1:] {
			for _, dir := range []string{path.Join(names[0], name), name} {
				if st, err := os.Stat(filepath.FromSlash(dir)); err == nil && st.IsDir() {
					row[dir] = i
					break
				}
			}
		}
	}
	return row
}

func TestPictureOfThePackages(t *testing.T) {
	row := rows(t)
	of := func(dir string) (int, bool) {
		for ; ; dir = path.Dir(dir) {
			if i, ok := row[dir]; ok || !strings.Contains(dir, "/") {
				return i, ok
			}
		}
	}
	seen := map[string]bool{}
	goFiles(t, func(file string, imports []string) {
		dir := cmp.Or(strings.TrimPrefix(path.Dir(file), "."), "ixcap")
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(dir, "internal") {
			return
		}
		from, ok := of(dir)
		require.True(t, ok, "%s: not in the picture of docs/DESIGN.md", dir)
		seen[dir] = true
		for _, i := range imports {
			rest, ours := strings.CutPrefix(i, module)
			to := cmp.Or(strings.TrimPrefix(rest, "/"), "ixcap")
			if !ours || strings.HasPrefix(to, "internal") {
				continue
			}
			if below, ok := of(to); !ok || below < from {
				t.Errorf("%s imports %s, which stands above it in the picture of docs/DESIGN.md", file, to)
			}
		}
	})
	for dir := range row {
		within := func(p string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
		require.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(seen)), within), "%s: in the picture, not in the tree", dir)
	}
	for _, wing := range []string{"capture", "capture/archive", "capture/daemon", "monitor", "pci", "transmit"} {
		for dir := range seen {
			if path.Dir(dir) == wing && path.Base(dir) != "internal" && !strings.HasSuffix(dir, "test") {
				require.Contains(t, row, dir, "the picture of docs/DESIGN.md misses a package")
			}
		}
	}
}

// light are the modules that the driver and the engine may depend on.
var light = []string{"golang.org/x/sys", "github.com/vishvananda/netlink", "github.com/vishvananda/netns", "github.com/klauspost/cpuid/v2"}

// core are the packages that heavy dependencies stay out of.
var core = []string{"./capture", "./capture/nic", "./capture/packet", "./capture/sched", "./driver", "./pci/vfio", "./pci/vfiouser"}

func TestDriverAndEngineHaveLightDependencies(t *testing.T) {
	list := exec.Command("go", append([]string{"list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}"}, core...)...)
	list.Stderr = os.Stderr
	out, err := list.Output()
	require.NoError(t, err)
	packages := strings.Fields(string(out))
	require.Greater(t, len(packages), 10)
	for _, p := range packages {
		within := func(m string) bool { return p == m || strings.HasPrefix(p, m+"/") }
		if !within(module) && !slices.ContainsFunc(light, within) {
			t.Errorf("the driver or the engine depends on %s: heavy dependencies belong in daemon, archive, monitor and examples", p)
		}
	}
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
