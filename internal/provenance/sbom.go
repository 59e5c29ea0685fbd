package provenance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"slipway.dev/slipway/internal/slipway"
)

// SBOMType is the media type of an SBOM.
const SBOMType = "application/vnd.cyclonedx+json"

// partRef names a component's output in an SBOM.
func partRef(component, output string) string { return "slipway:" + component + "@" + output }

// part is a component of the product as an SBOM tells it.
func part(component, version, repo, commit, path, license, output string) cdx.Component {
	c := cdx.Component{
		BOMRef: partRef(component, output), Type: cdx.ComponentTypeApplication, Name: component, Version: version,
		PackageURL: "pkg:generic/" + purlPart(component) + "@" + purlPart(version) + "?checksum=" + output,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: strings.TrimPrefix(output, "sha256:")}},
	}
	if license != "" {
		c.Licenses = &cdx.Licenses{{Expression: license}}
	}
	var props []cdx.Property
	for _, p := range [][2]string{{"repository", repo}, {"commit", commit}, {"path", path}} {
		if p[1] != "" {
			props = append(props, cdx.Property{Name: "slipway:" + p[0], Value: p[1]})
		}
	}
	if len(props) > 0 {
		c.Properties = &props
	}
	return c
}

// purlPart writes a name or version as the package URL specification wants it.
func purlPart(s string) string {
	return strings.NewReplacer("+", "%2B", "@", "%40").Replace(url.PathEscape(s))
}

func goModule(m module) cdx.Component {
	segments := strings.Split(m.path, "/")
	for i := range segments {
		segments[i] = purlPart(segments[i])
	}
	purl := "pkg:golang/" + strings.Join(segments, "/")
	if m.version != "" {
		purl += "@" + purlPart(m.version)
	}
	props := []cdx.Property{{Name: "slipway:found-in", Value: m.in}}
	if m.sum != "" {
		props = append(props, cdx.Property{Name: "slipway:go.sum", Value: m.sum})
	}
	return cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.path, Version: m.version, PackageURL: purl, Properties: &props}
}

// alpine are the versions that apk has.
var alpine = regexp.MustCompile(`^[0-9][0-9a-z._]*-r[0-9]+$`)

// rootItem is one thing that a buildroot was made of: excluded from what is shipped, but it took part.
func rootItem(it Item) cdx.Component {
	purl := "pkg:generic/"
	switch {
	case it.Kind != "package":
	case alpine.MatchString(it.Version): // of the root's package database, which is apk's or dpkg's
		purl = "pkg:apk/alpine/"
	default:
		purl = "pkg:deb/debian/"
	}
	purl += purlPart(it.Name)
	if it.Version != "" {
		purl += "@" + purlPart(it.Version)
	}
	if it.Arch != "" {
		purl += "?arch=" + url.QueryEscape(it.Arch)
	}
	c := cdx.Component{BOMRef: "slipway:root/" + it.Name + "@" + it.Version + "/" + it.Digest + it.At, Type: cdx.ComponentTypeLibrary, Name: it.Name, Version: it.Version,
		PackageURL: purl, Scope: cdx.ScopeExcluded}
	if it.Digest != "" {
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: strings.TrimPrefix(it.Digest, "sha256:")}}
	}
	return c
}

// ofBuild is the SBOM of a build's output alone: what it needs is named, and what is in those is not.
func ofBuild(b Build, found contents, version string) *bill {
	root := part(b.Component, b.Version, b.Repo, b.Commit, b.Path, b.License, b.Output)
	if found.unread != "" {
		props := append(slices.Clone(*orEmpty(root.Properties)), cdx.Property{Name: "slipway:unread", Value: found.unread})
		root.Properties = &props
	}
	doc := newBill(root, b.Finished, version)
	for _, in := range b.Inputs {
		c := part(in.Component, in.Version, "", in.Commit, "", "", in.Digest)
		if in.Build != "" {
			props := append(slices.Clone(*orEmpty(c.Properties)), cdx.Property{Name: buildProperty, Value: in.Build})
			c.Properties = &props
		}
		doc.add(c, root.BOMRef)
	}
	for _, m := range found.modules {
		doc.add(goModule(m), root.BOMRef)
	}
	for _, it := range b.Buildroot {
		switch it.Kind {
		case "tool", "library", "folder":
			continue // files of the host, which the statement names; they are no parts that have versions
		}
		doc.add(rootItem(it), root.BOMRef)
	}
	return doc
}

// buildProperty names the build that made a component's output.
const buildProperty = "slipway:build"

func orEmpty[T any](p *[]T) *[]T {
	if p == nil {
		return &[]T{}
	}
	return p
}

