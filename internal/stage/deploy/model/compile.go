// Package model compiles a product's deployment model: Starlark source in, typed resources for each node out.
//
// Compiling is a pure function of [Input]: the model and the files that it loads or reads at the release's
// commit, the release with its manifests, the nodes with their labels and facts, and the compose's URL. Equal
// inputs give equal bytes. A model cannot read a clock, the network or anything outside its repository; it has
// no recursion and no while, and ends within a number of steps.
//
// The model sees four things: nodes(configuration, **labels), release, compose and product; and read(path).
// What is to be so on a node is declared by the node's methods: file, directory, artifact, package, process,
// service, exec. Each checks its arguments when it is called, so that an error has the position of the call,
// and returns an entity that later declarations may require. docs/guides/model.md is the manual.
//
// The result is sorted so that requirements come first. A cycle, a name used twice, a path that leaves the
// node's root and an unknown component are errors; each says FILE:LINE:COL.
package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// DefaultMaxSteps is how many Starlark steps a model may take: some hundred thousand resources' worth.
const DefaultMaxSteps = 100_000_000

// MaxFile is the largest content of one file resource, in bytes. What is larger belongs into an artifact.
const MaxFile = 1 << 20

// Input is everything that a model can see.
type Input struct {
	File       string                            // the model's path in the repository: "deploy/model.star"
	Read       func(path string) ([]byte, error) // a file of the repository at the release's commit; error of kind NotFound when there is none
	Product    spec.Product
	Release    slipway.Release
	Nodes      []slipway.Node
	ComposeID  string
	ComposeURL string // without a slash at the end
	ComposeKey string // armored public key that it is signed with
	MaxSteps   uint64 // default [DefaultMaxSteps]
}

// Result is a compiled model.
type Result struct {
	Nodes     []string                   // that have resources, by name
	Resources map[string][]plan.Resource // by node; each after what it requires
	Files     []string                   // of the repository that were loaded or read, sorted
	Output    []string                   // what the model printed, each with its position
	Total     int                        // number of resources
	Digest    string                     // equal digests are the same resources from the same lines
}

// Compile runs the model. Errors are of kind Invalid with the position in the model, or what Read returned.
func Compile(in Input) (Result, error) {
	c := &compiler{in: in, byID: map[string]int{}, files: map[string]bool{}, modules: map[string]*module{}}
	c.globals = starlark.StringDict{
		"nodes":   starlark.NewBuiltin("nodes", c.nodes),
		"read":    starlark.NewBuiltin("read", c.read),
		"release": c.release(),
		"compose": starlarkstruct.FromStringDict(starlark.String("compose"), starlark.StringDict{
			"id": starlark.String(in.ComposeID), "url": starlark.String(in.ComposeURL), "key": starlark.String(in.ComposeKey),
		}),
		"product": starlarkstruct.FromStringDict(starlark.String("product"), starlark.StringDict{
			"name": starlark.String(in.Product.Name), "params": dict(in.Product.Params),
		}),
		"struct": starlark.NewBuiltin("struct", starlarkstruct.Make),
		"json":   json.Module,
	}
	c.globals.Freeze()
	c.steps = in.MaxSteps
	if c.steps == 0 {
		c.steps = DefaultMaxSteps
	}
	if _, err := c.load(in.File); err != nil {
		return Result{}, err
	}
	return c.result()
}

// compiler is one run of one model.
type compiler struct {
	in      Input
	globals starlark.StringDict
	steps   uint64 // left

	resources []plan.Resource
	byID      map[string]int
	files     map[string]bool
	modules   map[string]*module
	output    []string
}

// module is a loaded file; nil globals and no error while it is being loaded.
type module struct {
	globals starlark.StringDict
	err     error
}

var dialect = &syntax.FileOptions{Set: true, TopLevelControl: true, GlobalReassign: true}

// load runs one file of the repository, once.
func (c *compiler) load(file string) (starlark.StringDict, error) {
	if m, ok := c.modules[file]; ok {
		if m.globals == nil && m.err == nil {
			return nil, slipway.Errorf(slipway.Invalid, "%s loads itself, directly or through others", file)
		}
		return m.globals, m.err
	}
	m := &module{}
	c.modules[file] = m
	m.globals, m.err = c.run(file)
	return m.globals, m.err
}

