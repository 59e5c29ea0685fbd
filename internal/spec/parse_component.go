package spec

import (
	"fmt"
	"net/mail"
	"path"
	"slices"
	"strings"
	"time"
)

// DefaultTimeout bounds a build or a test that says nothing about its time.
const DefaultTimeout = 10 * time.Minute

// ParseComponent reads a slipway.yaml; file names it in errors. What the file leaves out has its default in the
// result, except Version.From, where the product's policy stands in. The error tells every problem
// (see [Problems]).
func ParseComponent(data []byte, name string) (Component, error) {
	f := &file{name: name}
	root := f.read(data)
	if root == nil {
		return Component{}, f.err()
	}
	f.check(root, componentSchema())
	c := f.component(root)
	if err := f.err(); err != nil {
		return Component{}, err
	}
	return c, nil
}

func (f *file) component(root *node) Component {
	c := Component{
		Name:      root.str("component"),
		Summary:   root.str("summary"),
		License:   root.str("license"),
		Buildroot: root.str("buildroot"),
		Needs:     root.list("needs"),
		Tools:     root.list("tools"),
		Env:       root.texts("env"),
		Stamp:     root.boolean("stamp"),
		Outputs:   root.list("outputs"),
		Paths:     root.list("paths"),
		Build:     f.step(root.get("build"), "build"),
	}
	f.needs(root.get("needs"), c.Name)
	f.unique(root.get("tools"), "the tool")
	f.reserved(root.get("env"))
	if tests := root.get("tests"); tests != nil {
		c.Tests = map[string]Step{}
		for _, check := range tests.keys {
			m := tests.members[check]
			switch check {
			case "build", "experiment", "bootstrap", "inspect", "starts":
				f.report(m.line, m.column, "call it unit, or what it checks", "a test cannot be called %q, which is a check of its own", check)
			}
			c.Tests[check] = f.step(m.value, "tests."+check)
		}
	}
	f.starts(root.get("starts"), &c)
	maintainers := root.get("maintainers")
	f.unique(maintainers, "the maintainer")
	if maintainers != nil {
		c.Maintainers = root.list("maintainers")
		for _, item := range maintainers.items {
			if a, err := mail.ParseAddress(item.text); err != nil || a.Address != item.text {
				f.at(item, "write it as name@example.org", "%q is no mail address", item.text)
			}
		}
	}
	if paths := root.get("paths"); paths != nil {
		f.unique(paths, "the path")
		for i, item := range paths.items {
			f.inside(item, item.text, "the repository")
			c.Paths[i] = path.Clean(item.text)
		}
	}
	outputs := root.get("outputs")
	f.unique(outputs, "the output")
	if outputs != nil {
		for i, item := range outputs.items {
			f.inside(item, item.text, "$OUT")
			c.Outputs[i] = path.Clean(item.text)
		}
	}
	if packages := root.get("packages"); packages != nil {
		seen := map[string]int{}
		for _, item := range packages.items {
			p := f.pkg(item, c)
			if line, dup := seen[p.Name]; dup && p.Name != "" {
				f.at(item, "give it another name", "the package %q is described twice, first in line %d", p.Name, line)
			}
			seen[p.Name] = item.line
			c.Packages = append(c.Packages, p)
		}
	}
	if v := root.get("version"); v != nil {
		c.Version = f.versionPolicy(v)
	}
	return c
}

// starts makes the test of that name of the command lines that must end well.
func (f *file) starts(n *node, c *Component) {
	f.unique(n, "the command")
	if n == nil {
		return
	}
	var script strings.Builder
	for _, item := range n.items {
		program, args, _ := strings.Cut(item.text, " ")
		f.inside(item, program, "$OUT")
		fmt.Fprintf(&script, "\"$OUT\"/'%s' %s </dev/null\n", path.Clean(program), args)
		c.Starts = append(c.Starts, item.text)
	}
	if c.Tests == nil {
		c.Tests = map[string]Step{}
	}
	c.Tests["starts"] = Step{Run: script.String(), Timeout: time.Minute}
}