// bill is an SBOM in the making. Each thing is in it once, whoever needs it.
type bill struct {
	root  cdx.Component
	at    time.Time
	tool  string
	parts map[string]cdx.Component
	needs map[string]map[string]bool // by who needs
}

func newBill(root cdx.Component, at time.Time, tool string) *bill {
	return &bill{root: root, at: at, tool: tool, parts: map[string]cdx.Component{}, needs: map[string]map[string]bool{root.BOMRef: {}}}
}

// add adds a component that the one named by need; of two tellings of a component, the one with more stays.
func (d *bill) add(c cdx.Component, by string) {
	if c.BOMRef != d.root.BOMRef {
		old, ok := d.parts[c.BOMRef]
		if !ok || len(*orEmpty(c.Properties)) > len(*orEmpty(old.Properties)) {
			d.parts[c.BOMRef] = c
		}
	}
	if d.needs[c.BOMRef] == nil {
		d.needs[c.BOMRef] = map[string]bool{}
	}
	if by != "" && by != c.BOMRef {
		if d.needs[by] == nil {
			d.needs[by] = map[string]bool{}
		}
		d.needs[by][c.BOMRef] = true
	}
}

// merge adds what another SBOM tells, its root too.
func (d *bill) merge(other *cdx.BOM, by string) {
	d.add(*other.Metadata.Component, by)
	for _, c := range *orEmpty(other.Components) {
		d.add(c, "")
	}
	for _, dep := range *orEmpty(other.Dependencies) {
		for _, to := range *orEmpty(dep.Dependencies) {
			if d.needs[dep.Ref] == nil {
				d.needs[dep.Ref] = map[string]bool{}
			}
			d.needs[dep.Ref][to] = true
		}
	}
}

// encode writes the SBOM: sorted, and with a serial number that follows from what it says, so that the same has the same bytes.
func encode(d *bill) ([]byte, error) {
	components := []cdx.Component{}
	for _, ref := range slices.Sorted(maps.Keys(d.parts)) {
		components = append(components, d.parts[ref])
	}
	deps := []cdx.Dependency{}
	for _, ref := range slices.Sorted(maps.Keys(d.needs)) {
		to := slices.Sorted(maps.Keys(d.needs[ref]))
		one := cdx.Dependency{Ref: ref}
		if len(to) > 0 {
			one.Dependencies = &to
		}
		deps = append(deps, one)
	}
	bom := cdx.NewBOM() // of the newest version; nothing here is newer than 1.6, which more tools read
	bom.SpecVersion, bom.JSONSchema = cdx.SpecVersion1_6, "http://cyclonedx.org/schema/bom-1.6.schema.json"
	bom.Metadata = &cdx.Metadata{
		Timestamp: d.at.UTC().Format(time.RFC3339),
		Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "slipway", Version: d.tool}}},
		Component: &d.root,
	}
	if len(components) > 0 {
		bom.Components = &components
	}
	if len(deps) > 0 {
		bom.Dependencies = &deps
	}
	write := func() ([]byte, error) {
		var b bytes.Buffer
		enc := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false)
		if err := enc.Encode(bom); err != nil {
			return nil, slipway.Errorf(slipway.Internal, "write an SBOM: %w", err)
		}
		return b.Bytes(), nil
	}
	text, err := write()
	if err != nil {
		return nil, err
	}
	bom.SerialNumber = serial(text)
	return write()
}

// serial is a UUID of version 8 (RFC 9562 section 5.8) made of a digest.
func serial(text []byte) string {
	id := sha256.Sum256(text)
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}

func decode(r io.Reader) (*cdx.BOM, error) {
	bom := new(cdx.BOM)
	if err := cdx.NewBOMDecoder(r, cdx.BOMFileFormatJSON).Decode(bom); err != nil || bom.Metadata == nil || bom.Metadata.Component == nil {
		return nil, slipway.Errorf(slipway.Internal, "an SBOM in the store cannot be read: %w", err)
	}
	return bom, nil
}

