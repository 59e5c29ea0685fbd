package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

func (a *app) componentCmd() *cobra.Command {
	return parent("component", "See components and what needs them", a.componentListCmd(), a.componentShowCmd(), a.componentDependentsCmd())
}

func (a *app) componentListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list PRODUCT",
		Short:   "List a product's components as they are at the heads of their branches",
		Example: "  slipway component list ferry\n  slipway component list ferry -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			components, err := c.Components(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(components, func() *table { return componentTable(components) })
		},
	}
}

func (a *app) componentShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show PRODUCT COMPONENT",
		Short:   "Show a component and its recipe",
		Example: "  slipway component show ferry timetable\n  slipway component show ferry timetable -o yaml",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			one, err := c.Component(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return a.print(one, func() *table {
				var packages []string
				for _, p := range one.Recipe.Packages {
					packages = append(packages, p.Name+" ("+strings.Join(p.Formats, ", ")+")")
				}
				return fields("component", one.Name, "summary", one.Recipe.Summary, "product", one.Product, "state", one.State, "reason", one.Reason,
					"repository", one.Source.Repo, "path", one.Source.Path, "branch", one.Source.Branch, "version", one.Version, "commit", one.Commit,
					"since", one.Since, "needs", strings.Join(one.Recipe.Needs, ", "), "packages", strings.Join(packages, ", "))
			})
		},
	}
}

func (a *app) componentDependentsCmd() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:     "dependents PRODUCT COMPONENT",
		Short:   "List what needs a component, directly or through others, now or at a time",
		Example: "  slipway component dependents ferry timetable\n  slipway component dependents ferry timetable --at 2026-11-01T12:00:00Z",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var when time.Time
			if at != "" {
				if when, err = time.Parse(time.RFC3339, at); err != nil {
					return slipway.Errorf(slipway.Invalid, "%q is not a time", at).At("--at").Try("write it as 2026-11-01T12:00:00Z")
				}
			}
			dependents, err := c.Dependents(cmd.Context(), args[0], args[1], when)
			if err != nil {
				return err
			}
			return a.print(dependents, func() *table {
				t := newTable("tier", "component", "because")
				for _, d := range dependents {
					t.add(d.Tier, d.Component, strings.Join(d.Path, " needs "))
				}
				t.empty = "nothing needs " + args[1]
				return t
			})
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "as it was at this time (RFC 3339)")
	return cmd
}

// schemaCmd prints what editors check the files with; it needs no server.
func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:       "schema " + strings.Join(spec.Schemas(), "|"),
		Short:     "Print the JSON Schema of slipway.yaml, product.yaml or an experiment",
		Example:   "  slipway schema component > ~/.config/slipway.schema.json",
		Args:      cobra.ExactArgs(1),
		ValidArgs: spec.Schemas(),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := spec.Schema(args[0])
			if err != nil {
				return err
			}
			_, err = a.out.Write(text)
			return err
		},
	}
}

// checkCmd reads files as the server would; it needs no server.
func (a *app) checkCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "check FILE...",
		Short:   "Check slipway.yaml, product.yaml and experiments on your desk",
		Long:    "Check reads the files as the server does when they are pushed, and tells every problem with its line.\nWhich kind a file is shows by its name: slipway.yaml, product.yaml, or anything else for an experiment.",
		Example: "  slipway check slipway.yaml\n  slipway check product.yaml experiments/*.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			problems := 0
			for _, name := range args {
				data, err := os.ReadFile(name)
				if err != nil {
					return slipway.Errorf(slipway.NotFound, "cannot read the file: %w", err)
				}
				switch filepath.Base(name) {
				case spec.ComponentFile:
					_, err = spec.ParseComponent(data, name)
				case spec.ProductFile:
					_, err = spec.ParseProduct(data, name)
				default:
					_, err = spec.ParseExperiment(data, name)
				}
				for _, p := range spec.Problems(err) {
					problems++
					fmt.Fprintln(a.out, p.Error())
				}
				if err == nil {
					a.say("%s is fine", name)
				}
			}
			if problems > 0 {
				return slipway.Errorf(slipway.Invalid, "%d problems", problems).Try("the lines above say where and what would be right")
			}
			return nil
		},
	}
}
