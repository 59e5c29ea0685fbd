package archtest

import (
	"go/ast"
	"go/token"
	"path"
	"strings"
	"testing"
)

// calls finds the uses of the named functions of a package that is imported under its own name.
func calls(f file, pkg string, names ...string) (at []token.Pos) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == pkg {
			for _, name := range names {
				if sel.Sel.Name == name {
					at = append(at, sel.Pos())
				}
			}
		}
		return true
	})
	return at
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said, has := map[string]bool{}, map[string]bool{}
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		has[f.dir] = true
		if f.ast.Doc != nil && !f.generated() {
			text := f.ast.Doc.Text()
			if !strings.HasPrefix(text, "Package "+f.ast.Name.Name+" ") && !strings.HasPrefix(text, "Command "+path.Base(f.dir)+" ") {
				t.Errorf("%s: the package comment does not start with \"Package %s\"", f.path, f.ast.Name.Name)
			}
			said[f.dir] = true
		}
	}
	for dir := range has {
		if !said[dir] {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

func TestNames(t *testing.T) {
	banned := map[string]bool{"util": true, "utils": true, "common": true, "helper": true, "helpers": true,
		"models": true, "manager": true, "misc": true, "base": true, "shared": true, "types": true}
	for _, f := range goFiles(t) {
		if banned[f.ast.Name.Name] {
			t.Errorf("%s: package %s names nothing; name it by the field's noun", f.path, f.ast.Name.Name)
		}
		if name := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test"); banned[name] {
			t.Errorf("%s: the file's name names nothing", f.path)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.lines > 800 && !f.generated() {
			t.Errorf("%s has %d lines; one concept a file, at most 800 lines", f.path, f.lines)
		}
	}
}

func TestWhatNobodyWrites(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.generated() {
			continue
		}
		for _, pos := range calls(f, "time", "Sleep") {
			t.Errorf("%s: time.Sleep hopes; wait for what should happen", f.at(pos))
		}
		for _, pos := range calls(f, "t", "Skip", "Skipf", "SkipNow") {
			t.Errorf("%s: a test that skips itself proves nothing", f.at(pos))
		}
		if !f.test && !forTests(f.dir) {
			for _, pos := range calls(f, "fmt", "Print", "Println", "Printf") {
				t.Errorf("%s: it writes to the process's output; take an io.Writer", f.at(pos))
			}
			for _, pos := range calls(f, "http", "DefaultClient", "Get", "Post", "DefaultServeMux") {
				t.Errorf("%s: the default client has no time limit, and the default mux is a global", f.at(pos))
			}
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init acts when it is imported; wire by hand", f.at(fn.Pos()))
			}
		}
	}
}

// A struct does not keep a context: it belongs to one call. An adapter to io.Reader or io.Writer lives as long as the call and may;
// anything else says in a comment whose context it is.
func TestContextsAreNotStored(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || f.generated() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			st, ok := spec.Type.(*ast.StructType)
			if !ok || strings.HasSuffix(spec.Name.Name, "Reader") || strings.HasSuffix(spec.Name.Name, "Writer") {
				return true
			}
			for _, field := range st.Fields.List {
				sel, ok := field.Type.(*ast.SelectorExpr)
				if !ok || sel.Sel.Name != "Context" || field.Comment != nil || field.Doc != nil {
					continue
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "context" {
					t.Errorf("%s: %s keeps a context and does not say whose", f.at(field.Pos()), spec.Name.Name)
				}
			}
			return true
		})
	}
}
