package slipway

import (
	"strings"
	"time"
)

// A product's name stands for the branch main of its integration repository: "ferry" is main of products/ferry. Another branch that has a
// queue of its own (branches: in product.yaml) is a product of its own everywhere, named "ferry@stable-1": with its own file, manifests,
// entries, releases and deployment.

const (
	integrationFolder = "products/"
	mainBranch        = "main"
)

// Integration returns where a product's file and manifests are: a repository ("products/ferry") and the full name of a ref in it
// ("refs/heads/main").
func Integration(product string) (repo, ref string) {
	name, branch, ok := strings.Cut(product, "@")
	if !ok {
		branch = mainBranch
	}
	return integrationFolder + name, "refs/heads/" + branch
}

// ProductAt is the reverse of [Integration]: the product that a branch (without refs/heads/) of a repository is, or would be if it had
// a queue. It is empty when the repository is no integration repository.
func ProductAt(repo, branch string) string {
	name, ok := strings.CutPrefix(repo, integrationFolder)
	switch {
	case !ok:
		return ""
	case branch == mainBranch:
		return name
	}
	return name + "@" + branch
}

// Pin fixes one component of a product to one commit.
type Pin struct {
	Component string `json:"component" yaml:"component"`
	Repo      string `json:"repo" yaml:"repo"`                     // "components/libwire"
	Path      string `json:"path,omitempty" yaml:"path,omitempty"` // inside the repository; empty: all of it
	Version   string `json:"version" yaml:"version"`               // "1.4.0", without a leading v
	Commit    string `json:"commit" yaml:"commit"`                 // full hexadecimal id
}

// Manifest is what one configuration of a product consists of. It is a file of the integration
// repository, manifests/CONFIGURATION.yaml; equal manifests have equal bytes.
type Manifest struct {
	Product       string            `json:"product" yaml:"product"`
	Configuration string            `json:"configuration" yaml:"configuration"`
	Components    map[string]Locked `json:"components" yaml:"components"` // by component name
}

// Locked is one line of a manifest: a pin and the artifact that was built from it and tested.
type Locked struct {
	Repo     string `json:"repo" yaml:"repo"`
	Path     string `json:"path,omitempty" yaml:"path,omitempty"`
	Version  string `json:"version" yaml:"version"`
	Commit   string `json:"commit" yaml:"commit"`
	Build    string `json:"build" yaml:"build"`       // the action's key, "sha256:..."
	Artifact string `json:"artifact" yaml:"artifact"` // the output tree's digest, "sha256:..."
}

// Pin returns the pin that l locks for the named component.
func (l Locked) Pin(component string) Pin {
	return Pin{Component: component, Repo: l.Repo, Path: l.Path, Version: l.Version, Commit: l.Commit}
}

// Outcome is how a check ended, apart from the state of whatever ran it.
type Outcome string

// The outcomes. Only Fail blames the subject; Infra, Timeout and Cancelled say nothing about it.
const (
	Pass      Outcome = "pass"
	Fail      Outcome = "fail"
	Infra     Outcome = "infra"     // a node, the network or Slipway itself failed
	Timeout   Outcome = "timeout"   // it did not end in its time
	Cancelled Outcome = "cancelled" // somebody stopped it
)

// Result is the outcome of one check for one subject.
type Result struct {
	ID            string    `json:"id"`
	Product       string    `json:"product"`
	Subject       string    `json:"subject"`                 // "change/12.2", "candidate/ab12..."
	Check         string    `json:"check"`                   // "build", "unit", "experiment"
	Item          string    `json:"item,omitempty"`          // what in the subject: a component or an experiment
	Configuration string    `json:"configuration,omitempty"` // empty: holds for all
	Outcome       Outcome   `json:"outcome"`
	Reason        string    `json:"reason,omitempty"` // for a person
	Link          string    `json:"link,omitempty"`   // the build or experiment that says more: "build/...", "experiment/4"
	Time          time.Time `json:"time"`
}

// Row implements [Record]; the key is the subject.
func (r Result) Row() Row {
	return Row{ID: r.ID, Product: r.Product, State: string(r.Outcome), Key: r.Subject}
}
