package spec

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// ParseModule reads a module.yaml; name names it in errors. The error tells every problem (see [Problems]).
func ParseModule(data []byte, name string) (Module, error) {
	f := &file{name: name}
	root := f.read(data)
	if root == nil {
		return Module{}, f.err()
	}
	f.check(root, moduleSchema())
	m := f.module(root, root.str("module"), nil)
	m.Buildroots = f.buildroots(root.get("buildroots"))
	f.buildrootName(root.get("buildroot"), m.Buildroots)
	if err := f.err(); err != nil {
		return Module{}, err
	}
	return m, nil
}

// buildrootName reports a name that is none of the buildroots.
func (f *file) buildrootName(n *node, known map[string]Buildroot) {
	if n != nil && n.text != BaseHost {
		f.knownText(n, n.text, "buildroot", append(slices.Collect(maps.Keys(known)), BaseHost))
	}
}

// module reads what a module.yaml and an entry of a product's modules have in common. known are the product's components.
func (f *file) module(n *node, name string, known []string) Module {
	m := Module{
		Name: name, Summary: n.str("summary"), Stream: orText(n.str("stream"), "main"),
		Components: n.list("components"), Buildroot: n.str("buildroot"), Strategy: orText(n.str("strategy"), StrategyByKey),
	}
	f.unique(n.get("components"), "the component")
	if known != nil {
		f.known(n.get("components"), "component", known)
	}
	if checks := n.get("checks"); checks != nil {
		m.Checks = map[string]Step{}
		for _, check := range checks.keys {
			m.Checks[check] = f.step(checks.members[check].value, "checks."+check)
		}
	}
	return m
}

func (f *file) modules(n *node, p Product, components []string) map[string]Module {
	if n == nil {
		return nil
	}
	all := map[string]Module{}
	placed := map[string]string{} // by component: the module that says what it is built in
	for _, name := range n.keys {
		v := n.members[name].value
		m := f.module(v, name, components)
		m.Buildroots = f.buildroots(v.get("buildroots"))
		known := maps.Clone(m.Buildroots)
		if known == nil {
			known = map[string]Buildroot{}
		}
		maps.Copy(known, p.Buildroots)
		f.buildrootName(v.get("buildroot"), known)
		if list := v.get("components"); list != nil && (m.Buildroot != "" || len(m.Buildroots) > 0) {
			for _, item := range list.items {
				if other := placed[item.text]; other != "" {
					f.at(item, "leave buildroots to one of the modules", "the modules %s and %s both say what %q is built in", other, name, item.text)
				}
				placed[item.text] = name
			}
		}
		all[name] = m
	}
	return all
}

func (f *file) buildroots(n *node) map[string]Buildroot {
	if n == nil {
		return nil
	}
	all := map[string]Buildroot{}
	for _, name := range n.keys {
		m := n.members[name]
		if name == BaseHost {
			f.report(m.line, m.column, "choose another name", "the buildroot %q is there already: the tools of the host that runs the build", name)
		}
		all[name] = f.buildroot(m.value)
	}
	return all
}

func (f *file) buildroot(n *node) Buildroot {
	b := Buildroot{
		Base: n.str("base"), Tools: n.list("tools"), Folders: n.list("folders"),
		From: n.str("from"), Digest: n.str("digest"), Env: n.texts("env"),
	}
	f.unique(n.get("tools"), "the tool")
	f.unique(n.get("folders"), "the folder")
	f.reserved(n.get("env"))
	wants := func(keys ...string) {
		for _, key := range keys {
			if n.get(key) == nil {
				f.at(n, "add "+key+": to it", "a buildroot with base: %s needs %q", b.Base, key)
			}
		}
	}
	refuses := func(keys ...string) {
		for _, key := range keys {
			if m, ok := n.members[key]; ok {
				f.report(m.line, m.column, "remove it", "a buildroot with base: %s has no %q", b.Base, key)
			}
		}
	}
	switch b.Base {
	case BaseHost:
		wants("tools")
		refuses("from", "digest")
	case BaseArchive, BaseOCI:
		wants("from", "digest")
		refuses("tools", "folders")
	}
	f.from(n.get("from"))
	if folders := n.get("folders"); folders != nil {
		for i, item := range folders.items {
			b.Folders[i] = f.absolute(item)
		}
	}
	items := n.get("items")
	if items == nil {
		return b
	}
	seen := map[string]int{}
	for _, item := range items.items {
		i := BuildrootItem{Name: item.str("name"), Version: item.str("version"), From: item.str("from"), Digest: item.str("digest")}
		f.from(item.get("from"))
		if at := item.get("at"); at != nil {
			i.At = f.absolute(at)
			if line, dup := seen[i.At]; dup {
				f.at(at, "choose another folder", "two items are at %s, the first in line %d", i.At, line)
			}
			seen[i.At] = at.line
		}
		b.Items = append(b.Items, i)
	}
	return b
}

// from reports what is neither a URL that can be fetched nor a path in the repository.
func (f *file) from(n *node) {
	if n == nil {
		return
	}
	scheme, rest, url := strings.Cut(n.text, "://")
	switch {
	case !url:
		f.inside(n, n.text, "the repository")
	case scheme != "file" && scheme != "http" && scheme != "https":
		f.at(n, "write an http, https or file URL, or a path in the repository", "nothing is fetched by %q", scheme)
	case rest == "":
		f.at(n, "write what is to be fetched", "the URL is empty")
	}
}

// ownFolders are those that every build has for itself, whatever its buildroot.
var ownFolders = []string{"/build", "/dev", "/proc", "/sys", "/tmp"}

// absolute reads a plain absolute path that is not for the build itself.
func (f *file) absolute(n *node) string {
	p := path.Clean(n.text)
	top, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	switch {
	case !strings.HasPrefix(n.text, "/") || p == "/":
		f.at(n, "write it from the root, as in /usr/local/go", "%q is no absolute path of a folder", n.text)
	case slices.Contains(strings.Split(n.text, "/"), "..") || strings.ContainsAny(n.text, "\x00\n\\"):
		f.at(n, "use plain names separated by /", "the path %q is not plain", n.text)
	case slices.Contains(ownFolders, "/"+top):
		f.at(n, "choose another place", "/%s is made for every build", top)
	}
	return p
}
