package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) whyCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "why SUBJECT",
		Short: "Tell why something is as it is, down to the commits",
		Long: `Follows the reasons of a thing: from a node through the model's lines, the
release, the queue entry and the builds to the change and its commit. What has
been told once is not told again.`,
		Example: "  slipway why node/deck-1\n  slipway why entry/3\n  slipway why change/12 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			why, err := c.Why(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.format == "table" {
				_, err := fmt.Fprint(a.out, why.Text())
				return err
			}
			return a.print(why, nil)
		},
	}
}
