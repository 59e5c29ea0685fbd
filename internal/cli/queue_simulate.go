package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/simulate"
)

func (a *app) queueSimulateCmd() *cobra.Command {
	var profile, policy, predictor, chart string
	var load float64
	var seed uint64
	var entries int
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Replay a workload on queue policies, on a virtual clock",
		Long: `Runs the planner of the integration queue, and the policies of other merge queues, over the same
workload on a virtual clock, and compares them with an oracle that knows how every entry ends.
No server is needed. Equal flags give equal answers, byte for byte.

Profiles: monorepo is 500 changes an hour to one repository; multirepo is a product of 47 repositories
in 8 configurations with tiers of 5, 15 and 45 minutes and 1 to 4 rigs each; a path names a workload file.
The load is the share of capacity that the oracle uses.`,
		Example: `  slipway queue simulate --profile multirepo --load 0.9
  slipway queue simulate --profile monorepo --policy slipway --predictor logistic -o json
  slipway queue simulate --profile nightly.yaml -o svg > queue.svg`,
		Args: cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			a.running = true
			if a.format == "svg" {
				return nil
			}
			return a.checkFormat()
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			names := []string{policy}
			if policy == "all" {
				names = simulate.Policies()
			}
			if policy != "all" && !slices.Contains(simulate.Policies(), policy) {
				return slipway.Errorf(slipway.Invalid, "unknown policy %q", policy).At("--policy").Try("use all, " + strings.Join(simulate.Policies(), ", "))
			}
			if !slices.Contains(simulate.Predictors(), predictor) {
				return slipway.Errorf(slipway.Invalid, "unknown predictor %q", predictor).At("--predictor").Try("use " + strings.Join(simulate.Predictors(), ", "))
			}
			w, err := workload(profile, load, seed, entries)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.errOut, w.Describe())
			last := time.Now()
			results, err := simulate.Compare(w, names, predictor, seed, func(policy string, done, all int) {
				if time.Since(last) > 2*time.Second {
					last = time.Now()
					fmt.Fprintf(a.errOut, "%s: %d of %d entries\n", policy, done, all)
				}
			})
			if err != nil {
				return err
			}
			drawn := simulate.Chart(fmt.Sprintf("%s, load %.2f, predictor %s", w.Name, w.Load, predictor), results)
			if chart != "" {
				if err := os.WriteFile(chart, []byte(drawn), 0o644); err != nil {
					return err
				}
			}
			if a.format == "svg" {
				_, err := fmt.Fprint(a.out, drawn)
				return err
			}
			return a.print(results, func() *table { return simulated(results) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&profile, "profile", "monorepo", "monorepo, multirepo, or a workload file")
	f.Float64Var(&load, "load", 0.9, "share of capacity that the oracle uses; not for a file")
	f.StringVar(&policy, "policy", "all", "all, "+strings.Join(simulate.Policies(), ", "))
	f.StringVar(&predictor, "predictor", "97", "what predicts outcomes: 97 or 90 (percent right), none, historical, logistic")
	f.Uint64Var(&seed, "seed", 1, "of all that is drawn by chance")
	f.StringVar(&chart, "chart", "", "write the chart (SVG) to this file too")
	f.IntVar(&entries, "entries", 0, "how many entries come; default: as the profile has it")
	return cmd
}

func workload(profile string, load float64, seed uint64, entries int) (*simulate.Workload, error) {
	settings := map[string]simulate.Settings{"monorepo": simulate.Monorepo(), "multirepo": simulate.Multirepo()}
	s, known := settings[profile]
	if !known {
		data, err := os.ReadFile(profile)
		if os.IsNotExist(err) {
			return nil, slipway.Errorf(slipway.NotFound, "there is no profile and no file %q", profile).At("--profile").Try("use monorepo, multirepo, or a workload file")
		}
		if err != nil {
			return nil, err
		}
		return simulate.Parse(data, profile)
	}
	if load <= 0 || load > 1 {
		return nil, slipway.Errorf(slipway.Invalid, "a load of %g is not a share of capacity", load).At("--load").Try("use a number above 0 and at most 1")
	}
	if entries != 0 && entries < 20 {
		return nil, slipway.Errorf(slipway.Invalid, "%d entries are too few to measure", entries).At("--entries").Try("use at least 20")
	}
	s.Load, s.Seed = load, seed
	if entries > 0 {
		s.Entries = entries
	}
	return simulate.Generate(s)
}

func simulated(results []simulate.Result) *table {
	t := newTable("policy", "p50", "p95", "p99", "throughput", "builds/change", "wasted rig min", "wrong evictions", "oldest min", "p50 min", "p95 min")
	for _, r := range results {
		t.add(r.Policy, fmt.Sprintf("%.2fx", r.P50Ratio), fmt.Sprintf("%.2fx", r.P95Ratio), fmt.Sprintf("%.2fx", r.P99Ratio), fmt.Sprintf("%.2fx", r.ThroughputRatio),
			fmt.Sprintf("%.2f", r.BuildsPerChange), fmt.Sprintf("%.0f", r.WastedRigMinutes), r.WrongEvictions, fmt.Sprintf("%.0f", r.StarvationAge),
			fmt.Sprintf("%.0f", r.P50), fmt.Sprintf("%.0f", r.P95))
	}
	return t
}
