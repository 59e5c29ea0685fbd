package treediff

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/blakesmith/ar"
)

// bytes compares two contents by their format, if both have the same.
func (c *comparison) bytes(at []string, a, b []byte) {
	if bytes.Equal(a, b) {
		return
	}
	before := len(c.found)
	if len(at) < maxDepth {
		for _, f := range []struct {
			magic   string
			offset  int
			compare func(at []string, a, b []byte) bool
		}{
			{"\x1f\x8b", 0, c.gzip}, {"ustar", 257, c.tar}, {"PK\x03\x04", 0, c.zip}, {"!<arch>\n", 0, c.ar}, {"\x7fELF", 0, c.elf},
		} {
			has := func(data []byte) bool {
				return len(data) > f.offset && bytes.HasPrefix(data[f.offset:], []byte(f.magic))
			}
			if has(a) && has(b) && f.compare(at, a, b) && len(c.found) > before {
				return
			}
		}
	}
	if text(a) && text(b) {
		c.lines(at, a, b)
		return
	}
	c.blob(at, a, b)
}

// gzip compares headers and what is compressed (RFC 1952). Each of these reports whether it could read both.
func (c *comparison) gzip(at []string, a, b []byte) bool {
	open := func(data []byte) (gzip.Header, []byte, bool) {
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return gzip.Header{}, nil, false
		}
		h := r.Header
		plain, err := io.ReadAll(io.LimitReader(r, maxFile))
		return h, plain, err == nil
	}
	ha, pa, ok := open(a)
	hb, pb, okB := open(b)
	if !ok || !okB {
		return false
	}
	if !ha.ModTime.Equal(hb.ModTime) {
		c.add(below(at, "gzip header: mtime"), Timestamp, stamp(ha.ModTime), stamp(hb.ModTime))
	}
	if ha.Name != hb.Name || ha.Comment != hb.Comment {
		kind := kindOf(ha.Name+ha.Comment, hb.Name+hb.Comment)
		c.add(below(at, "gzip header: name"), kind, ha.Name+ha.Comment, hb.Name+hb.Comment)
	}
	if bytes.Equal(pa, pb) {
		if ha.ModTime.Equal(hb.ModTime) && ha.Name == hb.Name {
			c.add(below(at, "gzip"), Content, fmt.Sprintf("%d bytes", len(a)), fmt.Sprintf("%d bytes of the same, compressed otherwise", len(b)))
		}
		return true
	}
	c.bytes(below(at, "gzip"), pa, pb)
	return true
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "no time"
	}
	return t.UTC().Format(time.RFC3339)
}

// member is one file of an archive.
type member struct {
	name, about string // about: mode, owner, target of a link
	at          time.Time
	data        []byte
}

// members compares two archives member by member.
func (c *comparison) members(at []string, a, b []member) {
	names := func(list []member) []string {
		out := make([]string, len(list))
		for i, m := range list {
			out[i] = m.name
		}
		return out
	}
	na, nb := names(a), names(b)
	second := map[string]member{}
	for _, m := range b {
		second[m.name] = m
	}
	sortedA, sortedB := slices.Sorted(slices.Values(na)), slices.Sorted(slices.Values(nb))
	switch {
	case slices.Equal(na, nb):
	case slices.Equal(sortedA, sortedB):
		i := 0
		for na[i] == nb[i] {
			i++
		}
		c.add(below(at, "members"), Order, fmt.Sprintf("%s is number %d", na[i], i+1), fmt.Sprintf("%s is number %d", nb[i], i+1))
	default:
		for _, n := range na {
			if !slices.Contains(nb, n) {
				c.add(below(at, n), Missing, "a member", "nothing")
			}
		}
		for _, n := range nb {
			if !slices.Contains(na, n) {
				c.add(below(at, n), Missing, "nothing", "a member")
			}
		}
	}
	for _, m := range a {
		o, ok := second[m.name]
		if !ok {
			continue
		}
		if !m.at.Equal(o.at) {
			c.add(below(at, m.name+": mtime"), Timestamp, stamp(m.at), stamp(o.at))
		}
		if m.about != o.about {
			c.add(below(at, m.name+": header"), Mode, m.about, o.about)
		}
		c.bytes(below(at, m.name), m.data, o.data)
	}
}

