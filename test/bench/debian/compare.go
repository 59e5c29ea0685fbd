package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/platform/debian"
	"slipway.dev/slipway/test/bench/report"
)

type names map[string]bool

// step is one difference between how we and another program look at an archive.
type step struct {
	kind  string
	apply func(*debian.Rules)
}

// ours answers under some rules: packages, or sources without their prefix; the one that is asked about is left out.
func (b *bench) ours(name string, rules debian.Rules, sources bool) (names, error) {
	g, err := b.archive.Graph(rules)
	if err != nil {
		return nil, err
	}
	v, err := g.Vertex(name)
	if err != nil {
		return nil, err
	}
	set := g.Dependents(v)
	pick := g.Packages(set)
	if sources {
		pick = g.Sources(set)
	}
	found := names{}
	for _, w := range pick {
		found[strings.TrimPrefix(g.Name(w), debian.SourcePrefix)] = true
	}
	delete(found, name)
	return found, nil
}

// explain goes from our answer to theirs, one rule after the other, and tells what each adds and takes away.
func (b *bench) explain(name string, base debian.Rules, theirs names, sources bool, steps []step) error {
	rules := base
	now, err := b.ours(name, rules, sources)
	if err != nil {
		return err
	}
	more, less := differ(now, theirs)
	rows := [][]string{{"ours", "", "", fmt.Sprint(len(now)), example(nil)}}
	head := fmt.Sprintf("`%s`: ours %d, theirs %d; they have %d more and %d less.", name, len(now), len(theirs), len(more), len(less))
	for _, s := range steps {
		s.apply(&rules)
		then, err := b.ours(name, rules, sources)
		if err != nil {
			return err
		}
		added, removed := differ(now, then)
		rows = append(rows, []string{s.kind, fmt.Sprintf("+%d", len(added)), fmt.Sprintf("-%d", len(removed)), fmt.Sprint(len(then)), example(append(added, removed...))})
		now = then
	}
	added, removed := differ(now, theirs)
	rows = append(rows, []string{"**not explained**", fmt.Sprintf("**+%d**", len(added)), fmt.Sprintf("**-%d**", len(removed)), fmt.Sprint(len(theirs)), example(append(added, removed...))})
	b.page.Text("%s", head)
	b.page.Table([]string{"what they do otherwise", "adds", "takes away", "answer", "for example"}, rows)
	return nil
}

// differ returns what to has more and what it has less than from.
func differ(from, to names) (more, less []string) {
	for n := range to {
		if !from[n] {
			more = append(more, n)
		}
	}
	for n := range from {
		if !to[n] {
			less = append(less, n)
		}
	}
	slices.Sort(more)
	slices.Sort(less)
	return more, less
}

func example(of []string) string { return strings.Join(of[:min(3, len(of))], ", ") }

// rdepends are the arguments of apt-cache that ask for what we call needs.
func (b *bench) rdepends(name string) []string {
	return []string{"rdepends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", name}
}

func (b *bench) againstApt(ctx context.Context) error {
	b.page.Text("## Beside apt-cache")
	b.page.Text("`apt-cache rdepends` goes by names. It does not ask whether a version satisfies a dependency, does not go through virtual packages, keeps `name:any` " +
		"apart from `name`, and goes on from the needs of every version of a package. And it prints, and goes on from, what would content a dependent besides: " +
		"the other packages that provide the name.")
	for _, name := range questions {
		out, took, err := report.Run(ctx, append([]string{"apt-cache"}, b.rdepends(name)...)...)
		if err != nil {
			return err
		}
		theirs := names{}
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimRight(line, "\n"); line != "" && line[0] != ' ' && line != "Reverse Depends:" {
				theirs[line] = true
			}
		}
		delete(theirs, name)
		b.page.Text("`apt-cache rdepends --recurse %s` took %s.", name, report.Short(took))
		err = b.explain(name, debian.Rules{}, theirs, false, []step{
			{"versions are not looked at", func(r *debian.Rules) { r.AnyVersion = true }},
			{"needs of all versions of a package", func(r *debian.Rules) { r.AllVersions = true }},
			{"arch qualifiers: `name:any` is another name", func(r *debian.Rules) { r.NoQualified = true }},
			{"virtual packages are not followed", func(r *debian.Rules) { r.NoProvides = true }},
			{"other packages that provide the name are followed", func(r *debian.Rules) { r.Rivals = true }},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) againstDose(ctx context.Context) error {
	b.page.Text("## Beside dose-ceve")
	b.page.Text("`dose-ceve` resolves as we do: versions, Provides, all alternatives. It takes every version of a package as a package of its own.")
	var rows [][]string
	type answer struct {
		name    string
		sources bool
		theirs  names
	}
	var answers []answer
	ask := func(name, form string, lists ...string) error {
		ctx, cancel := context.WithTimeoutCause(ctx, deadline, errors.New("too slow"))
		defer cancel()
		argv := append([]string{"dose-ceve", "--rcone=" + name, "-T" + form, "--deb-native-arch=" + b.archive.Architecture}, lists...)
		out, took, err := report.Run(ctx, argv...)
		if context.Cause(ctx) != nil && err != nil {
			rows = append(rows, []string{"`" + b.short(argv) + "`", "stopped after " + report.Short(took), ""})
			return nil
		}
		if err != nil {
			return err
		}
		found := names{}
		for line := range strings.Lines(string(out)) {
			if p, ok := strings.CutPrefix(line, "Package: "); ok {
				found[strings.TrimSpace(p)] = true
			}
		}
		delete(found, name)
		rows = append(rows, []string{"`" + b.short(argv) + "`", report.Short(took), fmt.Sprint(len(found))})
		answers = append(answers, answer{name, form == "debsrc", maps.Clone(found)})
		return nil
	}
	packages, sources := "deb://"+b.plain("Packages"), "debsrc://"+b.plain("Sources")
	for _, name := range questions {
		if err := ask(name, "deb", packages); err != nil {
			return err
		}
	}
	if err := ask("libqt6core6", "debsrc", packages, sources); err != nil {
		return err
	}
	b.page.Table([]string{"command", "time", "names"}, rows)
	for _, a := range answers {
		err := b.explain(a.name, debian.Rules{}, a.theirs, a.sources, []step{
			{"needs of all versions of a package", func(r *debian.Rules) { r.AllVersions = true }},
		})
		if err != nil {
			return err
		}
	}
	return nil
}
