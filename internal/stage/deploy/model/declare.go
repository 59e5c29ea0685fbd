package model

import (
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// method is a method of a node.
type method func(n *node, t *starlark.Thread, name string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error)

// end declares the resource at the position of the call.
func (n *node) end(t *starlark.Thread, typ plan.Type, name, at string, attrs any, requires entities) (starlark.Value, error) {
	e, err := n.c.declare(n, typ, name, attrs, requires, t.CallFrame(1).Pos)
	if err != nil {
		return nil, err
	}
	e.path = at
	return e, nil
}

func fileOf(n *node, t *starlark.Thread, fn string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var at absolute
	var content starlark.Value = starlark.None
	var source string
	mode, owner := mode(0o644), owner("")
	var requires entities
	if err := starlark.UnpackArgs(fn, args, kwargs, "path", &at, "content?", &content, "source?", &source,
		"mode?", &mode, "owner?", &owner, "requires?", &requires); err != nil {
		return nil, err
	}
	attrs := plan.File{Path: string(at), Mode: uint32(mode), Owner: string(owner)}
	switch {
	case content != starlark.None && source == "":
		switch v := content.(type) {
		case starlark.String:
			attrs.Content = []byte(v)
		case starlark.Bytes:
			attrs.Content = []byte(v)
		default:
			return nil, slipway.Errorf(slipway.Invalid, "content is a %s, not a string", content.Type())
		}
	case content == starlark.None && source != "":
		clean, err := inside(source)
		if err != nil {
			return nil, err
		}
		if attrs.Content, err = n.c.file(clean); err != nil {
			return nil, err
		}
		attrs.Source = clean
	default:
		return nil, slipway.Errorf(slipway.Invalid, "file takes either content or source").Try(`write content="..." or source="path/in/the/repository"`)
	}
	if len(attrs.Content) > MaxFile {
		return nil, slipway.Errorf(slipway.Invalid, "%s has %d bytes; a file resource holds at most %d", at, len(attrs.Content), MaxFile).
			Try("put it into a component's output and deploy that with artifact")
	}
	if attrs.Content == nil {
		attrs.Content = []byte{}
	}
	return n.end(t, plan.TypeFile, string(at), string(at), attrs, requires)
}

func directoryOf(n *node, t *starlark.Thread, fn string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var at absolute
	mode, owner := mode(0o755), owner("")
	var requires entities
	if err := starlark.UnpackArgs(fn, args, kwargs, "path", &at, "mode?", &mode, "owner?", &owner, "requires?", &requires); err != nil {
		return nil, err
	}
	return n.end(t, plan.TypeDirectory, string(at), string(at), plan.Directory{Path: string(at), Mode: uint32(mode), Owner: string(owner)}, requires)
}

func artifactOf(n *node, t *starlark.Thread, fn string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var at absolute
	var component, subpath string
	var requires entities
	if err := starlark.UnpackArgs(fn, args, kwargs, "path", &at, "component", &component, "subpath?", &subpath, "requires?", &requires); err != nil {
		return nil, err
	}
	l, err := locked(n.manifest, component)
	if err != nil {
		return nil, err
	}
	if l.Artifact == "" {
		return nil, slipway.Errorf(slipway.Invalid, "release %s holds no artifact of component %s", n.c.in.Release.Tag, component)
	}
	if subpath != "" {
		if subpath, err = inside(subpath); err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "subpath leaves the artifact").Try("write a path inside the component's output, such as \"share\"")
		}
	}
	attrs := plan.Artifact{Path: string(at), Component: component, Version: l.Version, Commit: l.Commit, Digest: l.Artifact, Subpath: subpath}
	return n.end(t, plan.TypeArtifact, string(at), string(at), attrs, requires)
}

var packageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]*$`)

func packageOf(n *node, t *starlark.Thread, fn string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name, version, repo, key, manager string
	var requires entities
	if err := starlark.UnpackArgs(fn, args, kwargs, "name", &name, "version?", &version, "repo?", &repo,
		"key?", &key, "manager?", &manager, "requires?", &requires); err != nil {
		return nil, err
	}
	if !packageName.MatchString(name) {
		return nil, slipway.Errorf(slipway.Invalid, "%q is not a package name", name)
	}
	if version != "" && !regexp.MustCompile(`^[A-Za-z0-9.+~:_^-]+$`).MatchString(version) {
		return nil, slipway.Errorf(slipway.Invalid, "%q is not a package version", version)
	}
	apt := strings.HasPrefix(repo, "deb ")
	switch {
	case manager == "" && apt:
		manager = "apt"
	case manager == "" && repo != "":
		manager = "dnf"
	case manager == "":
		manager = n.fact("packages", "dnf")
	}
	if manager != "dnf" && manager != "apt" {
		return nil, slipway.Errorf(slipway.Invalid, "manager is %q", manager).Try("it is \"dnf\" or \"apt\"")
	}
	if repo != "" && apt != (manager == "apt") {
		return nil, slipway.Errorf(slipway.Invalid, "repo %q is not one for %s", repo, manager).
			Try("for dnf write the URL of a repository, for apt a line such as \"deb URL SUITE COMPONENT\"")
	}
	key, err := n.packageKey(repo, key)
	if err != nil {
		return nil, err
	}
	return n.end(t, plan.TypePackage, name, "", plan.Package{Name: name, Version: version, Repo: repo, Key: key, Manager: manager}, requires)
}

// unsigned is what a model writes for a key to have packages installed that nobody vouches for.
const unsigned = "unsigned"

// packageKey is what a repository is checked with: the compose's own key for its repositories; for others the model must say.
func (n *node) packageKey(repo, key string) (string, error) {
	options := strings.Contains(repo, "[trusted=yes]") || strings.Contains(repo, "signed-by=") // apt's own words for it
	switch {
	case key == unsigned:
		return "", nil
	case key != "" && repo == "":
		return "", slipway.Errorf(slipway.Invalid, "key without repo").Try("the node's own repositories are checked as the node is set up")
	case key != "" || repo == "" || options:
		return key, nil
	case n.c.in.ComposeURL != "" && strings.Contains(repo, n.c.in.ComposeURL+"/"):
		return n.c.in.ComposeKey, nil
	}
	return "", slipway.Errorf(slipway.Invalid, "what is repo %q signed with?", repo).
		Try(`give its armored public key, as in key=read("keys/vendor.asc"), or key="unsigned" to install without checking`)
}

var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`)

func processOf(n *node, t *starlark.Thread, fn string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name, cwd string
	var command texts
	var env *starlark.Dict
	var health starlark.Value = starlark.None
	var within timeout
	var requires entities
	if err := starlark.UnpackArgs(fn, args, kwargs, "name", &name, "command", &command, "env?", &env, "cwd?", &cwd,
		"health?", &health, "timeout?", &within, "requires?", &requires); err != nil {
		return nil, err
	}
	if !word.MatchString(name) {
		return nil, slipway.Errorf(slipway.Invalid, "%q is not a process name", name).Try("use letters, digits, dashes, dots and underscores")
	}
	if len(command) == 0 {
		return nil, slipway.Errorf(slipway.Invalid, "process %s has an empty command", name)
	}
	attrs := plan.Process{Command: command, Timeout: int64(within), Cwd: cwd}
	if cwd != "" {
		var at absolute
		if err := at.Unpack(starlark.String(strings.TrimPrefix(cwd, n.root))); err != nil {
			return nil, err
		}
		attrs.Cwd = string(at)
	}
	if env != nil {
		attrs.Env = map[string]string{}
		for _, kv := range env.Items() {
			k, ok1 := starlark.AsString(kv[0])
			v, ok2 := starlark.AsString(kv[1])
			if !ok1 || !ok2 || k == "" || strings.ContainsAny(k, "=\x00") {
				return nil, slipway.Errorf(slipway.Invalid, "env of process %s holds %s: %s", name, kv[0], kv[1]).Try("names and values are strings")
			}
			attrs.Env[k] = v
		}
	}
	switch v := health.(type) {
	case starlark.NoneType:
	case starlark.Int:
		attrs.Health = "http://127.0.0.1:" + v.String() + "/"
	case starlark.String:
		attrs.Health = string(v)
	default:
		return nil, slipway.Errorf(slipway.Invalid, "health is a %s", health.Type()).Try("write a URL, or a port of the node")
	}
	if attrs.Health != "" {
		if u, err := url.Parse(attrs.Health); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, slipway.Errorf(slipway.Invalid, "health %q is not a URL", attrs.Health).Try("write \"http://127.0.0.1:PORT/PATH\"")
		}
	}
	return n.end(t, plan.TypeProcess, name, "", attrs, requires)
}

