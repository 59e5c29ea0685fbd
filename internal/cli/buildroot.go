package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/stage/build/buildroot"
)

func (a *app) buildrootCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "buildroot",
		Short: "Show what builds can see, and lock it",
		Long: `A buildroot is what a build can see besides its source and what it needs: programs of the host, or
a root filesystem from an archive or an OCI image, and pinned things beside it. A product's file
describes them; resolved, each comes to a tree of files, and a lock that says what is in it.`,
	}
	cmd.AddCommand(a.buildrootListCmd(), a.buildrootShowCmd(), a.buildrootLockCmd())
	return cmd
}

func (a *app) buildrootListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list PRODUCT",
		Short:   "List a product's buildroots",
		Example: "  slipway buildroot list ferry",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			names, err := c.Buildroots(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(names, func() *table {
				t := newTable("buildroot")
				for _, name := range names {
					t.add(name)
				}
				return t
			})
		},
	}
}

func (a *app) buildrootShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show PRODUCT NAME",
		Short:   "Show each item of a buildroot with its version and digest",
		Example: "  slipway buildroot show ferry small\n  slipway buildroot show ferry small -o json",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			root, err := c.Buildroot(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return a.print(root, func() *table {
				t := newTable("kind", "name", "version", "digest", "at")
				for _, i := range root.Items {
					t.add(i.Kind, i.Name, i.Version, fmt.Sprintf("%.19s", i.Digest), i.At)
				}
				for _, d := range root.Dropped {
					t.add("left out", d, "", "", "")
				}
				t.add("tree", root.Name, "", fmt.Sprintf("%.19s", root.Tree), "/")
				return t
			})
		},
	}
}

func (a *app) buildrootLockCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "lock PRODUCT [NAME...]",
		Short: "Resolve buildroots anew and print the lock file to commit",
		Long: `Prints a lock file for the buildroots named, or for all of the product. Committed as
` + buildroot.LockFile + ` beside product.yaml, builds go by it: a buildroot of the host's tools stays
what it was when it was locked, and can be replayed without a network. -o json prints the same as JSON.`,
		Example: "  slipway buildroot lock ferry > " + buildroot.LockFile + "\n  git add " + buildroot.LockFile,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			names := args[1:]
			if len(names) == 0 {
				if names, err = c.Buildroots(cmd.Context(), args[0]); err != nil {
					return err
				}
			}
			locks := buildroot.Locks{}
			for _, name := range names {
				root, err := c.LockBuildroot(cmd.Context(), args[0], name)
				if err != nil {
					return err
				}
				locks[name] = root.Lock
			}
			if a.format == "json" {
				return a.print(map[string]buildroot.Locks{"buildroots": locks}, nil)
			}
			data, err := locks.Marshal()
			if err != nil {
				return err
			}
			_, err = a.out.Write(data)
			return err
		},
	}
}
