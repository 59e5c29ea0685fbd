package debian

import (
	"cmp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Package is a binary package. Fields of relations are as they are written.
type Package struct {
	Name, Version, Architecture string
	Source                      string // the name of the source that it is built from
	Essential                   bool
	PreDepends, Depends         string
	Recommends, Suggests        string
	Provides                    string
	allowed                     bool // Multi-Arch: allowed, so that "name:any" can be satisfied by it
	at                          place
}

// Source is a source package.
type Source struct {
	Name, Version        string
	Binary               string // the packages that it makes, by name
	Depends, Indep, Arch string // Build-Depends, -Indep and -Arch
	only                 bool   // Extra-Source-Only: kept for its licence, not to be built
	at                   place
}

// place is where a paragraph begins.
type place struct {
	list   *List
	offset int
}

// Archive is what the lists say, for one architecture. It is immutable.
type Archive struct {
	Architecture string
	Packages     []Package // sorted by name, the highest version of a name first
	Sources      []Source  // so too
}

// Parse reads lists: packages are Packages files of one architecture (and of all), sources Sources files. Errors are of kind Invalid and name the file and
// the line.
func Parse(arch string, packages, sources []List) (*Archive, error) {
	a := &Archive{Architecture: arch}
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	binaries := collect(&work, packages, func(l *List, from, to int) ([]Package, error) { return l.packages(arch, from, to) })
	made := collect(&work, sources, (*List).sources)
	if err := work.Wait(); err != nil {
		return nil, err
	}
	a.Packages = merge(binaries, func(p *Package) (string, string) { return p.Name, p.Version })
	a.Sources = merge(made, func(s *Source) (string, string) { return s.Name, s.Version })
	return a, nil
}

// collect reads the pieces of lists in parallel; what it returns is filled once the work is done.
func collect[T any](work *errgroup.Group, lists []List, read func(l *List, from, to int) ([]T, error)) [][]T {
	type piece struct {
		list     *List
		from, to int
	}
	var pieces []piece
	for i := range lists {
		for _, p := range lists[i].pieces(1 + len(lists[i].Text)>>22) {
			pieces = append(pieces, piece{&lists[i], p[0], p[1]})
		}
	}
	found := make([][]T, len(pieces))
	for i, p := range pieces {
		work.Go(func() (err error) {
			found[i], err = read(p.list, p.from, p.to)
			return err
		})
	}
	return found
}

// merge puts the pieces into one order; the same version of a name from several lists is one.
func merge[T any](found [][]T, id func(*T) (name, version string)) []T {
	all := slices.Concat(found...)
	order := make([]int32, len(all))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(i, j int32) int {
		name, version := id(&all[i])
		other, older := id(&all[j])
		if c := cmp.Compare(name, other); c != 0 {
			return c
		}
		return CompareVersions(older, version)
	})
	sorted := make([]T, 0, len(all))
	for _, i := range order {
		if n := len(sorted); n > 0 {
			name, version := id(&all[i])
			if last, lastVersion := id(&sorted[n-1]); last == name && lastVersion == version {
				continue
			}
		}
		sorted = append(sorted, all[i])
	}
	return sorted
}

func (l *List) packages(arch string, from, to int) (found []Package, err error) {
	found = make([]Package, 0, (to-from)/700)
	var p Package
	err = l.paragraphs(from, to, func(name, value string) {
		switch {
		case is(name, "Package"):
			p.Name = value
		case is(name, "Version"):
			p.Version = value
		case is(name, "Architecture"):
			p.Architecture = value
		case is(name, "Source"):
			p.Source, _, _ = strings.Cut(value, " ")
		case is(name, "Essential"):
			p.Essential = value == "yes"
		case is(name, "Multi-Arch"):
			p.allowed = value == "allowed"
		case is(name, "Pre-Depends"):
			p.PreDepends = value
		case is(name, "Depends"):
			p.Depends = value
		case is(name, "Recommends"):
			p.Recommends = value
		case is(name, "Suggests"):
			p.Suggests = value
		case is(name, "Provides"):
			p.Provides = value
		}
	}, func(offset int) error {
		if err := l.complete(offset, "Package", p.Name, "Version", p.Version, "Architecture", p.Architecture); err != nil {
			return err
		}
		p.at = place{l, offset}
		if p.Source == "" {
			p.Source = p.Name
		}
		if p.Architecture == arch || p.Architecture == "all" {
			found = append(found, p)
		}
		p = Package{}
		return nil
	})
	return found, err
}

func (l *List) sources(from, to int) (found []Source, err error) {
	found = make([]Source, 0, (to-from)/1200)
	var s Source
	err = l.paragraphs(from, to, func(name, value string) {
		switch {
		case is(name, "Package"):
			s.Name = value
		case is(name, "Version"):
			s.Version = value
		case is(name, "Binary"):
			s.Binary = value
		case is(name, "Build-Depends"):
			s.Depends = value
		case is(name, "Build-Depends-Indep"):
			s.Indep = value
		case is(name, "Build-Depends-Arch"):
			s.Arch = value
		case is(name, "Extra-Source-Only"):
			s.only = value == "yes"
		}
	}, func(offset int) error {
		if err := l.complete(offset, "Package", s.Name, "Version", s.Version); err != nil {
			return err
		}
		s.at = place{l, offset}
		if !s.only {
			found = append(found, s)
		}
		s = Source{}
		return nil
	})
	return found, err
}

// is compares the names of fields, which do not differ by case.
func is(name, field string) bool { return len(name) == len(field) && strings.EqualFold(name, field) }

// complete checks that a paragraph has its fields, given as name and value in turn.
func (l *List) complete(offset int, fields ...string) error {
	for i := 0; i < len(fields); i += 2 {
		if fields[i+1] == "" {
			return l.wrong(offset, "the paragraph has no field %s", fields[i])
		}
	}
	return nil
}

// wrong says where in a paragraph's field something is wrong.
func (p place) wrong(field string, pos int, value, bad string) error {
	text := p.list.Text[p.offset:]
	at := 0
	for i := 0; i < len(text) && text[i] != '\n'; i = lineEnd(text, i) + 1 {
		if name, _, ok := strings.Cut(text[i:lineEnd(text, i)], ":"); ok && is(name, field) {
			at = i + max(strings.Index(text[i:], value), 0) + pos
			break
		}
	}
	return p.list.wrong(p.offset+min(at, len(text)), "%s: %s", field, bad)
}
