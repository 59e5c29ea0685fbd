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
)

func (a *app) nodeCmd() *cobra.Command {
	return parent("node", "Work with the machines that experiments and releases run on",
		a.nodeListCmd(), a.nodeShowCmd(), a.nodeJoinTokenCmd(), a.nodeDrainCmd(), a.nodeUndrainCmd(), a.nodeRemoveCmd())
}

func (a *app) nodeListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the nodes",
		Example: "  slipway node list\n  slipway node list -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			nodes, err := client.All(c.Nodes(cmd.Context()))
			if err != nil {
				return err
			}
			return a.print(nodes, func() *table {
				t := newTable("node", "state", "labels", "address", "in use by", "seen", "reason")
				t.empty = "no node has joined; 'slipway node join-token' invites one"
				for _, n := range nodes {
					t.add(n.Name, n.State, pairs(n.Labels), n.Facts["address"], n.Lease, n.LastSeen, nodeReason(n))
				}
				return t
			})
		},
	}
}

// nodeReason is what a person should know of a node first.
func nodeReason(n client.Node) string {
	switch {
	case n.Drained != "":
		return "drained: " + n.Drained
	case n.Suspect != "":
		return "in doubt: " + n.Suspect
	}
	return n.Reason
}

// pairs writes a map as k=v,k=v in order.
func pairs(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ",")
}

// parsePairs reads k=v arguments of a flag.
func parsePairs(flag string, args []string) (map[string]string, error) {
	m := map[string]string{}
	for _, arg := range args {
		k, v, ok := strings.Cut(arg, "=")
		if !ok || k == "" {
			return nil, slipway.Errorf(slipway.Invalid, "%q has no value", arg).At(flag).Try("write it as KEY=VALUE")
		}
		m[k] = v
	}
	return m, nil
}

func (a *app) nodeShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a node and what its agent says of it",
		Example: "  slipway node show edge-1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			n, err := c.Node(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printNode(n)
		},
	}
}

func (a *app) printNode(n client.Node) error {
	return a.print(n, func() *table {
		t := fields("node", n.Name, "state", n.State, "because", n.Reason, "seen", n.LastSeen, "in use by", n.Lease,
			"drained", n.Drained, "in doubt", n.Suspect, "labels", pairs(n.Labels), "key", n.PublicKey, "joined", n.JoinedAt)
		for _, k := range slices.Sorted(maps.Keys(n.Facts)) {
			t.add("  "+k, n.Facts[k])
		}
		return t
	})
}

func (a *app) nodeJoinTokenCmd() *cobra.Command {
	var name string
	var labels []string
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "join-token",
		Short: "Make a token with which one node can join, once",
		Example: `  slipway node join-token
  slipway node join-token --name edge-1 --label role=edge --expires 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			want, err := parsePairs("--label", labels)
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			t, err := c.CreateJoinToken(cmd.Context(), name, want, life)
			if err != nil {
				return err
			}
			if a.format != "table" {
				return a.print(t, nil)
			}
			// The token alone on standard output, so that a script can take it.
			fmt.Fprintln(a.out, t.Token)
			if name == "" {
				name = "NAME"
			}
			fmt.Fprintf(a.errOut, "good until %s; on the node:\n  slipway agent run --server %s --token TOKEN --name %s --root /var/lib/slipway-agent\n",
				t.Expires.Local().Format(time.DateTime), c.Server(), name)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the only name that the token is good for")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "label that the node gets, KEY=VALUE; may be repeated")
	cmd.Flags().DurationVar(&life, "expires", 0, "how long it is good for (default a day)")
	return cmd
}

func (a *app) nodeDrainCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "drain NAME",
		Short:   "Keep a node out of new experiments; what runs goes on",
		Example: "  slipway node drain edge-1 --reason 'new disk'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			n, err := c.DrainNode(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			return a.printNode(n)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "drained by hand", "why, for who wonders")
	return cmd
}

func (a *app) nodeUndrainCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "undrain NAME",
		Short:   "Put a drained node back, and clear a doubt about it",
		Example: "  slipway node undrain edge-1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.UndrainNode(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.say("node %s takes experiments again", args[0])
			return nil
		},
	}
}

func (a *app) nodeRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Short:   "Forget a node; its key is refused from now on",
		Example: "  slipway node remove edge-1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.RemoveNode(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.say("node %s is removed", args[0])
			return nil
		},
	}
}
