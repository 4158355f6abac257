//go:build !race

package ixcap_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	maxLines = 80 // of a function outside tests and data tables
	maxDepth = 4  // of nested statements
)

func TestFunctionsAreShort(t *testing.T) {
	goFiles(t, func(file string, _ []string) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		fset := token.NewFileSet()
		src, err := parser.ParseFile(fset, file, nil, 0)
		require.NoError(t, err)
		for _, d := range src.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			first, last := fset.Position(f.Pos()), fset.Position(f.End())
			if n := last.Line - first.Line + 1; n >= maxLines {
				t.Errorf("%s:%d: %s has %d lines, the limit is below %d", file, first.Line, f.Name.Name, n, maxLines)
			}
			if n := depth(f.Body, 0); n > maxDepth {
				t.Errorf("%s:%d: %s nests %d deep, the limit is %d", file, first.Line, f.Name.Name, n, maxDepth)
			}
		}
	})
}

// depth returns how deep statements nest below n, which itself is at the given depth.
// A function literal counts as part of its function's statement; else if counts as one.
func depth(n ast.Node, at int) int {
	most := at
	ast.Inspect(n, func(c ast.Node) bool {
		if c == nil || c == n {
			return true
		}
		below := at + 1
		switch c := c.(type) {
		case *ast.FuncLit:
			below = at
		case *ast.IfStmt:
			if p, ok := n.(*ast.IfStmt); ok && p.Else == c {
				below = at
			}
		case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
		default:
			return true
		}
		most = max(most, depth(c, below))
		return false
	})
	return most
}

// plainWords reads the words that docs, comments, messages and names do not use: there
// is a plainer one, or the field's own. They are matched as whole words, in any case.
func plainWords(t *testing.T) *regexp.Regexp {
	text, err := os.ReadFile("testdata/words.txt")
	require.NoError(t, err)
	words := strings.Split(strings.TrimSpace(string(text)), "\n")
	return regexp.MustCompile(`(?i)(?:^|\W)(` + strings.Join(words, "|") + `)(?:\W|$)`)
}

// account is the system account of that name, which is an account.
var account = regexp.MustCompile("(?i)\\buser[ :=]*no" + "body|no" + "body:x:|\"no" + "body\"")

func TestWordsAreTheFieldsOwn(t *testing.T) {
	banned := plainWords(t)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch base := d.Name(); {
			case base == "testdata", base == "findings", base == "build", base == "bin", base == ".git":
				return filepath.SkipDir
			}
			return nil
		}
		switch path.Ext(name) {
		case ".go", ".md", ".c", ".h", ".s", ".sh", ".toml", ".service", ".mod", "":
		default:
			return nil
		}
		if name == "LICENSE" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if word := banned.FindString(line); word != "" && !account.MatchString(line) {
				t.Errorf("%s:%d: %q: %s", name, i+1, word, strings.TrimSpace(line))
			}
		}
		return nil
	})
	require.NoError(t, err)
}

// loggerField is a field through which a package gets a logger.
var loggerField = regexp.MustCompile(`(?m)^\s+Logger +\*slog\.Logger`)

// A user's logger may block. No goroutine that captures, stores or serves may wait for
// it, so each package that gets one passes it through the queue of internal/asynclog.
func TestLoggersGoThroughTheQueue(t *testing.T) {
	elsewhere := map[string]string{
		"capture/archive/rawstore":  "package store wraps it",
		"capture/archive/pcapstore": "package store wraps it",
		"capture/archive/query":     "a query delays no one but its caller",
	}
	gets, wraps := map[string]bool{}, map[string]bool{}
	goFiles(t, func(file string, _ []string) {
		dir := path.Dir(file)
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(dir, "examples") || strings.HasPrefix(dir, "internal") {
			return
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		gets[dir] = gets[dir] || loggerField.Match(text)
		wraps[dir] = wraps[dir] || strings.Contains(string(text), "asynclog.Wrap(")
	})
	for dir, got := range gets {
		if got && !wraps[dir] && elsewhere[dir] == "" {
			t.Errorf("%s: gets a logger and does not pass it through asynclog.Wrap", dir)
		}
	}
	require.True(t, gets["capture"] && gets["sim"] && gets["capture/daemon"], "%v", gets)
}

func TestProgramsDoNotWaitForStandardError(t *testing.T) {
	n := 0
	goFiles(t, func(file string, _ []string) {
		dir := path.Dir(file)
		if strings.HasSuffix(file, "_test.go") || !strings.HasPrefix(dir, "examples/") || strings.HasPrefix(dir, "examples/vmtest") || dir == "examples/internal/cli" {
			return
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if strings.Contains(strings.ReplaceAll(string(text), "cli.IsTerminal(os.Stderr)", ""), "os.Stderr") {
			t.Errorf("%s uses os.Stderr, which may block: use cli.Stderr", file)
		}
		n += strings.Count(string(text), "cli.Stderr")
	})
	require.Greater(t, n, 5)
}

// ignorance is a claim in a package's documentation that it does not know another.
var ignorance = regexp.MustCompile(`(?i)know(?:s)? (?:nothing|no more) (?:of|about) (?:the |a |any )?(\w+)`)

func TestNoPackageClaimsNotToKnowWhatItImports(t *testing.T) {
	goFiles(t, func(file string, _ []string) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		src, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.PackageClauseOnly)
		require.NoError(t, err)
		if src.Doc == nil {
			return
		}
		claim := ignorance.FindStringSubmatch(src.Doc.Text())
		if claim == nil {
			return
		}
		goFiles(t, func(other string, imports []string) {
			if path.Dir(other) != path.Dir(file) || strings.HasSuffix(other, "_test.go") {
				return
			}
			for _, i := range imports {
				if strings.HasPrefix(i, module) && strings.EqualFold(path.Base(i), claim[1]) {
					t.Errorf("%s says %q, %s imports %s", file, claim[0], other, i)
				}
			}
		})
	})
}
