package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/plan"
	"slipway.dev/slipway/test/bench/report"
)

// bench is one run.
type bench struct {
	program, dir, product string
	components, tiers     int
	slots                 int
	seed                  uint64
	profile               string

	all  []component
	s    *server
	page *report.Page

	machine       machine       // what the last rebuild took of the machine
	own, children time.Duration // processor time of the last rebuild's components: the server's, and its processes'
}

func (b *bench) run(ctx context.Context, w io.Writer) (err error) {
	if b.program, err = filepath.Abs(b.program); err != nil {
		return err
	}
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "slipway-bench-farm-"); err == nil {
			err = os.Chmod(b.dir, 0o755)
		}
		defer os.RemoveAll(b.dir)
	} else {
		err = os.Mkdir(b.dir, 0o755)
	}
	if err != nil {
		return err
	}
	b.page = report.New(ctx, w, "The build farm", "make bench-farm", []string{"bwrap", "--version"})
	b.all = generate(b.components, b.tiers, b.seed)
	sources := filepath.Join(b.dir, "sources")
	if err := write(sources, b.product, b.all); err != nil {
		return err
	}
	edges := 0
	for _, c := range b.all {
		edges += len(c.needs)
	}
	b.page.Text("A generated product (seed %d): %d components in %d tiers with %d needs. Each build is a shell with a sed and a cat. One server (`slipway up`, SQLite) with %d slots, "+
		"real sandboxes, driven over its API.", b.seed, b.components, b.tiers, edges, b.slots)
	if err := b.planning(); err != nil {
		return err
	}
	say("starting the server")
	if b.s, err = up(ctx, b.program, b.dir, b.slots, b.profile != ""); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.s.stop()) }()
	if err := b.begin(ctx, sources); err != nil {
		return err
	}
	return b.measure(ctx, sources)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench-farm: "+format+"\n", args...) }

// planning times the pure planner on the product's graph.
func (b *bench) planning() error {
	graph := map[string]plan.Component{}
	var names []string
	for _, c := range b.all {
		var needs []string
		for _, n := range c.needs {
			needs = append(needs, b.all[n].name)
		}
		graph[c.name] = plan.Component{Needs: needs}
		names = append(names, c.name)
	}
	times, err := report.Time(21, func() error {
		p, err := plan.Make(graph, names, nil)
		if err == nil {
			p.Forecast(map[string]string{names[0]: "changed"})
		}
		return err
	})
	if err != nil {
		return err
	}
	b.page.Text("## Planning")
	b.page.Text("Tiers of all components, and what a change of the base library touches (`plan.Make`, `Plan.Forecast`): **%s**. The goal is under 50 ms.", times)
	return nil
}

// begin pushes everything and waits until the server knows it. The queue is frozen: what builds is what is asked for.
func (b *bench) begin(ctx context.Context, sources string) error {
	say("pushing %d repositories", b.tiers+1)
	if err := b.s.push(ctx, filepath.Join(sources, "product"), "products/"+b.product, "feat: a product"); err != nil {
		return err
	}
	if err := wait(ctx, "the product", func() (bool, error) {
		p, err := b.s.Product(ctx, b.product)
		return err == nil && p.State == "loaded", nil
	}); err != nil {
		return err
	}
	if err := b.s.Freeze(ctx, b.product, "only what the benchmark asks for is built"); err != nil {
		return err
	}
	for tier := range b.tiers {
		if err := b.s.push(ctx, filepath.Join(sources, repository(tier)), "components/"+repository(tier), "feat: tier "+repository(tier)); err != nil {
			return err
		}
	}
	return wait(ctx, "all components", func() (bool, error) {
		all, err := b.s.Components(ctx, b.product)
		known := 0
		for _, c := range all {
			if c.State == "ok" {
				known++
			}
		}
		return known == b.components, err
	})
}

