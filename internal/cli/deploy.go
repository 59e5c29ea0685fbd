package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

func (a *app) deployCmd() *cobra.Command {
	return parent("deploy", "See and steer what runs on nodes",
		a.deployListCmd(), a.deployShowCmd(), a.deployDryRunCmd(), a.deployReleaseCmd(), a.deployRollbackCmd(), a.deployStatusCmd(), a.deployCompileCmd())
}

func (a *app) deployListCmd() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "list [PRODUCT]",
		Short:   "List versions, newest first",
		Example: "  slipway deploy list ferry\n  slipway deploy list -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			versions, err := client.All(c.DeployVersions(cmd.Context(), strings.Join(args, ""), limit))
			if err != nil {
				return err
			}
			return a.print(versions, func() *table {
				t := newTable("version", "state", "release", "age", "nodes", "resources", "reason")
				for _, v := range versions {
					t.add(v.ID, string(v.State), v.Tag, v.Compiled, len(v.Nodes), v.Resources, v.Reason)
				}
				return t
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many at most; 0 for all")
	return cmd
}

func (a *app) deployShowCmd() *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:     "show VERSION",
		Short:   "Show a version: what it asks of each node, with the model lines",
		Example: "  slipway deploy show ferry-7\n  slipway deploy show ferry-7 --node edge-1 -o yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			v, err := c.DeployVersion(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			found, err := c.DeployResources(cmd.Context(), args[0], node)
			if err != nil {
				return err
			}
			both := struct {
				Version client.DeployVersion `json:"version"`
				Slices  []client.DeploySlice `json:"slices"`
			}{v, found}
			if err := a.print(both, func() *table { return versionTable(v) }); err != nil || a.format != "table" {
				return err
			}
			a.say("")
			t := newTable("resource", "requires", "from")
			for _, s := range found {
				for _, r := range s.Resources {
					t.add(r.ID, shortRequires(s.Node, r.Requires), r.Position)
				}
			}
			return a.writeTable(t)
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "only this node")
	return cmd
}

func versionTable(v client.DeployVersion) *table {
	return fields("version", v.ID, "state", string(v.State), "reason", v.Reason, "release", v.Release, "model", v.Model+" at "+v.Commit,
		"compose", v.Compose, "goes back to", v.Copy, "nodes", strings.Join(v.Nodes, " "), "resources", v.Resources,
		"compiled", v.Compiled, "released", v.Released, "by", v.By, "deployed", v.Finished)
}

func (a *app) deployDryRunCmd() *cobra.Command {
	var within time.Duration
	cmd := &cobra.Command{
		Use:     "dry-run VERSION",
		Short:   "Ask the agents what a version would change; nothing is written",
		Example: "  slipway deploy dry-run ferry-7\n  slipway deploy dry-run ferry-7 --wait 5m -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			run, err := c.StartDryRun(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			deadline := time.NewTimer(within)
			defer deadline.Stop()
			again := time.NewTicker(250 * time.Millisecond)
			defer again.Stop()
			for run.State != "done" {
				select {
				case <-cmd.Context().Done():
					return cmd.Context().Err()
				case <-deadline.C:
					return slipway.Errorf(slipway.Unavailable, "%s", run.Reason).At(run.ID).Try("wait longer with --wait, or see slipway node list")
				case <-again.C:
				}
				if run, err = c.DryRun(cmd.Context(), run.ID); err != nil {
					return err
				}
			}
			return a.print(run, func() *table {
				t := newTable("resource", "action", "attribute", "now", "then")
				t.empty = "nothing would change"
				for _, node := range slices.Sorted(maps.Keys(run.Nodes)) {
					for _, d := range run.Nodes[node].Diffs {
						addDiff(t, d)
					}
				}
				return t
			})
		},
	}
	cmd.Flags().DurationVar(&within, "wait", time.Minute, "how long to wait for the nodes")
	return cmd
}