func (c *compiler) run(file string) (starlark.StringDict, error) {
	source, err := c.file(file)
	if err != nil {
		return nil, err
	}
	thread := &starlark.Thread{
		Name: file,
		Load: func(_ *starlark.Thread, name string) (starlark.StringDict, error) {
			clean, err := inside(name)
			if err != nil {
				return nil, err
			}
			return c.load(clean)
		},
		Print: func(t *starlark.Thread, msg string) {
			c.output = append(c.output, t.CallFrame(1).Pos.String()+": "+msg)
		},
	}
	thread.SetMaxExecutionSteps(c.steps)
	globals, err := starlark.ExecFileOptions(dialect, thread, file, source, c.globals)
	if done := thread.ExecutionSteps(); done < c.steps {
		c.steps -= done
	} else {
		c.steps = 1
	}
	if err != nil {
		return nil, explain(file, err)
	}
	globals.Freeze()
	return globals, nil
}

// file reads a file of the repository.
func (c *compiler) file(name string) ([]byte, error) {
	data, err := c.in.Read(name)
	if err != nil {
		return nil, err
	}
	c.files[name] = true
	return data, nil
}

// inside checks that a path stays in the repository and returns it relative to the repository's root.
func inside(name string) (string, error) {
	clean := path.Clean(strings.TrimPrefix(name, "//"))
	if name == "" || strings.HasPrefix(clean, "/") || clean == ".." || strings.HasPrefix(clean, "../") || clean == "." {
		return "", slipway.Errorf(slipway.Invalid, "%q is not a file of the integration repository", name).
			Try("write the path from the repository's root, such as \"deploy/lib.star\"")
	}
	return clean, nil
}

// declare adds a resource; where is the position of the call.
func (c *compiler) declare(n *node, t plan.Type, name string, attrs any, requires []*Entity, where syntax.Position) (*Entity, error) {
	needs := make([]string, 0, len(requires))
	for _, e := range requires {
		needs = append(needs, e.id)
	}
	slices.Sort(needs)
	needs = slices.Compact(needs)
	r, err := plan.New(n.name, t, name, attrs, needs, where.String())
	if err != nil {
		return nil, err
	}
	if at, ok := c.byID[r.ID]; ok {
		return nil, slipway.Errorf(slipway.Invalid, "%s is declared twice: here and at %s", r.ID, c.resources[at].Position).
			Try("give one of them another name")
	}
	c.byID[r.ID] = len(c.resources)
	c.resources = append(c.resources, r)
	return &Entity{id: r.ID, typ: t, name: name, node: n}, nil
}

// result sorts what was declared.
func (c *compiler) result() (Result, error) {
	ordered, cycle := plan.Sort(c.resources)
	if cycle != nil {
		first := c.resources[c.byID[cycle[0]]]
		return Result{}, slipway.Errorf(slipway.Invalid, "resources require each other in a circle: %s", strings.Join(cycle, " -> ")).
			At(first.Position).Try("remove one of these requirements")
	}
	out := Result{Nodes: []string{}, Resources: map[string][]plan.Resource{}, Total: len(ordered), Output: c.output}
	for _, r := range ordered {
		node := plan.NodeOf(r.ID)
		if out.Resources[node] == nil {
			out.Nodes = append(out.Nodes, node)
		}
		out.Resources[node] = append(out.Resources[node], r)
	}
	slices.Sort(out.Nodes)
	for f := range c.files {
		out.Files = append(out.Files, f)
	}
	slices.Sort(out.Files)
	out.Digest = Digest(out.Nodes, out.Resources)
	return out, nil
}

// Digest names the resources of several nodes, given in the order of nodes.
func Digest(nodes []string, resources map[string][]plan.Resource) string {
	h := sha256.New()
	for _, n := range nodes {
		fmt.Fprintf(h, "%s %s\n", n, plan.Digest(resources[n]))
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// dict makes a frozen Starlark dict in key order.
func dict(m map[string]string) *starlark.Dict {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	d := starlark.NewDict(len(m))
	for _, k := range keys {
		d.SetKey(starlark.String(k), starlark.String(m[k])) // a new dict that nothing iterates over takes every string
	}
	d.Freeze()
	return d
}
