package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) queueCmd() *cobra.Command {
	return parent("queue", "Work with a product's integration queue",
		a.queueListCmd(), a.queueShowCmd(), a.queueWhyCmd(), a.queueAddCmd(), a.queueDequeueCmd(), a.queueRequeueCmd(),
		a.queuePromoteCmd(), a.queueFreezeCmd(), a.queueResumeCmd(), a.queueVerifyCmd(), a.queuePredictionsCmd(), a.queueSimulateCmd())
}

func (a *app) queueListCmd() *cobra.Command {
	var phase string
	var all bool
	cmd := &cobra.Command{
		Use:     "list PRODUCT",
		Short:   "List the entries of a queue, the open ones unless asked otherwise",
		Example: "  slipway queue list ferry\n  slipway queue list ferry@stable-1\n  slipway queue list ferry --all\n  slipway queue list ferry --phase rejected -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var entries []client.Entry
			if all || phase != "" {
				entries, err = client.All(c.Entries(cmd.Context(), args[0], phase, 0))
			} else {
				var q client.Queue
				q, err = c.Queue(cmd.Context(), args[0])
				entries = q.Entries
				switch {
				case q.Frozen != "":
					a.say("frozen by %s: %s", q.FrozenBy, q.Frozen)
				case q.Closed != "":
					a.say("%s", q.Closed)
				case q.Reason != "":
					a.say("%s", q.Reason)
				}
				for _, l := range q.Lanes {
					a.say("frozen lane: %s", l.Reason)
				}
			}
			if err != nil {
				return err
			}
			return a.print(entries, func() *table {
				t := newTable("entry", "state", "title", "moves", "ahead", "lands", "reason")
				t.empty = "the queue is empty"
				for _, e := range entries {
					t.add(e.Number, string(e.Phase), e.Title, moves(e), e.Ahead, lands(e), e.Reason)
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&phase, "phase", "", "only queued, building, testing, landing, landed, rejected or dequeued ones")
	cmd.Flags().BoolVar(&all, "all", false, "also those that have left the queue, newest first")
	return cmd
}

// lands writes when an open entry may land, if nothing fails.
func lands(e client.Entry) string {
	if e.Estimate.IsZero() || !e.Phase.Open() {
		return ""
	}
	if e.Estimate.Before(time.Now()) {
		return "soon"
	}
	return "~" + e.Estimate.Local().Format("15:04")
}

// moves writes an entry's pins in a few words.
func moves(e client.Entry) string {
	var parts []string
	for i, p := range e.Pins {
		if i == 3 {
			parts = append(parts, fmt.Sprintf("and %d more", len(e.Pins)-i))
			break
		}
		parts = append(parts, p.Component+" "+p.Version)
	}
	return strings.Join(parts, ", ")
}

func (a *app) queueShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show ENTRY",
		Short:   "Show an entry, its candidate and its checks",
		Example: "  slipway queue show 3\n  slipway queue show 3 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withEntry(args[0], func(c *client.Client, number int64) error {
				e, err := c.Entry(cmd.Context(), number)
				if err != nil {
					return err
				}
				return a.print(e, func() *table {
					t := fields("entry", e.Number, "product", e.Product, "title", e.Title, "by", e.Author, "state", e.Phase, "because", e.Reason,
						"changes", strings.Join(e.Changes, ", "), "candidate", e.Candidate, "base", e.Base, "release", e.Release)
					for _, p := range e.Pins {
						t.add("moves", fmt.Sprintf("%s to %s (%s at %.10s)", p.Component, p.Version, p.Repo, p.Commit))
					}
					if len(e.Assumes) > 0 {
						t.add("assumes", fmt.Sprintf("entries %s land before it", commas(e.Assumes)))
					}
					if e.Phase.Open() {
						ahead := "nobody"
						if e.Ahead > 0 {
							ahead = fmt.Sprint(e.Ahead)
						}
						if at := lands(e.Entry); at != "" {
							ahead += fmt.Sprintf("; may land %s (chance %.0f %%)", at, 100*e.Chance)
						}
						t.add("ahead", ahead)
					}
					for _, trial := range e.Trials {
						t.add("trial "+trial.ID(), fmt.Sprintf("%s: %s  %s", trial.Check, strings.TrimSpace(string(trial.State)+" "+string(trial.Outcome)), trial.Reason))
					}
					for _, s := range e.History {
						t.add(string(s.Phase), s.Time.Local().Format("15:04:05")+"  "+s.Reason)
					}
					if e.Decision != nil {
						t.add("gate", e.Decision.Reason)
						for _, v := range e.Decision.Verdicts {
							said := v.Requirement.String()
							if v.Reason != "" && v.State != slipway.CheckPassed {
								said += ": " + v.Reason
							}
							t.add("  "+string(v.State), strings.TrimSuffix(said+"  "+v.Link, "  "))
						}
					}
					return t
				})
			})
		},
	}
}