// needs reports needs that cannot be met whatever the product is. Cycles across components need the product,
// see package catalog.
func (f *file) needs(n *node, self string) {
	f.unique(n, "the component")
	if n == nil {
		return
	}
	for _, item := range n.items {
		if item.text == self && self != "" {
			f.at(item, "remove it", "the component needs itself")
		}
	}
}

// reservedEnv are the variables that carry the contract of a build.
var reservedEnv = []string{"OUT", "DEPS", "SRC", "REPO", "VERSION", "SOURCE_DATE_EPOCH"}

func (f *file) reserved(n *node) {
	if n == nil {
		return
	}
	for _, key := range n.keys {
		if m := n.members[key]; slices.Contains(reservedEnv, key) {
			f.report(m.line, m.column, "choose another name", "the variable %s is set by Slipway", key)
		}
	}
}

func (f *file) step(n *node, what string) Step {
	if n == nil {
		return Step{}
	}
	s := Step{Run: n.text, Timeout: DefaultTimeout}
	run := n
	if n.members != nil {
		s.Run = n.str("run")
		s.Timeout = f.duration(n, "timeout", DefaultTimeout)
		run = n.members["run"].value
	}
	if run != nil {
		f.script(run, what)
	}
	return s
}

// script reports a script that does nothing, or that no shell can be given.
func (f *file) script(n *node, what string) {
	text, ok := n.value.(string)
	switch {
	case !ok:
		return // the schema has said so
	case strings.TrimSpace(text) == "":
		f.at(n, "write what to run", "the script of %s is empty", what)
	case strings.ContainsRune(text, 0):
		f.at(n, "remove it", "the script of %s has a zero byte", what)
	}
}

func (f *file) pkg(n *node, c Component) Package {
	p := Package{
		Name:    n.str("name"),
		Summary: orText(n.str("summary"), c.Summary),
		License: orText(n.str("license"), c.License),
		Section: n.str("section"),
		Formats: n.list("formats"),
		Arch:    orText(n.str("arch"), "amd64"),
		Files:   map[string]string{},
		Scripts: n.texts("scripts"),
	}
	if len(p.Formats) == 0 {
		p.Formats = []string{"rpm", "deb", "tar"}
	}
	f.unique(n.get("formats"), "the format")
	f.depends(n.get("depends"), &p)
	p.Image, p.NPM = f.image(n.get("image"), p), f.npm(n.get("npm"), p)
	files := n.get("files")
	if files == nil {
		return p
	}
	for _, target := range files.keys {
		m := files.members[target]
		switch {
		case !strings.HasPrefix(target, "/"):
			f.report(m.line, m.column, "write it from the root, as in /"+strings.TrimLeft(target, "./"), "the target path %q is not absolute", target)
		case path.Clean(target) != strings.TrimSuffix(target, "/") || target == "/":
			f.report(m.line, m.column, "write it without .., . and doubled slashes", "the target path %q is not plain", target)
		case strings.ContainsAny(target, "\x00\n\\"):
			f.report(m.line, m.column, "use plain names separated by /", "the target path %q has a character that paths must not have", target)
		}
		f.inside(m.value, m.value.text, "$OUT")
		p.Files[strings.TrimSuffix(target, "/")] = path.Clean(m.value.text)
	}
	return p
}

func (f *file) versionPolicy(n *node) VersionPolicy {
	v := VersionPolicy{From: n.str("from"), File: n.str("file")}
	if v.File != "" {
		f.inside(n.get("file"), v.File, "the component")
		if v.From != "file" {
			f.at(n.get("file"), "add from: file", "version.file is used only with from: file")
		}
	}
	if v.From == "file" && v.File == "" {
		v.File = "VERSION"
	}
	return v
}
