package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) experimentCmd() *cobra.Command {
	return parent("experiment", "Run tests on nodes and see how they went",
		a.experimentListCmd(), a.experimentShowCmd(), a.experimentLogCmd(), a.experimentRunCmd(), a.experimentCancelCmd())
}

func (a *app) experimentListCmd() *cobra.Command {
	var product, state string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List experiments, newest first",
		Example: "  slipway experiment list\n  slipway experiment list --product ferry --state queued -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := client.All(c.Experiments(cmd.Context(), product, state, limit))
			if err != nil {
				return err
			}
			return a.print(all, func() *table {
				t := newTable("experiment", "name", "product", "state", "outcome", "nodes", "age", "reason")
				for _, e := range all {
					s := e.Status()
					t.add(e.Number, e.Spec.Name, e.Request.Product, e.State, string(s.Outcome), strings.Join(s.Nodes, ","), e.Created, e.Reason)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&product, "product", "", "only those of a product")
	cmd.Flags().StringVar(&state, "state", "", "only queued, reserved, running, cleaning or done ones")
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many; 0 for all")
	return cmd
}

func (a *app) experimentShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show EXPERIMENT",
		Short:   "Show an experiment, its nodes and their steps",
		Example: "  slipway experiment show 4\n  slipway experiment show 4 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			e, err := c.Experiment(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printExperiment(e)
		},
	}
}

func (a *app) printExperiment(e client.Experiment) error {
	return a.print(e, func() *table {
		t := fields("experiment", e.Number, "name", e.Spec.Name, "id", e.Request.ID, "product", e.Request.Product, "for", e.Request.For,
			"state", e.State, "outcome", e.Outcome, "because", e.Reason, "attempt", e.Attempt, "created", e.Created, "started", e.Started, "finished", e.Finished)
		for _, p := range e.Past {
			t.add(fmt.Sprintf("attempt %d", p.Number), string(p.Outcome)+": "+p.Reason)
		}
		for _, m := range e.Members {
			t.add(m.Role+" "+m.Node, strings.TrimSuffix(m.State+": "+m.Reason, ": "))
			for _, s := range m.Steps {
				text := s.State
				if s.State == "finished" {
					text = string(s.Outcome)
				}
				if !s.Started.IsZero() && !s.Finished.IsZero() {
					text += " in " + s.Finished.Sub(s.Started).Round(time.Millisecond).String()
				}
				t.add("  "+s.Step, strings.TrimSuffix(text+": "+s.Reason, ": "))
			}
		}
		return t
	})
}

func (a *app) experimentLogCmd() *cobra.Command {
	var node, step string
	var follow bool
	cmd := &cobra.Command{
		Use:     "log EXPERIMENT",
		Short:   "Print the logs of an experiment's steps",
		Example: "  slipway experiment log 4\n  slipway experiment log 4 --node edge-1 --step smoke --follow",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return a.experimentLog(cmd.Context(), c, args[0], node, step, follow)
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "only of this node")
	cmd.Flags().StringVar(&step, "step", "", "only of this step")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the experiment is done")
	return cmd
}

// followEvery is how often a log is asked for more.
const followEvery = 500 * time.Millisecond

// experimentLog prints what there is, under a heading whenever the source changes, and goes on if follow.
func (a *app) experimentLog(ctx context.Context, c *client.Client, id, node, step string, follow bool) error {
	offsets, last := map[string]int64{}, ""
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		e, err := c.Experiment(ctx, id)
		if err != nil {
			return err
		}
		for _, m := range e.Members {
			if node != "" && m.Node != node {
				continue
			}
			for _, s := range m.Steps {
				if step != "" && s.Step != step {
					continue
				}
				key := m.Assignment + "/" + s.Step
				if m.Logged[s.Step] <= offsets[key] {
					continue
				}
				part, err := c.ExperimentLog(ctx, id, m.Node, s.Step, offsets[key])
				if err != nil {
					return err
				}
				if part.Text != "" && key != last && (node == "" || step == "") {
					fmt.Fprintf(a.out, "=== %s: %s ===\n", m.Node, s.Step)
				}
				if part.Text != "" {
					last = key
				}
				fmt.Fprint(a.out, part.Text)
				offsets[key] = part.Next
			}
		}
		if !follow || e.State == "done" {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (a *app) experimentRunCmd() *cobra.Command {
	var product, id string
	var env, artifacts []string
	var priority int
	var detach bool
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Run an experiment from a file, and wait for it",
		Long:  "Run an experiment from a file. The command waits, prints the logs as they come, and exits with an error unless the outcome is pass.",
		Example: `  slipway experiment run experiments/smoke.yaml --env VERSION=1.2.3
  slipway experiment run smoke.yaml --artifact relay=sha256:1f2e... --detach`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return slipway.Errorf(slipway.NotFound, "read the experiment: %w", err)
			}
			ask := client.NewExperiment{ID: id, Product: product, File: args[0], Text: string(text), Priority: priority}
			if ask.Env, err = parsePairs("--env", env); err != nil {
				return err
			}
			if ask.Artifacts, err = parsePairs("--artifact", artifacts); err != nil {
				return err
			}
			if ask.ID == "" {
				var raw [6]byte
				if _, err := rand.Read(raw[:]); err != nil {
					return err
				}
				ask.ID = strings.TrimSuffix(filepath.Base(args[0]), filepath.Ext(args[0])) + "-" + hex.EncodeToString(raw[:])
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.RunExperiment(cmd.Context(), ask)
			if err != nil {
				return err
			}
			if detach {
				return a.print(s, func() *table {
					return fields("experiment", s.Number, "id", s.ID, "state", s.State, "because", s.Reason)
				})
			}
			if a.format == "table" {
				fmt.Fprintf(a.errOut, "experiment %d\n", s.Number)
				err = a.experimentLog(cmd.Context(), c, s.ID, "", "", true)
			} else {
				err = a.awaitExperiment(cmd.Context(), c, s.ID)
			}
			if err != nil {
				return err
			}
			e, err := c.Experiment(cmd.Context(), s.ID)
			if err != nil {
				return err
			}
			if err := a.printExperiment(e); err != nil {
				return err
			}
			if e.Outcome != slipway.Pass {
				return slipway.Errorf(slipway.Conflict, "%s: %s", e.Outcome, e.Reason).At(e.Ref())
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&product, "product", "", "the product that it belongs to")
	f.StringVar(&id, "id", "", "name of the request; the same id is the same experiment (default made up)")
	f.StringArrayVar(&env, "env", nil, "KEY=VALUE that every step sees; may be repeated")
	f.StringArrayVar(&artifacts, "artifact", nil, "COMPONENT=DIGEST of an output tree; may be repeated")
	f.IntVar(&priority, "priority", 0, "higher ones get nodes first")
	f.BoolVar(&detach, "detach", false, "do not wait")
	return cmd
}

// awaitExperiment waits until an experiment is done.
func (a *app) awaitExperiment(ctx context.Context, c *client.Client, id string) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		e, err := c.Experiment(ctx, id)
		if err != nil || e.State == "done" {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (a *app) experimentCancelCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "cancel EXPERIMENT...",
		Short:   "Cancel experiments; their nodes stop and clean up",
		Example: "  slipway experiment cancel 4 --reason 'wrong branch'",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			for _, id := range slices.Compact(args) {
				e, err := c.CancelExperiment(cmd.Context(), id, reason)
				if err != nil {
					return err
				}
				a.say("experiment %d is %s: %s", e.Number, e.State, e.Reason)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for who wonders")
	return cmd
}
