// Package retain says which artifacts are still needed, and has the others removed.
//
// An artifact is needed when a document of the database names its digest: a release, a compose, a deployment's version, a
// statement about its provenance. So nobody can forget to hold what it refers to: a table that this package does not know
// holds whatever its rows name. Some tables hold only for a time (see [rules]):
//
//	builds            output and source while the build waits, runs or is younger than Keep.Builds; the log, than Keep.Logs
//	waves, items      while the wave runs, ended less than Keep.Builds ago, or is that of an entry in the queue
//	experiments       the same
//	entries           while they are in the queue
//	tasks             all inputs and outputs while they are in flight
//	attestations      statements and bills of materials, and not what they are about: provenance outlives it
//	what is derived   never: the action cache, marks, news, results, deliveries
//
// The items, orders and news of a wave go when it ended longer than Keep.Builds ago, unless something that is not over names it: an entry of
// the queue, a change, a rebuild, or the last rebuild that passed, whose outputs a strategy may take over. What stays of the wave is its row, which
// says how it ended; asked for again, it runs again. Builds and their marks stay: they answer what was made from what.
//
// What was used in the last day is kept anyway, with all that it names: a push or a wave under way refers to blobs before a
// row does. How a killed sweep leaves the store is said at [artifact.Disk.Sweep]. The row of a build outlives its output; who
// wants that again has it built again.
package retain

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/build/farm"
)

// Keep says how long things are kept that nothing needs; zero fields take the default.
type Keep struct {
	Builds time.Duration // outputs of builds; default 30 days
	Logs   time.Duration // logs of builds; default 30 days
	Grace  time.Duration // everything, after its last use; default 24 h, at least a minute
}

func (k Keep) withDefaults() Keep {
	day := 24 * time.Hour
	for _, d := range []struct {
		value *time.Duration
		std   time.Duration
	}{{&k.Builds, 30 * day}, {&k.Logs, 30 * day}, {&k.Grace, day}} {
		if *d.value <= 0 {
			*d.value = d.std
		}
	}
	return k
}

// Document is a row of a table of documents.
type Document struct {
	ID, State, Key string
	Text           []byte // JSON
}

// Documents reads the whole database, and tidies what only the farm needs.
type Documents interface {
	// Tables lists the tables of documents.
	Tables(ctx context.Context) ([]string, error)
	// Each calls f with every row of a table.
	Each(ctx context.Context, table string, f func(Document) error) error
	// Forget removes rows that are of no use any more.
	Forget(ctx context.Context, table string, ids []string) error
	// Clear removes the rows of tables that have something as their id or key, in one transaction, and returns how many there were.
	Clear(ctx context.Context, of string, tables ...string) (int, error)
}

// Report is what a collection kept and removed.
type Report struct {
	Dry bool `json:"dry"` // nothing was removed
	artifact.Swept
	Rows  int           `json:"rows"`  // of old tasks and of results whose blobs are gone, removed
	Waves int           `json:"waves"` // old ones of which nothing but the end is kept
	Took  time.Duration `json:"took"`  // in nanoseconds
	Roots int           `json:"roots"` // digests that documents name
}

// Service collects.
type Service struct {
	docs Documents
	disk *artifact.Disk
	keep Keep
	now  func() time.Time
}

// New makes a collector of a store for a database.
func New(docs Documents, disk *artifact.Disk, keep Keep, now func() time.Time) *Service {
	return &Service{docs, disk, keep.withDefaults(), now}
}

// keepTasks is how long a task that has ended can be seen.
const keepTasks = 24 * time.Hour

// Collect removes what nothing needs; with dry set it only tells. It may run beside everything else; two at once do no harm.
func (s *Service) Collect(ctx context.Context, dry bool) (Report, error) {
	begin := s.now()
	named, err := s.named(ctx)
	if err != nil {
		return Report{}, err
	}
	over, err := s.over(ctx, named)
	if err != nil {
		return Report{}, err
	}
	r := Report{Dry: dry, Waves: len(over)}
	for _, wave := range over { // before what they name goes
		if dry {
			break
		}
		n, err := s.docs.Clear(ctx, wave, "items", "news", "orders")
		if err != nil {
			return r, err
		}
		r.Rows += n
	}
	roots, old, err := s.roots(ctx, named)
	if err != nil {
		return r, err
	}
	r.Roots = len(roots)
	if r.Swept, err = s.disk.Sweep(ctx, roots, s.keep.Grace, dry); err != nil {
		return r, err
	}
	stale, err := s.stale(ctx)
	if err != nil {
		return r, err
	}
	for table, ids := range map[string][]string{"tasks": old, "action_results": stale} {
		r.Rows += len(ids)
		if dry || len(ids) == 0 {
			continue
		}
		if err := s.docs.Forget(ctx, table, ids); err != nil {
			return r, err
		}
	}
	r.Took = s.now().Sub(begin)
	return r, nil
}

// rule says for which rows of a table the digests in them are needed.
type rule int

const (
	always rule = iota
	never
	recent // while it has no member "finished", or one less than Keep.Builds ago
	ofWave // while the wave of its key is
	opened // while it is in the queue
)

var rules = map[string]rule{
	"waves": recent, "orders": never, "items": ofWave, "news": never, "marks": never, "experiments": recent, "experiment_logs": never, "dry_runs": recent,
	"entries": opened, "candidates": never, "trials": never, "certificates": never, "results": never, "deliveries": never, "builds": never, "tasks": never, "action_results": never,
	"users": never, "tokens": never, "sessions": never,
}

var mention = regexp.MustCompile(artifact.Prefix + `[0-9a-f]{64}`)

