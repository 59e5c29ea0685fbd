package web_test

import (
	"bytes"
	"go/format"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/a-h/templ/generator"
	parser "github.com/a-h/templ/parser/v2"
)

// TestGeneratedCodeIsCurrent generates the code of every template again.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	files, err := filepath.Glob("*.templ")
	if err != nil || len(files) == 0 {
		t.Fatalf("templates: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := parser.ParseString(string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var b bytes.Buffer
		if _, err := generator.Generate(tree, &b, generator.WithFileName(file)); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		want, err := format.Source(b.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		got, err := os.ReadFile(strings.TrimSuffix(file, ".templ") + "_templ.go")
		if err != nil {
			t.Fatal(err)
		}
		if normal(got) != normal(want) {
			t.Errorf("%s was changed and its code was not generated again; run go generate ./internal/edge/web", file)
		}
	}
}

// normal leaves out what depends on where and by which release of the generator a file was made.
func normal(code []byte) string {
	var kept []string
	for line := range strings.Lines(string(code)) {
		if !strings.HasPrefix(line, "// templ: version:") && !strings.Contains(line, "FileName:") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
