package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) whereCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "where THING",
		Short: "Tell where a component, change, release, package, node, ... is",
		Long: `Tells where something is on the road, in one form for every kind of thing: its
stage, its state, why it is in it, and what would move it on.

THING is a subject such as change/12, or a bare name that only one thing has.`,
		Example: "  slipway where timetable\n  slipway where change/12\n  slipway where node/deck-1 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			item, err := c.Where(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(item, func() *table {
				pairs := []any{item.Kind, item.Name, "title", item.Title, "product", item.Product, "stage", item.Stage, "state", item.State,
					"reason", item.Reason, "since", item.Since, "next", item.Next}
				for _, f := range item.Facts {
					pairs = append(pairs, f.Name, f.Value)
				}
				return fields(append(pairs, "because", strings.Join(item.Because, ", "), "links", strings.Join(item.Links, ", "))...)
			})
		},
	}
}
