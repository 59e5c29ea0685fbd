package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
)

func (a *app) eventsCmd() *cobra.Command {
	var f client.EventFilter
	var follow bool
	var after int64
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Read the ledger, or follow it",
		Long: `Prints the newest events, oldest of them first. With --follow it goes on with
what happens, and comes back by itself when the connection is lost.`,
		Example: `  slipway events
  slipway events --subject change/12
  slipway events --type build. --limit 200
  slipway events --follow --product ferry
  slipway events -f --after 0 -o json   # everything from the beginning, a line each`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if follow {
				if !cmd.Flags().Changed("after") {
					after = -1
				}
				for e, err := range c.Follow(cmd.Context(), f, after) {
					if err != nil {
						return err
					}
					if err := a.printEvent(e); err != nil {
						return err
					}
				}
				return cmd.Context().Err()
			}
			f.After, f.Newest = after, !cmd.Flags().Changed("after")
			events, err := client.All(c.Events(cmd.Context(), f))
			if err != nil {
				return err
			}
			if f.Newest {
				slices.Reverse(events)
			}
			return a.print(events, func() *table {
				t := newTable("seq", "time", "type", "subject", "actor", "reason")
				for _, e := range events {
					t.add(e.Seq, e.Time.Local().Format(time.TimeOnly), e.Type, e.Subject, e.Actor, e.Reason)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&f.Subject, "subject", "", "about this, or linked to it, such as change/12")
	cmd.Flags().StringVar(&f.Product, "product", "", "of this product")
	cmd.Flags().StringVar(&f.Type, "type", "", "of this type; a prefix ends in a dot")
	cmd.Flags().IntVar(&f.Limit, "limit", 50, "how many at most; 0: all (not with --follow)")
	cmd.Flags().Int64Var(&after, "after", 0, "those after this number")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	return cmd
}

// printEvent prints one event of a stream: a line of text, a line of JSON, or a YAML document.
func (a *app) printEvent(e client.Event) error {
	switch a.format {
	case "table":
		_, err := fmt.Fprintf(a.out, "%d %s %-28s %-24s %s\n", e.Seq, e.Time.Local().Format(time.TimeOnly), e.Type, e.Subject, strings.ReplaceAll(e.Reason, "\n", " "))
		return err
	case "yaml":
		if _, err := fmt.Fprintln(a.out, "---"); err != nil {
			return err
		}
		return writeYAML(a.out, e)
	}
	return json.NewEncoder(a.out).Encode(e)
}
