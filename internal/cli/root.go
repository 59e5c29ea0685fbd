package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
)

// app is what the commands share: streams, environment and the persistent flags.
type app struct {
	in     io.Reader
	out    io.Writer
	errOut io.Writer
	env    func(string) string

	server string // flag --server
	token  string // flag --token
	ca     string // flag --ca
	format string // flag --output

	running bool  // the command line was understood
	unknown error // a verb that does not exist, below one that does
}

// Main runs the command line and returns the exit status.
func Main(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer, env func(string) string) int {
	a := &app{in: in, out: out, errOut: errOut, env: env}
	// A first signal ends the command in order; a second one at once.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		// Cobra answers a command that only holds others with its help, whatever follows it.
		if rest := cmd.Flags().Args(); len(rest) > 0 && !cmd.Runnable() {
			a.unknown = unknownVerb(cmd, rest[0])
			return
		}
		help(cmd, args)
	})
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = a.unknown
	}
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 130 // interrupted
	}
	if !a.running && slipway.KindOf(err) == slipway.Internal {
		err = slipway.Errorf(slipway.Invalid, "%s", err.Error()).Try(usage(cmd))
	}
	a.explain(err)
	return exitStatus(err)
}

func unknownVerb(cmd *cobra.Command, name string) error {
	try := cmd.CommandPath() + " --help"
	cmd.SuggestionsMinimumDistance = 2 // as cobra does for verbs at the top
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		try = cmd.CommandPath() + " " + strings.Join(near, ", or "+cmd.CommandPath()+" ")
	}
	return slipway.Errorf(slipway.Invalid, "unknown command %q for %q", name, cmd.CommandPath()).Try(try)
}

// usage says how a command is written.
func usage(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return cmd.CommandPath() + " help"
	}
	return strings.TrimSuffix(cmd.UseLine(), " [flags]") + "; " + cmd.CommandPath() + " --help tells more"
}

// explain tells an error: what and where on one line, what to do on the next.
func (a *app) explain(err error) {
	var e *slipway.Error
	remedy := ""
	text := err.Error()
	if errors.As(err, &e) && e.Remedy != "" {
		remedy = e.Remedy
		text = strings.Replace(text, " ("+remedy+")", "", 1)
	}
	fmt.Fprintf(a.errOut, "slipway: %s\n", text)
	if remedy != "" {
		fmt.Fprintf(a.errOut, "  try: %s\n", remedy)
	}
}

func exitStatus(err error) int {
	switch slipway.KindOf(err) {
	case slipway.Invalid:
		return 2
	case slipway.NotFound:
		return 3
	case slipway.Conflict:
		return 4
	case slipway.Unauthenticated:
		return 5
	case slipway.Forbidden:
		return 6
	case slipway.TooLarge:
		return 7
	case slipway.Unavailable:
		return 8
	}
	return 1
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "slipway",
		Short: "From a change in any repository to a tested release on the product's nodes",
		Long: `Slipway takes a change in any of a product's many repositories to a tested,
tagged release that runs on the product's nodes.`,
		Example:       "  slipway up\n  slipway events --follow",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			a.running = true
			return a.checkFormat() // before anything is done, not when it is to be told
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.server, "server", "", "URL of the server (environment: SLIPWAY_SERVER)")
	f.StringVar(&a.token, "token", "", "API token (environment: SLIPWAY_TOKEN)")
	f.StringVar(&a.ca, "ca", "", "PEM file of an authority to trust besides the system's (environment: SLIPWAY_CA)")
	f.StringVarP(&a.format, "output", "o", "table", "how to print: table, json or yaml")
	if err := root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was just defined
	}
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run:"}, &cobra.Group{ID: "road", Title: "The road:"},
		&cobra.Group{ID: "admin", Title: "Administer:"})
	// One line per verb, by group.
	root.AddCommand(grouped("run",
		a.initCmd(), a.upCmd(), a.serverCmd(), a.agentCmd(), a.workerCmd(),
	)...)
	root.AddCommand(grouped("road",
		a.repoCmd(), a.changeCmd(), a.whereCmd(), a.whyCmd(), a.whyBuiltCmd(), a.whyRebuiltCmd(), a.productCmd(), a.componentCmd(), a.graphCmd(), a.checkCmd(), a.schemaCmd(),
		a.buildCmd(), a.buildrootCmd(), a.waveCmd(), a.rebuildCmd(), a.provenanceCmd(), a.sbomCmd(), a.queueCmd(), a.waiverCmd(), a.releaseCmd(), a.composeCmd(), a.modelCmd(), a.deployCmd(), a.experimentCmd(), a.nodeCmd(), a.eventsCmd(),
	)...)
	root.AddCommand(grouped("admin",
		a.loginCmd(), a.whoamiCmd(), a.userCmd(), a.tokenCmd(), a.gitCredentialCmd(), a.notifyCmd(), a.jobsCmd(), a.taskCmd(), a.gcCmd(), a.versionCmd(),
	)...)
	root.AddCommand(a.gitHookCmd())
	return root
}

func grouped(id string, commands ...*cobra.Command) []*cobra.Command {
	for _, c := range commands {
		c.GroupID = id
	}
	return commands
}

// client makes the client for the server and the token that apply.
func (a *app) client() (*client.Client, error) {
	c, err := a.resolve()
	if err != nil {
		return nil, err
	}
	return c.client()
}

// parent makes a command that only holds others.
func parent(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs}
	c.AddCommand(children...)
	return c
}
