package spec

// The bases of a buildroot.
const (
	BaseHost    = "host"    // the named programs and folders of the host that resolves it, by content
	BaseArchive = "archive" // a root filesystem: a tar, plain or compressed
	BaseOCI     = "oci"     // an image of an OCI layout, a folder or a tar of one
)

// Buildroot is what a build can see besides its source and what it needs: a base, and pinned things beside it. It inherits from
// nothing. A build without one uses the tools of the host that runs it.
type Buildroot struct {
	Base    string            `json:"base" yaml:"base"`                           // host, archive or oci
	Tools   []string          `json:"tools,omitempty" yaml:"tools,omitempty"`     // host: programs, by name or absolute path; what they link to comes along
	Folders []string          `json:"folders,omitempty" yaml:"folders,omitempty"` // host: absolute paths of files and folders, as /usr/local/go
	From    string            `json:"from,omitempty" yaml:"from,omitempty"`       // archive, oci: http, https or file URL, or a path in the repository of this file
	Digest  string            `json:"digest,omitempty" yaml:"digest,omitempty"`   // archive: of its bytes; oci: of the manifest
	Items   []BuildrootItem   `json:"items,omitempty" yaml:"items,omitempty"`     // laid over the base
	Env     map[string]string `json:"env,omitempty" yaml:"env,omitempty"`         // as PATH; a component's own env wins
}

// BuildrootItem is a pinned thing at a place in a buildroot: an archive, unpacked, or a tree of the artifact store (a component's output).
type BuildrootItem struct {
	Name    string `json:"name" yaml:"name"`
	Version string `json:"version,omitempty" yaml:"version,omitempty"` // for people
	From    string `json:"from,omitempty" yaml:"from,omitempty"`       // of an archive, as in Buildroot; empty: Digest names a tree
	Digest  string `json:"digest" yaml:"digest"`
	At      string `json:"at" yaml:"at"` // absolute path of the folder
}

// BuildRules is how a product's components are built.
type BuildRules struct {
	Buildroot  string `json:"buildroot,omitempty" yaml:"buildroot,omitempty"`   // for components that name none; empty: the tools of the host
	Unconfined string `json:"unconfined,omitempty" yaml:"unconfined,omitempty"` // "allow": where no sandbox can run, build without one and say so; default "refuse"
}

// ModuleFile is the name of a module's file, at the root of a repository in modules/.
const ModuleFile = "module.yaml"

// The strategies of a module: what of it is rebuilt when something of it changed.
const (
	StrategyByKey           = "by-key"            // what has other inputs, in bytes (default)
	StrategyAll             = "all"               // everything
	StrategyOnlyChanged     = "only-changed"      // the components with other commits
	StrategyChangedAndAfter = "changed-and-after" // these, and all in later tiers
)

// Module is components that are built and shipped together against one buildroot: one of a product's modules, or a module.yaml, which is
// read and checked and nothing more.
type Module struct {
	Name       string               `json:"module" yaml:"module"`
	Summary    string               `json:"summary,omitempty" yaml:"summary,omitempty"`
	Stream     string               `json:"stream" yaml:"stream"` // as "1.2" or "stable"
	Components []string             `json:"components" yaml:"components"`
	Buildroot  string               `json:"buildroot,omitempty" yaml:"buildroot,omitempty"`   // for components that name none
	Buildroots map[string]Buildroot `json:"buildroots,omitempty" yaml:"buildroots,omitempty"` // of its own; they come before the product's of the same name
	Strategy   string               `json:"strategy,omitempty" yaml:"strategy,omitempty"`     // by-key (default), all, only-changed, changed-and-after
	Checks     map[string]Step      `json:"checks,omitempty" yaml:"checks,omitempty"`         // see each component's output at $DEPS/NAME
}