func serviceOf(n *node, t *starlark.Thread, fn string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name, unit string
	var requires entities
	if err := starlark.UnpackArgs(fn, args, kwargs, "name", &name, "unit?", &unit, "requires?", &requires); err != nil {
		return nil, err
	}
	if !word.MatchString(name) {
		return nil, slipway.Errorf(slipway.Invalid, "%q is not a unit name", name)
	}
	if !strings.Contains(name, ".") {
		name += ".service"
	}
	return n.end(t, plan.TypeService, name, "", plan.Service{Unit: name, Content: unit}, requires)
}

func execOf(n *node, t *starlark.Thread, fn string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name string
	var command, unless texts
	var creates starlark.String
	var within timeout
	var requires entities
	if err := starlark.UnpackArgs(fn, args, kwargs, "name", &name, "command", &command, "creates?", &creates,
		"unless?", &unless, "timeout?", &within, "requires?", &requires); err != nil {
		return nil, err
	}
	if len(command) == 0 {
		return nil, slipway.Errorf(slipway.Invalid, "exec %s has an empty command", name)
	}
	if (creates == "") == (len(unless) == 0) {
		return nil, slipway.Errorf(slipway.Invalid, "exec %s takes either creates or unless", name).
			Try("say how to see that it was done: creates=\"/a/path\", or unless=\"a command that succeeds then\"")
	}
	attrs := plan.Exec{Command: command, Unless: unless, Timeout: int64(within)}
	if creates != "" {
		var at absolute
		if err := at.Unpack(creates); err != nil {
			return nil, err
		}
		attrs.Creates = string(at)
	}
	return n.end(t, plan.TypeExec, name, "", attrs, requires)
}

func pathOf(n *node, _ *starlark.Thread, fn string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var at absolute
	if err := starlark.UnpackArgs(fn, args, kwargs, "path", &at); err != nil {
		return nil, err
	}
	return starlark.String(n.real(string(at))), nil
}

func versionOf(n *node, _ *starlark.Thread, fn string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var component string
	if err := starlark.UnpackArgs(fn, args, kwargs, "component", &component); err != nil {
		return nil, err
	}
	l, err := locked(n.manifest, component)
	return starlark.String(l.Version), err
}

func (n *node) fact(name, fallback string) string {
	v, ok, err := n.facts.Get(starlark.String(name))
	if s, is := v.(starlark.String); err == nil && ok && is {
		return string(s)
	}
	return fallback
}

// absolute is an argument that is an absolute path without "." or "..".
type absolute string

// Unpack implements [starlark.Unpacker].
func (a *absolute) Unpack(v starlark.Value) error {
	s, ok := starlark.AsString(v)
	if !ok {
		return slipway.Errorf(slipway.Invalid, "path is a %s, not a string", v.Type())
	}
	if !strings.HasPrefix(s, "/") || s == "/" || path.Clean(s) != s || strings.ContainsRune(s, 0) {
		return slipway.Errorf(slipway.Invalid, "path %q is not absolute and clean", s).
			Try("write it from the node's root, without \"..\" or a slash at the end, such as \"/etc/edged.conf\"")
	}
	*a = absolute(s)
	return nil
}

