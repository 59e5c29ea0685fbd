package spec

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// read dispatches on the kind of file, which is the name of its folder and of its schema.
func read(kind string, data []byte, name string) (any, error) {
	switch kind {
	case "component":
		return ParseComponent(data, name)
	case "product":
		return ParseProduct(data, name)
	case "module":
		return ParseModule(data, name)
	}
	return ParseExperiment(data, name)
}

// TestGolden reads every file below testdata. Files called bad* must be refused; what is read, or what is said, is
// compared with the .golden file beside it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) < 15 {
		t.Fatalf("test files: %v %v", files, err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(path, "testdata/"), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			value, err := read(filepath.Base(filepath.Dir(path)), data, filepath.Base(path))
			bad := strings.HasPrefix(filepath.Base(path), "bad")
			switch {
			case bad && err == nil:
				t.Fatalf("read without complaint: %+v", value)
			case !bad && err != nil:
				t.Fatal(err)
			case bad:
				if !slipway.Is(err, slipway.Invalid) {
					t.Errorf("kind %s, want invalid", slipway.KindOf(err))
				}
				for _, p := range Problems(err) {
					fmt.Fprintln(&got, p.Error())
				}
			default:
				enc := json.NewEncoder(&got)
				enc.SetIndent("", "  ")
				if err := enc.Encode(value); err != nil {
					t.Fatal(err)
				}
			}
			golden := path + ".golden"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("got:\n%s\nwant:\n%s", got.Bytes(), want)
			}
		})
	}
}

// TestHostile feeds what a push can contain to exhaust a reader.
func TestHostile(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"large":     {strings.Repeat("a: b\n", maxBytes), "more than the 262144 that are read"},
		"brackets":  {"a: " + strings.Repeat("[", 100_000), "nested more than 64 deep"},
		"dashes":    {strings.Repeat("- ", 100_000), "nested more than 64 deep"},
		"indent":    {indented(200), "nested more than 64 deep"},
		"not utf-8": {"component: \xff\xfe", "not UTF-8"},
		"bomb":      {"a: &a [x]\nb: &b [*a, *a]\n", "anchor is not used"},
		"zero byte": {"component: a\nbuild: \"a\\0b\"\n", "zero byte"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseComponent([]byte(c.text), "slipway.yaml")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.300v, want it to hold %q", err, c.want)
			}
		})
	}
}

func indented(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i))
	}
	return b.String()
}

// TestSchemas holds the published schemas against the types: what a type can say, its schema knows.
func TestSchemas(t *testing.T) {
	for _, name := range Schemas() {
		data, err := Schema(name)
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Schema string `json:"$schema"`
			ID     string `json:"$id"`
		}
		if err := json.Unmarshal(data, &s); err != nil || !strings.HasSuffix(s.ID, name+".json") || s.Schema == "" {
			t.Errorf("%s: %+v %v", name, s, err)
		}
	}
	for name, value := range map[string]any{"component": Component{}, "product": Product{}, "module": Module{}, "experiment": Experiment{}} {
		c := compile(name)
		f := &file{name: "x"}
		tree, _ := json.Marshal(value)
		root := f.read(tree)
		f.check(root, c)
		for _, p := range f.problems {
			if strings.Contains(p.Message, "unknown key") {
				t.Errorf("%s: %v", name, p)
			}
		}
	}
	if _, err := Schema("compnent"); !slipway.Is(err, slipway.NotFound) || !strings.Contains(err.Error(), "did you mean component?") {
		t.Errorf("unknown schema: %v", err)
	}
}

func FuzzComponent(f *testing.F)  { fuzz(f, "component") }
func FuzzProduct(f *testing.F)    { fuzz(f, "product") }
func FuzzModule(f *testing.F)     { fuzz(f, "module") }
func FuzzExperiment(f *testing.F) { fuzz(f, "experiment") }

