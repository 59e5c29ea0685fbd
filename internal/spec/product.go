package spec

import (
	"path"
	"regexp"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// ProductFile is the name of a product's file, at the root of its integration repository.
const ProductFile = "product.yaml"

// Product is a product.yaml.
type Product struct {
	Name           string                   `json:"product" yaml:"product"`
	Summary        string                   `json:"summary,omitempty" yaml:"summary,omitempty"`
	Branches       []string                 `json:"branches,omitempty" yaml:"branches,omitempty"` // patterns: the branches of the integration repository, beside main, that have a queue
	Components     map[string]ComponentRef  `json:"components" yaml:"components"`
	Bootstrap      []Bootstrap              `json:"bootstrap,omitempty" yaml:"bootstrap,omitempty"` // where cycles among the components start
	Buildroots     map[string]Buildroot     `json:"buildroots,omitempty" yaml:"buildroots,omitempty"`
	Build          BuildRules               `json:"build,omitzero" yaml:"build,omitempty"`
	Modules        map[string]Module        `json:"modules,omitempty" yaml:"modules,omitempty"`
	Configurations map[string]Configuration `json:"configurations" yaml:"configurations"`
	Review         Review                   `json:"review,omitempty" yaml:"review,omitempty"`
	Gates          Gates                    `json:"gates,omitempty" yaml:"gates,omitempty"`
	Queue          Queue                    `json:"queue,omitzero" yaml:"queue,omitempty"`
	Compose        Compose                  `json:"compose,omitempty" yaml:"compose,omitempty"`
	Deploy         Deploy                   `json:"deploy,omitempty" yaml:"deploy,omitempty"`
	Notify         []Subscription           `json:"notify,omitempty" yaml:"notify,omitempty"`
	Params         map[string]string        `json:"params,omitempty" yaml:"params,omitempty"` // defaults for all configurations
}

// branchRule is what a branch with a queue may be named: its name becomes part of URLs, tags and paths.
var branchRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// Follows reports whether a branch of the integration repository, other than main, has a queue of its own, as [Product.Branches] of the file at
// main says. The error, of kind Invalid, is about a branch that is meant and whose name cannot be used.
func (p Product) Follows(branch string) (bool, error) {
	for _, pattern := range p.Branches {
		if ok, err := path.Match(pattern, branch); err != nil || !ok || branch == "main" {
			continue
		}
		if !branchRule.MatchString(branch) || strings.Contains(branch, "..") {
			return false, slipway.Errorf(slipway.Invalid, "the branch %q cannot have a queue, although branches: of %s names it with %q", branch, ProductFile, pattern).
				Try("name it with up to 63 lower-case letters, digits, dots, dashes and underscores, as in stable-1")
		}
		return true, nil
	}
	return false, nil
}

// ComponentRef says where a component's source is.
type ComponentRef struct {
	Repo   string `json:"repo" yaml:"repo"`                         // "components/libwire"
	Path   string `json:"path,omitempty" yaml:"path,omitempty"`     // in a monorepo
	Branch string `json:"branch,omitempty" yaml:"branch,omitempty"` // default main
}

// Bootstrap breaks a cycle of needs: From, which needs To, is first built with a given output of To; with that all of the cycle
// is built, and in the end From again.
type Bootstrap struct {
	From string `json:"from" yaml:"from"`
	To   string `json:"to" yaml:"to"`
	At   string `json:"at,omitempty" yaml:"at,omitempty"` // digest of an output of To, or the commit of a build of it; default what was released last
}

// Configuration is a variant of the product.
type Configuration struct {
	Components  []string          `json:"components,omitempty" yaml:"components,omitempty"` // default all; what they need is added
	Nodes       map[string]string `json:"nodes,omitempty" yaml:"nodes,omitempty"`           // labels of the nodes it runs on in service
	Params      map[string]string `json:"params,omitempty" yaml:"params,omitempty"`
	Experiments []string          `json:"experiments,omitempty" yaml:"experiments,omitempty"` // files in the integration repository
}

// Review is how changes become landed commits.
type Review struct {
	Approve string `json:"approve,omitempty" yaml:"approve,omitempty"` // "gatekeeper" (default) or "automatic" once tests pass
	Merge   string `json:"merge,omitempty" yaml:"merge,omitempty"`     // "rebase" (default) or "merge"
	Bump    string `json:"bump,omitempty" yaml:"bump,omitempty"`       // "conventional-commits" (default), "file" or "none"; a component's own policy wins
}

// Gates lists the checks that must pass: "build", "experiment", and the names of components' tests. An empty list asks for
// all that run, so that no test is left out by accident; those that a list leaves out run without a vote.
type Gates struct {
	Change    []string `json:"change,omitempty" yaml:"change,omitempty"`
	Candidate []string `json:"candidate,omitempty" yaml:"candidate,omitempty"`
}

// Compose says what distribution is made of a release.
type Compose struct {
	Short    string             `json:"short,omitempty" yaml:"short,omitempty"` // productmd short name; default the product's
	Variants map[string]Variant `json:"variants,omitempty" yaml:"variants,omitempty"`
}

// Variant is a slice of the distribution.
type Variant struct {
	Summary       string   `json:"summary,omitempty" yaml:"summary,omitempty"`
	Configuration string   `json:"configuration,omitempty" yaml:"configuration,omitempty"` // whose manifest; default the only or first one
	Components    []string `json:"components,omitempty" yaml:"components,omitempty"`       // default all with packages
}

// Deploy says how releases reach nodes in service.
type Deploy struct {
	Model     string `json:"model,omitempty" yaml:"model,omitempty"`         // Starlark file in the integration repository
	Automatic *bool  `json:"automatic,omitempty" yaml:"automatic,omitempty"` // release a new version by itself; default true
}

// Subscription sends events somewhere.
type Subscription struct {
	Events  []string `json:"events,omitempty" yaml:"events,omitempty"`   // types or prefixes ("change.", "release.created"); default all
	Webhook string   `json:"webhook,omitempty" yaml:"webhook,omitempty"` // URL; gets a CloudEvent by POST
	Mail    string   `json:"mail,omitempty" yaml:"mail,omitempty"`       // address
}
