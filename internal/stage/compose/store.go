package compose

import (
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Tx is what the stage needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Composes() slipway.Table[Compose]
	Packages() slipway.Table[Package]
}

// State is where a compose stands.
type State string

// The states of a compose; see the package comment.
const (
	Waiting  State = "waiting"
	Building State = "building"
	Finished State = "finished"
	Failed   State = "failed"
)

// Compose is the distribution made from one release.
type Compose struct {
	ID          string    `json:"id"` // PRODUCT-TAG, the release's id
	Product     string    `json:"product"`
	Tag         string    `json:"tag"`
	State       State     `json:"state"`
	Reason      string    `json:"reason"`              // why it is in this state, for a person
	Attempt     int       `json:"attempt"`             // from 1; raised by a retry
	Wave        string    `json:"wave,omitempty"`      // the build wave that it waits for, or last waited for
	Variants    []Variant `json:"variants,omitempty"`  // once finished
	Digest      string    `json:"digest,omitempty"`    // "sha256:..." of the folder's SHA256SUMS, once finished
	Files       int       `json:"files,omitempty"`     // how many files it has, once finished
	Size        int64     `json:"size,omitempty"`      // of all files, in bytes, once finished
	Signed      string    `json:"signed_by,omitempty"` // fingerprint of the key
	CreatedAt   time.Time `json:"created_at"`
	FinishedAt  time.Time `json:"finished_at,omitzero"`
	ReleaseTime time.Time `json:"release_time"` // the time of everything in it
}

// Row implements [slipway.Record]; the key is the tag.
func (c Compose) Row() slipway.Row {
	return slipway.Row{ID: c.ID, Product: c.Product, State: string(c.State), Key: c.Tag}
}

// Variant is a slice of a finished compose.
type Variant struct {
	ID            string           `json:"id"`
	Name          string           `json:"name"`
	Summary       string           `json:"summary,omitempty"`
	Configuration string           `json:"configuration"`
	Arches        []string         `json:"arches"` // RPM names
	Groups        []Group          `json:"groups"`
	Packages      []VariantPackage `json:"packages"`
}

// Group is a package group of a variant.
type Group struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Packages []string `json:"packages"`
}

// VariantPackage is one package of a variant and its files.
type VariantPackage struct {
	Key        string            `json:"key,omitempty"` // of the package; empty in composes of before it was kept
	Name       string            `json:"name"`
	Version    string            `json:"version"`
	Release    int               `json:"release"`
	Summary    string            `json:"summary,omitempty"`
	Component  string            `json:"component"`
	Commit     string            `json:"commit"`
	Artifact   string            `json:"artifact"`             // digest of the output tree that it was made from
	Reason     string            `json:"reason"`               // why it is in the variant
	Reused     bool              `json:"reused"`               // an earlier compose made it
	Everywhere bool              `json:"everywhere,omitempty"` // it fits every machine
	NPM        string            `json:"npm,omitempty"`        // its name for npm, where that is another
	Files      map[string]string `json:"files"`                // path below the compose by format
}

// Package is a package that was made, kept for all composes that have it.
type Package struct {
	Key       string                 `json:"key"` // digest of everything that it is made from
	Product   string                 `json:"product"`
	Name      string                 `json:"name"`
	Version   string                 `json:"version"` // of the component
	Release   int                    `json:"release"` // counts the different packages of this name and version
	Component string                 `json:"component"`
	Artifact  string                 `json:"artifact"`
	Time      time.Time              `json:"time"`  // of every file in it
	First     string                 `json:"first"` // the compose that made it
	Files     map[string]PackageFile `json:"files"` // by format; filled in when made
}

// PackageFile is a package in one format.
type PackageFile struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // in the artifact store
	Size   int64  `json:"size"`   // bytes
}

// Row implements [slipway.Record]; the key is PRODUCT/NAME/VERSION.
func (p Package) Row() slipway.Row {
	return slipway.Row{ID: p.Key, Product: p.Product, Key: packageLine(p.Product, p.Name, p.Version)}
}

func packageLine(product, name, version string) string { return product + "/" + name + "/" + version }
