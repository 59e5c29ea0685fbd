package archtest

import (
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// unfinished are words that say a thing is not done. They are written apart here so that this file does not hold them.
var unfinished = regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK", "WI" + "P"}, "|") + `)\b`)

// outside are names of things that are not part of the project.
var outside = regexp.MustCompile(`\.\./` + `shared|/work/` + `(main|shared)|/tmp/` + `brief`)

func TestNothingIsUnfinishedOrFromOutside(t *testing.T) {
	top := root(t)
	walk(t, func(rel string, _ fs.DirEntry) {
		switch path.Ext(rel) {
		case ".go", ".md", ".yaml", ".yml", ".sh", ".star", ".sql", ".txtar", "":
		default:
			return
		}
		text, err := os.ReadFile(filepath.Join(top, rel))
		if err != nil {
			t.Error(err)
			return
		}
		for n, line := range strings.Split(string(text), "\n") {
			if w := unfinished.FindString(line); w != "" {
				t.Errorf("%s:%d: %s: finish it, or write it into docs/ROADMAP.md", rel, n+1, w)
			}
			if w := outside.FindString(line); w != "" {
				t.Errorf("%s:%d: %s is not part of the project", rel, n+1, w)
			}
		}
	})
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)(?:\s+"[^"]*")?\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6}\s+(.+?)\s*$`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```|`[^`\n]*`")
)

// Every relative link of a Markdown file leads to a file, and its fragment to a heading.
func TestLinksResolve(t *testing.T) {
	top := root(t)
	seen := 0
	walk(t, func(rel string, _ fs.DirEntry) {
		if path.Ext(rel) != ".md" {
			return
		}
		text, err := os.ReadFile(filepath.Join(top, rel))
		if err != nil {
			t.Error(err)
			return
		}
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
			u, err := url.Parse(m[1])
			if err != nil || u.Scheme != "" || u.Host != "" {
				continue
			}
			seen++
			target := rel
			if u.Path != "" {
				target = path.Join(path.Dir(rel), u.Path)
			}
			linked, err := os.Stat(filepath.Join(top, target))
			if err != nil {
				t.Errorf("%s links to %s, which is not there", rel, m[1])
				continue
			}
			if u.Fragment == "" || linked.IsDir() || path.Ext(target) != ".md" {
				continue
			}
			page, err := os.ReadFile(filepath.Join(top, target))
			if err != nil {
				t.Error(err)
				continue
			}
			if !anchors(string(page))[u.Fragment] {
				t.Errorf("%s links to %s, which has no such heading", rel, m[1])
			}
		}
	})
	if seen == 0 {
		t.Error("no link was found; this test looks in the wrong place")
	}
}

// anchors are the fragments of a page's headings, as forges make them.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, m[1])
		found[anchor] = true
	}
	return found
}
