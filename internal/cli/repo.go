package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) repoCmd() *cobra.Command {
	return parent("repo", "Create repositories, follow remotes, read branch history",
		a.repoListCmd(), a.repoCreateCmd(), a.repoShowCmd(), a.repoLogCmd(), a.repoHistoryCmd(), a.repoPointedCmd(), a.repoMirrorCmd())
}

func (a *app) repoListCmd() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the repositories",
		Example: "  slipway repo list\n  slipway repo list --namespace components -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			repos, err := client.All(c.Repos(cmd.Context(), namespace, 0))
			if err != nil {
				return err
			}
			return a.print(repos, func() *table {
				t := newTable("name", "state", "age", "summary", "reason")
				for _, r := range repos {
					t.add(r.Name, r.State, r.Created, r.Summary, r.Reason)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", "", "only components, modules or products")
	return cmd
}

func (a *app) repoCreateCmd() *cobra.Command {
	var summary, branch string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an empty repository",
		Long: `NAME is NAMESPACE/NAME, in components/, modules/ or products/. The first push makes its
branches; after that, changes go to refs/for/BRANCH.`,
		Example: "  slipway repo create components/libwire --summary 'framing for the wire'\n  git push http://127.0.0.1:8470/git/components/libwire.git main",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.CreateRepo(cmd.Context(), args[0], summary, branch)
			if err != nil {
				return err
			}
			return a.print(r, func() *table { return fields("created", r.Name, "clone", c.Server()+r.Path) })
		},
	}
	cmd.Flags().StringVar(&summary, "summary", "", "what it is, in one line")
	cmd.Flags().StringVar(&branch, "branch", "", "the default branch (default main)")
	return cmd
}

func (a *app) repoShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a repository, its branches and tags",
		Example: "  slipway repo show components/libwire",
		Args:    repoFirst(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.Repo(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			refs, err := c.Refs(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(struct {
				client.RepoView
				Refs []client.Ref `json:"refs"`
			}{r, refs}, func() *table {
				t := fields("name", r.Name, "summary", r.Summary, "state", r.State, "because", r.Reason, "clone", c.Server()+r.Path,
					"branch", r.Branch, "created", r.Created, "by", r.Creator)
				if m := r.Mirror; m != nil {
					t.rows = append(t.rows, fields("follows", m.URL, "mirror", m.State+": "+m.Reason, "every", m.Every, "synced", m.Synced).rows...)
				}
				for _, ref := range refs {
					t.add(ref.Name, fmt.Sprintf("%.10s", ref.Commit))
				}
				return t
			})
		},
	}
}

