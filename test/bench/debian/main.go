// Command debian compares 'slipway graph' with apt-cache and dose-ceve on the package lists of a Debian archive: how long each takes, how large its
// answers are, and why they differ. It writes a page of Markdown. 'scripts/bench-debian' gets the lists and runs it.
//
// Answers are compared as sets of names. Where another program looks at an archive in another way, package debian can be told to do so
// too, rule by rule. The page shows what each rule adds and takes away; when all of them are in force, the sets should be the same, which
// proves the explanation.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/debian"
	"slipway.dev/slipway/internal/platform/graph"
	"slipway.dev/slipway/test/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root := flag.String("root", "", "private root of apt, with lists, and with Packages and Sources in plain text")
	program := flag.String("slipway", "bin/slipway", "the program that is timed as a whole")
	flag.Parse()
	b := bench{root: *root, slipway: *program}
	if err := b.run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench-debian:", err)
		os.Exit(1)
	}
}

// questions are the packages whose dependents are asked for.
var questions = []string{"libc6", "libgtk-3-0"}

type bench struct {
	root, slipway string
	page          *report.Page
	archive       *debian.Archive
	graph         *debian.Graph
}

func (b *bench) run(ctx context.Context, w io.Writer) error {
	b.page = report.New(ctx, w, "The Debian archive as a graph", "make bench-debian", []string{"apt-cache", "--version"}, []string{"dose-ceve", "--version"})
	b.page.Text("`slipway graph` beside `apt-cache rdepends --recurse` and `dose-ceve --rcone`, on the same lists, one after the other. Times are of the clock: " +
		"the median of several, with the shortest and the longest, or of one run where only one time is given.")
	for _, step := range []func(context.Context) error{b.load, b.ask, b.wholes, b.contributions, b.againstApt, b.againstDose} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) plain(name string) string { return filepath.Join(b.root, name) }

