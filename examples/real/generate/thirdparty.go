package main

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// thirdparty is what the lines need of the rest of the world, over all steps.
//
// It is found out by asking the go command, in a workspace of the lines' sources and the module examples/real/components/thirdparty,
// whose go.mod pins others' modules, with an empty module cache: what is in the cache then, as files of a module
// proxy, is what the same command needs when it is run again without network.
type thirdparty struct {
	std      map[string]bool // packages of the standard library
	packages map[string]bool // packages of others that need none of the lines
	modules  map[string]bool // PATH@VERSION of others that have some package that is used
	proxy    string          // file tree of a module proxy
	sum      string          // go.sum over them
}

// listFormat prints one line for a package: kind, import path, module, version, and what it imports.
const listFormat = `{{if .Standard}}std {{.ImportPath}}{{else if .Module}}{{if .Module.Main}}own{{else}}mod {{.ImportPath}} {{.Module.Path}} {{.Module.Version}}{{range .Deps}} {{.}}{{end}}{{end}}{{end}}`

// collect finds out what all the steps need; work is a folder of its own, pins the folder with go.mod.
func collect(ctx context.Context, work, pins string, got map[string]Module) (*thirdparty, error) {
	t := &thirdparty{std: map[string]bool{}, packages: map[string]bool{}, modules: map[string]bool{}, proxy: filepath.Join(work, "mod", "cache", "download")}
	proxies, err := proxyChain(ctx)
	if err != nil {
		return nil, err
	}
	env := []string{
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=-modcacherw", "GOTOOLCHAIN=local", "GOWORK=",
		"GOMODCACHE=" + filepath.Join(work, "mod"), "GOPROXY=" + proxies,
	}
	state := map[string]string{}
	for _, l := range lines {
		state[l.Name] = l.Versions[len(l.Versions)-1]
	}
	asked := map[string]bool{}
	for _, step := range append([]Step{{}}, steps...) {
		if step.Component != "" {
			state[step.Component] = step.Version
		}
		for _, l := range lines {
			key := l.Name + " " + state[l.Name]
			for _, need := range l.Needs {
				key += " " + need + " " + state[need]
			}
			if asked[key] {
				continue
			}
			asked[key] = true
			if err := t.ask(ctx, filepath.Join(work, fmt.Sprintf("w%d", len(asked))), pins, l, state, got, env); err != nil {
				return nil, fmt.Errorf("what %s %s needs: %w", l.Name, state[l.Name], err)
			}
		}
	}
	return t, t.seal(ctx, filepath.Join(work, "pins"), pins, env)
}

// ask lists what one line needs when it is built as its recipe does it.
func (t *thirdparty) ask(ctx context.Context, work, pins string, l Line, state map[string]string, got map[string]Module, env []string) error {
	use := []string{"work", "init", "./pins"}
	folders := map[string]string{"pins": pins}
	for _, name := range append([]string{l.Name}, l.Needs...) {
		use = append(use, "./"+name)
		folders[name] = got[module(name)+"@"+state[name]].Dir
	}
	for name, from := range folders {
		if err := copyTree(from, filepath.Join(work, name)); err != nil {
			return err
		}
	}
	if _, err := run(ctx, work, env, "go", use...); err != nil {
		return err
	}
	packages := l.Packages
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	out, err := run(ctx, filepath.Join(work, l.Name), env, "go", append([]string{"list", "-deps", "-test", "-f", listFormat}, packages...)...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		switch f := strings.Fields(line); {
		case len(f) == 2 && f[0] == "std":
			t.std[f[1]] = true
		case len(f) >= 4 && f[0] == "mod":
			t.modules[f[2]+"@"+f[3]] = true
			if !slices.ContainsFunc(f[4:], isLine) {
				t.packages[f[1]] = true
			}
		}
	}
	return nil
}

// seal checks that every module has one version, the pinned one, and sums it all up in go.sum.
func (t *thirdparty) seal(ctx context.Context, work, pins string, env []string) error {
	for pkg := range t.std { // parts of other packages, and what only the compiler imports
		if strings.HasPrefix(pkg, "vendor/") || pkg == "unsafe" {
			delete(t.std, pkg)
		}
	}
	pinned, err := os.ReadFile(filepath.Join(pins, "go.mod"))
	if err != nil {
		return err
	}
	var missing []string
	for _, m := range slices.Sorted(maps.Keys(t.modules)) {
		pin := "\t" + strings.Replace(m, "@", " ", 1) + "\n"
		if !strings.Contains(string(pinned), pin) {
			missing = append(missing, pin)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("modules that are used are not pinned; add to the requirements in %s/go.mod:\n%s", pins, strings.Join(missing, ""))
	}
	if err := copyTree(pins, work); err != nil {
		return err
	}
	args := []string{"build", "-mod=mod", "-n"}
	if _, err := run(ctx, work, env, "go", append(args, slices.Sorted(maps.Keys(t.packages))...)...); err != nil {
		return err
	}
	if _, err := run(ctx, work, env, "go", append([]string{"mod", "download"}, slices.Sorted(maps.Keys(t.modules))...)...); err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(work, "go.sum"))
	t.sum = string(sum)
	return err
}

// write makes the two repositories.
func (t *thirdparty) write(ctx context.Context, out, templates, goVersion string, at time.Time) error {
	list := func(set map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(set)), "\n") + "\n" }
	gostd, err := newRepository(ctx, filepath.Join(out, "gostd"))
	if err != nil {
		return err
	}
	if err := gostd.fill([]string{filepath.Join(templates, "gostd")}, map[string]string{"packages.txt": list(t.std), "VERSION": goVersion + "\n"}); err != nil {
		return err
	}
	if err := gostd.commit(ctx, "gostd "+goVersion+"\n\nThe packages of the standard library that the product uses.", "v"+goVersion, at); err != nil {
		return err
	}
	rest, err := newRepository(ctx, filepath.Join(out, "thirdparty"))
	if err != nil {
		return err
	}
	err = rest.fill([]string{filepath.Join(templates, "thirdparty")}, map[string]string{
		"packages.txt": list(t.packages), "modules.txt": list(t.modules), "go.sum": t.sum, "VERSION": "1.0.0\n"})
	if err != nil {
		return err
	}
	if err := t.copyProxy(filepath.Join(out, "thirdparty", "proxy")); err != nil {
		return err
	}
	return rest.commit(ctx, "thirdparty 1.0.0\n\nModules of others, as a file tree of a Go module proxy.", "v1.0.0", at)
}

// copyProxy copies what a proxy serves and leaves out the go command's own files.
func (t *thirdparty) copyProxy(to string) error {
	return filepath.WalkDir(t.proxy, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(t.proxy, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == "sumdb" {
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".info", ".mod", ".zip", ".ziphash":
		default:
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o755); err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o644)
	})
}

// proxyChain puts the user's module cache before the proxies that the go command is set up to use.
func proxyChain(ctx context.Context) (string, error) {
	cache, err := goEnv(ctx, "GOMODCACHE")
	if err != nil {
		return "", err
	}
	proxies, err := goEnv(ctx, "GOPROXY")
	return "file://" + filepath.Join(cache, "cache", "download") + "," + proxies, err
}

func isLine(pkg string) bool {
	return slices.ContainsFunc(lines, func(l Line) bool { return pkg == l.Module || strings.HasPrefix(pkg, l.Module+"/") })
}

func module(name string) string {
	return lines[slices.IndexFunc(lines, func(l Line) bool { return l.Name == name })].Module
}