// rebuild runs one to its end and returns it, with the time that took from the request on.
func (b *bench) rebuild(ctx context.Context, profile string, cause client.RebuildCause) (r client.Rebuild, took time.Duration, err error) {
	if b.profile != "" {
		f, err := os.Create(filepath.Join(b.profile, profile+".pprof"))
		if err != nil {
			return r, 0, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return r, 0, err
		}
		defer pprof.StopCPUProfile()
	}
	var last int64
	for e, err := range b.s.Events(ctx, client.EventFilter{Newest: true, Limit: 1}) {
		if err != nil {
			return r, 0, err
		}
		last = e.Seq
	}
	own, children, err := b.s.processor()
	if err != nil {
		return r, 0, err
	}
	machine, err := readMachine()
	if err != nil {
		return r, 0, err
	}
	start := time.Now()
	if r, err = b.s.StartRebuild(ctx, b.product, cause); err != nil {
		return r, 0, err
	}
	err = wait(ctx, "rebuild "+r.ID, func() (bool, error) { // by the ledger, which costs the server less to answer than the whole rebuild
		for _, kind := range []slipway.EventType{slipway.RebuildFinished, slipway.RebuildStalled} {
			for _, err := range b.s.Events(ctx, client.EventFilter{Type: string(kind), After: last, Limit: 1}) {
				return true, err
			}
		}
		return false, nil
	})
	took = time.Since(start)
	if now, e := readMachine(); e == nil {
		b.machine = now.since(machine)
	} else if err == nil {
		err = e
	}
	if err == nil {
		r, err = b.s.Rebuild(ctx, r.ID)
	}
	if err == nil && r.State != "passed" {
		err = fmt.Errorf("rebuild %s is %s: %s", r.ID, r.State, r.Reason)
	}
	say("%s: %s: %+v", profile, report.Short(took), r.Counts)
	ownNow, childrenNow, cpuErr := b.s.processor()
	if err == nil {
		err = cpuErr
	}
	b.own, b.children = (ownNow-own)/time.Duration(b.components), (childrenNow-children)/time.Duration(b.components)
	say("%s: processor time of a component: %s the server's, %s its processes'", profile, report.Short(b.own), report.Short(b.children))
	return r, took, err
}

// processor is the processor time that the server, and its ended children, took so far. Unlike the time that passes, it says much the same on a
// machine that does other work too.
func (s *server) processor() (own, children time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before may hold anything
	words := strings.Fields(rest)
	if len(words) < 15 {
		return 0, 0, fmt.Errorf("/proc/%d/stat holds %q", s.pid, text)
	}
	var ticks [4]int64 // fields 14 to 17 of proc(5), of which Linux has 100 a second
	for i := range ticks {
		if ticks[i], err = strconv.ParseInt(words[11+i], 10, 64); err != nil {
			return 0, 0, err
		}
	}
	return time.Duration(ticks[0]+ticks[1]) * 10 * time.Millisecond, time.Duration(ticks[2]+ticks[3]) * 10 * time.Millisecond, nil
}

// machine is what the processors of the machine were used for so far.
type machine struct{ busy, all time.Duration }

func (m machine) since(before machine) machine {
	return machine{m.busy - before.busy, m.all - before.all}
}

// each tells the time of one of so many actions, and how much of the processors' time was used in all.
func (m machine) each(actions int) string {
	return fmt.Sprintf("%s (%.0f %% of all)", report.Short(m.busy/time.Duration(actions)), 100*m.busy.Seconds()/m.all.Seconds())
}

// readMachine reads /proc/stat, which counts the kernel's own work too: what it does after a process or a sandbox is gone is nobody's else.
func readMachine() (m machine, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, word := range strings.Fields(line)[1:] { // see proc(5)
		ticks, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return m, fmt.Errorf("/proc/stat begins with %q", line)
		}
		took := time.Duration(ticks) * 10 * time.Millisecond
		switch i {
		case 3, 4, 7: // idle, waiting for a disk, and what the host gave to others
			m.all += took
		case 8, 9: // guests, which the first ones count already
		default:
			m.busy, m.all = m.busy+took, m.all+took
		}
	}
	return m, nil
}

