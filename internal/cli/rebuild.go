package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) rebuildCmd() *cobra.Command {
	return parent("rebuild", "Build again what a change concerns, tier by tier",
		a.rebuildPlanCmd(), a.rebuildStartCmd(), a.rebuildListCmd(), a.rebuildShowCmd(),
		a.rebuildSteerCmd("pause", "Let a rebuild start nothing new; what runs goes on", true, (*client.Client).PauseRebuild),
		a.rebuildSteerCmd("resume", "Let a paused rebuild go on", false, plain((*client.Client).ResumeRebuild)),
		a.rebuildSteerCmd("retry", "Try again what failed, and what was skipped because of it", false, plain((*client.Client).RetryRebuild)),
		a.rebuildSteerCmd("cancel", "End a rebuild; its builds end unless another wave waits for them", true, (*client.Client).CancelRebuild),
		a.rebuildAffectedCmd())
}

// byCause makes a verb about a product of what changed, which flags say.
func (a *app) byCause(cmd *cobra.Command, c *client.RebuildCause, run func(ctx context.Context, cl *client.Client, product string) error) {
	f := cmd.Flags()
	f.BoolVar(&c.All, "all", false, "everything")
	f.StringSliceVar(&c.Components, "component", nil, "these components changed")
	f.StringVar(&c.Package, "package", "", "this package changed: the components that make it")
	f.StringVar(&c.Buildroot, "buildroot", "", "this buildroot changed: the components that are built in it; host for the tools of the host")
	f.StringVar(&c.Module, "module", "", "the components of this module, by its strategy")
	f.StringVar(&c.Repo, "repo", "", "what was built from the commit that --ref names in this repository")
	f.StringVar(&c.Ref, "ref", "main@{1}", "with --repo: a branch, main@{1} for one move ago, main@{TIME}, or a commit")
	manifest := f.String("manifest", "", "a candidate manifest: what differs from what was released last")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := a.client()
		if err != nil {
			return err
		}
		if err := readManifest(*manifest, c); err != nil {
			return err
		}
		return run(cmd.Context(), cl, args[0])
	}
}

// readManifest takes the pins of a manifest file into the cause.
func readManifest(file string, c *client.RebuildCause) error {
	if c.Repo == "" {
		c.Ref = ""
	}
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "the manifest cannot be read: %w", err)
	}
	var m slipway.Manifest
	if err := yaml.UnmarshalWithOptions(text, &m, yaml.Strict()); err != nil {
		return slipway.Errorf(slipway.Invalid, "it is no manifest: %w", err).At(file).Try("take one of manifests/ in the integration repository")
	}
	for name, locked := range m.Components {
		c.Pins = append(c.Pins, locked.Pin(name))
	}
	return nil
}

func (a *app) rebuildPlanCmd() *cobra.Command {
	var cause client.RebuildCause
	cmd := &cobra.Command{
		Use:   "plan PRODUCT",
		Short: "Say what a rebuild would do, tier by tier",
		Long: `Says which components a change concerns, lower tiers first: those that are built
for certain, because their own inputs changed, and those that may be cut off,
because only an output that they need may change. Nothing is started.`,
		Example: "  slipway rebuild plan ferry --component libtide\n  slipway rebuild plan ferry --repo components/libtide --ref 'main@{1}'\n  slipway rebuild plan ferry --buildroot host -o json",
		Args:    cobra.ExactArgs(1),
	}
	a.byCause(cmd, &cause, func(ctx context.Context, c *client.Client, product string) error {
		p, err := c.PlanRebuild(ctx, product, cause)
		if err != nil {
			return err
		}
		a.say("%d built for certain, %d may be cut off, %d not concerned", p.Certain, p.Possible, p.Unaffected)
		return a.print(p, func() *table {
			t := newTable("tier", "component", "built", "why")
			for _, e := range p.Expected {
				t.add(e.Tier, e.Component, map[bool]string{true: "certain", false: "maybe"}[e.Certain], e.Why)
			}
			return t
		})
	})
	return cmd
}

