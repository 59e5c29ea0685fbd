package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/platform/debian"
	"slipway.dev/slipway/internal/platform/graph"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) graphCmd() *cobra.Command {
	c := parent("graph", "Ask who needs whom, in a product or in a Debian archive", a.graphDependentsCmd(), a.graphNeedsCmd(), a.graphTiersCmd())
	c.Long = `Ask who needs whom: in a product of the server (--product), or in the archive whose
package lists apt has (--apt), which needs no server.

In an archive the name of a source begins with "src:". Any package that can satisfy a
dependency counts, also as a later alternative or through Provides.`
	return c
}

// graphFlags say which graph is asked.
type graphFlags struct {
	product, apt, arch string
	profiles           []string
	recommends, first  bool
}

func (f *graphFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.product, "product", "", "ask about a component of this product")
	fs.StringVar(&f.apt, "apt", "", "ask about a package in these lists of apt: /var/lib/apt/lists, or a root that has them")
	fs.StringVar(&f.arch, "arch", "", "Debian architecture, where there are lists of several")
	fs.BoolVar(&f.recommends, "recommends", false, "what a package recommends counts too")
	fs.BoolVar(&f.first, "first", false, "of alternatives only the first that the archive can satisfy counts, as on a build daemon")
	fs.StringSliceVar(&f.profiles, "profile", nil, "active build profiles, such as nocheck")
	cmd.MarkFlagsOneRequired("product", "apt")
	cmd.MarkFlagsMutuallyExclusive("product", "apt")
}

// archive reads the lists of apt.
func (f *graphFlags) archive(ctx context.Context) (*debian.Graph, error) {
	lists, err := debian.Open(ctx, f.apt, f.arch)
	if err != nil {
		return nil, err
	}
	return lists.Graph(debian.Rules{Recommends: f.recommends, First: f.first, Profiles: f.profiles})
}

// components reads who needs whom in the product now.
func (a *app) components(ctx context.Context, product string) (*graph.Named, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	list, err := c.Components(ctx, product)
	if err != nil {
		return nil, err
	}
	edges, err := c.Needs(ctx, product, time.Time{})
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	for _, one := range list {
		needs[one.Name] = nil
	}
	for _, e := range edges {
		needs[e.Component] = append(needs[e.Component], e.Needs)
	}
	return graph.Name(needs), nil
}

func component(g *graph.Named, product, name string) (int32, error) {
	v, ok := g.Vertex(name)
	if !ok {
		return 0, slipway.Errorf(slipway.NotFound, "the product %s has no component %q", product, name).Try("slipway component list " + product)
	}
	return v, nil
}

// reached is a vertex of an answer.
type reached struct {
	Name string   `json:"name"`
	Far  int32    `json:"far"` // needs between the two; 1: directly
	Why  []string `json:"why"` // a shortest way: each needs the next
}

// tell lists what the ways reach, but not where they start.
func tell(w *graph.Ways, name func(int32) string, keep func(int32) bool, forward bool) []reached {
	all := []reached{}
	for _, v := range w.Order {
		if w.Far[v] == 0 || !keep(v) {
			continue
		}
		one := reached{Name: name(v), Far: w.Far[v]}
		for _, step := range w.Back(v) {
			one.Why = append(one.Why, name(step))
		}
		if forward { // the way starts where it was asked
			slices.Reverse(one.Why)
		}
		all = append(all, one)
	}
	return all
}

func (a *app) printReached(all []reached, empty string) error {
	return a.print(all, func() *table {
		t := newTable("far", "name", "because")
		for _, r := range all {
			t.add(r.Far, r.Name, strings.Join(r.Why, " needs "))
		}
		t.empty = empty
		return t
	})
}

func everything(int32) bool { return true }

// printWays lists what a component or package needs (forward), or what needs it.
func (a *app) printWays(ctx context.Context, f graphFlags, of string, forward bool) error {
	empty := "nothing needs " + of
	if forward {
		empty = of + " needs nothing"
	}
	if f.apt == "" {
		g, err := a.components(ctx, f.product)
		if err != nil {
			return err
		}
		v, err := component(g, f.product, of)
		if err != nil {
			return err
		}
		turned := g.Graph
		if !forward {
			turned = g.Reverse()
		}
		return a.printReached(tell(turned.Ways(nil, v), g.NameOf, everything, forward), empty)
	}
	g, err := f.archive(ctx)
	if err != nil {
		return err
	}
	v, err := g.Vertex(of)
	if err != nil {
		return err
	}
	if !forward {
		return a.printReached(tell(g.DependentWays(v), g.Name, everything, false), empty)
	}
	return a.printReached(tell(g.NeedWays(v), g.Name, func(v int32) bool { return !g.IsSource(v) }, true), empty)
}

