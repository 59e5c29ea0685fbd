package rpmrepo

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config is how a repository is written. The zero value writes one without groups or signature.
type Config struct {
	Groups       []Group
	Environments []Environment
	// Sign makes an armored detached signature of repomd.xml; nil: unsigned.
	Sign func(repomd []byte) ([]byte, error)
}

// The documents of repodata.
type (
	primaryDoc struct {
		XMLName  xml.Name         `xml:"metadata"`
		NS       string           `xml:"xmlns,attr"`
		RPM      string           `xml:"xmlns:rpm,attr"`
		Count    int              `xml:"packages,attr"`
		Packages []primaryPackage `xml:"package"`
	}
	listDoc struct {
		XMLName  xml.Name
		NS       string          `xml:"xmlns,attr"`
		Count    int             `xml:"packages,attr"`
		Packages []listedPackage `xml:"package"`
	}
	repomdDoc struct {
		XMLName  xml.Name     `xml:"repomd"`
		NS       string       `xml:"xmlns,attr"`
		RPM      string       `xml:"xmlns:rpm,attr"`
		Revision int64        `xml:"revision"`
		Data     []repomdData `xml:"data"`
	}
	repomdData struct {
		Type         string    `xml:"type,attr"`
		Checksum     checksum  `xml:"checksum"`
		OpenChecksum *checksum `xml:"open-checksum"`
		Location     href      `xml:"location"`
		Timestamp    int64     `xml:"timestamp"`
		Size         int       `xml:"size"`
		OpenSize     int       `xml:"open-size,omitempty"`
	}
)

const nsRPM = "http://linux.duke.edu/metadata/rpm"

// Write writes repodata for every RPM below dir, as of the given time, and returns the packages, sorted by location.
// There must be no repodata yet. A file that is not an RPM is an error of kind Invalid.
func Write(dir string, at time.Time, cfg Config) ([]Package, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	packages, err := scan(root)
	if err != nil {
		return nil, err
	}
	if err := root.Mkdir("repodata", 0o755); err != nil {
		return nil, err
	}
	w := writer{root: root, at: at.Unix(), md: repomdDoc{NS: "http://linux.duke.edu/metadata/repo", RPM: nsRPM, Revision: at.Unix()}}
	primary := primaryDoc{NS: "http://linux.duke.edu/metadata/common", RPM: nsRPM, Count: len(packages)}
	filelists := listDoc{XMLName: xml.Name{Local: "filelists"}, NS: "http://linux.duke.edu/metadata/filelists", Count: len(packages)}
	other := listDoc{XMLName: xml.Name{Local: "otherdata"}, NS: "http://linux.duke.edu/metadata/other", Count: len(packages)}
	for _, p := range packages {
		primary.Packages = append(primary.Packages, p.primary(w.at))
		filelists.Packages = append(filelists.Packages, p.listed(true))
		other.Packages = append(other.Packages, p.listed(false))
	}
	w.document("primary", primary)
	w.document("filelists", filelists)
	w.document("other", other)
	if groups, err := comps(cfg.Groups, cfg.Environments); err != nil {
		w.err = errors.Join(w.err, err)
	} else if groups != nil {
		w.plain("group", "comps.xml", groups)
		w.zipped("group_gz", "comps.xml", groups)
	}
	if w.err != nil {
		return nil, w.err
	}
	repomd, err := marshal(xml.Header, w.md)
	if err != nil {
		return nil, err
	}
	if cfg.Sign != nil {
		sig, err := cfg.Sign(repomd)
		if err != nil {
			return nil, err
		}
		if err := root.WriteFile("repodata/repomd.xml.asc", sig, 0o644); err != nil {
			return nil, err
		}
	}
	return packages, root.WriteFile("repodata/repomd.xml", repomd, 0o644)
}

func scan(root *os.Root) ([]Package, error) {
	var packages []Package
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".rpm") {
			return err
		}
		p, err := read(root, filepath.ToSlash(name))
		packages = append(packages, p)
		return err
	})
	slices.SortFunc(packages, func(a, b Package) int { return strings.Compare(a.Location, b.Location) })
	return packages, err
}

// writer adds files to repodata and to repomd.xml, and keeps the first error.
type writer struct {
	root *os.Root
	at   int64
	md   repomdDoc
	err  error
}

func (w *writer) document(kind string, doc any) {
	if w.err != nil {
		return
	}
	data, err := marshal(xml.Header, doc)
	if err != nil {
		w.err = err
		return
	}
	w.zipped(kind, kind+".xml", data)
}

func (w *writer) zipped(kind, name string, data []byte) {
	if w.err != nil {
		return
	}
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, err := zip.Write(data)
	if err == nil {
		err = zip.Close()
	}
	if err != nil {
		w.err = err
		return
	}
	d := w.write(kind, name+".gz", zipped.Bytes())
	d.OpenChecksum = &checksum{Type: "sha256", Hex: digest(data)}
	d.OpenSize = len(data)
	w.md.Data = append(w.md.Data, d)
}

func (w *writer) plain(kind, name string, data []byte) {
	if w.err != nil {
		return
	}
	w.md.Data = append(w.md.Data, w.write(kind, name, data))
}

func (w *writer) write(kind, name string, data []byte) repomdData {
	sum := digest(data)
	location := "repodata/" + sum + "-" + name
	w.err = w.root.WriteFile(location, data, 0o644)
	return repomdData{Type: kind, Checksum: checksum{Type: "sha256", Hex: sum}, Location: href{location}, Timestamp: w.at, Size: len(data)}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