// closure adds the SBOM of a build and of everything below it.
func (s *Service) closure(ctx context.Context, d *bill, build, by string, seen map[string]bool) error {
	if seen[build] {
		return nil
	}
	seen[build] = true
	a, ok, err := s.ensure(ctx, build)
	if err != nil || !ok {
		return err // not ok: its record is gone; what needs it has named it
	}
	text, err := s.read(ctx, a.SBOM)
	if err != nil {
		return err
	}
	bom, err := decode(bytes.NewReader(text))
	if err != nil {
		return err
	}
	d.merge(bom, by)
	for _, c := range *orEmpty(bom.Components) {
		for _, p := range *orEmpty(c.Properties) {
			if p.Name == buildProperty {
				if err := s.closure(ctx, d, p.Value, "", seen); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// SBOM returns the SBOM of an artifact or of a release, with everything below: what names a release, a build's id, the digest of an output
// tree, of an action or of a package file.
func (s *Service) SBOM(ctx context.Context, what string) ([]byte, error) {
	rel, err := s.deps.Releases.Release(ctx, what)
	if err == nil {
		return s.OfRelease(ctx, rel)
	}
	if !slipway.Is(err, slipway.NotFound) {
		return nil, err
	}
	found, err := s.Find(ctx, what)
	if slipway.Is(err, slipway.NotFound) {
		return nil, slipway.Errorf(slipway.NotFound, "there is no SBOM of %q", what).
			Try("give a release as slipway release list has it, the number of a build that passed, or the digest of an artifact")
	}
	if err != nil {
		return nil, err
	}
	a := found[0]
	if a.Build != "" {
		text, err := s.read(ctx, a.SBOM)
		if err != nil {
			return nil, err
		}
		own, err := decode(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		at, err := time.Parse(time.RFC3339, own.Metadata.Timestamp)
		if err != nil {
			return nil, slipway.Errorf(slipway.Internal, "an SBOM in the store has no time: %w", err)
		}
		d := newBill(*own.Metadata.Component, at, s.cfg.Builder.Version)
		if err := s.closure(ctx, d, a.Build, "", map[string]bool{}); err != nil {
			return nil, err
		}
		return encode(d)
	}
	return s.ofPackage(ctx, a)
}

// ofPackage is the SBOM of a package file: the file, and the output that it was made of with everything below.
func (s *Service) ofPackage(ctx context.Context, a Attestation) ([]byte, error) {
	root := cdx.Component{BOMRef: "slipway:file/" + a.Name + "@" + a.Subject, Type: cdx.ComponentTypeFile, Name: a.Name, Version: a.Version,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: strings.TrimPrefix(a.Subject, "sha256:")}}}
	d := newBill(root, a.Time, s.cfg.Builder.Version)
	b, ok, err := s.deps.Builds.Attestable(ctx, a.Action)
	if err != nil {
		return nil, err
	}
	if ok {
		if err := s.closure(ctx, d, b.ID, root.BOMRef, map[string]bool{}); err != nil {
			return nil, err
		}
	}
	return encode(d)
}

// OfRelease is the SBOM of a release: the components that its manifests lock, with everything below.
func (s *Service) OfRelease(ctx context.Context, rel slipway.Release) ([]byte, error) {
	root := cdx.Component{BOMRef: "slipway:release/" + rel.ID, Type: cdx.ComponentTypeApplication, Name: rel.Product, Version: strings.TrimPrefix(rel.Tag, "v"),
		PackageURL: "pkg:generic/" + purlPart(rel.Product) + "@" + purlPart(strings.TrimPrefix(rel.Tag, "v"))}
	d := newBill(root, rel.Time, s.cfg.Builder.Version)
	seen := map[string]bool{}
	for _, conf := range slices.Sorted(maps.Keys(rel.Manifests)) {
		locks := rel.Manifests[conf].Components
		for _, name := range slices.Sorted(maps.Keys(locks)) {
			l := locks[name]
			d.add(part(name, l.Version, l.Repo, l.Commit, l.Path, "", l.Artifact), root.BOMRef)
			b, ok, err := s.deps.Builds.Attestable(ctx, l.Build)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			if err := s.closure(ctx, d, b.ID, "", seen); err != nil {
				return nil, err
			}
		}
	}
	return encode(d)
}

// CheckReferences reports every dependency that names nothing in the SBOM; a sound one has none.
func CheckReferences(sbom []byte) ([]string, error) {
	var bom cdx.BOM
	if err := json.Unmarshal(sbom, &bom); err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "this is no SBOM: %w", err)
	}
	known := map[string]bool{}
	if bom.Metadata != nil && bom.Metadata.Component != nil {
		known[bom.Metadata.Component.BOMRef] = true
	}
	var odd []string
	for _, c := range *orEmpty(bom.Components) {
		if known[c.BOMRef] {
			odd = append(odd, c.BOMRef+" is there twice")
		}
		known[c.BOMRef] = true
	}
	for _, d := range *orEmpty(bom.Dependencies) {
		for _, ref := range append([]string{d.Ref}, *orEmpty(d.Dependencies)...) {
			if !known[ref] {
				odd = append(odd, ref+" is named and not there")
			}
		}
	}
	return odd, nil
}