// addDiff adds a row for each attribute that would change.
func addDiff(t *table, d plan.Diff) {
	switch {
	case d.Action == plan.ActionKeep:
		return
	case len(d.Changes) == 0:
		t.add(d.ID, d.Action, "", "", d.Reason)
	}
	for _, attribute := range slices.Sorted(maps.Keys(d.Changes)) {
		t.add(d.ID, d.Action, attribute, d.Changes[attribute].Current, d.Changes[attribute].Desired)
	}
}

func (a *app) deployReleaseCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "release VERSION",
		Short:   "Put a compiled version in force",
		Example: "  slipway deploy release ferry-7",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			v, err := c.ReleaseVersion(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(v, func() *table { return versionTable(v) })
		},
	}
}

func (a *app) deployRollbackCmd() *cobra.Command {
	var to, reason string
	cmd := &cobra.Command{
		Use:     "rollback PRODUCT",
		Short:   "Put an older version's resources in force again, as a new version",
		Example: "  slipway deploy rollback ferry --reason 'pages are slow'\n  slipway deploy rollback ferry --to ferry-5",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			v, err := c.Rollback(cmd.Context(), args[0], to, reason)
			if err != nil {
				return err
			}
			return a.print(v, func() *table { return versionTable(v) })
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the version to go back to (default: the one deployed before)")
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func (a *app) deployCompileCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "compile PRODUCT",
		Short:   "Have the server compile the model again",
		Example: "  slipway deploy compile ferry",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.Recompile(cmd.Context(), args[0])
		},
	}
}

func (a *app) deployStatusCmd() *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:   "status [PRODUCT]",
		Short: "Show how a product stands on its nodes, or all that is on one node",
		Example: `  slipway deploy status ferry
  slipway deploy status --node edge-1
  slipway deploy status ferry -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if node != "" {
				on, err := c.NodeDeployments(cmd.Context(), node)
				if err != nil {
					return err
				}
				return a.print(on, func() *table { return nodeTable(on) })
			}
			if len(args) == 0 {
				return slipway.Errorf(slipway.Invalid, "which product?").Try("slipway deploy status PRODUCT, or --node NODE")
			}
			s, err := c.Deployment(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.print(s, func() *table {
				d := s.Deployment
				attempt := fmt.Sprintf("%s: %s %s", d.Attempt.Release, d.Attempt.State, d.Attempt.Reason)
				if s.Version == nil {
					return fields("product", d.Product, "in force", "nothing", "model", attempt)
				}
				return fields("product", d.Product, "in force", s.Version.ID, "state", string(s.Version.State), "reason", s.Version.Reason,
					"release", s.Version.Release, "held at", d.Held, "before", d.Previous, "model", attempt)
			}); err != nil || a.format != "table" {
				return err
			}
			a.say("")
			return a.writeTable(statusTable(s))
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "show every resource of this node")
	return cmd
}

// statusTable has a row for each node, and below it one for each resource that is not as desired.
func statusTable(s client.DeployStatus) *table {
	t := newTable("node", "state", "version", "reported", "reason")
	for _, n := range s.Nodes {
		var reported any = "never"
		if !n.Reported.IsZero() {
			reported = n.Reported
		}
		t.add(n.Node, string(n.Standing.State), n.Version, reported, n.Standing.Reason)
		for _, r := range n.Statuses {
			if r.State != plan.Deployed {
				t.add("  "+strings.TrimPrefix(r.ID, n.Node+"/"), string(r.State), "", "", r.Reason)
			}
		}
	}
	return t
}

// nodeTable has a row for each resource on a node.
func nodeTable(on []client.DeployedOnNode) *table {
	t := newTable("resource", "state", "version", "from", "reason", "is")
	t.empty = "nothing is deployed there"
	for _, o := range on {
		for _, r := range o.Resources {
			state, reason, is := string(plan.Waiting), "not reported yet", ""
			if r.Status != nil {
				state, reason = string(r.Status.State), r.Status.Reason
				for _, k := range slices.Sorted(maps.Keys(r.Status.Actual)) {
					if k == "version" || k == "pid" || k == "digest" {
						is += fmt.Sprintf("%s=%.26s ", k, r.Status.Actual[k])
					}
				}
			}
			t.add(r.ID, state, o.Version.ID, r.Position, reason, strings.TrimSpace(is))
		}
	}
	return t
}
