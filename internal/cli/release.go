package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) releaseCmd() *cobra.Command {
	return parent("release", "See what was released", a.releaseListCmd(), a.releaseShowCmd())
}

func (a *app) releaseListCmd() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "list [PRODUCT]",
		Short:   "List releases, newest first",
		Example: "  slipway release list ferry\n  slipway release list -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			product := ""
			if len(args) == 1 {
				product = args[0]
			}
			releases, err := client.All(c.Releases(cmd.Context(), product, limit))
			if err != nil {
				return err
			}
			return a.print(releases, func() *table {
				t := newTable("release", "age", "moved", "entry", "commit")
				for _, r := range releases {
					t.add(r.ID, r.Time, moves(client.Entry{Pins: r.Moved}), r.Entry, fmt.Sprintf("%.10s", r.Commit))
				}
				return t
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many at most; 0 for all")
	return cmd
}

func (a *app) releaseShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show RELEASE",
		Short:   "Show a release: notes, and the version of every component by configuration",
		Example: "  slipway release show ferry-v2026.11.3\n  slipway release show ferry-v2026.11.3 -o yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.Release(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.print(r, func() *table {
				return fields("release", r.ID, "tag", r.Tag, "commit", r.Commit, "before", r.Previous, "made", r.Time, "entry", r.Entry, "candidate", r.Candidate)
			}); err != nil || a.format != "table" {
				return err
			}
			a.say("\n%s", r.Notes)
			return a.writeTable(manifestTable(r))
		},
	}
}

// manifestTable has a row for each component and a column for each configuration.
func manifestTable(r slipway.Release) *table {
	var configurations, components []string
	for name, m := range r.Manifests {
		configurations = append(configurations, name)
		for component := range m.Components {
			if !slices.Contains(components, component) {
				components = append(components, component)
			}
		}
	}
	slices.Sort(configurations)
	slices.Sort(components)
	t := newTable(append([]string{"component"}, configurations...)...)
	for _, component := range components {
		row := []any{component}
		for _, configuration := range configurations {
			version := "-"
			if l, ok := r.Manifests[configuration].Components[component]; ok {
				version = l.Version
			}
			row = append(row, version)
		}
		t.add(row...)
	}
	return t
}