func (a *app) rebuildStartCmd() *cobra.Command {
	var cause client.RebuildCause
	cmd := &cobra.Command{
		Use:   "start PRODUCT",
		Short: "Start a rebuild of what a change concerns",
		Long: `Builds what a change concerns, tier by tier. A tier begins when the checks of
those before it have ended: the tests, starts: and default checks of each component
(outputs, files, arch, linkage, paths; installs, by rpm and dpkg into a root of
its own). What fails one is not built upon. After a fix is pushed, or a waiver
granted, the rebuild goes on by itself where it stopped.`,
		Example: "  slipway rebuild start ferry --component libtide\n  slipway rebuild start ferry --all --limit 2 --reason 'a new compiler'\n  slipway rebuild start ferry --module base --strategy only-changed",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&cause.Strategy, "strategy", "", "by-key (default), all, only-changed or changed-and-after")
	cmd.Flags().IntVar(&cause.Limit, "limit", 0, "actions at once; 0 for as many as there are workers")
	cmd.Flags().StringVar(&cause.Reason, "reason", "", "why, for the ledger")
	a.byCause(cmd, &cause, func(ctx context.Context, c *client.Client, product string) error {
		r, err := c.StartRebuild(ctx, product, cause)
		if err != nil {
			return err
		}
		a.say("rebuild %s of %d components has started; slipway rebuild show %s", r.ID, len(r.Targets), r.ID)
		if a.format == "table" {
			return nil
		}
		return a.print(r, nil)
	})
	return cmd
}

func (a *app) rebuildListCmd() *cobra.Command {
	var product, state string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List rebuilds, newest first",
		Example: "  slipway rebuild list --product ferry\n  slipway rebuild list --state stuck -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := client.All(c.Rebuilds(cmd.Context(), product, state, limit))
			if err != nil {
				return err
			}
			return a.print(all, func() *table {
				t := newTable("rebuild", "product", "state", "targets", "attempts", "age", "reason")
				for _, r := range all {
					t.add(r.ID, r.Product, r.State, len(r.Targets), len(r.Attempts), r.Created, r.Reason)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&product, "product", "", "only this product's")
	cmd.Flags().StringVar(&state, "state", "", "only running, paused, stuck, passed or cancelled ones")
	cmd.Flags().IntVar(&limit, "limit", 30, "how many at most; 0 for all")
	return cmd
}

func (a *app) rebuildShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show REBUILD",
		Short:   "Show a rebuild: its state, its attempts, and how far each component is",
		Example: "  slipway rebuild show 3\n  slipway rebuild show 3 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.Rebuild(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			a.say("rebuild %s of %s: %s\n%s", r.ID, r.Product, r.State, r.Reason)
			for _, at := range r.Attempts {
				n := at.Counts
				a.say("attempt %s (%s): %s: %d built, %d reused, %d cut off early, %d failed, %d skipped", at.Wave, at.Why, at.State, n.Built, n.Reused, n.CutOff, n.Failed, n.Skipped)
			}
			if a.format != "table" {
				return a.print(r, nil)
			}
			w, err := c.Wave(cmd.Context(), r.Attempts[len(r.Attempts)-1].Wave)
			if err != nil {
				return err
			}
			a.say("")
			return a.print(w, func() *table { return waveTable(w) })
		},
	}
}

// plain makes a verb without a reason one with.
func plain(f func(*client.Client, context.Context, string) error) func(*client.Client, context.Context, string, string) error {
	return func(c *client.Client, ctx context.Context, id, _ string) error { return f(c, ctx, id) }
}

func (a *app) rebuildSteerCmd(verb, short string, reasoned bool, f func(*client.Client, context.Context, string, string) error) *cobra.Command {
	var reason string
	use, example := verb+" REBUILD", "  slipway rebuild "+verb+" 3"
	if reasoned {
		use, example = use+" --reason TEXT", example+" --reason 'the farm is needed elsewhere'"
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := f(c, cmd.Context(), args[0], reason); err != nil {
				return err
			}
			r, err := c.Rebuild(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			a.say("rebuild %s is %s", r.ID, r.State)
			if a.format == "table" {
				return nil
			}
			return a.print(r, nil)
		},
	}
	if reasoned {
		cmd.Flags().StringVar(&reason, "reason", "", "why, for the ledger")
		if err := cmd.MarkFlagRequired("reason"); err != nil {
			panic(err) // the flag was just defined
		}
	}
	return cmd
}

