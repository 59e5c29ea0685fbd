package cli

import (
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
)

func (a *app) tokenCmd() *cobra.Command {
	return parent("token", "List, create and revoke API tokens", a.tokenListCmd(), a.tokenCreateCmd(), a.tokenRevokeCmd())
}

func (a *app) tokenListCmd() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List API tokens",
		Example: "  slipway token list\n  slipway token list --user '*'   # everybody's, as an admin",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			tokens, err := client.All(c.Tokens(cmd.Context(), user))
			if err != nil {
				return err
			}
			return a.print(tokens, func() *table {
				t := newTable("id", "user", "name", "role", "state", "used", "expires", "age")
				for _, k := range tokens {
					t.add(k.ID, k.User, k.Name, k.Role, tokenState(k), k.Used, k.Expires, k.Created)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "whose tokens; default your own, * everybody's")
	return cmd
}

func tokenState(t client.Token) string {
	switch {
	case !t.Revoked.IsZero():
		return "revoked"
	case !t.Expires.IsZero() && time.Now().After(t.Expires):
		return "expired"
	}
	return "good"
}

func (a *app) tokenCreateCmd() *cobra.Command {
	var want client.NewToken
	var role string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an API token and print it, this once",
		Example: `  slipway token create laptop
  slipway token create ci --role developer --expires 720h
  slipway token create big-1 --role worker     # for slipway worker
  slipway token create ada --user ada`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			want.Name, want.Role = args[0], client.Role(role)
			t, err := c.IssueToken(cmd.Context(), want)
			if err != nil {
				return err
			}
			return a.print(t, func() *table { return &table{rows: [][]string{{t.Secret}}} })
		},
	}
	cmd.Flags().StringVar(&want.User, "user", "", "whose; default your own. Another's needs the role admin")
	cmd.Flags().StringVar(&role, "role", "", "at most this role; default the user's")
	cmd.Flags().DurationVar(&want.Expires, "expires", 0, "how long it holds; default for ever")
	return cmd
}

func (a *app) tokenRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID...",
		Short:   "End API tokens, and the sessions opened with them, at once",
		Example: "  slipway token revoke 5d41402abc4b2a76",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			for _, id := range args {
				if err := c.RevokeToken(cmd.Context(), id); err != nil {
					return err
				}
				a.say("revoked %s", id)
			}
			return nil
		},
	}
}