// archive compares two archives of a kind member by member; false when one of them is none.
func (c *comparison) archive(at []string, kind string, read func([]byte) ([]member, error), a, b []byte) bool {
	x, errA := read(a)
	y, errB := read(b)
	if errA != nil || errB != nil {
		return false
	}
	c.members(below(at, kind), x, y)
	return true
}

func (c *comparison) tar(at []string, a, b []byte) bool {
	return c.archive(at, "tar", func(data []byte) ([]member, error) {
		r := tar.NewReader(bytes.NewReader(data))
		return readAll(r, func() (member, error) {
			h, err := r.Next()
			if err != nil {
				return member{}, err
			}
			about := fmt.Sprintf("%s %o %d:%d %s:%s %s", string(h.Typeflag), h.Mode, h.Uid, h.Gid, h.Uname, h.Gname, h.Linkname)
			return member{name: h.Name, about: about, at: h.ModTime}, nil
		})
	}, a, b)
}

func (c *comparison) ar(at []string, a, b []byte) bool {
	return c.archive(at, "ar", func(data []byte) ([]member, error) {
		r := ar.NewReader(bytes.NewReader(data))
		return readAll(r, func() (member, error) {
			h, err := r.Next()
			if err != nil {
				return member{}, err
			}
			return member{name: strings.TrimSuffix(h.Name, "/"), about: fmt.Sprintf("%o %d:%d", h.Mode, h.Uid, h.Gid), at: h.ModTime}, nil
		})
	}, a, b)
}

// readAll reads the members of an archive whose reader gives the data of the one that next came to.
func readAll(r io.Reader, next func() (member, error)) (all []member, err error) {
	for {
		m, err := next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if m.data, err = io.ReadAll(r); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
}

func (c *comparison) zip(at []string, a, b []byte) bool {
	return c.archive(at, "zip", func(data []byte) (all []member, err error) {
		r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return nil, err
		}
		for _, f := range r.File {
			rc, err := f.Open()
			if err != nil {
				return nil, err
			}
			text, err := io.ReadAll(io.LimitReader(rc, maxFile))
			rc.Close()
			if err != nil {
				return nil, err
			}
			all = append(all, member{name: f.Name, about: fmt.Sprintf("%o", f.ExternalAttrs), at: f.Modified, data: text})
		}
		return all, nil
	}, a, b)
}

// elf compares section by section. The string tables follow from the others and are told only when nothing else is.
func (c *comparison) elf(at []string, a, b []byte) bool {
	x, errA := elf.NewFile(bytes.NewReader(a))
	y, errB := elf.NewFile(bytes.NewReader(b))
	if errA != nil || errB != nil {
		return false
	}
	before := len(c.found)
	for _, s := range x.Sections {
		if s.Type == elf.SHT_NOBITS || s.Name == "" {
			continue
		}
		o := y.Section(s.Name)
		where := below(at, "section "+s.Name)
		if o == nil {
			c.add(where, Missing, fmt.Sprintf("%d bytes", s.Size), "nothing")
			continue
		}
		da, errA := s.Data()
		db, errB := o.Data()
		switch {
		case errA != nil || errB != nil || bytes.Equal(da, db):
		case strings.Contains(s.Name, "build-id") || strings.Contains(s.Name, "buildid"):
			c.add(where, BuildID, fmt.Sprintf("%x", da), fmt.Sprintf("%x", db))
		default:
			c.blob(where, da, db)
		}
	}
	for _, s := range y.Sections {
		if s.Name != "" && x.Section(s.Name) == nil {
			c.add(below(at, "section "+s.Name), Missing, "nothing", fmt.Sprintf("%d bytes", s.Size))
		}
	}
	return len(c.found) > before
}
