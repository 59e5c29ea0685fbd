package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "slipway.dev/slipway"

// file is one Go file of the tree.
type file struct {
	path  string // from the root of the tree: "internal/store/db.go"
	dir   string // its package's path below the module: "internal/store"
	test  bool
	lines int
	ast   *ast.File
	fset  *token.FileSet
}

func (f file) at(pos token.Pos) string {
	p := f.fset.Position(pos)
	return f.path + ":" + strings.TrimPrefix(p.String(), p.Filename+":")
}

// imports lists what the file imports: other packages of the module as paths below it, the rest as they are.
func (f file) imports() (ours, others []string) {
	for _, spec := range f.ast.Imports {
		p := strings.Trim(spec.Path.Value, `"`)
		if rest, ok := strings.CutPrefix(p, module+"/"); ok {
			ours = append(ours, rest)
		} else {
			others = append(others, p)
		}
	}
	return ours, others
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above this test")
	return ""
}

// walk calls f with every file of the tree that belongs to the project, by its path from the root.
func walk(t *testing.T, f func(rel string, d fs.DirEntry)) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && rel != "." && (skipped[d.Name()] || strings.HasPrefix(d.Name(), ".") && d.Name() != ".ci"):
			return filepath.SkipDir
		case !d.IsDir():
			f(filepath.ToSlash(rel), d)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// skipped are folders that hold no source of the project: what is built, what tests read, and data of a server.
var skipped = map[string]bool{"bin": true, "testdata": true, "node_modules": true, "slipway-data": true, "demo-data": true}

// goFiles parses the tree's Go files, but not those of the example products, which are inputs.
func goFiles(t *testing.T) []file {
	t.Helper()
	top := root(t)
	var files []file
	walk(t, func(rel string, _ fs.DirEntry) {
		if path.Ext(rel) != ".go" || strings.HasPrefix(rel, "examples/") {
			return
		}
		text, err := os.ReadFile(filepath.Join(top, rel))
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, rel, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{path: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"),
			lines: strings.Count(string(text), "\n"), ast: parsed, fset: fset})
	})
	if len(files) < 50 {
		t.Fatalf("found only %d Go files; this test looks in the wrong place", len(files))
	}
	return files
}

// forTests reports whether a package exists for tests: its name ends in "test", like storetest.
func forTests(dir string) bool { return strings.HasSuffix(path.Base(dir), "test") }

// generated reports whether a program wrote the file.
func (f file) generated() bool { return ast.IsGenerated(f.ast) }
