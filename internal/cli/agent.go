package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/agent"
	"slipway.dev/slipway/internal/agent/deploy"
	"slipway.dev/slipway/internal/agent/executor"
	"slipway.dev/slipway/internal/platform/lifecycle"
	"slipway.dev/slipway/internal/platform/transport"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) agentCmd() *cobra.Command {
	return parent("agent", "Be the agent of a node", a.agentRunCmd())
}

func (a *app) agentRunCmd() *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Join this machine to a server, run its experiments and keep its releases",
		Long: `Join this machine to a server with a one-time token, then run the experiments that
it is leased to and keep what is deployed on it as it should be. The token is needed
only the first time; after that the key in the agent's folder is the credential.
The agent goes on when the server is away, and comes back by itself.

Releases are deployed below --target. An agent whose folder is the default one looks
after the machine itself, from / on. One with a folder of its own (--root DIR) is
a guest: it deploys below DIR/fs and leaves the rest of the machine alone, unless
--target says otherwise.`,
		Example: `  slipway agent run --server http://slipway:8470 --token $(slipway node join-token) --label role=edge
  slipway agent run --server https://slipway.lan --ca authority.pem --token $(slipway node join-token)
  slipway agent run --name edge-1 --root /tmp/edge-1 --fact port=9001`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.resolve()
			if err != nil {
				return err
			}
			o.server, o.ca = c.Server, c.CA
			if o.token == "" {
				o.token = a.env("SLIPWAY_JOIN_TOKEN")
			}
			return a.runAgent(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.token, "token", "", "one-time join token (environment: SLIPWAY_JOIN_TOKEN)")
	f.StringVar(&o.name, "name", "", "the node's name (default the host's)")
	f.StringVar(&o.root, "root", agentRoot, "folder that belongs to the agent")
	f.StringVar(&o.target, "target", "", "folder that everything is deployed below (default / with the default --root, else ROOT/fs)")
	f.StringArrayVar(&o.labels, "label", nil, "what the node can do, KEY=VALUE; may be repeated")
	f.StringArrayVar(&o.facts, "fact", nil, "what the node is, KEY=VALUE; may be repeated")
	f.DurationVar(&o.repair, "repair", 30*time.Second, "how often to look for what has drifted, and repair it")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

type agentOptions struct {
	server, token, ca, name, root, target string
	labels, facts                         []string
	logFormat, logLevel                   string
	repair                                time.Duration
}

// agentRoot is the folder of the agent that looks after a whole machine.
const agentRoot = "/var/lib/slipway-agent"

// targetDir is the folder that releases go to. Only the machine's own agent changes the machine without being told to.
func (o agentOptions) targetDir() (string, error) {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return "", slipway.Errorf(slipway.Invalid, "agent root: %w", err)
	}
	switch {
	case o.target != "":
		target, err := filepath.Abs(o.target)
		if err != nil {
			return "", slipway.Errorf(slipway.Invalid, "target folder: %w", err)
		}
		return target, nil
	case root == agentRoot:
		return "/", nil
	}
	return filepath.Join(root, "fs"), nil
}

// runAgent wires an agent with its modules, and runs it until ctx ends.
func (a *app) runAgent(ctx context.Context, o agentOptions) error {
	log, err := lifecycle.NewLogger(a.errOut, o.logFormat, o.logLevel)
	if err != nil {
		return err
	}
	labels, err := parsePairs("--label", o.labels)
	if err != nil {
		return err
	}
	facts, err := parsePairs("--fact", o.facts)
	if err != nil {
		return err
	}
	if o.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return slipway.Errorf(slipway.Invalid, "the node needs a name: %w", err).Try("give --name")
		}
		o.name, _, _ = strings.Cut(strings.ToLower(host), ".")
	}
	if o.target, err = o.targetDir(); err != nil {
		return err
	}
	if _, told := facts["root"]; !told {
		facts["root"] = o.target
	}
	secure, err := transport.Client(o.ca)
	if err != nil {
		return err
	}
	ag, err := agent.New(agent.Config{Server: o.server, Token: o.token, TLS: secure, Name: o.name, Root: o.root, Labels: labels, Facts: facts, Version: Version(), Log: log})
	if err != nil {
		return err
	}
	experiments, err := executor.New(executor.Config{Root: ag.Root(), Blobs: ag.Blobs(), Facts: ag.Facts(), Log: log})
	if err != nil {
		return err
	}
	deployed, err := deploy.New(deploy.Config{Node: o.name, Root: o.target, State: filepath.Join(ag.Root(), "deploy"), Artifacts: ag.Blobs(), Repair: o.repair, Log: log})
	if err != nil {
		return err
	}
	log.Info("agent", "node", o.name, "root", ag.Root(), "target", o.target)
	ag.Add(experiments, deployed)
	return ag.Run(ctx)
}