func (a *app) queueWhyCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "why ENTRY",
		Short:   "Say in one line why an entry is where it is",
		Example: "  slipway queue why 3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withEntry(args[0], func(c *client.Client, number int64) error {
				e, err := c.Entry(cmd.Context(), number)
				if err != nil {
					return err
				}
				return a.print(map[string]any{"entry": e.Number, "phase": e.Phase, "reason": e.Reason}, func() *table {
					return fields(fmt.Sprintf("entry %d is %s", e.Number, e.Phase), e.Reason)
				})
			})
		},
	}
}

func (a *app) queueAddCmd() *cobra.Command {
	var title string
	cmd := &cobra.Command{
		Use:     "add PRODUCT COMPONENT@COMMIT...",
		Short:   "Ask for pins to be moved together, all or nothing",
		Example: "  slipway queue add ferry libwire@v1.3.0\n  slipway queue add ferry libwire@main relay@main --title 'new framing'",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var wanted []client.Move
			for _, arg := range args[1:] {
				component, to, ok := strings.Cut(arg, "@")
				if !ok || component == "" || to == "" {
					return slipway.Errorf(slipway.Invalid, "%q does not say what to move where", arg).Try("write COMPONENT@COMMIT, as in libwire@main")
				}
				wanted = append(wanted, client.Move{Component: component, To: to})
			}
			e, err := c.AddEntry(cmd.Context(), args[0], title, wanted)
			if err != nil {
				return err
			}
			return a.print(e, func() *table { return fields("entry", e.Number, "title", e.Title, "moves", moves(e)) })
		},
	}
	cmd.Flags().StringVar(&title, "title", "", "what it is about")
	return cmd
}

func (a *app) queueDequeueCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "dequeue ENTRY",
		Short:   "Take an entry out of the queue; what runs for it is cancelled",
		Example: "  slipway queue dequeue 3 --reason 'superseded by change 9'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withEntry(args[0], func(c *client.Client, number int64) error {
				if err := c.Dequeue(cmd.Context(), number, reason); err != nil {
					return err
				}
				a.say("entry %d is out of the queue", number)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "no reason given", "why; everybody will read it")
	return cmd
}

func (a *app) queueRequeueCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "requeue ENTRY",
		Short:   "Put a rejected or dequeued entry back, as a new one",
		Example: "  slipway queue requeue 3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withEntry(args[0], func(c *client.Client, number int64) error {
				e, err := c.Requeue(cmd.Context(), number)
				if err != nil {
					return err
				}
				return a.print(e, func() *table { return fields("entry", e.Number, "title", e.Title) })
			})
		},
	}
}

