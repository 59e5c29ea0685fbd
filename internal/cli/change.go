package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) changeCmd() *cobra.Command {
	return parent("change", "Review proposed changes", a.changeListCmd(), a.changeShowCmd(), a.changeVoteCmd(), a.changeApproveCmd(),
		a.changeAbandonCmd(), a.changeRetestCmd())
}

func (a *app) changeListCmd() *cobra.Command {
	var f client.ChangeFilter
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List changes, newest first",
		Example: "  slipway change list\n  slipway change list --state tested --product ferry -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			found, err := client.All(c.Changes(cmd.Context(), f))
			if err != nil {
				return err
			}
			return a.print(found, func() *table {
				t := newTable("change", "state", "repo", "title", "by", "patchset", "reason")
				for _, ch := range found {
					t.add(ch.Number, string(ch.State), ch.Repo, ch.Title, ch.Author, len(ch.Patchsets), ch.Reason)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&f.Product, "product", "", "only of this product")
	cmd.Flags().StringVar(&f.Repo, "repo", "", "only of this repository")
	cmd.Flags().StringVar(&f.State, "state", "", "only open, testing, tested, failed, approved, landing, landed, conflict or abandoned ones")
	cmd.Flags().IntVar(&f.Limit, "limit", 50, "how many at most; 0 is all")
	return cmd
}

func (a *app) changeShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show CHANGE",
		Short:   "Show a change, its patchsets, tests and votes",
		Example: "  slipway change show 12\n  slipway change show 12 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withChange(args[0], func(c *client.Client, number int64) (client.Change, error) {
				return c.Change(cmd.Context(), number)
			})
		},
	}
}

// withChange runs do for the change that arg names and shows what it returns.
func (a *app) withChange(arg string, do func(c *client.Client, number int64) (client.Change, error)) error {
	number, err := strconv.ParseInt(strings.TrimPrefix(arg, "change/"), 10, 64)
	if err != nil || number < 1 {
		return slipway.Errorf(slipway.Invalid, "%q is not the number of a change", arg).Try("slipway change list")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	ch, err := do(c, number)
	if err != nil {
		return err
	}
	return a.print(ch, func() *table { return changeTable(ch) })
}

func changeTable(ch client.Change) *table {
	t := fields("change", ch.Number, "title", ch.Title, "state", ch.State, "because", ch.Reason, "repo", ch.Repo, "branch", ch.Branch,
		"topic", ch.Topic, "by", ch.Author, "created", ch.Created)
	for _, p := range ch.Patchsets {
		t.add(fmt.Sprintf("patchset %d", p.Number), fmt.Sprintf("%.10s  %s  (%s)", p.Commit, ch.PatchsetRef(p), p.Pusher))
	}
	for _, test := range ch.Tests {
		said := fmt.Sprintf("wave %s  %s", test.Wave, test.State)
		if test.Reason != "" {
			said += ": " + test.Reason
		}
		t.add("tests for "+test.Product, said)
	}
	for _, v := range ch.Votes {
		said := fmt.Sprintf("%+d by %s on patchset %d", v.Value, v.By, v.Patchset)
		if v.Message != "" {
			said += ": " + v.Message
		}
		t.add("vote", said)
	}
	if ch.Landed != nil {
		t.add("landed", fmt.Sprintf("%.10s by %s", ch.Landed.Commit, ch.Landed.Method))
		for _, p := range ch.Landed.Pins {
			t.add(p.Component, fmt.Sprintf("%s (%s)", p.Version, p.Reason))
		}
	}
	return t
}

func (a *app) changeVoteCmd() *cobra.Command {
	var message string
	var patchset int
	cmd := &cobra.Command{
		Use:   "vote CHANGE VALUE",
		Short: "Vote on a change, -2 to +2",
		Long:  "A gatekeeper's +2 approves the change, a gatekeeper's -2 holds it back; everybody else votes -1, 0 or +1.",
		Example: `  slipway change vote 12 +1
  slipway change vote 12 -m 'the frame is too long' -- -1`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := strconv.Atoi(args[1])
			if err != nil {
				return slipway.Errorf(slipway.Invalid, "%q is not a vote", args[1]).Try("use -2, -1, 0, +1 or +2")
			}
			return a.vote(cmd, args[0], value, patchset, message)
		},
	}
	cmd.Flags().StringVarP(&message, "message", "m", "", "why")
	cmd.Flags().IntVar(&patchset, "patchset", 0, "the patchset that you looked at (default the current one)")
	return cmd
}

func (a *app) changeApproveCmd() *cobra.Command {
	var message string
	var patchset int
	cmd := &cobra.Command{
		Use:     "approve CHANGE",
		Short:   "Approve a change: vote +2",
		Example: "  slipway change approve 12 -m 'fine'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.vote(cmd, args[0], 2, patchset, message)
		},
	}
	cmd.Flags().StringVarP(&message, "message", "m", "", "why")
	cmd.Flags().IntVar(&patchset, "patchset", 0, "the patchset that you looked at (default the current one)")
	return cmd
}

func (a *app) vote(cmd *cobra.Command, arg string, value, patchset int, message string) error {
	return a.withChange(arg, func(c *client.Client, number int64) (client.Change, error) {
		return c.Vote(cmd.Context(), number, value, patchset, message)
	})
}

func (a *app) changeAbandonCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "abandon CHANGE",
		Short:   "Give a change up",
		Example: "  slipway change abandon 12 --reason 'done in change 14'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withChange(args[0], func(c *client.Client, number int64) (client.Change, error) {
				return c.Abandon(cmd.Context(), number, reason)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func (a *app) changeRetestCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "retest CHANGE",
		Short:   "Run the tests of a change again",
		Example: "  slipway change retest 12",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withChange(args[0], func(c *client.Client, number int64) (client.Change, error) {
				return c.Retest(cmd.Context(), number)
			})
		},
	}
}
