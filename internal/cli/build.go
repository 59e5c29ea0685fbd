package cli

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) buildListCmd() *cobra.Command {
	var f client.BuildFilter
	var limit int
	cmd := &cobra.Command{
		Use:     "list [COMPONENT]",
		Short:   "List builds and tests, newest first",
		Example: "  slipway build list libwire\n  slipway build list --wave change-12.1\n  slipway build list --outcome fail -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				f.Component = args[0]
			}
			builds, err := client.All(c.Builds(cmd.Context(), f, limit))
			if err != nil {
				return err
			}
			return a.print(builds, func() *table {
				t := newTable("build", "action", "version", "state", "age", "took", "reason")
				for _, b := range builds {
					t.add(b.ID, b.Name(), b.Version, cmp.Or(string(b.Outcome), string(b.State)), b.Queued, took(b), b.Reason)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&f.Product, "product", "", "only this product's")
	cmd.Flags().StringVar(&f.Wave, "wave", "", "only those that make up this wave, reused ones too")
	cmd.Flags().StringVar(&f.State, "state", "", "only queued, running or done ones")
	cmd.Flags().StringVar(&f.Outcome, "outcome", "", "only pass, fail, infra, timeout or cancelled ones")
	cmd.Flags().IntVar(&limit, "limit", 30, "how many at most; 0 for all")
	return cmd
}

// took is how long a build ran.
func took(b client.Build) string {
	switch {
	case b.Started.IsZero():
		return "-"
	case b.Finished.IsZero():
		return time.Since(b.Started).Round(time.Second).String()
	}
	return b.Finished.Sub(b.Started).Round(10 * time.Millisecond).String()
}

func (a *app) buildShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show BUILD",
		Short:   "Show a build: inputs, outcome, why it ran",
		Example: "  slipway build show 17\n  slipway build show 17 -o yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			b, err := c.Build(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(b, func() *table {
				t := fields("build", b.ID, "action", b.Name(), "version", b.Version, "commit", b.Commit, "state", b.State, "outcome", b.Outcome,
					"reason", b.Reason, "started because", b.Why, "queued", b.Queued, "took", took(b), "worker", b.Worker, "key", b.Key, "host", b.Host, "source", b.Source)
				for _, need := range slices.Sorted(maps.Keys(b.Inputs)) {
					t.add("needs "+need, b.Inputs[need])
				}
				for _, row := range fields("own output", b.Own, "output", b.Output, "log", b.Log).rows {
					t.add(row[0], row[1])
				}
				return t
			})
		},
	}
}

func (a *app) buildLogCmd() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:     "log BUILD",
		Short:   "Print a build's log",
		Example: "  slipway build log 17\n  slipway build log -f 17",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return a.copyLog(cmd.Context(), c, args[0], follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the build has ended")
	return cmd
}

// copyLog prints a log. A connection that breaks while following is made again where it broke, as long as that brings more.
func (a *app) copyLog(ctx context.Context, c *client.Client, id string, follow bool) error {
	var at int64
	for {
		log, err := c.BuildLog(ctx, id, at, follow)
		if err != nil {
			return err
		}
		n, err := io.Copy(a.out, log)
		log.Close()
		at += n
		if err == nil || ctx.Err() != nil || !follow || n == 0 {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = slipway.Errorf(slipway.Unavailable, "the connection broke while reading the log of build %s", id).Try("slipway build log -f " + id)
			}
			return err
		}
	}
}

func (a *app) buildCancelCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "cancel BUILD",
		Short:   "End a build that waits or runs",
		Long:    "Ends a build, for everybody who waits for it. It counts as cancelled, which blames nobody: who asks again gets it built.",
		Example: "  slipway build cancel 17\n  slipway build cancel 17 --reason 'hangs on the big machine'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.CancelBuild(cmd.Context(), args[0], reason); err != nil {
				return err
			}
			a.say("build %s ends", args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "cancelled by hand", "why, for the ledger")
	return cmd
}

func (a *app) buildForgetCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "forget BUILD",
		Short:   "Let a failed build be tried again by the next wave that needs it",
		Example: "  slipway build forget 17",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.ForgetBuild(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.say("build %s is forgotten; the next wave that needs it builds it anew", args[0])
			return nil
		},
	}
}

func (a *app) waveCmd() *cobra.Command {
	return parent("wave", "See sets of builds, tier by tier", a.waveListCmd(), a.waveShowCmd(), a.waveCancelCmd())
}

func (a *app) waveListCmd() *cobra.Command {
	var product, subject string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List waves, newest first",
		Example: "  slipway wave list --for change/12\n  slipway wave list --product ferry -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			waves, err := client.All(c.Waves(cmd.Context(), product, subject, limit))
			if err != nil {
				return err
			}
			return a.print(waves, func() *table {
				t := newTable("wave", "for", "state", "age", "reason")
				for _, w := range waves {
					t.add(w.Request.ID, w.Request.For, string(w.State), w.Created, w.Reason)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&product, "product", "", "only this product's")
	cmd.Flags().StringVar(&subject, "for", "", "only those for this subject: change/12")
	cmd.Flags().IntVar(&limit, "limit", 30, "how many at most; 0 for all")
	return cmd
}

func (a *app) waveShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show WAVE",
		Short:   "Show a wave: every component and test, by tier",
		Example: "  slipway wave show change-12.1\n  slipway wave show change-12.1 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			w, err := c.Wave(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			a.say("%s for %s: %s\n%s\n", w.Request.ID, w.Request.For, w.State, w.Reason)
			return a.print(w, func() *table { return waveTable(w) })
		},
	}
}

// waveTable lists the components of a wave and their checks, lower tiers first.
func waveTable(w client.Wave) *table {
	t := newTable("tier", "action", "state", "build", "reused", "reason")
	names := slices.SortedFunc(maps.Keys(w.Components), func(x, y string) int {
		return cmp.Or(w.Components[x].Tier-w.Components[y].Tier, cmp.Compare(x, y))
	})
	yes := map[bool]string{true: "yes"}
	for _, name := range names {
		b := w.Components[name]
		reused := yes[b.Reused]
		if b.CutOff {
			reused = "cut off"
		}
		t.add(b.Tier, name, b.State, b.Build, reused, b.Reason)
		for _, test := range b.Tests {
			state := cmp.Or(string(test.Outcome), test.State)
			if test.State == "waived" {
				state = test.State
			}
			t.add(b.Tier, name+":"+test.Check, state, test.Build, yes[test.Reused], cmp.Or(test.Reason, strings.Join(test.Notes, "; ")))
		}
	}
	return t
}

func (a *app) waveCancelCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "cancel WAVE --reason TEXT",
		Short:   "End a running wave; its builds end unless another wave waits for them",
		Example: "  slipway wave cancel change-12.1 --reason 'wrong branch'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.CancelWave(cmd.Context(), args[0], reason); err != nil {
				return err
			}
			a.say("wave %s is cancelled", args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the ledger")
	if err := cmd.MarkFlagRequired("reason"); err != nil {
		panic(err) // the flag was just defined
	}
	return cmd
}
