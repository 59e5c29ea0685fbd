// Package productmd writes the metadata by which release-engineering tools read a compose: composeinfo.json and
// rpms.json of productmd 1.2 (https://productmd.readthedocs.io, file format 1.2).
package productmd

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Compose identifies a compose.
type Compose struct {
	Short   string    // of the release; see [Short]
	Name    string    // of the release, for people
	Version string    // of the release: "2026.11.3"
	Date    time.Time // day of the compose, in UTC
	Respin  int       // of that day
}

// ID is the compose's id by productmd's rule: SHORT-VERSION-DATE.RESPIN; a production compose has no type suffix.
func (c Compose) ID() string {
	return fmt.Sprintf("%s-%s-%s.%d", c.Short, c.Version, c.Date.UTC().Format("20060102"), c.Respin)
}

// Short makes a short name by productmd's rule: lower-case letters, digits and single dashes, beginning with a letter.
func Short(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r < unicode.MaxASCII && unicode.IsDigit(r) && b.Len() > 0:
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if s := strings.TrimRight(b.String(), "-"); s != "" {
		return s
	}
	return "product"
}

// Variant is a slice of the compose. Paths are below the compose, by category ("repository", "packages", "os_tree") and
// architecture.
type Variant struct {
	ID     string // letters and digits
	Name   string
	Arches []string
	Paths  map[string]map[string]string
}

// RPM is one package in a variant's architecture.
type RPM struct {
	Variant     string // id
	Arch        string // of the repository that holds it
	SourceNEVRA string
	NEVRA       string
	Path        string // below the compose
	SigKey      string // last eight digits of the signing key's fingerprint, lower case; empty: unsigned
}

type header struct {
	Type    string `json:"type"`
	Version string `json:"version"`
}

type composeEntry struct {
	Date   string `json:"date"`
	ID     string `json:"id"`
	Respin int    `json:"respin"`
	Type   string `json:"type"`
	Final  *bool  `json:"final,omitempty"`
}

func (c Compose) entry() composeEntry {
	return composeEntry{Date: c.Date.UTC().Format("20060102"), ID: c.ID(), Respin: c.Respin, Type: "production"}
}

// Info writes composeinfo.json.
func Info(c Compose, variants []Variant) ([]byte, error) {
	type entry struct {
		Arches []string                     `json:"arches"`
		ID     string                       `json:"id"`
		Name   string                       `json:"name"`
		Paths  map[string]map[string]string `json:"paths"`
		Type   string                       `json:"type"`
		UID    string                       `json:"uid"`
	}
	byUID := map[string]entry{}
	for _, v := range variants {
		byUID[v.ID] = entry{Arches: v.Arches, ID: v.ID, Name: v.Name, Paths: v.Paths, Type: "variant", UID: v.ID}
	}
	final := true
	info := c.entry()
	info.Final = &final
	return document("composeinfo", map[string]any{
		"compose": info,
		"release": map[string]any{"name": c.Name, "short": c.Short, "version": c.Version, "type": "ga", "internal": false, "is_layered": false},
		// productmd omits base_product where is_layered is false.
		"variants": byUID,
	})
}

// RPMs writes rpms.json.
func RPMs(c Compose, rpms []RPM) ([]byte, error) {
	type entry struct {
		Category string  `json:"category"`
		Path     string  `json:"path"`
		SigKey   *string `json:"sigkey"`
	}
	tree := map[string]map[string]map[string]map[string]entry{}
	for _, r := range rpms {
		arches := tree[r.Variant]
		if arches == nil {
			arches = map[string]map[string]map[string]entry{}
			tree[r.Variant] = arches
		}
		sources := arches[r.Arch]
		if sources == nil {
			sources = map[string]map[string]entry{}
			arches[r.Arch] = sources
		}
		packages := sources[r.SourceNEVRA]
		if packages == nil {
			packages = map[string]entry{}
			sources[r.SourceNEVRA] = packages
		}
		e := entry{Category: "binary", Path: r.Path}
		if r.SigKey != "" {
			e.SigKey = &r.SigKey
		}
		packages[r.NEVRA] = e
	}
	return document("rpms", map[string]any{"compose": c.entry(), "rpms": tree})
}

// Image is one image of a compose.
type Image struct {
	Variant string // its ID
	Arch    string // RPM's name
	Path    string // below the compose
	Size    int64  // bytes
	SHA256  string // hexadecimal
	Time    time.Time
}

// Images writes images.json.
func Images(c Compose, images []Image) ([]byte, error) {
	type entry struct {
		Arch       string            `json:"arch"`
		Bootable   bool              `json:"bootable"`
		Checksums  map[string]string `json:"checksums"`
		DiscCount  int               `json:"disc_count"`
		DiscNumber int               `json:"disc_number"`
		Format     string            `json:"format"`
		ImplantMD5 *string           `json:"implant_md5"`
		MTime      int64             `json:"mtime"`
		Path       string            `json:"path"`
		Size       int64             `json:"size"`
		Subvariant string            `json:"subvariant"`
		Type       string            `json:"type"`
		VolumeID   *string           `json:"volume_id"`
	}
	tree := map[string]map[string][]entry{}
	for _, im := range images {
		if tree[im.Variant] == nil {
			tree[im.Variant] = map[string][]entry{}
		}
		tree[im.Variant][im.Arch] = append(tree[im.Variant][im.Arch], entry{Arch: im.Arch, Checksums: map[string]string{"sha256": im.SHA256}, DiscCount: 1, DiscNumber: 1,
			Format: "oci", MTime: im.Time.Unix(), Path: im.Path, Size: im.Size, Subvariant: im.Variant, Type: "container"})
	}
	return document("images", map[string]any{"compose": c.entry(), "images": tree})
}

// document wraps a payload with its header; keys are sorted, as productmd itself writes them.
func document(kind string, payload map[string]any) ([]byte, error) {
	data, err := json.MarshalIndent(map[string]any{"header": header{"productmd." + kind, "1.2"}, "payload": payload}, "", "    ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}
