package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// Entity is what declaring a resource returns: something to require.
type Entity struct {
	id   string
	typ  plan.Type
	name string
	node *node
	path string // as the model wrote it; "" when the type has none
}

var _ starlark.HasAttrs = (*Entity)(nil)

func (e *Entity) String() string        { return e.id }
func (e *Entity) Type() string          { return string(e.typ) }
func (e *Entity) Freeze()               {}
func (e *Entity) Truth() starlark.Bool  { return true }
func (e *Entity) Hash() (uint32, error) { return starlark.String(e.id).Hash() }

// AttrNames implements [starlark.HasAttrs].
func (e *Entity) AttrNames() []string {
	return []string{"id", "name", "node", "path", "require", "type"}
}

// Attr implements [starlark.HasAttrs]. path is where the resource really is on its node: below the agent's
// root when it has one.
func (e *Entity) Attr(name string) (starlark.Value, error) {
	switch name {
	case "id":
		return starlark.String(e.id), nil
	case "name":
		return starlark.String(e.name), nil
	case "type":
		return starlark.String(e.typ), nil
	case "node":
		return e.node, nil
	case "require":
		return starlark.NewBuiltin("require", e.require), nil
	case "path":
		if e.path == "" {
			return nil, slipway.Errorf(slipway.Invalid, "%s has no path", e.id)
		}
		return starlark.String(e.node.real(e.path)), nil
	}
	return nil, nil
}

// require implements ENTITY.require(ENTITY...): it adds requirements after the declaration.
func (e *Entity) require(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var more entities
	if len(kwargs) > 0 {
		return nil, slipway.Errorf(slipway.Invalid, "require takes entities only")
	}
	if err := more.Unpack(args); err != nil {
		return nil, err
	}
	r := &e.node.c.resources[e.node.c.byID[e.id]]
	for _, m := range more {
		r.Requires = append(r.Requires, m.id)
	}
	slices.Sort(r.Requires)
	r.Requires = slices.Compact(r.Requires)
	return starlark.None, nil
}

// node is a node in one configuration.
type node struct {
	c             *compiler
	name          string
	configuration string
	root          string
	labels        *starlark.Dict
	facts         *starlark.Dict
	params        *starlark.Dict
	manifest      slipway.Manifest
	methods       map[string]*starlark.Builtin
}

var _ starlark.HasAttrs = (*node)(nil)

func (n *node) String() string        { return "node " + n.name }
func (n *node) Type() string          { return "node" }
func (n *node) Freeze()               {}
func (n *node) Truth() starlark.Bool  { return true }
func (n *node) Hash() (uint32, error) { return starlark.String(n.name).Hash() }

// real returns where a path of the model is on the node.
func (n *node) real(p string) string { return n.root + p }

// AttrNames implements [starlark.HasAttrs].
func (n *node) AttrNames() []string {
	names := []string{"configuration", "facts", "labels", "name", "params", "root"}
	for m := range n.methods {
		names = append(names, m)
	}
	slices.Sort(names)
	return names
}

// Attr implements [starlark.HasAttrs].
func (n *node) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(n.name), nil
	case "configuration":
		return starlark.String(n.configuration), nil
	case "root":
		return starlark.String(n.root), nil
	case "labels":
		return n.labels, nil
	case "facts":
		return n.facts, nil
	case "params":
		return n.params, nil
	}
	if m, ok := n.methods[name]; ok {
		return m, nil
	}
	return nil, nil
}

