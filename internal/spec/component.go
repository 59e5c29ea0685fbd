package spec

import "time"

// ComponentFile is the name of a component's file, at the root of the component's path.
const ComponentFile = "slipway.yaml"

// Component is a component's slipway.yaml.
type Component struct {
	Name      string            `json:"component" yaml:"component"` // lower-case letters, digits and dashes
	Summary   string            `json:"summary,omitempty" yaml:"summary,omitempty"`
	License   string            `json:"license,omitempty" yaml:"license,omitempty"`     // SPDX expression
	Needs     []string          `json:"needs,omitempty" yaml:"needs,omitempty"`         // components whose outputs the build sees, at $DEPS/NAME
	Tools     []string          `json:"tools,omitempty" yaml:"tools,omitempty"`         // host programs it runs; checked before it starts
	Env       map[string]string `json:"env,omitempty" yaml:"env,omitempty"`             // added to the fixed environment
	Buildroot string            `json:"buildroot,omitempty" yaml:"buildroot,omitempty"` // a buildroot of the product; default the product's, or the host's tools
	Paths     []string          `json:"paths,omitempty" yaml:"paths,omitempty"`         // files and folders of its repository besides its own folder that the build sees, at $REPO/PATH
	Stamp     bool              `json:"stamp,omitempty" yaml:"stamp,omitempty"`         // the build sees $VERSION; its key then changes with every version
	Build     Step              `json:"build" yaml:"build"`                             // writes to $OUT
	Tests     map[string]Step   `json:"tests,omitempty" yaml:"tests,omitempty"`         // by check name ("unit"); see $SRC, $DEPS and its own output at $OUT
	Outputs   []string          `json:"outputs,omitempty" yaml:"outputs,omitempty"`     // paths below $OUT that must exist; nothing listed: anything
	Starts    []string          `json:"starts,omitempty" yaml:"starts,omitempty"`       // command lines of its programs, "bin/app --version"; they become the test "starts"
	Packages  []Package         `json:"packages,omitempty" yaml:"packages,omitempty"`
	Version   VersionPolicy     `json:"version,omitempty" yaml:"version,omitempty"`

	Maintainers []string `json:"maintainers,omitempty" yaml:"maintainers,omitempty"` // mail addresses of those who are told when a rebuild of it fails
}

// Step is a shell script run by `sh -eu`. In YAML a plain string is the script.
type Step struct {
	Run     string        `json:"run" yaml:"run"`
	Timeout time.Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"` // default 10m
}

// Package is one installable package made from a component's outputs.
type Package struct {
	Name    string   `json:"name" yaml:"name"`
	Summary string   `json:"summary,omitempty" yaml:"summary,omitempty"`
	License string   `json:"license,omitempty" yaml:"license,omitempty"`
	Section string   `json:"section,omitempty" yaml:"section,omitempty"` // also its comps group
	Formats []string `json:"formats,omitempty" yaml:"formats,omitempty"` // rpm, deb, apk, oci, oci-artifact, npm, tar; default rpm, deb and tar
	Arch    string   `json:"arch,omitempty" yaml:"arch,omitempty"`       // Go's name: amd64 (default), arm64, all
	Depends []string `json:"depends,omitempty" yaml:"depends,omitempty"` // names of packages, translated to each format
	// What formats call what it depends on, where the file says so: name -> format -> name there, or [NotNeeded].
	Names   map[string]map[string]string `json:"names,omitempty" yaml:"names,omitempty"`
	Files   map[string]string            `json:"files" yaml:"files"`                         // absolute target path -> path below $OUT (a file or a directory)
	Scripts map[string]string            `json:"scripts,omitempty" yaml:"scripts,omitempty"` // preinstall, postinstall, preremove, postremove
	Image   *Image                       `json:"image,omitempty" yaml:"image,omitempty"`     // of the format oci
	NPM     *NPM                         `json:"npm,omitempty" yaml:"npm,omitempty"`         // of the format npm
}

// VersionPolicy says where a landed change's version comes from.
type VersionPolicy struct {
	From string `json:"from,omitempty" yaml:"from,omitempty"` // "conventional-commits" (default) or "file"
	File string `json:"file,omitempty" yaml:"file,omitempty"` // for "file": default VERSION
}