func (a *app) queuePromoteCmd() *cobra.Command {
	var priority int
	var urgent bool
	cmd := &cobra.Command{
		Use:     "promote ENTRY",
		Short:   "Give an entry another priority; what runs already is not disturbed",
		Long:    "Give an entry another priority. It goes before entries of lower priority that have not begun.\nAn urgent entry goes before everything that is not urgent, begun or not.",
		Example: "  slipway queue promote 7 --priority 10\n  slipway queue promote 7 --urgent",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withEntry(args[0], func(c *client.Client, number int64) error {
				if err := c.Promote(cmd.Context(), number, priority, urgent); err != nil {
					return err
				}
				if urgent {
					a.say("entry %d is urgent", number)
					return nil
				}
				a.say("entry %d has priority %d", number, priority)
				return nil
			})
		},
	}
	cmd.Flags().IntVar(&priority, "priority", 10, "higher goes first; 0 is usual")
	cmd.Flags().BoolVar(&urgent, "urgent", false, "the incident lane: it goes before what has begun, too")
	return cmd
}

func (a *app) queueVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "verify ENTRY",
		Short:   "Check again that an entry's landing was sound",
		Long:    "Check the certificate of a landing again, against the repositories and the records: the tuple, the one move of main, every verdict.\nIt fails if anything does not hold.",
		Example: "  slipway queue verify 3\n  slipway queue verify 3 -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withEntry(args[0], func(c *client.Client, number int64) error {
				v, err := c.Verify(cmd.Context(), number)
				if err != nil {
					return err
				}
				err = a.print(v, func() *table {
					t := newTable("claim", "holds", "why")
					for _, f := range v.Findings {
						holds := "yes"
						if !f.OK {
							holds = "NO"
						}
						t.add(f.Claim, holds, f.Why)
					}
					return t
				})
				if err == nil && !v.OK {
					err = slipway.Errorf(slipway.Conflict, "the certificate of entry %d does not hold", number)
				}
				return err
			})
		},
	}
}

func (a *app) queuePredictionsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "predictions PRODUCT",
		Short: "Show how good the queue's predictions have been",
		Long: "Show, for each predictor, what it said of entries when they came, against how they ended. The Brier score is the mean squared\n" +
			"error: 0 is perfect, a coin gives 0.25. queue.predictor in product.yaml says which one is used.",
		Example: "  slipway queue predictions ferry\n  slipway queue predictions ferry -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			q, err := c.Queue(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(q.Predictions, func() *table {
				t := newTable("predictor", "used", "entries", "Brier", "what it said, and what came")
				for _, p := range q.Predictions {
					used, bands := "", []string{}
					if p.Used {
						used = "yes"
					}
					for _, b := range p.Bands {
						bands = append(bands, fmt.Sprintf("of %d with %.0f %%, %.0f %% landed", b.Count, 100*b.Said, 100*b.Landed))
					}
					t.add(p.Predictor, used, p.Count, fmt.Sprintf("%.3f", p.Brier), strings.Join(bands, "; "))
				}
				return t
			})
		},
	}
}

func commas(numbers []int64) string {
	var parts []string
	for _, n := range numbers {
		parts = append(parts, strconv.FormatInt(n, 10))
	}
	return strings.Join(parts, ", ")
}

func (a *app) queueFreezeCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "freeze PRODUCT --reason TEXT",
		Short:   "Start no further entry of a product; what has started goes on",
		Example: "  slipway queue freeze ferry --reason 'release week'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.Freeze(cmd.Context(), args[0], reason); err != nil {
				return err
			}
			a.say("the queue of %s is frozen", args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; everybody who waits will read it")
	if err := cmd.MarkFlagRequired("reason"); err != nil {
		panic(err) // the flag was just defined
	}
	return cmd
}

func (a *app) queueResumeCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "resume PRODUCT",
		Short:   "End a freeze",
		Example: "  slipway queue resume ferry",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.Resume(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.say("the queue of %s goes on", args[0])
			return nil
		},
	}
}

// withEntry reads an entry's number ("3" or "entry/3") and makes the client.
func (a *app) withEntry(arg string, f func(c *client.Client, number int64) error) error {
	number, err := strconv.ParseInt(strings.TrimPrefix(arg, "entry/"), 10, 64)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "%q is not the number of an entry", arg).Try("slipway queue list PRODUCT shows the numbers")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	return f(c, number)
}
