package buildroot

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/goccy/go-yaml"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// LockFile is the name of the committed locks, beside the file that describes the buildroots.
const LockFile = "buildroot.lock.yaml"

// The kinds of items of a lock.
const (
	KindTool    = "tool"    // a program of the host
	KindLibrary = "library" // a file that a program of the host needs
	KindFolder  = "folder"  // a file or folder of the host
	KindArchive = "archive"
	KindImage   = "image"
	KindLayer   = "layer"
	KindPackage = "package" // told by the package database of the root filesystem
	KindTree    = "tree"    // a tree of the artifact store
)

// Lock is a resolved buildroot: what is in it, by name, version and digest.
type Lock struct {
	Name    string            `json:"name" yaml:"name"`
	Base    string            `json:"base" yaml:"base"`
	Spec    artifact.Digest   `json:"spec" yaml:"spec"` // of the description that it resolves
	Tree    artifact.Digest   `json:"tree" yaml:"tree"` // what is shown as /
	Env     map[string]string `json:"env,omitempty" yaml:"env,omitempty"`
	Items   []Item            `json:"items" yaml:"items"`
	Dropped []string          `json:"dropped,omitempty" yaml:"dropped,omitempty"` // what of the base is not in the tree, and why
}

// Item is one thing in a buildroot.
type Item struct {
	Kind    string          `json:"kind" yaml:"kind"`
	Name    string          `json:"name" yaml:"name"`
	Version string          `json:"version,omitempty" yaml:"version,omitempty"`
	Digest  artifact.Digest `json:"digest,omitempty" yaml:"digest,omitempty"` // of its bytes or tree; none for packages, whose files the tree has
	At      string          `json:"at,omitempty" yaml:"at,omitempty"`         // absolute path in the buildroot
	From    string          `json:"from,omitempty" yaml:"from,omitempty"`     // where it was fetched
}

// sort makes the order of items follow from them.
func (l *Lock) sort() {
	slices.SortFunc(l.Items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.At, b.At), cmp.Compare(a.Version, b.Version))
	})
	slices.Sort(l.Dropped)
	l.Dropped = slices.Compact(l.Dropped)
}

// Locks are the committed locks of one file, by the buildroots' names.
type Locks map[string]Lock

// ParseLocks reads a lock file; name names it in errors.
func ParseLocks(data []byte, name string) (Locks, error) {
	var file struct {
		Buildroots Locks `yaml:"buildroots"`
	}
	if err := yaml.UnmarshalWithOptions(data, &file, yaml.Strict()); err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "the lock file cannot be read: %w", err).At(name).Try("make it anew: slipway buildroot lock PRODUCT > " + LockFile)
	}
	for root, l := range file.Buildroots {
		for _, d := range []artifact.Digest{l.Tree, l.Spec} {
			if _, err := artifact.ParseDigest(d); err != nil {
				return nil, slipway.Errorf(slipway.Invalid, "the lock of the buildroot %q is damaged: %w", root, err).
					At(spec.Place(data, name, "buildroots", root)).Try("make it anew: slipway buildroot lock PRODUCT > " + LockFile)
			}
		}
	}
	return file.Buildroots, nil
}

// Marshal writes a lock file.
func (ls Locks) Marshal() ([]byte, error) {
	return yaml.MarshalWithOptions(map[string]Locks{"buildroots": ls}, yaml.Indent(2), yaml.IndentSequence(true))
}

// specDigest names a description.
func specDigest(b spec.Buildroot) (artifact.Digest, error) {
	data, err := json.Marshal(b)
	return artifact.DigestOf(data), err
}
