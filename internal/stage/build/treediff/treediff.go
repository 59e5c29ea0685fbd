// Package treediff says how two outputs of the same build differ, and what makes them differ most likely.
//
// Takes in two trees of artifacts; gives out a [Difference] for each part that is not the same. A part is as small as the format lets
// it be: a gzip header, a member of a tar, zip or ar archive, a section of an ELF file, a line of a text. Archives are opened in each other,
// so that a time stamp in a tar in a gzip is found where it is. From what differs, and not from the name, follows the kind of the cause,
// and from that the remedy.
package treediff

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// Kind is the likely cause of a difference.
type Kind string

// The kinds.
const (
	Missing   Kind = "missing"   // a file that only one build made
	Mode      Kind = "mode"      // executable in one and not in the other, or a link to elsewhere
	Timestamp Kind = "timestamp" // the time of the build is in it
	Order     Kind = "order"     // the same parts in another order
	BuildID   Kind = "build id"  // an identity that a tool derives from what else differs, or draws
	Path      Kind = "path"      // a temporary folder's name is in it
	Content   Kind = "content"   // anything else, such as what a random source gave
)

// remedies by kind.
var remedies = map[Kind]string{
	Missing:   "make the build write the same files each time; look for names with a time or a random part, and for steps that race",
	Mode:      "set modes and links explicitly, as with install -m",
	Timestamp: "use SOURCE_DATE_EPOCH instead of the clock: gzip -n; tar --mtime=@$SOURCE_DATE_EPOCH; zip -X after touch -d @$SOURCE_DATE_EPOCH; ar rcD; no __DATE__ or __TIME__",
	Order:     "sort what is listed or gathered in parallel: tar --sort=name; sort before iterating over a map or a folder",
	BuildID:   "it follows from another difference, or is random: -ldflags=-buildid= for Go, -Wl,--build-id=sha1 or none for C",
	Path:      "keep temporary folders out of the output: -trimpath for Go, -ffile-prefix-map=$TMPDIR=. for C; work in a fixed folder below $SRC",
	Content:   "look for random numbers, process ids, host names and races in what writes this file",
}

// Difference is one part that two builds made differently.
type Difference struct {
	Path   string `json:"path"`           // of the file below the output
	Part   string `json:"part,omitempty"` // where in the file: "gzip > tar > a.txt: mtime"; empty: the file
	Kind   Kind   `json:"kind"`
	First  string `json:"first"` // what the first build has there, in short
	Second string `json:"second"`
	Remedy string `json:"remedy"`
}

// String is the difference on one line.
func (d Difference) String() string {
	where := d.Path
	if d.Part != "" {
		where += " (" + d.Part + ")"
	}
	return fmt.Sprintf("%s: %s: %s, then %s", where, d.Kind, d.First, d.Second)
}

// Limits of what is looked into.
const (
	maxFile        = 256 << 20 // bytes; a larger file is told as a whole
	maxDifferences = 200       // of all files together
	maxParts       = 20        // of one file
	maxDepth       = 6         // archives in archives
)

// Trees compares two trees of a store.
func Trees(ctx context.Context, from artifact.Opener, first, second artifact.Digest) ([]Difference, error) {
	if first == second {
		return nil, nil
	}
	a, err := artifact.ListTree(ctx, from, first)
	if err != nil {
		return nil, err
	}
	b, err := artifact.ListTree(ctx, from, second)
	if err != nil {
		return nil, err
	}
	byPath := map[string]artifact.Entry{}
	for _, e := range b {
		byPath[e.Path] = e
	}
	var all []Difference
	add := func(path, part string, kind Kind, was, is string) {
		all = append(all, Difference{Path: path, Part: part, Kind: kind, First: was, Second: is, Remedy: remedies[kind]})
	}
	for _, e := range a {
		o, ok := byPath[e.Path]
		delete(byPath, e.Path)
		switch {
		case !ok:
			add(e.Path, "", Missing, what(e), "nothing")
		case e.Dir != o.Dir || (e.Target == "") != (o.Target == ""):
			add(e.Path, "", Mode, what(e), what(o))
		case e.Target != o.Target:
			add(e.Path, "", Mode, "a link to "+e.Target, "a link to "+o.Target)
		case e.Dir || e.Target != "":
		case e.Digest != o.Digest:
			parts, err := files(ctx, from, e, o)
			if err != nil {
				return nil, err
			}
			all = append(all, parts...)
		}
		if ok && e.Executable != o.Executable {
			add(e.Path, "", Mode, what(e), what(o))
		}
		if len(all) >= maxDifferences {
			return all[:maxDifferences], nil
		}
	}
	for _, e := range b {
		if _, only := byPath[e.Path]; only {
			add(e.Path, "", Missing, "nothing", what(e))
		}
	}
	return all[:min(len(all), maxDifferences)], nil
}

func what(e artifact.Entry) string {
	switch {
	case e.Dir:
		return "a folder"
	case e.Target != "":
		return "a link to " + e.Target
	case e.Executable:
		return fmt.Sprintf("a program of %d bytes", e.Size)
	}
	return fmt.Sprintf("a file of %d bytes", e.Size)
}

func files(ctx context.Context, from artifact.Opener, a, b artifact.Entry) ([]Difference, error) {
	if a.Size > maxFile || b.Size > maxFile {
		return []Difference{{Path: a.Path, Kind: Content, First: what(a), Second: what(b), Remedy: remedies[Content]}}, nil
	}
	x, err := read(ctx, from, a.Digest)
	if err != nil {
		return nil, err
	}
	y, err := read(ctx, from, b.Digest)
	if err != nil {
		return nil, err
	}
	return Files(a.Path, x, y), nil
}

func read(ctx context.Context, from artifact.Opener, d artifact.Digest) ([]byte, error) {
	r, err := from.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "read %s: %w", d, err)
	}
	return data, nil
}

// Files compares two files of one name.
func Files(path string, first, second []byte) []Difference {
	c := &comparison{path: path}
	c.bytes(nil, first, second)
	// An identity alone is a cause; beside other differences it is their consequence, and is told last.
	slices.SortStableFunc(c.found, func(a, b Difference) int { return rank(a.Kind) - rank(b.Kind) })
	return c.found
}

func rank(k Kind) int {
	if k == BuildID {
		return 1
	}
	return 0
}

// comparison gathers what differs in one file.
type comparison struct {
	path  string
	found []Difference
}

func (c *comparison) add(at []string, kind Kind, first, second string) {
	if len(c.found) < maxParts {
		c.found = append(c.found, Difference{Path: c.path, Part: strings.Join(at, " > "), Kind: kind, First: excerpt(first), Second: excerpt(second), Remedy: remedies[kind]})
	}
}

// excerpt makes any bytes fit for a line.
func excerpt(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "..."
	}
	s = fmt.Sprintf("%q", s)
	return s[1 : len(s)-1]
}

func below(at []string, what string) []string { return append(slices.Clone(at), what) }
