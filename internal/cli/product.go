package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
)

func (a *app) productCmd() *cobra.Command {
	return parent("product", "See products", a.productListCmd(), a.productShowCmd())
}

func (a *app) productListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List products",
		Example: "  slipway product list\n  slipway product list -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			products, err := client.All(c.Products(cmd.Context(), 0))
			if err != nil {
				return err
			}
			return a.print(products, func() *table {
				t := newTable("product", "state", "components", "configurations", "reason")
				for _, p := range products {
					t.add(p.Name, p.State, len(p.Spec.Components), strings.Join(slices.Sorted(maps.Keys(p.Spec.Configurations)), ", "), p.Reason)
				}
				t.empty = "no products; push a product.yaml to a repository products/NAME"
				return t
			})
		},
	}
}

func (a *app) productShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show PRODUCT",
		Short:   "Show a product: the file in force, its components and what is wrong with them",
		Example: "  slipway product show ferry\n  slipway product show ferry -o yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			p, err := c.Product(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.print(p, func() *table {
				return fields("product", p.Name, "summary", p.Spec.Summary, "state", p.State, "reason", p.Reason, "since", p.Since,
					"configurations", strings.Join(slices.Sorted(maps.Keys(p.Spec.Configurations)), ", "))
			}); err != nil || a.format != "table" || p.Commit == "" {
				return err
			}
			components, err := c.Components(cmd.Context(), p.Name)
			if err != nil {
				return err
			}
			problems, err := c.Problems(cmd.Context(), p.Name)
			if err != nil {
				return err
			}
			a.say("")
			if err := a.writeTable(componentTable(components)); err != nil {
				return err
			}
			for _, problem := range problems {
				a.say("\nproblem: %v", problem.Error())
			}
			return nil
		},
	}
}

func componentTable(components []client.Component) *table {
	t := newTable("component", "state", "version", "commit", "needs", "source", "reason")
	for _, c := range components {
		where := c.Source.Repo
		if c.Source.Path != "" {
			where += "/" + c.Source.Path
		}
		if c.Source.Branch != "" && c.Source.Branch != "main" {
			where += ", branch " + c.Source.Branch
		}
		reason := c.Reason
		if c.State == "ok" {
			reason = ""
		}
		t.add(c.Name, c.State, c.Version, fmt.Sprintf("%.10s", c.Commit), strings.Join(c.Recipe.Needs, " "), where, reason)
	}
	return t
}
