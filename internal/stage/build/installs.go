package build

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// installation is the check that a component's packages can be installed. In a wave that validates, every component has it of which a
// package manager's package is made for this machine.
//
// Its action is the installation, by the real client, of those packages into a root of its own: together with the packages of the same
// wave that they depend on, and a stand-in for all that no component of the product makes. Where a component that is depended on is
// built in a later tier, the check is of that tier.
const installation = "installs"

// Packager makes packages; internal/server wires the compose stage's.
type Packager interface {
	// Formats lists the formats of p that a package manager installs.
	Formats(p spec.Package) []string
	// Pack writes a package in a format.
	Pack(w io.Writer, format string, p Parcel) error
	// FileName is what the file of the package is called.
	FileName(format string, p Parcel) string
	// StandIn writes a package that provides what the lines say, and returns what the format calls that.
	StandIn(w io.Writer, format string, lines []DependsLine) ([]string, error)
}

// Parcel is all that a package is made from.
type Parcel struct {
	Tree    string // folder with the output of its component
	Package spec.Package
	Version string
	Time    time.Time // of every file in it
	Summary string    // where the package has none
	License string    // where the package has none
	Vendor  string
}

// DependsLine is one line of what a package depends on.
type DependsLine struct {
	Package spec.Package
	Depends string
}

// name is that of the package which is depended on.
func (l DependsLine) name() string {
	name, _, _ := strings.Cut(strings.TrimSpace(l.Depends), " ")
	return name
}

// installable lists the formats in which a component's packages can be installed here; without any, why says why not.
func installable(p Packager, rec recipe) (formats []string, why string) {
	if len(rec.Packages) == 0 {
		return nil, "the component makes no packages"
	}
	foreign := ""
	for _, one := range rec.Packages {
		if !fits(one) {
			foreign = one.Arch
			continue
		}
		for _, f := range p.Formats(one) {
			if !slices.Contains(formats, f) {
				formats = append(formats, f)
			}
		}
	}
	slices.Sort(formats)
	switch {
	case len(formats) > 0:
		return formats, ""
	case foreign != "":
		return nil, "its packages are for " + foreign + ", and this machine is " + runtime.GOARCH
	}
	return nil, "no package manager installs the formats of its packages"
}

// fits reports whether a package is for machines as this one.
func fits(p spec.Package) bool {
	return p.Arch == "all" || cmp.Or(p.Arch, "amd64") == runtime.GOARCH
}

// installs gives the tested components their check, and names components whose recipes have to be read for that: those that make
// packages which theirs depend on.
func (r *recipes) installs(ctx context.Context, req slipway.WaveRequest, found map[string]recipe, vertices map[string]plan.Component) (missing []string) {
	if r.packages == nil || !req.Validate {
		return nil
	}
	var checked []string
	for _, name := range req.Tests {
		if formats, _ := installable(r.packages, found[name]); len(formats) > 0 {
			checked = append(checked, name)
		}
	}
	if len(checked) == 0 {
		return nil
	}
	all := maps.Clone(found)
	for _, pin := range req.Pins {
		if _, ok := all[pin.Component]; ok {
			continue
		}
		if rec, err := r.read(ctx, pin); err == nil { // one that cannot be read makes nothing
			all[pin.Component] = rec
		}
	}
	makers := makersOf(all)
	for _, name := range checked {
		beside := besides(name, all, makers)
		for _, b := range beside {
			if _, ok := found[b]; !ok && !slices.Contains(missing, b) {
				missing = append(missing, b)
			}
		}
		vertices[name] = vertices[name].With(installation, beside)
	}
	return missing
}

// makersOf says by package which component makes it.
func makersOf(all map[string]recipe) map[string]string {
	makers := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, p := range all[name].Packages {
			if _, ok := makers[p.Name]; !ok {
				makers[p.Name] = name
			}
		}
	}
	return makers
}

// besides lists the other components whose packages have to be there to install a component's.
func besides(name string, all map[string]recipe, makers map[string]string) []string {
	seen := map[string]bool{name: true}
	for todo := []string{name}; len(todo) > 0; todo = todo[1:] {
		for _, p := range all[todo[0]].Packages {
			for _, d := range p.Depends {
				if maker := makers[DependsLine{p, d}.name()]; maker != "" && !seen[maker] {
					seen[maker] = true
					todo = append(todo, maker)
				}
			}
		}
	}
	delete(seen, name)
	return slices.Sorted(maps.Keys(seen))
}

