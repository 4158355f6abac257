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