func (a *app) rebuildAffectedCmd() *cobra.Command {
	var product, repo, ref string
	cmd := &cobra.Command{
		Use:   "affected --repo REPO --ref REF",
		Short: "Find which builds and modules were made from a commit, as a branch had it back then",
		Example: "  slipway rebuild affected --repo components/libtide --ref 'main@{1}'\n" +
			"  slipway rebuild affected --product ferry --repo components/libtide --ref 'main@{2026-11-21T06:00:00Z}' -o json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			f, err := c.Affected(cmd.Context(), product, repo, ref)
			if err != nil {
				return err
			}
			a.say("made from %s of %s:", f.Commit, f.Repo)
			if len(f.Modules) > 0 {
				a.say("modules: %s", strings.Join(f.Modules, ", "))
			}
			return a.print(f, func() *table {
				t := newTable("build", "action", "version", "outcome", "product", "how")
				for _, b := range f.Builds {
					t.add(b.ID, b.Name(), b.Version, cmp.Or(string(b.Outcome), string(b.State)), b.Product, "from the commit")
				}
				for _, b := range f.Over {
					t.add(b.ID, b.Name(), b.Version, cmp.Or(string(b.Outcome), string(b.State)), b.Product, "with an output of it")
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&product, "product", "", "only this product's; its modules are told too")
	cmd.Flags().StringVar(&repo, "repo", "", "the repository")
	cmd.Flags().StringVar(&ref, "ref", "main@{1}", "a branch, main@{1} for one move ago, main@{TIME}, or a commit")
	if err := cmd.MarkFlagRequired("repo"); err != nil {
		panic(err) // the flag was just defined
	}
	return cmd
}

func (a *app) whyBuiltCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "why-built BUILD|KEY|DIGEST",
		Short: "Tell what a build was made of, and who asked for it",
		Long: `Tells the inputs of a build by name and digest, each dependency with the build
that made it. The build is named by its number, its key, or the digest of its output.`,
		Example: "  slipway why-built 17\n  slipway why-built sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.explanation(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			a.say("build %s of %s %s: %s", e.Build.ID, e.Build.Name(), e.Build.Version, e.Why)
			if asked := strings.Join(e.For, ", "); asked != "" {
				a.say("asked for by %s", asked)
			}
			return a.print(e, func() *table {
				t := newTable("input", "name", "value", "build", "note")
				for _, i := range e.Inputs {
					t.add(i.Kind, i.Name, i.Value, i.Build, i.Note)
				}
				return t
			})
		},
	}
}

func (a *app) whyRebuiltCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "why-rebuilt BUILD|KEY|DIGEST",
		Short:   "Tell which inputs of a build differ from those of the build before it",
		Example: "  slipway why-rebuilt 17\n  slipway why-rebuilt 17 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.explanation(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			switch {
			case e.Before == "":
				a.say("build %s of %s is the first: %s", e.Build.ID, e.Build.Name(), e.Why)
			case e.Same:
				a.say("build %s of %s after build %s; it came out with the same bytes, so what needs it was cut off", e.Build.ID, e.Build.Name(), e.Before)
			default:
				a.say("build %s of %s after build %s: %s", e.Build.ID, e.Build.Name(), e.Before, e.Why)
			}
			return a.print(e, func() *table {
				t := newTable("input", "name", "was", "is", "made by")
				t.empty = "no input differs"
				for _, c := range e.Changes {
					by := ""
					if c.WasBuild+c.IsBuild != "" {
						by = fmt.Sprintf("build %s, now build %s", cmp.Or(c.WasBuild, "?"), cmp.Or(c.IsBuild, "?"))
					} else if c.WasNote+c.IsNote != "" {
						by = fmt.Sprintf("%s, now %s", cmp.Or(c.WasNote, "nothing"), cmp.Or(c.IsNote, "nothing"))
					}
					t.add(c.Kind, c.Name, cmp.Or(c.Was, "-"), cmp.Or(c.Is, "-"), by)
				}
				return t
			})
		},
	}
}

func (a *app) explanation(ctx context.Context, id string) (client.Explanation, error) {
	c, err := a.client()
	if err != nil {
		return client.Explanation{}, err
	}
	return c.WhyBuilt(ctx, id)
}
