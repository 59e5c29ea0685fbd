package cli

import (
	"bufio"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// gitCredentialCmd speaks git's credential helper protocol (gitcredentials(7), git-credential(1)).
func (a *app) gitCredentialCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "git-credential ACTION",
		Short: "Let git log in with your API token (git's credential helper)",
		Long: `Git runs this when it needs a password. It answers for the server that the other
commands use, and is silent about any other.`,
		Example:   "  git config --global credential.http://127.0.0.1:8470.helper '!slipway git-credential'",
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"get", "store", "erase"},
		RunE: func(_ *cobra.Command, args []string) error {
			if args[0] != "get" {
				return nil // 'slipway login' keeps the token, not git
			}
			asked := map[string]string{}
			lines := bufio.NewScanner(a.in)
			for lines.Scan() && lines.Text() != "" {
				if k, v, ok := strings.Cut(lines.Text(), "="); ok {
					asked[k] = v
				}
			}
			if err := lines.Err(); err != nil {
				return err
			}
			ctx, err := a.resolve()
			if err != nil {
				return err
			}
			server, err := url.Parse(ctx.Server)
			if err != nil || asked["protocol"] != server.Scheme || asked["host"] != server.Host || ctx.Token == "" {
				return nil //nolint:nilerr // not ours to answer; git asks the next helper
			}
			_, err = fmt.Fprintf(a.out, "username=slipway\npassword=%s\n", ctx.Token)
			return err
		},
	}
}
