package compose

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/stage/compose/plan"
	"slipway.dev/slipway/internal/stage/compose/productmd"
)

// The layout of a compose:
//
//	index.html  RELEASE.md  SHA256SUMS  key.asc
//	manifests/CONFIGURATION.yaml
//	metadata/composeinfo.json  metadata/rpms.json  metadata/images.json  metadata/sbom.cdx.json
//	VARIANT/ARCH/os/Packages/*.rpm  VARIANT/ARCH/os/repodata/
//	VARIANT/apk/ARCH/*.apk  VARIANT/apk/ARCH/APKINDEX.tar.gz  keys/*.rsa.pub
//	VARIANT/images/  (an OCI image layout of all images and artifacts)
//	VARIANT/npm/-/*.tgz  VARIANT/npm/packuments/NAME.json
//	VARIANT/archives/*.tar.gz  VARIANT/archives/*.oci.tar
//	apt/dists/SHORT/  apt/pool/VARIANT/
const (
	sumsFile  = "SHA256SUMS"
	keyFile   = "key.asc"
	notesFile = "RELEASE.md"
	indexFile = "index.html"
	sbomFile  = "metadata/sbom.cdx.json"
)

// short is the product's short name: of its releases in productmd, and of its apt distribution.
func short(j *job) string { return productmd.Short(cmp.Or(j.product.Compose.Short, j.release.Product)) }

// aptComponent is the variant's component in the apt repository.
func aptComponent(v Variant) string { return strings.ToLower(v.ID) }

func repoDir(v Variant, arch string) string { return path.Join(v.ID, arch, "os") }

// apkDir takes an RPM name of an architecture, which is also apk's.
func apkDir(v Variant, arch string) string { return path.Join(v.ID, "apk", arch) }

func imagesDir(v Variant) string { return path.Join(v.ID, "images") }

func npmDir(v Variant) string { return path.Join(v.ID, "npm") }

// layout says where every package of the compose will lie. It depends on the plan and the packages alone.
func layout(j *job, made map[string]Package) []Variant {
	var out []Variant
	for _, pv := range j.plan.Variants {
		v := Variant{ID: pv.ID, Name: pv.Name, Summary: pv.Summary, Configuration: pv.Configuration, Arches: arches(pv), Groups: []Group{}, Packages: []VariantPackage{}}
		for _, g := range pv.Groups {
			v.Groups = append(v.Groups, Group{ID: g.ID, Name: g.Name, Packages: g.Packages})
		}
		for _, it := range pv.Items {
			p := made[packageKey(j.release.Product, j.keys.names(), it)]
			vp := VariantPackage{Key: p.Key, Everywhere: it.Package.Arch == "all", Name: p.Name, Version: p.Version, Release: p.Release, Summary: cmp.Or(it.Package.Summary, it.Recipe.Summary),
				Component: it.Component, Commit: it.Locked.Commit, Artifact: p.Artifact, Reason: it.Reason, Reused: p.First != j.compose.ID, Files: map[string]string{}}
			if it.Package.NPM != nil {
				vp.NPM = it.Package.NPM.Name
			}
			for format, f := range p.Files {
				switch format {
				case pack.RPM:
					vp.Files[format] = path.Join(repoDir(v, repoArch(it, v)), "Packages", f.Name)
				case pack.DEB:
					name := pack.Name(pack.DEB, p.Name)
					vp.Files[format] = path.Join("apt/pool", aptComponent(v), name[:1], name, f.Name)
				case pack.APK:
					vp.Files[format] = path.Join(apkDir(v, repoArch(it, v)), f.Name)
				case pack.NPM:
					vp.Files[format] = path.Join(npmDir(v), "-", f.Name)
				default:
					vp.Files[format] = path.Join(v.ID, "archives", f.Name)
				}
			}
			v.Packages = append(v.Packages, vp)
		}
		out = append(out, v)
	}
	return out
}

// arches returns the RPM architectures of a variant: those of its packages, or x86_64 when all fit every machine.
func arches(v plan.Variant) []string {
	var list []string
	for _, it := range v.Items {
		formats := pack.Formats(it.Package)
		if a := pack.Arch(pack.RPM, it.Package.Arch); a != "noarch" && (slices.Contains(formats, pack.RPM) || slices.Contains(formats, pack.APK)) {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return []string{"x86_64"}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// repoArch is the architecture in whose repository a package lies; one for every machine lies in each, and first here.
func repoArch(it plan.Item, v Variant) string {
	if a := pack.Arch(pack.RPM, it.Package.Arch); a != "noarch" {
		return a
	}
	return v.Arches[0]
}

// paths returns every path at which the package's file lies.
func paths(v Variant, p VariantPackage, format string) []string {
	first := p.Files[format]
	list := []string{first}
	for _, arch := range v.Arches[1:] {
		switch {
		case format == pack.RPM && strings.HasSuffix(first, ".noarch.rpm"):
			list = append(list, path.Join(repoDir(v, arch), "Packages", path.Base(first)))
		case format == pack.APK && p.Everywhere:
			list = append(list, path.Join(apkDir(v, arch), path.Base(first)))
		}
	}
	return list
}