// prepareInstallation makes the build of a component's installation. What is wrong with a package is told by the action, which then fails.
func (s *Service) prepareInstallation(ctx context.Context, l *live, a plan.Action) (prepared, error) {
	rec, pin := l.graph.recipes[a.Component], l.pins[a.Component]
	b := buildFor(l.order.Request, pin, a)
	env, err := s.equip(ctx, &b, l.order.Request, recipe{Component: spec.Component{Name: rec.Name, Buildroot: rec.Buildroot}, rootLine: rec.rootLine})
	if err != nil {
		return prepared{}, err
	}
	set := &installSet{s: s, l: l, component: a.Component, makers: makersOf(l.graph.recipes)}
	for _, need := range l.graph.plan.Sees(a) {
		if need.Component == a.Component {
			b.Own = l.items[need].Artifact
		}
	}
	script, err := set.gather(ctx, b)
	if err != nil {
		return prepared{}, err
	}
	for _, name := range set.used {
		b.Inputs[name] = l.items[plan.Action{Component: name}].Artifact
	}
	b.Run = Run{Script: script, Timeout: installTime, Env: environment(pin, recipe{epoch: rec.epoch}, env)}
	b.Run.Env["PATH"] = cmp.Or(env["PATH"], toolPath) + ":/usr/sbin:/sbin"
	p := prepared{action: a, build: b, notes: set.notes}
	if p.messages, err = s.installMessages(ctx, b, set.folders); err != nil {
		return prepared{}, err
	}
	p.build.Key, err = keyOf(p.messages)
	return p, err
}

// installTime bounds an installation.
const installTime = 10 * time.Minute

// installSet is what is installed to check a component.
type installSet struct {
	s         *Service
	l         *live
	component string
	makers    map[string]string

	used    []string                   // the other components of which packages are installed
	folders map[string]*repb.Directory // by format: the files
	notes   []string                   // for people: what is installed, what is not, and why
}

// member is one package of the set.
type member struct {
	component string
	pkg       spec.Package
}

// gather makes the packages, and returns the script that installs them.
func (i *installSet) gather(ctx context.Context, b Build) (string, error) {
	i.folders = map[string]*repb.Directory{}
	formats, why := installable(i.s.cfg.Packages, i.l.graph.recipes[i.component])
	if len(formats) == 0 {
		return "", slipway.Errorf(slipway.Internal, "nothing of %s can be installed: %s", i.component, why)
	}
	if b.Unconfined {
		return i.nothing("no sandbox runs here, and without one nothing is installed"), nil
	}
	var scripts []string
	for _, format := range formats {
		there, err := i.s.hasClient(ctx, b, format)
		if err != nil {
			return "", err
		}
		if !there {
			i.notes = append(i.notes, fmt.Sprintf("%s: not applicable: %s has no %s", format, cmp.Or(b.Buildroot, "the host"), clients[format]))
			continue
		}
		members, outside := i.members(format)
		failed, err := i.fill(ctx, format, members, outside)
		if err != nil {
			return "", err
		}
		if failed != nil { // say it where all failures are said
			return "echo " + quote(failed.Error()) + "; exit 1", nil
		}
		withScripts := slices.ContainsFunc(members, func(m member) bool { return len(m.pkg.Scripts) > 0 })
		scripts = append(scripts, installScript(format, withScripts))
	}
	if len(scripts) == 0 {
		return i.nothing(""), nil
	}
	slices.Sort(i.used)
	i.used = slices.Compact(i.used)
	return installPrelude + strings.Join(scripts, "\n"), nil
}

// nothing is the script of an installation for which there is nothing to do.
func (i *installSet) nothing(why string) string {
	if why != "" {
		i.notes = append(i.notes, "not applicable: "+why)
	}
	return "echo " + quote(strings.Join(i.notes, "; "))
}

// members lists the packages of a format that are installed, the component's own first, and what they need that the product does not make.
func (i *installSet) members(format string) (members []member, outside []DependsLine) {
	seen := map[string]bool{}
	var todo []member
	take := func(component string, want func(spec.Package) bool) {
		for _, p := range i.l.graph.recipes[component].Packages {
			if !seen[p.Name] && fits(p) && want(p) && slices.Contains(i.s.cfg.Packages.Formats(p), format) {
				seen[p.Name] = true
				todo = append(todo, member{component, p})
			}
		}
	}
	take(i.component, func(spec.Package) bool { return true })
	for ; len(todo) > 0; todo = todo[1:] {
		m := todo[0]
		members = append(members, m)
		for _, d := range m.pkg.Depends {
			line := DependsLine{m.pkg, d}
			if maker, ok := i.makers[line.name()]; ok {
				take(maker, func(p spec.Package) bool { return p.Name == line.name() })
			} else {
				outside = append(outside, line)
			}
		}
	}
	return members, outside
}

