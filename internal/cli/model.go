package cli

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/deploy/model"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

func (a *app) modelCmd() *cobra.Command {
	return parent("model", "Work on a deployment model, without a server", a.modelCompileCmd())
}

// compiledModel is what 'model compile' prints.
type compiledModel struct {
	Digest string          `json:"digest"`
	Files  []string        `json:"files"`
	Output []string        `json:"output,omitempty"`
	Nodes  []compiledSlice `json:"nodes"`
}

type compiledSlice struct {
	Node      string          `json:"node"`
	Resources []plan.Resource `json:"resources"`
}

func (a *app) modelCompileCmd() *cobra.Command {
	var nodesFile, tag, url string
	cmd := &cobra.Command{
		Use:   "compile [DIR]",
		Short: "Compile the model of an integration repository on this desk",
		Long: `Compile reads product.yaml, the model and the manifests below DIR and prints what
would be so on each node. It asks no server.

Components come from DIR/manifests; where that has none yet, each component of
product.yaml stands in with version 0.0.0. Nodes come from --nodes, a YAML list:

  - name: edge-1
    labels: {role: edge}
    facts: {port: "8081"}

Without it, one node of each configuration stands in.`,
		Example: "  slipway model compile\n  slipway model compile ferry --nodes nodes.yaml -o yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			in, err := deskInput(dir, nodesFile, tag, url)
			if err != nil {
				return err
			}
			result, err := model.Compile(in)
			if err != nil {
				return err
			}
			out := compiledModel{Digest: result.Digest, Files: result.Files, Output: result.Output, Nodes: []compiledSlice{}}
			for _, n := range result.Nodes {
				out.Nodes = append(out.Nodes, compiledSlice{n, result.Resources[n]})
			}
			if err := a.print(out, func() *table {
				t := newTable("resource", "requires", "from")
				t.empty = "the model asks nothing of any node"
				for _, n := range out.Nodes {
					for _, r := range n.Resources {
						t.add(r.ID, shortRequires(n.Node, r.Requires), r.Position)
					}
				}
				return t
			}); err != nil {
				return err
			}
			for _, line := range result.Output {
				a.say("%s", line)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&nodesFile, "nodes", "", "YAML file with a list of nodes")
	cmd.Flags().StringVar(&tag, "tag", "v0.0.0", "what release.tag is to be")
	cmd.Flags().StringVar(&url, "compose", "http://localhost/composes/desk", "what compose.url is to be")
	return cmd
}

// deskInput gathers a model's input from a working tree.
func deskInput(dir, nodesFile, tag, url string) (model.Input, error) {
	root, err := os.OpenRoot(dir) // a model reads nothing outside its repository, also not by links
	if err != nil {
		return model.Input{}, slipway.Errorf(slipway.NotFound, "no such directory: %w", err).At(dir)
	}
	read := func(name string) ([]byte, error) {
		data, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, slipway.Errorf(slipway.NotFound, "no file %s", name).At(dir)
		}
		return data, err
	}
	data, err := read(spec.ProductFile)
	if err != nil {
		return model.Input{}, err
	}
	product, err := spec.ParseProduct(data, filepath.Join(dir, spec.ProductFile))
	if err != nil {
		return model.Input{}, err
	}
	if product.Deploy.Model == "" {
		return model.Input{}, slipway.Errorf(slipway.Invalid, "the product names no model").At(filepath.Join(dir, spec.ProductFile)).Try("add deploy: {model: deploy/model.star}")
	}
	in := model.Input{File: product.Deploy.Model, Read: read, Product: product, ComposeID: "desk", ComposeURL: strings.TrimSuffix(url, "/"), ComposeKey: "the compose's key",
		Release: slipway.Release{ID: product.Name + "-" + tag, Product: product.Name, Tag: tag, Commit: slipway.ZeroCommit, Manifests: map[string]slipway.Manifest{}}}
	for _, name := range slices.Sorted(maps.Keys(product.Configurations)) {
		if in.Release.Manifests[name], err = deskManifest(read, product, name); err != nil {
			return in, err
		}
	}
	in.Nodes, err = deskNodes(nodesFile, product)
	return in, err
}

// deskManifest reads a configuration's manifest, or makes one in which every component stands in.
func deskManifest(read func(string) ([]byte, error), product spec.Product, name string) (slipway.Manifest, error) {
	file := "manifests/" + name + ".yaml"
	data, err := read(file)
	if err == nil {
		var m slipway.Manifest
		if err := yaml.Unmarshal(data, &m); err != nil {
			return m, slipway.Errorf(slipway.Invalid, "not a manifest: %w", err).At(file)
		}
		return m, nil
	}
	if !slipway.Is(err, slipway.NotFound) {
		return slipway.Manifest{}, err
	}
	m := slipway.Manifest{Product: product.Name, Configuration: name, Components: map[string]slipway.Locked{}}
	for c := range product.Components { // also those that the configuration does not list: others may need them
		m.Components[c] = slipway.Locked{Repo: product.Components[c].Repo, Path: product.Components[c].Path, Version: "0.0.0",
			Commit: slipway.ZeroCommit, Artifact: "sha256:" + strings.Repeat("0", 64)}
	}
	return m, nil
}

// deskNodes reads nodes from a file, or makes one for each configuration.
func deskNodes(file string, product spec.Product) ([]slipway.Node, error) {
	var nodes []slipway.Node
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, slipway.Errorf(slipway.NotFound, "cannot read the nodes: %w", err).At(file)
		}
		if err := yaml.Unmarshal(data, &nodes); err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "not a list of nodes: %w", err).At(file).Try("write a list of {name, labels, facts}")
		}
		for i, n := range nodes {
			if n.Name == "" {
				return nil, slipway.Errorf(slipway.Invalid, "node %d has no name", i+1).At(file)
			}
		}
		return nodes, nil
	}
	for _, name := range slices.Sorted(maps.Keys(product.Configurations)) {
		nodes = append(nodes, slipway.Node{Name: cmp.Or(name, "node") + "-1", Labels: product.Configurations[name].Nodes,
			Facts: map[string]string{"port": "8080", "address": "127.0.0.1", "os": "linux", "arch": "amd64"}})
	}
	return nodes, nil
}

// shortRequires lists requirements without the name of their own node.
func shortRequires(node string, ids []string) string {
	short := make([]string, len(ids))
	for i, id := range ids {
		short[i] = strings.TrimPrefix(id, node+"/")
	}
	return strings.Join(short, " ")
}