// load times reading the lists, compressed and plain.
func (b *bench) load(ctx context.Context) error {
	compressed, err := report.Time(7, func() (err error) {
		b.archive, err = debian.Open(ctx, b.root, "")
		return err
	})
	if err != nil {
		return err
	}
	parse := func() (err error) {
		lists := make([]debian.List, 2)
		for i, name := range []string{"Packages", "Sources"} {
			text, err := os.ReadFile(b.plain(name))
			if err != nil {
				return err
			}
			lists[i] = debian.List{Name: b.plain(name), Text: string(text)}
		}
		_, err = debian.Parse(b.archive.Architecture, lists[:1], lists[1:])
		return err
	}
	plain, err := report.Time(7, parse)
	if err != nil {
		return err
	}
	resolve, err := report.Time(7, func() (err error) {
		b.graph, err = b.archive.Graph(debian.Rules{})
		return err
	})
	if err != nil {
		return err
	}
	whole, err := report.Time(5, func() error {
		a, err := debian.Open(ctx, b.root, "")
		if err == nil {
			_, err = a.Graph(debian.Rules{})
		}
		return err
	})
	if err != nil {
		return err
	}
	gencaches, err := report.Time(3, func() error {
		for _, name := range []string{"pkgcache.bin", "srcpkgcache.bin"} {
			if err := os.Remove(filepath.Join(b.root, "var/cache/apt", name)); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		_, _, err := report.Run(ctx, "apt-cache", "gencaches")
		return err
	})
	if err != nil {
		return err
	}
	b.page.Text("## Loading")
	b.page.Text("%d versions of %d packages and %d sources; %d edges; %d dependencies that nothing in the archive satisfies.",
		len(b.archive.Packages), b.graph.Binaries, b.graph.Len()-b.graph.Binaries, b.graph.Edges(), b.graph.Open)
	b.page.Table([]string{"what", "time"}, [][]string{
		{"read the lists as apt keeps them, compressed (" + b.sizes("var/lib/apt/lists") + ")", compressed.String()},
		{"read the same as plain text", plain.String()},
		{"resolve all dependencies", resolve.String()},
		{"**both: load the archive** (goal: under 2 s)", "**" + whole.String() + "**"},
		{"for comparison: `apt-cache gencaches`, without sources' build dependencies", gencaches.String()},
	})
	return nil
}

func (b *bench) sizes(dir string) string {
	total := int64(0)
	files, _ := filepath.Glob(filepath.Join(b.root, dir, "*s.*"))
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	return fmt.Sprintf("%d MB", total>>20)
}

// ask times the questions to the loaded graph.
func (b *bench) ask(context.Context) error {
	b.page.Text("## Questions, once it is loaded")
	b.page.Text("The goal is under 50 ms each.")
	var rows [][]string
	for _, name := range append(questions, "zlib1g", "src:glibc") {
		v, err := b.graph.Vertex(name)
		if err != nil {
			return err
		}
		var found graph.Set
		times, err := report.Time(51, func() error { found = b.graph.Dependents(v); return nil })
		if err != nil {
			return err
		}
		rows = append(rows, []string{"all that needs `" + name + "`", times.String(),
			fmt.Sprintf("%d packages, %d sources", len(b.graph.Packages(found)), len(b.graph.Sources(found)))})
	}
	for _, name := range append(questions, "libqt6core6") {
		v, err := b.graph.Vertex(name)
		if err != nil {
			return err
		}
		for _, spread := range []bool{false, true} {
			var r *debian.Rebuild
			times, err := report.Time(21, func() error { r = b.graph.Rebuild(v, spread); return nil })
			if err != nil {
				return err
			}
			what := "rebuild tiers of all sources that need `" + name + "`"
			if spread {
				what += ", and what needs what they make, and so on"
			}
			rows = append(rows, []string{what, times.String(), told(r)})
		}
	}
	b.page.Table([]string{"question", "time", "answer"}, rows)
	return nil
}

func told(r *debian.Rebuild) string {
	sources, largest := 0, 0
	for _, t := range r.Tiers {
		sources += len(t)
	}
	for _, c := range r.Cycles {
		largest = max(largest, len(c))
	}
	text := fmt.Sprintf("%d sources in %d tiers", sources, len(r.Tiers))
	if largest > 0 {
		text += fmt.Sprintf("; %d cycles, the largest of %d sources", len(r.Cycles), largest)
	}
	return text
}

// wholes times whole processes, from the command line to the last line of the answer.
func (b *bench) wholes(ctx context.Context) error {
	b.page.Text("## Whole processes")
	b.page.Text("From the start of the program to the end of its answer. apt-cache has its cache ready; slipway and dose-ceve read the lists each time.")
	var rows [][]string
	for _, name := range questions {
		for _, argv := range [][]string{
			{b.slipway, "graph", "dependents", name, "--apt", b.root, "-o", "json"},
			{b.slipway, "graph", "tiers", name, "--apt", b.root, "-o", "json"},
			append([]string{"apt-cache"}, b.rdepends(name)...),
		} {
			times, err := report.Time(3, func() error { _, _, err := report.Run(ctx, argv...); return err })
			if err != nil {
				return err
			}
			rows = append(rows, []string{"`" + b.short(argv) + "`", times.String()})
		}
	}
	b.page.Table([]string{"command", "time"}, rows)
	b.page.Text("Of dose-ceve see below. Neither of the two has an answer to the question for tiers.")
	return nil
}

func (b *bench) short(argv []string) string {
	text := strings.Join(argv, " ")
	text = strings.ReplaceAll(text, b.root+"/", "")
	text = strings.ReplaceAll(text, b.slipway, "slipway")
	return strings.ReplaceAll(text, " --apt "+b.root, " --apt DIR")
}

// contributions shows what our own answer would be without each kind of edge.
func (b *bench) contributions(context.Context) error {
	b.page.Text("## What makes our answers")
	b.page.Text("How many dependents there are when one rule is changed alone. \"Only the first alternative\" is how a build daemon chooses.")
	rows := [][]string{}
	for _, c := range []struct {
		what  string
		rules debian.Rules
	}{
		{"as it is: Pre-Depends and Depends; all alternatives; Provides; versions; qualifiers", debian.Rules{}},
		{"Recommends count too", debian.Rules{Recommends: true}},
		{"only the first alternative that can be satisfied", debian.Rules{First: true}},
		{"virtual packages are not followed", debian.Rules{NoProvides: true}},
		{"`:any` is not followed", debian.Rules{NoQualified: true}},
		{"versions are not looked at", debian.Rules{AnyVersion: true}},
		{"needs of all versions of a package", debian.Rules{AllVersions: true}},
		{"build profile nocheck", debian.Rules{Profiles: []string{"nocheck"}}},
	} {
		g, err := b.archive.Graph(c.rules)
		if err != nil {
			return err
		}
		row := []string{c.what}
		for _, name := range questions {
			v, err := g.Vertex(name)
			if err != nil {
				return err
			}
			s := g.Dependents(v)
			row = append(row, fmt.Sprintf("%d + %d sources", len(g.Packages(s))-1, len(g.Sources(s))))
		}
		rows = append(rows, row)
	}
	b.page.Table(append([]string{"rule"}, questions...), rows)
	return nil
}

// deadline bounds one run of another program.
const deadline = 150 * time.Second