func (a *app) repoLogCmd() *cobra.Command {
	var path string
	var limit int
	cmd := &cobra.Command{
		Use:     "log NAME [REV]",
		Short:   "List commits, newest first",
		Example: "  slipway repo log components/libwire\n  slipway repo log components/libwire v1.2.0 --path src",
		Args:    repoFirst(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			rev := ""
			if len(args) > 1 {
				rev = args[1]
			}
			log, err := c.Log(cmd.Context(), args[0], rev, path, limit)
			if err != nil {
				return err
			}
			return a.print(log, func() *table {
				t := newTable("commit", "time", "author", "subject")
				for _, l := range log {
					t.add(fmt.Sprintf("%.10s", l.ID), l.Time, l.Author, l.Subject)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&path, "path", "", "only commits that touch this")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most")
	return cmd
}

func (a *app) repoHistoryCmd() *cobra.Command {
	var at string
	var limit int
	cmd := &cobra.Command{
		Use:   "history NAME [REF]",
		Short: "Say how branches and tags moved, or where one was at a time",
		Example: `  slipway repo history components/libwire
  slipway repo history components/libwire refs/heads/main --at 2026-11-20T18:00:00Z`,
		Args: repoFirst(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			ref := ""
			if len(args) > 1 {
				ref = args[1]
			}
			var moves []client.RefMove
			if at != "" {
				when, perr := time.Parse(time.RFC3339, at)
				if perr != nil {
					return slipway.Errorf(slipway.Invalid, "%q is not a time", at).At("--at").Try("write it like 2026-11-20T18:00:00Z")
				}
				var m client.RefMove
				m, err = c.RefAt(cmd.Context(), args[0], ref, when)
				moves = append(moves, m)
			} else {
				moves, err = client.All(c.RefHistory(cmd.Context(), args[0], ref, limit))
			}
			if err != nil {
				return err
			}
			return a.print(moves, func() *table {
				t := newTable("time", "ref", "from", "to", "by")
				for _, m := range moves {
					t.add(m.Time.Local().Format(time.DateTime), m.Ref, commitShort(m.Old), commitShort(m.New), m.Actor)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "where REF (default refs/heads/main) pointed at this time (RFC 3339)")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many moves at most; 0 is all")
	return cmd
}

func commitShort(id string) string {
	if id == slipway.ZeroCommit {
		return "-"
	}
	return fmt.Sprintf("%.10s", id)
}

func (a *app) repoPointedCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "pointed COMMIT",
		Short:   "Say which branches and tags have pointed at a commit, and when",
		Example: "  slipway repo pointed 1f2e3d4c5b6a79881f2e3d4c5b6a79881f2e3d4c",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			found, err := c.PointedAt(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(found, func() *table {
				t := newTable("repo", "ref", "from", "until", "by")
				t.empty = "no branch or tag has pointed at it"
				for _, p := range found {
					until := "still"
					if !p.Until.IsZero() {
						until = p.Until.Local().Format(time.DateTime)
					}
					t.add(p.Repo, p.Ref, p.From.Local().Format(time.DateTime), until, p.Actor)
				}
				return t
			})
		},
	}
}

func (a *app) repoMirrorCmd() *cobra.Command {
	var from string
	var every time.Duration
	var stop, now bool
	cmd := &cobra.Command{
		Use:   "mirror NAME",
		Short: "Have a repository follow a remote",
		Example: `  slipway repo mirror components/libwire --from https://example.org/libwire.git --every 5m
  slipway repo mirror components/libwire --now
  slipway repo mirror components/libwire --stop`,
		Args: repoFirst(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			switch {
			case stop:
				if err := c.EndMirror(cmd.Context(), args[0]); err != nil {
					return err
				}
				a.say("%s follows no remote now", args[0])
				return nil
			case now:
				if err := c.SyncMirror(cmd.Context(), args[0]); err != nil {
					return err
				}
				a.say("%s is polled now", args[0])
				return nil
			case from == "":
				return slipway.Errorf(slipway.Invalid, "which remote?").Try("add --from URL, --now or --stop")
			}
			m, err := c.SetMirror(cmd.Context(), args[0], from, every)
			if err != nil {
				return err
			}
			return a.print(m, func() *table {
				return fields("mirror", m.Repo, "follows", m.URL, "every", m.Every, "webhook", c.Server()+m.Webhook, "secret", m.Secret)
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "URL of the remote")
	cmd.Flags().DurationVar(&every, "every", time.Minute, "between two polls")
	cmd.Flags().BoolVar(&stop, "stop", false, "follow no longer")
	cmd.Flags().BoolVar(&now, "now", false, "poll now")
	cmd.MarkFlagsMutuallyExclusive("from", "stop", "now")
	return cmd
}

// repoFirst wants a repository's name as the first argument.
func repoFirst(args cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		if err := args(cmd, got); err != nil {
			return err
		}
		if namespace, name, ok := strings.Cut(got[0], "/"); !ok || namespace == "" || name == "" {
			return slipway.Errorf(slipway.Invalid, "%q is not the name of a repository", got[0]).Try("write it like components/libwire; slipway repo list has them all")
		}
		return nil
	}
}