// ofChildren is the processor time that the ended children of this process took so far.
func ofChildren() (time.Duration, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_CHILDREN, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

func (b *bench) measure(ctx context.Context, sources string) error {
	say("shell loops")
	loops := filepath.Join(b.dir, "loop")
	if err := os.Mkdir(loops, 0o755); err != nil {
		return err
	}
	used, err := ofChildren()
	if err != nil {
		return err
	}
	start, err := readMachine()
	if err != nil {
		return err
	}
	before, err := loop(ctx, loops, sources, b.all, b.slots)
	if err != nil {
		return err
	}
	whole, err := readMachine()
	if err != nil {
		return err
	}
	whole = whole.since(start)
	now, err := ofChildren()
	if err != nil {
		return err
	}
	used = (now - used) / time.Duration(b.components)
	full, took, err := b.rebuild(ctx, "full", client.RebuildCause{All: true})
	if err != nil {
		return err
	}
	farm := b.machine
	where, busy, err := b.timeline()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(loops, "out")); err != nil {
		return err
	}
	after, err := loop(ctx, loops, sources, b.all, b.slots)
	if err != nil {
		return err
	}
	looped := (before + after) / 2
	n := float64(b.components)
	each := func(d time.Duration) time.Duration { return time.Duration(float64(d) * float64(b.slots) / n) }
	b.page.Text("## A full run")
	b.page.Table([]string{"", "shell loops with bubblewrap", "the farm"}, [][]string{
		{"time of all", fmt.Sprintf("%s (before %s, after %s)", report.Short(looped), report.Short(before), report.Short(after)), report.Short(took)},
		{"builds", fmt.Sprint(b.components), fmt.Sprintf("%d (%d reused)", full.Counts.Built, full.Counts.Reused)},
		{"actions a second", fmt.Sprintf("%.0f", n/looped.Seconds()), fmt.Sprintf("**%.0f**", n/took.Seconds())},
		{"time of a slot for an action", report.Short(each(looped)), report.Short(each(took))},
		{"**overhead of an action**", "", fmt.Sprintf("**%s** (goal: under 10 ms)", report.Short(each(took-looped)))},
		{"processor time of an action", report.Short(used), fmt.Sprintf("%s (%s the server's, %s its sandboxes')", report.Short(b.own+b.children), report.Short(b.own), report.Short(b.children))},
		{"processor time of the machine for an action, the kernel's own too", whole.each(b.components), farm.each(b.components)},
		{"slots busy", "", fmt.Sprintf("%.0f %%", 100*busy.Seconds()/(took.Seconds()*float64(b.slots)))},
	})
	b.page.Text("The loops know the order and nothing else: no keys, no digests of inputs or outputs, no records, no logs, nothing durable. \"Slots busy\" is the time from the claims of " +
		"tasks to the ends of their commands, of all slots' time.")
	b.page.Text("Where the time of an action goes, by the stamps of its task and its result:")
	b.page.Table([]string{"", "median", "mean"}, where)
	return b.again(ctx, sources)
}

// again rebuilds when nothing has changed, and when a comment has.
func (b *bench) again(ctx context.Context, sources string) error {
	var rows [][]string
	for i := range 2 {
		r, took, err := b.rebuild(ctx, fmt.Sprintf("again-%d", i+1), client.RebuildCause{All: true})
		if err != nil {
			return err
		}
		if r.Counts.Built != 0 {
			return fmt.Errorf("nothing has changed, and %d were built", r.Counts.Built)
		}
		rows = append(rows, []string{"everything, nothing has changed", report.Short(took), counts(r),
			fmt.Sprintf("**%s** a cache hit (goal: under 2 ms), of which %s processor time", report.Short(took/time.Duration(b.components)), report.Short(b.own+b.children))})
	}
	base := b.all[0]
	word := filepath.Join(sources, repository(0), base.name, "word")
	if err := os.WriteFile(word, []byte("# another comment\n"+base.name+"\n"), 0o644); err != nil {
		return err
	}
	was, err := b.s.Component(ctx, b.product, base.name)
	if err != nil {
		return err
	}
	if err := b.s.push(ctx, filepath.Join(sources, repository(0)), "components/"+repository(0), "docs: say it otherwise"); err != nil {
		return err
	}
	if err := wait(ctx, "the push to be seen", func() (bool, error) {
		now, err := b.s.Component(ctx, b.product, base.name)
		return now.Commit != was.Commit, err
	}); err != nil {
		return err
	}
	cause := client.RebuildCause{Components: []string{base.name}}
	planned, err := report.Time(5, func() error { _, err := b.s.PlanRebuild(ctx, b.product, cause); return err })
	if err != nil {
		return err
	}
	p, err := b.s.PlanRebuild(ctx, b.product, cause)
	if err != nil {
		return err
	}
	r, took, err := b.rebuild(ctx, "comment", cause)
	if err != nil {
		return err
	}
	if r.Counts.Built != 1 {
		return fmt.Errorf("only a comment has changed, and %d were built", r.Counts.Built)
	}
	rows = append(rows, []string{"a comment in the base library", report.Short(took), counts(r), ""})
	b.page.Text("## Again")
	b.page.Table([]string{"what", "time", "builds", ""}, rows)
	b.page.Text("Before the last, `slipway rebuild plan` told what it would be: %d certain, %d that may be cut off, %d unaffected; over the API, with the recipes read from git: %s.",
		p.Certain, p.Possible, p.Unaffected, planned)
	return nil
}

func counts(r client.Rebuild) string {
	c := r.Counts
	return fmt.Sprintf("%d built, %d reused, %d cut off", c.Built, c.Reused, c.CutOff)
}
