package provenance

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Build is what there is to tell of a build that passed.
type Build struct {
	ID        string // "17"
	Key       string // digest of the action
	Product   string
	Component string
	Repo      string
	Path      string // in the repository; empty: its root
	Version   string
	Commit    string
	License   string // SPDX expression; may be empty

	Output string // digest of the output tree
	Source string // digest of the source tree
	Log    string // digest; may be empty

	Command     []string
	Environment map[string]string
	Timeout     time.Duration
	Outputs     []string         // declared
	Tools       []string         // declared
	Limits      map[string]int64 // by name; may be empty
	Host        string           // fingerprint of the host's tools; empty when a buildroot takes their place
	Executor    string           // which executor ran it: "local", or where a remote one is
	Worker      string           // the machine
	Unconfined  bool             // it ran without a sandbox

	Inputs    []Input // needed components, sorted by name
	Extra     string  // digest of what it saw of its repository besides its own folder; may be empty
	Root      string  // digest of the buildroot's tree; empty: the tools of the host
	Lock      string  // digest of the buildroot's lock
	Buildroot []Item  // what the buildroot was made of, in the order of its lock

	Started  time.Time
	Finished time.Time
}

// Input is a needed component's output.
type Input struct {
	Component string
	Digest    string // of the output tree
	Build     string // id of the build that made it; empty: not known any more
	Key       string // that build's key
	Version   string
	Commit    string
}

// Item is one line of a buildroot's lock.
type Item struct {
	Name    string
	Version string
	Arch    string
	Kind    string // as the lock calls it: "package", "image", "layer", "archive", "tool", "library", "folder" or "tree"
	Digest  string // empty: not known alone; the root's tree has its bytes
	At      string // path in the buildroot; may be empty
	URI     string // where it came from
}

// Package is what there is to tell of one package file.
type Package struct {
	Key       string // of the package, whatever its format
	Product   string
	Name      string
	Version   string
	Release   int
	Format    string
	File      string // its name
	Digest    string // of the file
	Component string
	Artifact  string // the output tree that it was made from
	Repo      string
	Commit    string
	Path      string
	Build     string    // key of the action that made the tree
	Compose   string    // id of the compose that made it first
	Signer    string    // fingerprint of the OpenPGP key that signed it; empty: unsigned
	Time      time.Time // of everything in it
}

// Builds knows the builds.
type Builds interface {
	// Attestable returns a build that passed and has an output, by its id or its action's key; ok is false for any other, also
	// for one that is gone.
	Attestable(ctx context.Context, id string) (b Build, ok bool, err error)
}

// Composes knows the packages of finished composes.
type Composes interface {
	ComposePackages(ctx context.Context, id string) ([]Package, error)
}

// Releases knows the releases.
type Releases interface {
	Release(ctx context.Context, id string) (slipway.Release, error)
}