// fuzz holds that no input panics, that every refusal is of kind Invalid and names a line, and that reading is
// deterministic.
func fuzz(f *testing.F, kind string) {
	files, _ := filepath.Glob("testdata/" + kind + "/*.yaml")
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := read(kind, data, "x.yaml")
		second, again := read(kind, data, "x.yaml")
		if (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
			t.Fatalf("read twice: %v, then %v", err, again)
		}
		a, _ := json.Marshal(first)
		b, _ := json.Marshal(second)
		if !bytes.Equal(a, b) {
			t.Fatalf("read twice: %s, then %s", a, b)
		}
		if err == nil {
			return
		}
		if !slipway.Is(err, slipway.Invalid) || len(Problems(err)) == 0 {
			t.Fatalf("not an error of a file: %v", err)
		}
		for _, p := range Problems(err) {
			if line, column := place(p.Where); !strings.HasPrefix(p.Where, "x.yaml:") || line < 1 || column < 1 {
				t.Fatalf("no place: %v", p)
			}
		}
	})
}

// TestExamples reads the files of the example product.
func TestExamples(t *testing.T) {
	patterns := map[string]string{
		"component": "../../examples/ferry/*/slipway.yaml", "product": "../../examples/ferry/product/product.yaml", "experiment": "../../examples/ferry/product/experiments/*.yaml",
	}
	for kind, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Errorf("no %s in %s: %v", kind, pattern, err)
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := read(kind, data, path); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestGuide reads the examples of the guide to buildroots.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guides/buildroots.md")
	if err != nil {
		t.Fatal(err)
	}
	var read int
	for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		if strings.HasPrefix(example, "component:") {
			_, err = ParseComponent([]byte(example), "guide")
		} else {
			_, err = ParseProduct([]byte("product: ferry\ncomponents: {libtide: , libwire: }\nconfigurations: {deck: }\n"+example), "guide")
		}
		if err != nil {
			t.Errorf("%v\n%s", err, example)
		}
		read++
	}
	if read != 4 {
		t.Errorf("%d examples", read)
	}
}

func TestPlace(t *testing.T) {
	data := []byte("component: top\nneeds:\n  - base\n  - middle\nbuild: {run: make}\n")
	for _, c := range []struct {
		keys []string
		want string
	}{
		{nil, "f.yaml:1:1"},
		{[]string{"component"}, "f.yaml:1:1"},
		{[]string{"needs", "middle"}, "f.yaml:4:5"},
		{[]string{"needs", "none"}, "f.yaml:2:1"},
		{[]string{"build", "run"}, "f.yaml:5:9"},
		{[]string{"nothing", "at", "all"}, "f.yaml:1:1"},
	} {
		if got := Place(data, "f.yaml", c.keys...); got != c.want {
			t.Errorf("Place(%q) = %s, want %s", c.keys, got, c.want)
		}
	}
	if got := Place([]byte("{"), "f.yaml", "a"); got != "f.yaml:1:1" {
		t.Errorf("Place of a broken file = %s", got)
	}
}

// What a component is built in: its own word, its module's, the product's, in this order; a module's own buildroots come first.
func TestRootOf(t *testing.T) {
	data, err := os.ReadFile("testdata/product/modules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseProduct(data, "product.yaml")
	if err != nil {
		t.Fatal(err)
	}
	roots := p.Roots()
	for _, c := range []struct{ component, own, want, at string }{
		{"libtide", "", "base.tiny", "product.yaml:12:7"},
		{"libtide", "wide", "base.wide", "product.yaml:13:7"},
		{"buoy", "small", "small", "product.yaml:4:3"},
		{"buoy", "host", "host", ""},
		{"wharf", "", "wide", "product.yaml:5:3"},
		{"crane", "", "small", "product.yaml:4:3"},
		{"crane", "tiny", "tiny", ""}, // nobody has it
	} {
		got := p.RootOf(c.component, c.own)
		root, ok := roots[got]
		if got != c.want || ok != (c.at != "") || ok && Place(data, "product.yaml", root.Keys...) != c.at {
			t.Errorf("%s with %q is built in %q, described at %v", c.component, c.own, got, root.Keys)
		}
	}
	if len(roots) != 4 || len(roots["base.wide"].Tools) != 2 {
		t.Errorf("%+v", roots)
	}
}