// fill makes the packages of a format. What is wrong with one of them is in failed.
func (i *installSet) fill(ctx context.Context, format string, members []member, outside []DependsLine) (failed, err error) {
	dir := &repb.Directory{}
	var names []string
	for _, m := range members {
		rec, pin, item := i.l.graph.recipes[m.component], i.l.pins[m.component], i.l.items[plan.Action{Component: m.component}]
		p := Parcel{Package: m.pkg, Version: pin.Version, Time: rec.epoch, Summary: rec.Summary, License: rec.License, Vendor: i.l.order.Request.Product}
		digest, size, err := i.s.packed(ctx, format, item.Artifact, p)
		if slipway.Is(err, slipway.Invalid) {
			return err, nil
		}
		if err != nil {
			return nil, err
		}
		name := i.s.cfg.Packages.FileName(format, p)
		dir.Files = append(dir.Files, &repb.FileNode{Name: name, Digest: artifact.Proto(digest, size)})
		names = append(names, name)
		if m.component != i.component {
			i.used = append(i.used, m.component)
		}
	}
	note := format + ": " + strings.Join(names, ", ")
	if len(outside) > 0 {
		var file bytes.Buffer
		given, err := i.s.cfg.Packages.StandIn(&file, format, outside)
		if slipway.Is(err, slipway.Invalid) {
			return err, nil
		}
		if err != nil {
			return nil, err
		}
		digest, size, err := i.s.artifacts.Put(ctx, &file)
		if err != nil {
			return nil, err
		}
		if len(given) > 0 {
			dir.Files = append(dir.Files, &repb.FileNode{Name: standIn + "." + format, Digest: artifact.Proto(digest, size)})
			note += "; taken to be there: " + strings.Join(given, ", ")
		}
	}
	slices.SortFunc(dir.Files, func(a, b *repb.FileNode) int { return strings.Compare(a.Name, b.Name) })
	i.folders[format] = dir
	i.notes = append(i.notes, note)
	return nil, nil
}

// standIn is the name of the file that stands for the distribution.
const standIn = "distribution"

// hasClient reports whether what a build has runs the package manager of a format.
func (s *Service) hasClient(ctx context.Context, b Build, format string) (bool, error) {
	root := "/"
	if b.Root != "" {
		var err error
		if root, err = s.artifacts.Tree(ctx, b.Root); err != nil {
			return false, err
		}
	}
	for _, dir := range []string{"usr/bin", "bin", "usr/sbin", "sbin"} {
		if isProgram(path.Join(root, dir, clients[format])) {
			return true, nil
		}
	}
	return false, nil
}

// installMessages returns the Remote Execution messages of an installation; the last is the Action.
func (s *Service) installMessages(ctx context.Context, b Build, folders map[string]*repb.Directory) ([]proto.Message, error) {
	m := &messages{}
	packages := &repb.Directory{}
	for _, format := range slices.Sorted(maps.Keys(folders)) {
		packages.Directories = append(packages.Directories, &repb.DirectoryNode{Name: format, Digest: m.ref(folders[format])})
	}
	root := &repb.Directory{Directories: []*repb.DirectoryNode{{Name: "packages", Digest: m.ref(packages)}}}
	properties := map[string]string{execution.PropertySandbox: sandboxVersion, execution.PropertyWritable: "work"}
	switch {
	case b.Unconfined:
		properties[execution.PropertyHost], properties[execution.PropertyUnconfined] = b.Host, "allow"
	case b.Root == "":
		properties[execution.PropertyHost], properties[execution.PropertyUser] = b.Host, "root"
	default:
		properties[execution.PropertyRoot], properties[execution.PropertyUser] = "root", "root"
		size, err := s.artifacts.Stat(ctx, b.Root)
		if err != nil {
			return nil, err
		}
		root.Directories = append(root.Directories, &repb.DirectoryNode{Name: "root", Digest: artifact.Proto(b.Root, size)})
	}
	m.action(b.Run, root, properties, nil, b.Run.Script)
	return m.all, m.err
}

// parcels remembers what packages were packed into: the same parcel has the same bytes.
type parcels struct {
	mu    sync.Mutex
	known map[string]parcelled
}

type parcelled struct {
	digest artifact.Digest
	size   int64
}

// maxParcels bounds what is remembered.
const maxParcels = 8192

// packed returns a package's file, which is in the store. The error is Invalid when it cannot be made.
func (s *Service) packed(ctx context.Context, format, output string, p Parcel) (artifact.Digest, int64, error) {
	text, err := json.Marshal([]any{format, output, p})
	if err != nil {
		return "", 0, fmt.Errorf("name the package %s: %w", p.Package.Name, err)
	}
	id := artifact.DigestOf(text)
	s.parcels.mu.Lock()
	known, ok := s.parcels.known[id]
	s.parcels.mu.Unlock()
	if ok {
		if _, err := s.artifacts.Stat(ctx, known.digest); err == nil {
			return known.digest, known.size, nil
		}
	}
	if p.Tree, err = s.artifacts.Tree(ctx, output); err != nil {
		return "", 0, err
	}
	r, w := io.Pipe()
	packing := make(chan error, 1)
	go func() {
		err := s.cfg.Packages.Pack(w, format, p)
		w.CloseWithError(err)
		packing <- err
	}()
	known.digest, known.size, err = s.artifacts.Put(ctx, r)
	r.Close() // ends the writer when the store gave up early
	if e := <-packing; e != nil && err != nil && !errors.Is(e, io.ErrClosedPipe) && !slipway.Is(e, slipway.Unavailable) {
		return "", 0, slipway.Errorf(slipway.Invalid, "%w", e)
	}
	if err != nil {
		return "", 0, err
	}
	s.parcels.mu.Lock()
	defer s.parcels.mu.Unlock()
	if s.parcels.known == nil || len(s.parcels.known) >= maxParcels {
		s.parcels.known = map[string]parcelled{}
	}
	s.parcels.known[id] = known
	return known.digest, known.size, nil
}
