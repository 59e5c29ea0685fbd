package cli

import (
	"os"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/edge/githttp"
)

// gitHookCmd is what the server has git run while it takes a push. It is not for people.
func (a *app) gitHookCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "git-hook NAME",
		Short:   "Run one of git's hooks for the server (internal)",
		Hidden:  true,
		Example: "  slipway git-hook pre-receive",
		Args:    cobra.ExactArgs(1),
		Run: func(_ *cobra.Command, args []string) {
			if status := githttp.Hook(args[0], a.in, a.out, a.errOut); status != 0 {
				os.Exit(status) // it has said why
			}
		},
	}
}
