package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// Type is the type of a resource; each has its own attributes.
type Type string

// The types of resources and the attributes they carry.
const (
	TypeFile      Type = "file"      // [File]
	TypeDirectory Type = "directory" // [Directory]
	TypeArtifact  Type = "artifact"  // [Artifact]
	TypePackage   Type = "package"   // [Package]
	TypeProcess   Type = "process"   // [Process]
	TypeService   Type = "service"   // [Service]
	TypeExec      Type = "exec"      // [Exec]
)

// Types lists all types, in the order in which documentation names them.
var Types = []Type{TypeFile, TypeDirectory, TypeArtifact, TypePackage, TypeProcess, TypeService, TypeExec}

// Resource is one thing that is to be so on one node.
type Resource struct {
	ID       string          `json:"id"` // NODE/TYPE[NAME]
	Type     Type            `json:"type"`
	Name     string          `json:"name"`               // unique among its type on its node
	Attrs    json.RawMessage `json:"attrs,omitempty"`    // the type's attributes; absent where the reader holds them already
	Requires []string        `json:"requires,omitempty"` // ids that must be deployed first, sorted; may be on other nodes
	Position string          `json:"position"`           // FILE:LINE:COL of the model that asked for it
	Hash     string          `json:"hash"`               // of type, name and attributes: equal hashes ask for the same
}

// ID writes the id of a resource.
func ID(node string, t Type, name string) string { return node + "/" + string(t) + "[" + name + "]" }

// NodeOf returns the node that an id is on.
func NodeOf(id string) string { node, _, _ := strings.Cut(id, "/"); return node }

// New makes a resource from typed attributes and computes its id and hash. The attributes must be one of
// the types of this package; their JSON form is part of the hash.
func New(node string, t Type, name string, attrs any, requires []string, position string) (Resource, error) {
	doc, err := json.Marshal(attrs)
	if err != nil {
		return Resource{}, err
	}
	r := Resource{ID: ID(node, t, name), Type: t, Name: name, Attrs: doc, Requires: requires, Position: position}
	h := sha256.New()
	h.Write([]byte(t))
	h.Write([]byte{0})
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write(doc)
	r.Hash = hex.EncodeToString(h.Sum(nil)[:16])
	return r, nil
}

// Digest names a node's resources: equal digests are the same resources, in the same order, from the same
// model lines.
func Digest(resources []Resource) string {
	h := sha256.New()
	for _, r := range resources {
		for _, s := range []string{r.ID, r.Hash, r.Position, strings.Join(r.Requires, "\x01")} {
			h.Write([]byte(s))
			h.Write([]byte{0})
		}
		h.Write([]byte{'\n'})
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// File is a regular file with the given content.
type File struct {
	Path    string `json:"path"`             // absolute on the node
	Content []byte `json:"content"`          // base64 in JSON
	Source  string `json:"source,omitempty"` // path in the integration repository that the content came from
	Mode    uint32 `json:"mode"`             // permission bits
	Owner   string `json:"owner,omitempty"`  // USER or USER:GROUP; empty: as the agent creates it
}

// Directory is a directory. Purging removes it only when it is empty.
type Directory struct {
	Path  string `json:"path"`
	Mode  uint32 `json:"mode"`
	Owner string `json:"owner,omitempty"`
}

// Artifact is a component's output tree, reachable at a path that is switched atomically.
type Artifact struct {
	Path      string `json:"path"`
	Component string `json:"component"`
	Version   string `json:"version"`
	Commit    string `json:"commit"`
	Digest    string `json:"digest"`            // of the output tree
	Subpath   string `json:"subpath,omitempty"` // the part of the tree that the path shows; empty: all of it
}

// Package is a package of the distribution.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // empty: any; the newest is installed when there is none
	Repo    string `json:"repo,omitempty"`    // base URL of a dnf repository, or an apt source line "deb ..."; empty: what the node has
	Key     string `json:"key,omitempty"`     // armored OpenPGP public key that what Repo gives must be signed with; empty: it is not checked
	Manager string `json:"manager"`           // "dnf" or "apt"
}

// Process is a program that the agent keeps running.
type Process struct {
	Command []string          `json:"command"`
	Env     map[string]string `json:"env,omitempty"`
	Cwd     string            `json:"cwd,omitempty"`     // absolute on the node; empty: the agent's root
	Health  string            `json:"health,omitempty"`  // URL that answers 2xx when it is well
	Timeout int64             `json:"timeout,omitempty"` // seconds in which it must become healthy; default 30
}

// Service is a systemd unit.
type Service struct {
	Unit    string `json:"unit"`              // name with suffix: "edged.service"
	Content string `json:"content,omitempty"` // the unit file; empty: a unit that is there already
}

// Exec is a command that is run until what it makes is there.
type Exec struct {
	Command []string `json:"command"`
	Creates string   `json:"creates,omitempty"` // absolute path; there: nothing to do
	Unless  []string `json:"unless,omitempty"`  // command that succeeds when there is nothing to do
	Timeout int64    `json:"timeout,omitempty"` // seconds; default 300
}

// Attributes decodes a resource's attributes into the struct of its type.
func Attributes[T any](r Resource) (T, error) {
	var attrs T
	err := json.Unmarshal(r.Attrs, &attrs)
	return attrs, err
}