// nodes implements nodes(configuration=None, **labels).
func (c *compiler) nodes(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var wanted string
	labels := map[string]string{}
	if len(args) > 1 {
		return nil, slipway.Errorf(slipway.Invalid, "nodes takes one configuration; labels go by name").Try(`write nodes("edge", zone="a")`)
	}
	for i, v := range args {
		s, ok := starlark.AsString(v)
		if !ok {
			return nil, slipway.Errorf(slipway.Invalid, "configuration is a %s, not a string", args[i].Type())
		}
		wanted = s
	}
	for _, kv := range kwargs {
		key := string(kv[0].(starlark.String))
		value, ok := starlark.AsString(kv[1])
		if !ok {
			return nil, slipway.Errorf(slipway.Invalid, "%s is a %s, not a string", key, kv[1].Type())
		}
		if key == "configuration" {
			wanted = value
			continue
		}
		labels[key] = value
	}
	configurations := slices.Sorted(maps.Keys(c.in.Product.Configurations))
	if wanted != "" {
		if !slices.Contains(configurations, wanted) {
			return nil, slipway.Errorf(slipway.Invalid, "product %s has no configuration %q", c.in.Product.Name, wanted).
				Try("it has " + strings.Join(configurations, ", "))
		}
		configurations = []string{wanted}
	}
	var found []*node
	owner := map[string]string{}
	for _, configuration := range configurations {
		for _, n := range c.in.Nodes {
			if !matches(n.Labels, c.in.Product.Configurations[configuration].Nodes) {
				continue
			}
			if other, ok := owner[n.Name]; ok {
				return nil, slipway.Errorf(slipway.Invalid, "node %s belongs to the configurations %s and %s", n.Name, other, configuration).
					Try(fmt.Sprintf("ask for one: nodes(%q)", configuration))
			}
			owner[n.Name] = configuration
			if len(labels) == 0 || matches(n.Labels, labels) {
				found = append(found, c.node(n, configuration))
			}
		}
	}
	slices.SortFunc(found, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	values := make([]starlark.Value, len(found))
	for i, n := range found {
		values[i] = n
	}
	return starlark.NewList(values), nil
}

// matches says whether a node has all of some labels. No labels match no node: a configuration without them
// is not in service.
func matches(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return len(want) > 0
}

func (c *compiler) node(from slipway.Node, configuration string) *node {
	params := maps.Clone(c.in.Product.Params)
	if params == nil {
		params = map[string]string{}
	}
	maps.Copy(params, c.in.Product.Configurations[configuration].Params)
	n := &node{
		c: c, name: from.Name, configuration: configuration,
		root:   strings.TrimSuffix(from.Facts["root"], "/"),
		labels: dict(from.Labels), facts: dict(from.Facts), params: dict(params),
		manifest: c.in.Release.Manifests[configuration],
	}
	n.methods = map[string]*starlark.Builtin{}
	for name, f := range map[string]method{
		"file": fileOf, "directory": directoryOf, "artifact": artifactOf, "package": packageOf,
		"process": processOf, "service": serviceOf, "exec": execOf, "path": pathOf, "version": versionOf,
	} {
		n.methods[name] = starlark.NewBuiltin(name, func(t *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			return f(n, t, b.Name(), args, kwargs)
		})
	}
	return n
}

// release makes the value that the model sees of the release.
func (c *compiler) release() starlark.Value {
	r := c.in.Release
	return starlarkstruct.FromStringDict(starlark.String("release"), starlark.StringDict{
		"id": starlark.String(r.ID), "tag": starlark.String(r.Tag), "commit": starlark.String(r.Commit), "previous": starlark.String(r.Previous),
		"version": starlark.NewBuiltin("version", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			var component, configuration string
			if err := starlark.UnpackArgs(b.Name(), args, kwargs, "component", &component, "configuration?", &configuration); err != nil {
				return nil, err
			}
			return c.version(component, configuration)
		}),
	})
}

// version implements release.version(component, configuration).
func (c *compiler) version(component, configuration string) (starlark.Value, error) {
	if configuration != "" {
		m, ok := c.in.Release.Manifests[configuration]
		if !ok {
			return nil, slipway.Errorf(slipway.Invalid, "release %s has no configuration %q", c.in.Release.Tag, configuration).
				Try("it has " + strings.Join(slices.Sorted(maps.Keys(c.in.Release.Manifests)), ", "))
		}
		locked, err := locked(m, component)
		return starlark.String(locked.Version), err
	}
	version, in, known := "", "", map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(c.in.Release.Manifests)) {
		m := c.in.Release.Manifests[name]
		for k := range m.Components {
			known[k] = true
		}
		l, ok := m.Components[component]
		if !ok {
			continue
		}
		if in != "" && l.Version != version {
			return nil, slipway.Errorf(slipway.Invalid, "component %s is %s in %s and %s in %s", component, version, in, l.Version, name).
				Try(fmt.Sprintf("say which: release.version(%q, configuration=%q)", component, name))
		}
		version, in = l.Version, name
	}
	if in == "" {
		return nil, slipway.Errorf(slipway.Invalid, "release %s has no component %q", c.in.Release.Tag, component).
			Try("it has " + strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	return starlark.String(version), nil
}

// locked finds a component in a manifest.
func locked(m slipway.Manifest, component string) (slipway.Locked, error) {
	l, ok := m.Components[component]
	if !ok {
		return l, slipway.Errorf(slipway.Invalid, "configuration %s has no component %q", m.Configuration, component).
			Try("it has " + strings.Join(slices.Sorted(maps.Keys(m.Components)), ", "))
	}
	return l, nil
}

// read implements read(path).
func (c *compiler) read(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name string
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "path", &name); err != nil {
		return nil, err
	}
	clean, err := inside(name)
	if err != nil {
		return nil, err
	}
	data, err := c.file(clean)
	return starlark.String(data), err
}