// mode is an argument that holds permission bits: 0o644 or "0644".
type mode uint32

// Unpack implements [starlark.Unpacker].
func (m *mode) Unpack(v starlark.Value) error {
	var bits uint64
	switch v := v.(type) {
	case starlark.Int:
		n, ok := v.Uint64()
		if !ok {
			n = 1 << 20
		}
		bits = n
	case starlark.String:
		n, err := strconv.ParseUint(string(v), 8, 32)
		if err != nil {
			n = 1 << 20
		}
		bits = n
	default:
		bits = 1 << 20
	}
	if bits > 0o7777 {
		return slipway.Errorf(slipway.Invalid, "mode %s is not a file mode", v).Try(`write "0644" or 0o644`)
	}
	*m = mode(bits)
	return nil
}

// owner is an argument USER or USER:GROUP.
type owner string

// Unpack implements [starlark.Unpacker].
func (o *owner) Unpack(v starlark.Value) error {
	s, ok := starlark.AsString(v)
	if !ok || !regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?)?$`).MatchString(s) {
		return slipway.Errorf(slipway.Invalid, "owner %s is not USER or USER:GROUP", v)
	}
	*o = owner(s)
	return nil
}

// timeout is an argument in seconds, or a duration such as "90s".
type timeout int64

// Unpack implements [starlark.Unpacker].
func (d *timeout) Unpack(v starlark.Value) error {
	var seconds int64
	switch v := v.(type) {
	case starlark.Int:
		seconds, _ = v.Int64()
	case starlark.String:
		if span, err := time.ParseDuration(string(v)); err == nil {
			seconds = int64((span + time.Second - 1) / time.Second)
		}
	}
	if seconds < 1 {
		return slipway.Errorf(slipway.Invalid, "timeout %s is not a time", v).Try(`write seconds, or "90s", "5m"`)
	}
	*d = timeout(seconds)
	return nil
}

// texts is an argument that is a list of strings; a single string is a script for sh.
type texts []string

// Unpack implements [starlark.Unpacker].
func (x *texts) Unpack(v starlark.Value) error {
	if s, ok := starlark.AsString(v); ok {
		*x = texts{"/bin/sh", "-euc", s}
		return nil
	}
	list, ok := v.(starlark.Iterable)
	if !ok {
		return slipway.Errorf(slipway.Invalid, "a command is a %s", v.Type()).Try("write a list of strings, or one string for sh")
	}
	it := list.Iterate()
	defer it.Done()
	var item starlark.Value
	for it.Next(&item) {
		s, ok := starlark.AsString(item)
		if !ok {
			return slipway.Errorf(slipway.Invalid, "a command holds %s, a %s", item, item.Type()).Try("convert it with str(...)")
		}
		*x = append(*x, s)
	}
	return nil
}

// entities is an argument that is one entity or a list of them.
type entities []*Entity

// Unpack implements [starlark.Unpacker].
func (x *entities) Unpack(v starlark.Value) error {
	if e, ok := v.(*Entity); ok {
		*x = entities{e}
		return nil
	}
	list, ok := v.(starlark.Iterable)
	if !ok {
		return slipway.Errorf(slipway.Invalid, "requires is a %s", v.Type()).Try("write a list of what file, artifact, ... returned")
	}
	it := list.Iterate()
	defer it.Done()
	var item starlark.Value
	for it.Next(&item) {
		e, ok := item.(*Entity)
		if !ok {
			return slipway.Errorf(slipway.Invalid, "requires holds %s, a %s", item, item.Type()).
				Try("it lists what n.file and the other methods of a node returned")
		}
		*x = append(*x, e)
	}
	return nil
}
