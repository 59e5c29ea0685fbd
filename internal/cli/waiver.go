package cli

import (
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) waiverCmd() *cobra.Command {
	return parent("waiver", "Excuse checks, with a reason", a.waiverListCmd(), a.waiverAddCmd(), a.waiverRevokeCmd())
}

func (a *app) waiverListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list [PRODUCT]",
		Short:   "List waivers, newest first",
		Example: "  slipway waiver list\n  slipway waiver list ferry -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			product := ""
			if len(args) == 1 {
				product = args[0]
			}
			waivers, err := c.Waivers(cmd.Context(), product)
			if err != nil {
				return err
			}
			return a.print(waivers, func() *table {
				t := newTable("waiver", "product", "check", "item", "configuration", "by", "reason", "ends")
				for _, w := range waivers {
					ends := "when revoked"
					if !w.Until.IsZero() {
						ends = w.Until.Local().Format(time.DateTime)
					}
					if w.Revoked != "" {
						ends = "revoked by " + w.Revoked
					}
					t.add(w.ID, w.Product, w.Check, anyOr(w.Item), anyOr(w.Configuration), w.Author, w.Reason, ends)
				}
				return t
			})
		},
	}
}

// anyOr writes an empty match as what it means.
func anyOr(s string) string {
	if s == "" {
		return "any"
	}
	return s
}

func (a *app) waiverAddCmd() *cobra.Command {
	var w client.NewWaiver
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "add PRODUCT CHECK [ITEM]",
		Short: "Excuse a check, for one component or experiment or for all",
		Example: `  slipway waiver add ferry unit relay --reason 'needs a clock that the sandbox lacks'
  slipway waiver add ferry experiment smoke --configuration deck --for 24h --reason 'rig 3 is being rewired'`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if w.Reason == "" {
				return slipway.Errorf(slipway.Invalid, "a waiver needs a reason").At("--reason").Try("say why the failure is acceptable; everybody will read it")
			}
			w.Product, w.Check = args[0], args[1]
			if len(args) == 3 {
				w.Item = args[2]
			}
			if within > 0 {
				w.Until = time.Now().Add(within)
			}
			made, err := c.Waive(cmd.Context(), w)
			if err != nil {
				return err
			}
			return a.print(made, func() *table {
				return fields("waiver", made.ID, "check", made.Check, "item", anyOr(made.Item), "reason", made.Reason)
			})
		},
	}
	cmd.Flags().StringVar(&w.Reason, "reason", "", "why the failure is acceptable")
	cmd.Flags().StringVar(&w.Configuration, "configuration", "", "only in this configuration")
	cmd.Flags().StringVar(&w.Subject, "subject", "", "only for this candidate or patchset, as in candidate/ab12cd34ab12cd34")
	cmd.Flags().DurationVar(&within, "for", 0, "how long it holds (default: until revoked)")
	return cmd
}

func (a *app) waiverRevokeCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "revoke WAIVER",
		Short:   "End a waiver",
		Example: "  slipway waiver revoke 2 --reason fixed",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.RevokeWaiver(cmd.Context(), args[0], reason); err != nil {
				return err
			}
			a.say("waiver %s is revoked", args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}
