package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) jobsCmd() *cobra.Command {
	return parent("jobs", "See and revive the work in the background", a.jobsListCmd(), a.jobsRetryCmd())
}

func (a *app) jobsListCmd() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the work in the background, dead letters first",
		Example: "  slipway jobs list\n  slipway jobs list --state dead",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			jobs, err := c.Jobs(cmd.Context(), state)
			if err != nil {
				return err
			}
			return a.print(jobs, func() *table {
				t := newTable("kind", "key", "state", "due", "attempts", "error")
				for _, j := range jobs {
					t.add(j.Kind, j.Key, j.State, j.Due, j.Attempts, j.Error)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "only waiting, running, backing-off or dead ones")
	return cmd
}

func (a *app) jobsRetryCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "retry KIND [KEY]",
		Short: "Run a job again now",
		Long:  "For one that is dead or waits; its failures are forgotten. A job without a key is named by KIND alone.",
		Example: `  slipway jobs retry build.run 42
  slipway jobs list --state dead`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			key := strings.Join(args[1:], "")
			if err := c.RetryJob(cmd.Context(), args[0], key); err != nil {
				return err
			}
			a.say("%s %s runs again", args[0], key)
			return nil
		},
	}
}
