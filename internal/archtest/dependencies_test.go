package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every module that the code imports has its line in docs/DEPENDENCIES.md, which says why, and every line has its module.
func TestEveryDependencyIsExplained(t *testing.T) {
	top := root(t)
	mod, err := os.ReadFile(filepath.Join(top, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s+(\S+) v\S+`).FindAllStringSubmatch(string(mod), -1) {
		modules[m[1]] = true
	}
	used := map[string]string{}
	for _, f := range goFiles(t) {
		_, others := f.imports()
		for _, imp := range others {
			if !strings.Contains(strings.Split(imp, "/")[0], ".") {
				continue // the standard library
			}
			m := imp
			for m != "." && !modules[m] {
				m = m[:max(strings.LastIndex(m, "/"), 0)]
				if m == "" {
					m = "."
				}
			}
			if m == "." {
				t.Errorf("%s imports %s, which no module of go.mod provides", f.path, imp)
				continue
			}
			used[m] = f.path
		}
	}
	page, err := os.ReadFile(filepath.Join(top, "docs/DEPENDENCIES.md"))
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		explained[m[1]] = true
	}
	for m, where := range used {
		if !explained[m] {
			t.Errorf("%s imports %s, and docs/DEPENDENCIES.md does not say why", where, m)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^(?:tool |\t)([^\s(]+/cmd/\S+)$`).FindAllStringSubmatch(string(mod), -1) {
		for module := range modules {
			if strings.HasPrefix(m[1], module+"/") {
				used[module] = "go.mod"
			}
		}
	}
	for m := range explained {
		if used[m] == "" {
			t.Errorf("docs/DEPENDENCIES.md explains %s, which nothing imports", m)
		}
	}
}