// roots reads what is needed, and which tasks are old.
func (s *Service) roots(ctx context.Context, named map[string]use) (all []artifact.Root, old []string, err error) {
	tables, err := s.docs.Tables(ctx)
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(tables)
	slices.Reverse(tables) // waves before items
	seen := map[artifact.Digest]bool{}
	add := func(why string, digests ...artifact.Digest) {
		for _, d := range digests {
			if d != "" && !seen[d] {
				seen[d] = true
				all = append(all, artifact.Root{Digest: d, Why: why})
			}
		}
	}
	waves := map[string]bool{}
	for _, table := range tables {
		err := s.docs.Each(ctx, table, func(d Document) error {
			switch table {
			case "builds":
				return s.build(d, add)
			case "attestations":
				return statement(d, add)
			case "tasks":
				gone, err := s.task(ctx, d, add)
				if gone {
					old = append(old, d.ID)
				}
				return err
			}
			holds, err := s.holds(table, d, waves)
			if table == "waves" && named[d.ID] == outputs {
				holds = true
			}
			if err != nil || !holds {
				return err
			}
			if table == "waves" {
				waves[d.ID] = true
			}
			for _, m := range mention.FindAll(d.Text, -1) {
				add(table, string(m))
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("look for what %s need: %w", table, err)
		}
	}
	return all, old, nil
}

func (s *Service) holds(table string, d Document, waves map[string]bool) (bool, error) {
	switch rules[table] {
	case never:
		return false, nil
	case ofWave:
		return waves[d.Key], nil
	case opened:
		return !slices.Contains([]string{"landed", "rejected", "dequeued"}, d.State), nil
	case recent:
		var doc struct {
			Finished time.Time `json:"finished"`
		}
		if err := json.Unmarshal(d.Text, &doc); err != nil {
			return false, fmt.Errorf("read %s: %w", d.ID, err)
		}
		return s.young(doc.Finished, s.keep.Builds), nil
	}
	return true, nil
}

// young reports whether something has not ended, or ended less than keep ago.
func (s *Service) young(finished time.Time, keep time.Duration) bool {
	return finished.IsZero() || s.now().Sub(finished) < keep
}

func (s *Service) build(d Document, add func(string, ...artifact.Digest)) error {
	var b build.Build
	if err := json.Unmarshal(d.Text, &b); err != nil {
		return fmt.Errorf("read build %s: %w", d.ID, err)
	}
	if s.young(b.Finished, s.keep.Builds) {
		add("recent builds", b.Output, b.Source, b.Own, b.Key, b.Extra, b.Root, b.Lock)
		for _, in := range b.Inputs {
			add("recent builds", in)
		}
	}
	if s.young(b.Finished, s.keep.Logs) {
		add("logs", b.Log)
	}
	return nil
}

// statement adds what is told of an artifact, and not the artifact: its provenance outlives it.
func statement(d Document, add func(string, ...artifact.Digest)) error {
	var a struct{ Envelope, SBOM artifact.Digest }
	if err := json.Unmarshal(d.Text, &a); err != nil {
		return fmt.Errorf("read the attestation %s: %w", d.ID, err)
	}
	add("attestations", a.Envelope, a.SBOM)
	return nil
}

// task adds what a task in flight needs, and reports whether it is of no use any more.
func (s *Service) task(ctx context.Context, d Document, add func(string, ...artifact.Digest)) (gone bool, err error) {
	var t farm.Task
	if err := json.Unmarshal(d.Text, &t); err != nil {
		return false, fmt.Errorf("read task %s: %w", d.ID, err)
	}
	if t.State == farm.Done {
		if s.now().Sub(t.Finished) >= keepTasks {
			return true, nil
		}
		add("recent tasks", t.Log)
		if t.Result != nil {
			return false, s.result(ctx, *t.Result, "recent tasks", add)
		}
		return false, nil
	}
	needed, _, err := execution.Inputs(ctx, s.disk, t.Action)
	if err != nil && !slipway.Is(err, slipway.Invalid) {
		return false, err
	}
	for _, b := range needed {
		add("tasks in flight", b.Digest)
	}
	return false, nil
}

func (s *Service) result(ctx context.Context, r farm.Result, why string, add func(string, ...artifact.Digest)) error {
	m, err := r.Message()
	if err != nil {
		return nil //nolint:nilerr // what cannot be read needs nothing
	}
	needed, _, err := execution.Outputs(ctx, s.disk, m)
	if err != nil && !slipway.Is(err, slipway.Invalid) {
		return err
	}
	for _, b := range needed {
		add(why, b.Digest)
	}
	add(why, r.Output)
	return nil
}

// stale lists what the action cache cannot answer with any more.
func (s *Service) stale(ctx context.Context) (ids []string, err error) {
	err = s.docs.Each(ctx, "action_results", func(d Document) error {
		var c farm.CachedResult
		if err := json.Unmarshal(d.Text, &c); err != nil {
			return fmt.Errorf("read the cached result %s: %w", d.ID, err)
		}
		m, err := c.Result.Message()
		if err != nil {
			ids = append(ids, d.ID)
			return nil //nolint:nilerr // it is of no use
		}
		for _, f := range m.OutputFiles { // without noting a use: a look at it is none
			if !s.disk.Has(artifact.Prefix + f.Digest.GetHash()) {
				ids = append(ids, d.ID)
				return nil
			}
		}
		if c.Result.Output != "" && !s.disk.Has(c.Result.Output) {
			ids = append(ids, d.ID)
		}
		return ctx.Err()
	})
	return ids, err
}
