package pack

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// writeTar writes a gzip-compressed POSIX tar archive whose one directory, NAME-VERSION, holds what the package
// would install.
func writeTar(w io.Writer, in Input, list []entry) error {
	zip := gzip.NewWriter(w)
	if err := writeFiles(zip, in, list, in.Package.Name+"-"+Upstream(in.Version)+"/", "root"); err != nil {
		return err
	}
	return zip.Close()
}

// writeFiles writes the POSIX tar archive of what the package would install, below top. Files belong to user and group 0, called owner.
func writeFiles(w io.Writer, in Input, list []entry, top, owner string) error {
	out := tar.NewWriter(w)
	for _, e := range list {
		h := &tar.Header{
			Name: top + strings.TrimPrefix(e.target, "/"), Linkname: e.link, Mode: int64(e.mode), Size: e.size, ModTime: in.Time.Truncate(time.Second),
			Uname: owner, Gname: owner, Typeflag: tar.TypeReg, Format: tar.FormatPAX,
		}
		switch {
		case e.dir:
			h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(h.Name, "/")+"/"
		case e.link != "":
			h.Typeflag = tar.TypeSymlink
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if e.source == "" {
			continue
		}
		if err := copyFile(out, e.source); err != nil {
			return fmt.Errorf("read %s: %w", e.target, err)
		}
	}
	return out.Close()
}

func copyFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
