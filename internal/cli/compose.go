package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) composeCmd() *cobra.Command {
	return parent("compose", "See and check the distributions made of releases",
		a.composeListCmd(), a.composeShowCmd(), a.composeVerifyCmd(), a.composeRetryCmd())
}

func (a *app) composeListCmd() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "list [PRODUCT]",
		Short:   "List composes, newest first",
		Example: "  slipway compose list ferry\n  slipway compose list -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			composes, err := client.All(c.Composes(cmd.Context(), strings.Join(args, ""), limit))
			if err != nil {
				return err
			}
			return a.print(composes, func() *table {
				t := newTable("compose", "state", "age", "reason")
				for _, c := range composes {
					t.add(c.ID, string(c.State), c.CreatedAt, c.Reason)
				}
				return t
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many at most; 0 for all")
	return cmd
}

func (a *app) composeShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show COMPOSE",
		Short:   "Show a compose: its packages by variant, and how to install from it",
		Example: "  slipway compose show ferry-v2026.11.3\n  slipway compose show ferry-v2026.11.3 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			c, err := client.Compose(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.print(c, func() *table {
				return fields("compose", c.ID, "state", c.State, "reason", c.Reason, "made", c.CreatedAt, "finished", c.FinishedAt,
					"digest", c.Digest, "signed by", c.Signed, "url", client.Server()+"/composes/"+c.ID+"/")
			}); err != nil || a.format != "table" || len(c.Variants) == 0 {
				return err
			}
			t := newTable("variant", "package", "version", "made from", "formats", "because")
			for _, v := range c.Variants {
				for _, p := range v.Packages {
					t.add(v.Name, p.Name, fmt.Sprintf("%s-%d", p.Version, p.Release), fmt.Sprintf("%s %.10s", p.Component, p.Commit),
						strings.Join(slices.Sorted(maps.Keys(p.Files)), " "), p.Reason)
				}
			}
			a.say("")
			if err := a.writeTable(t); err != nil {
				return err
			}
			a.say("\ndnf:  curl -fsSLo /etc/yum.repos.d/%s.repo %s/composes/%s/%s.repo", c.Product, client.Server(), c.ID, c.Product)
			a.say("apt:  curl -fsSLo /etc/apt/sources.list.d/%s.sources %s/composes/%s/%s.sources", c.Product, client.Server(), c.ID, c.Product)
			return nil
		},
	}
}

func (a *app) composeVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "verify COMPOSE",
		Short:   "Compare every file of a finished compose with what was recorded; fails when one differs",
		Example: "  slipway compose verify ferry-v2026.11.3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			v, err := c.VerifyCompose(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.print(v, func() *table {
				if v.OK {
					return fields("compose", v.ID, "verified", fmt.Sprintf("%d files are as they were made", v.Files))
				}
				t := newTable("problem")
				for _, p := range v.Problems {
					t.add(p)
				}
				return t
			}); err != nil {
				return err
			}
			if !v.OK {
				return slipway.Errorf(slipway.Conflict, "%d files of compose %s are not as they were made", len(v.Problems), v.ID).
					Try("restore its folder from a mirror or a backup")
			}
			return nil
		},
	}
}

func (a *app) composeRetryCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "retry COMPOSE",
		Short:   "Make a failed compose again, or that of a release which has none",
		Example: "  slipway compose retry ferry-v2026.11.3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			c, err := client.RetryCompose(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(c, func() *table { return fields("compose", c.ID, "state", c.State, "reason", c.Reason) })
		},
	}
}
