package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/slipway"
)

func (a *app) loginCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "login [URL]",
		Short: "Remember a server and an API token",
		Long: `Checks the token with the server and remembers both for the commands to come.
Without --token the token is read from standard input.`,
		Example: `  slipway login https://slipway.example.org --token slw_...
  slipway login https://slipway.lan --ca authority.pem
  slipway login http://127.0.0.1:8470 < admin-token`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.server = args[0]
			}
			ctx, err := a.resolve()
			if err != nil {
				return err
			}
			if ctx.Token == "" {
				fmt.Fprintf(a.errOut, "API token for %s: ", ctx.Server)
				text, err := bufio.NewReader(a.in).ReadString('\n')
				if ctx.Token = strings.TrimSpace(text); ctx.Token == "" {
					return slipway.Errorf(slipway.Invalid, "no token was given: %w", err).Try("give --token")
				}
			}
			if ctx.CA, err = absolute(ctx.CA); err != nil {
				return err
			}
			c, err := ctx.client()
			if err != nil {
				return err
			}
			id, err := c.WhoAmI(cmd.Context())
			if err != nil {
				return err
			}
			path, err := a.configPath()
			if err != nil {
				return err
			}
			if err := writeContext(path, contextFile{Server: ctx.Server, Token: ctx.Token, CA: ctx.CA}); err != nil {
				return err
			}
			a.say("%s at %s, with the role %s (remembered in %s)", id.User, ctx.Server, id.Role, path)
			return nil
		},
	}
}

func (a *app) whoamiCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Tell which server is asked, and as whom",
		Example: "  slipway whoami\n  slipway whoami -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			id, err := c.WhoAmI(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(id, func() *table {
				return fields("user", id.User, "role", id.Role, "token", id.Token, "server", c.Server())
			})
		},
	}
}
