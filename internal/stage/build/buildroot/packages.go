package buildroot

import (
	"bufio"
	"io"
	"os"
	"strings"
)

// packages reads the package database of a root filesystem: dpkg's status, or apk's.
func packages(root *os.Root) []Item {
	for _, db := range []struct{ file, name, version, installed string }{
		{"var/lib/dpkg/status", "Package: ", "Version: ", "Status: "},
		{"lib/apk/db/installed", "P:", "V:", ""},
	} {
		f, err := root.Open(db.file)
		if err != nil {
			continue
		}
		defer f.Close()
		return stanzas(f, db.name, db.version, db.installed)
	}
	return nil
}

// stanzas reads blocks of lines with a name and a version; with installed, only those whose status says so.
func stanzas(r io.Reader, name, version, installed string) (all []Item) {
	var p Item
	here := installed == ""
	end := func() {
		if p.Name != "" && here {
			p.Kind = KindPackage
			all = append(all, p)
		}
		p, here = Item{}, installed == ""
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		l := lines.Text()
		switch {
		case l == "":
			end()
		case strings.HasPrefix(l, name):
			p.Name = strings.TrimPrefix(l, name)
		case strings.HasPrefix(l, version):
			p.Version = strings.TrimPrefix(l, version)
		case installed != "" && strings.HasPrefix(l, installed):
			here = strings.HasSuffix(l, " installed")
		}
	}
	end()
	return all
}
