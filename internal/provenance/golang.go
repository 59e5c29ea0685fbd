package provenance

import (
	"context"
	"debug/buildinfo"
	"io"
	"os"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// contents is what was found inside an output tree.
type contents struct {
	modules []module // of all Go programs, without doubles, sorted
	unread  string   // why the tree could not be looked into; empty: it was
}

// module is one Go module that is linked into a program; the standard library is "std".
type module struct {
	path, version string
	sum           string // as go.sum has it; may be empty
	in            string // path of the first program that has it
}

// maxProgram bounds a program that is looked into; larger ones are passed over.
const maxProgram = 1 << 30

// contents looks for Go programs in the output of a build and reads the modules that are linked into them.
func (s *Service) contents(ctx context.Context, b Build) (contents, error) {
	var c contents
	entries, err := artifact.ListTree(ctx, s.deps.Artifacts, b.Output)
	if slipway.Is(err, slipway.NotFound) {
		return contents{unread: "the output was no longer in the store"}, nil
	}
	if err != nil {
		return c, err
	}
	seen := map[string]bool{}
	for _, e := range entries {
		if e.Dir || e.Target != "" || !e.Executable || e.Size > maxProgram || e.Size < 1024 {
			continue
		}
		info, err := s.program(ctx, e.Digest)
		if slipway.Is(err, slipway.NotFound) {
			return contents{unread: "the output was no longer in the store"}, nil
		}
		if err != nil {
			return c, err
		}
		if info == nil {
			continue
		}
		add := func(path, version, sum string) {
			if path == "" || seen[path+"@"+version] {
				return
			}
			seen[path+"@"+version] = true
			c.modules = append(c.modules, module{path: path, version: version, sum: sum, in: e.Path})
		}
		add("std", strings.TrimPrefix(strings.Fields(info.GoVersion + " ")[0], "go"), "")
		for _, d := range info.Deps {
			if d.Replace != nil && d.Replace.Version != "" { // not by a folder, which has no name that others know
				d = d.Replace
			}
			add(d.Path, d.Version, d.Sum)
		}
	}
	slices.SortFunc(c.modules, func(a, b module) int { return strings.Compare(a.path+"@"+a.version, b.path+"@"+b.version) })
	return c, nil
}

// program returns what a Go program says of itself, or nil for any other file.
func (s *Service) program(ctx context.Context, digest string) (*buildinfo.BuildInfo, error) {
	r, err := s.deps.Artifacts.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(r, magic); err != nil || !looksBinary(magic) {
		return nil, nil //nolint:nilerr // too short to be a program
	}
	f, err := os.CreateTemp("", "slipway-program-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err = f.Write(magic); err == nil {
		_, err = io.Copy(f, r)
	}
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(f)
	if err != nil {
		return nil, nil //nolint:nilerr // a program, but not of Go
	}
	return info, nil
}

// looksBinary knows the beginnings of ELF, PE, Mach-O and XCOFF files.
func looksBinary(magic []byte) bool {
	for _, m := range []string{"\x7fELF", "MZ", "\xfe\xed\xfa", "\xcf\xfa\xed\xfe", "\xce\xfa\xed\xfe", "\x01\xf7", "\x01\xdf"} {
		if strings.HasPrefix(string(magic), m) {
			return true
		}
	}
	return false
}
