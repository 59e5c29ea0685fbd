package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
)

func (a *app) notifyCmd() *cobra.Command {
	return parent("notify", "Send events to webhooks and by mail", a.notifyListCmd(), a.notifyAddCmd(), a.notifyRemoveCmd(), a.notifyLogCmd(), a.notifyRetryCmd())
}

func (a *app) notifyListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list [PRODUCT]",
		Short:   "List who wants which events",
		Example: "  slipway notify list\n  slipway notify list ferry -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			subs, err := client.All(c.Subscriptions(cmd.Context(), strings.Join(args, ""), 0))
			if err != nil {
				return err
			}
			return a.print(subs, func() *table {
				t := newTable("id", "product", "events", "target", "from", "by", "age")
				for _, s := range subs {
					t.add(s.ID, s.Product, strings.Join(s.Events, " "), s.Target(), s.Origin, s.Creator, s.Created)
				}
				return t
			})
		},
	}
}

func (a *app) notifyAddCmd() *cobra.Command {
	var s client.Subscribe
	cmd := &cobra.Command{
		Use:     "add --webhook URL | --mail ADDRESS",
		Short:   "Subscribe to events from now on",
		Long:    "Subscribes to events. Those of a product are better kept in its product.yaml, under notify.",
		Example: "  slipway notify add --webhook https://hooks.example.org/x --events release.created,change.\n  slipway notify add --mail crew@example.org --product ferry",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			sub, err := c.Subscribe(cmd.Context(), s)
			if err != nil {
				return err
			}
			return a.print(sub, func() *table {
				return fields("subscription", sub.ID, "target", sub.Target(), "events", strings.Join(sub.Events, " "), "secret", sub.Secret)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Webhook, "webhook", "", "URL that gets a CloudEvent by POST")
	f.StringVar(&s.Mail, "mail", "", "mail address")
	f.StringVar(&s.Product, "product", "", "only its events")
	f.StringSliceVar(&s.Events, "events", nil, "types, or prefixes that end in a dot (default: all)")
	f.StringVar(&s.Secret, "secret", "", "signs webhooks (default: a new one)")
	return cmd
}

func (a *app) notifyRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "remove ID",
		Short:   "Remove a subscription that was made with 'notify add'",
		Example: "  slipway notify remove s-4kq2x7",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.Unsubscribe(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.say("removed %s", args[0])
			return nil
		},
	}
}

func (a *app) notifyLogCmd() *cobra.Command {
	var state, subscription string
	var limit int
	cmd := &cobra.Command{
		Use:     "log",
		Short:   "List what was sent, newest first",
		Example: "  slipway notify log\n  slipway notify log --state failed -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			deliveries, err := client.All(c.Deliveries(cmd.Context(), subscription, state, limit))
			if err != nil {
				return err
			}
			return a.print(deliveries, func() *table {
				t := newTable("id", "state", "event", "subject", "target", "attempts", "age", "reason")
				for _, d := range deliveries {
					t.add(d.ID, d.State, d.Type, d.Subject, d.Target, d.Attempts, d.Created, d.Reason)
				}
				return t
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", "", "only pending, delivered or failed ones")
	f.StringVar(&subscription, "subscription", "", "only of this subscription")
	f.IntVar(&limit, "limit", 50, "how many at most; 0 for all")
	return cmd
}

func (a *app) notifyRetryCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "retry DELIVERY",
		Short:   "Send a delivery once more",
		Example: "  slipway notify retry 81-s-4kq2x7",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			d, err := c.Redeliver(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(d, func() *table {
				return fields("delivery", d.ID, "state", d.State, "reason", d.Reason)
			})
		},
	}
}