func (a *app) graphDependentsCmd() *cobra.Command {
	var f graphFlags
	cmd := &cobra.Command{
		Use:   "dependents NAME",
		Short: "List what needs a component or package, directly or through others, and why",
		Example: "  slipway graph dependents libtide --product ferry\n  slipway graph dependents libgtk-3-0 --apt /var/lib/apt/lists\n" +
			"  slipway graph dependents libc6 --apt /var/lib/apt/lists -o json",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.printWays(cmd.Context(), f, args[0], false) },
	}
	f.register(cmd)
	return cmd
}

func (a *app) graphNeedsCmd() *cobra.Command {
	var f graphFlags
	cmd := &cobra.Command{
		Use:     "needs NAME",
		Short:   "List what a component, package or source needs, directly or through others, and why",
		Example: "  slipway graph needs board --product ferry\n  slipway graph needs src:gtk+3.0 --apt /var/lib/apt/lists --first",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.printWays(cmd.Context(), f, args[0], true) },
	}
	f.register(cmd)
	return cmd
}

// tiers is the answer of 'slipway graph tiers'.
type tiers struct {
	Tiers  [][]string `json:"tiers"`            // each needs only what is in those before it
	Cycles []cycle    `json:"cycles,omitempty"` // who share a tier because each needs the others
}

type cycle struct {
	Members []string `json:"members"`
	Way     []string `json:"way"` // a shortest way from the first member through its needs back to it
}

func (a *app) graphTiersCmd() *cobra.Command {
	var f graphFlags
	var spread bool
	cmd := &cobra.Command{
		Use:   "tiers NAME",
		Short: "Show in which order everything that needs a component or package is to be rebuilt",
		Long: `Show in which order everything that needs a component or package is to be rebuilt.

In an archive these are the sources whose builds need the package, directly or through
others; with --spread also those that need what comes from these sources, and so on.
Those that need each other in a circle share a tier and are told below it.`,
		Example: "  slipway graph tiers libtide --product ferry\n  slipway graph tiers libgtk-3-0 --apt /var/lib/apt/lists\n" +
			"  slipway graph tiers libgtk-3-0 --apt /var/lib/apt/lists --spread -o json",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var found tiers
			if f.apt == "" {
				g, err := a.components(cmd.Context(), f.product)
				if err != nil {
					return err
				}
				v, err := component(g, f.product, args[0])
				if err != nil {
					return err
				}
				found = componentTiers(g, v)
			} else {
				g, err := f.archive(cmd.Context())
				if err != nil {
					return err
				}
				v, err := g.Vertex(args[0])
				if err != nil {
					return err
				}
				found = sourceTiers(g, g.Rebuild(v, spread))
			}
			if err := a.print(found, func() *table {
				t := newTable("tier", "name")
				for i, names := range found.Tiers {
					for _, name := range names {
						t.add(i, name)
					}
				}
				t.empty = "nothing needs " + args[0]
				return t
			}); err != nil {
				return err
			}
			for _, c := range found.Cycles {
				a.say("%d need each other: %s", len(c.Members), strings.Join(c.Way, " needs "))
			}
			return nil
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&spread, "spread", false, "in an archive: what needs what is rebuilt is rebuilt too")
	return cmd
}

func componentTiers(g *graph.Named, v int32) tiers {
	within := g.Reverse().Closure(nil, v)
	if g.Cycle(v, within) == nil {
		within.Remove(v)
	}
	t := g.Tiers(within, nil)
	found := tiers{Tiers: make([][]string, t.Count)}
	for w := range within.All() {
		found.Tiers[t.Of[w]] = append(found.Tiers[t.Of[w]], g.NameOf(w))
	}
	for _, c := range t.Cycles {
		found.Cycles = append(found.Cycles, cycle{g.Names(c...), g.Names(g.Cycle(c[0], within)...)})
	}
	return found
}

func sourceTiers(g *debian.Graph, r *debian.Rebuild) tiers {
	names := func(vertices []int32) []string {
		all := make([]string, len(vertices))
		for i, v := range vertices {
			all[i] = g.Name(v)
		}
		return all
	}
	found := tiers{Tiers: [][]string{}}
	for _, t := range r.Tiers {
		found.Tiers = append(found.Tiers, names(t))
	}
	for _, c := range r.Cycles {
		found.Cycles = append(found.Cycles, cycle{names(c), names(g.Circle(c))})
	}
	return found
}
