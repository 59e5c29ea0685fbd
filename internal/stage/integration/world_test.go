package integration_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/platform/clock"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/gating"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/stage/release"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

const product = "ferry"

// world is a queue with a real database, real repositories, the real gate and the real release stage. Builds and experiments
// end when the test says so, and how the test or the source says.
type world struct {
	t       testing.TB
	url     string // of the database
	db      *store.DB
	clock   *clock.Fake
	dir     string // of the repositories
	power   *power
	repos   *repositories
	catalog *products
	changes changes
	builder *builder
	lab     *lab
	gate    *gating.Service
	release *release.Service
	s       *integration.Service
}

// power runs out after the nth write, counted over all parts; from then on nothing works until it is back.
type power struct {
	n, until int
	longer   int // when set, it runs out again and again, each time after one write more than the last time
	out      bool
}

type killed struct{}

func (killed) Error() string { return "killed" }

// wrote is called after each write.
func (p *power) wrote() error {
	p.n++
	p.out = p.out || p.n == p.until
	return p.on()
}

func (p *power) on() error {
	if p.out {
		return killed{}
	}
	return nil
}

// powered is a store that needs power.
type powered[T any] struct {
	slipway.Store[T]
	*power
}

func (s powered[T]) View(ctx context.Context, f func(T) error) error {
	if err := s.on(); err != nil {
		return err
	}
	return s.Store.View(ctx, f)
}

func (s powered[T]) Update(ctx context.Context, f func(T) error) error {
	if err := s.on(); err != nil {
		return err
	}
	if err := s.Store.Update(ctx, f); err != nil {
		return err
	}
	return s.wrote()
}

// poweredGate does not count the many results that the gate knows already: they write nothing.
type poweredGate struct{ powered[gating.Tx] }

func (s poweredGate) Update(ctx context.Context, f func(gating.Tx) error) error {
	if err := s.on(); err != nil {
		return err
	}
	wrote := false
	if err := s.Store.Update(ctx, func(tx gating.Tx) error { return f(witness{tx, &wrote}) }); err != nil || !wrote {
		return err
	}
	return s.wrote()
}

type witness struct {
	gating.Tx
	emitted *bool
}

func (w witness) Emit(ctx context.Context, e slipway.Event) error {
	*w.emitted = true
	return w.Tx.Emit(ctx, e)
}

// The engines that a world can stand on.
const sqlite, postgres = "sqlite", "postgres"

func newWorld(t testing.TB) *world { return newWorldOn(t, sqlite) }

func newWorldOn(t testing.TB, engine string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), power: &power{}, changes: changes{}}
	w.url = "sqlite:" + filepath.Join(w.dir, "slipway.db")
	if engine == postgres {
		w.url = storetest.Postgres(t)
	}
	w.clock = clock.NewFake(time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC))
	w.repos = &repositories{dir: filepath.Join(w.dir, "git"), power: w.power}
	w.catalog = &products{files: catalog.New(nil, w.repos)}
	w.builder = &builder{world: w, waves: map[string]*wave{}, fate: fate{}, texts: map[string]string{}, known: map[string]slipway.ComponentBuild{}, slots: 16}
	w.lab = &lab{world: w, runs: map[string]*run{}, fate: fate{}, nodes: 16}
	w.open()
	return w
}

// open opens the database and starts the process.
func (w *world) open() {
	w.t.Helper()
	db, err := store.Open(w.t.Context(), store.Config{URL: w.url, Routes: integration.Routes(), Clock: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { db.Close() })
	w.db = db
	w.start()
}

// copy makes a world like this one, whose database must be closed.
func (w *world) copy(t testing.TB) *world {
	t.Helper()
	c := &world{t: t, dir: t.TempDir(), power: &power{}, changes: maps.Clone(w.changes), clock: clock.NewFake(w.clock.Now())}
	if err := os.CopyFS(c.dir, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	c.url = "sqlite:" + filepath.Join(c.dir, "slipway.db")
	if !strings.HasPrefix(w.url, "sqlite:") {
		c.url = storetest.PostgresLike(t, w.url)
	}
	c.repos = &repositories{dir: filepath.Join(c.dir, "git"), power: c.power, updates: slices.Clone(w.repos.updates)}
	c.catalog = &products{files: catalog.New(nil, c.repos), spec: w.catalog.spec, file: w.catalog.file}
	c.builder = &builder{world: c, waves: map[string]*wave{}, order: slices.Clone(w.builder.order), fate: fate{}, texts: maps.Clone(w.builder.texts), known: maps.Clone(w.builder.known), built: w.builder.built, slots: w.builder.slots}
	for id, of := range w.builder.waves {
		one := *of
		one.status.Components = maps.Clone(one.status.Components)
		c.builder.waves[id] = &one
	}
	c.lab = &lab{world: c, runs: map[string]*run{}, order: slices.Clone(w.lab.order), fate: fate{}, nodes: w.lab.nodes}
	for id, of := range w.lab.runs {
		one := *of
		c.lab.runs[id] = &one
	}
	c.open()
	return c
}

// start makes the services anew, as a process that begins; jobs that the one before held are due again.
func (w *world) start() {
	w.power.out = false
	if w.power.longer > 0 {
		w.power.longer++
		w.power.until = w.power.n + w.power.longer
	}
	if err := w.db.Release(w.t.Context(), "drain"); err != nil {
		w.t.Fatal(err)
	}
	w.gate = gating.New(poweredGate{powered[gating.Tx]{store.Scope(w.db, func(tx *store.Tx) gating.Tx { return tx }), w.power}})
	w.release = release.New(powered[release.Tx]{store.Scope(w.db, func(tx *store.Tx) release.Tx { return tx }), w.power}, w.repos)
	w.s = integration.New(powered[integration.Tx]{store.Scope(w.db, func(tx *store.Tx) integration.Tx { return tx }), w.power}, integration.Deps{
		Source: w.repos, Catalog: w.catalog, Changes: w.changes, Builder: w.builder, Lab: w.lab, Gate: w.gate, Releaser: w.release,
	})
}

func (w *world) drainErr() error {
	return jobstest.DrainErr(w.t.Context(), w.db, w.s.Handlers()...)
}

// drain runs the queue's jobs until none is due. When the power goes, it comes back once and the process starts again.
func (w *world) drain() {
	w.t.Helper()
	err := w.drainErr()
	for err != nil && w.power.out {
		w.start()
		err = w.drainErr()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// settle lets everything that runs end, and the queue act on it, until nothing moves.
func (w *world) settle() {
	w.t.Helper()
	for more := true; more; {
		w.drain()
		more = w.builder.finish() || w.lab.finish()
	}
}

func (w *world) emit(e slipway.Event) {
	w.t.Helper()
	e.Product = product
	if err := w.db.Update(w.t.Context(), func(tx *store.Tx) error { return tx.Emit(w.t.Context(), e) }); err != nil {
		w.t.Fatal(err)
	}
}

// push commits files (nil contents remove) on main of a repository and tells of it as the catalog does.
func (w *world) push(repo string, files map[string]string) string {
	w.t.Helper()
	commit := w.repos.commit(w.t, repo, w.clock.Now(), files)
	w.clock.Advance(time.Minute)
	if repo == "products/"+product {
		if w.catalog.load(w.t, w.repos, commit) {
			w.emit(slipway.Event{Type: slipway.ProductLoaded, Subject: "product/" + product})
		}
		return commit
	}
	for name, ref := range w.catalog.spec.Components {
		if ref.Repo == repo {
			w.emit(slipway.Event{Type: slipway.ComponentSeen, Subject: "component/" + name})
		}
	}
	return commit
}

// lib and app are pushes to the components of the product; app needs lib. The text is what is built: see the builder for the
// words in it that make it fail.
func (w *world) lib(text string) string {
	w.t.Helper()
	return w.push("components/lib", component("lib", text))
}
func (w *world) app(text string) string {
	w.t.Helper()
	return w.push("components/app", component("app", text, "lib"))
}

func component(name, text string, needs ...string) map[string]string {
	recipe := "component: " + name + "\n"
	if len(needs) > 0 {
		recipe += "needs:\n  - " + strings.Join(needs, "\n  - ") + "\n"
	}
	return map[string]string{spec.ComponentFile: recipe + "build: make\ntests:\n  unit: make test\n", "src": text}
}

const (
	productFile = "product: ferry\ncomponents:\n  lib: {}\n  app: {}\nconfigurations:\n  shore:\n    experiments: [experiments/smoke.yaml, experiments/load.yaml]\n"
	smoke       = "experiment: smoke\nroles:\n  server: {artifacts: [app]}\nsteps:\n  - {id: up, role: server, run: ./app}\n"
	load        = "experiment: load\nroles:\n  server: {artifacts: [app, lib]}\nsteps:\n  - {id: up, role: server, run: ./app --hard}\n"
)

func (w *world) product(files map[string]string) string {
	w.t.Helper()
	return w.push("products/"+product, files)
}

// begun are worlds that stories begin with. Each is made once and copied.
var begun = struct {
	sync.Mutex
	dir    string // of the test binary
	worlds map[string]*world
}{worlds: map[string]*world{}}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "slipway-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	begun.dir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// begin returns a world of its own like the one that is made under a name.
func begin(t testing.TB, name string, made func(testing.TB) *world) *world {
	t.Helper()
	begun.Lock()
	defer begun.Unlock()
	if begun.worlds[name] == nil {
		w := made(t)
		w.do(w.db.Close())
		kept := *w
		kept.dir = filepath.Join(begun.dir, fmt.Sprint(len(begun.worlds)))
		w.do(os.CopyFS(kept.dir, os.DirFS(w.dir)))
		begun.worlds[name] = &kept
	}
	return begun.worlds[name].copy(t)
}

// released is a world whose product has its first release.
func released(t testing.TB) *world { return releasedOn(t, sqlite) }

func releasedOn(t testing.TB, engine string) *world {
	t.Helper()
	return begin(t, engine+" released", func(t testing.TB) *world {
		w := newWorldOn(t, engine)
		w.product(map[string]string{spec.ProductFile: productFile, "experiments/smoke.yaml": smoke, "experiments/load.yaml": load})
		w.lib("lib 1")
		w.app("app 1")
		w.settle()
		w.want(1, integration.Landed, "released as v2026.11.1")
		return w
	})
}

func (w *world) entry(number int64) integration.Entry {
	w.t.Helper()
	e, err := w.s.Entry(w.t.Context(), number)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// want checks the phase of an entry and that its reason has all the words.
func (w *world) want(number int64, phase integration.Phase, words ...string) integration.Entry {
	w.t.Helper()
	e := w.entry(number)
	if e.Phase != phase {
		w.t.Fatalf("entry %d is %s: %s; want %s", number, e.Phase, e.Reason, phase)
	}
	for _, word := range words {
		if !strings.Contains(e.Reason, word) {
			w.t.Fatalf("entry %d is %s: %q; want a reason with %q", number, e.Phase, e.Reason, word)
		}
	}
	return e
}

func (w *world) entries() []integration.Entry {
	w.t.Helper()
	all, err := w.s.Entries(w.t.Context(), slipway.Query{Product: product})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) count(n int) {
	w.t.Helper()
	if all := w.entries(); len(all) != n {
		for _, e := range all {
			w.t.Logf("entry %d %q %s: %s", e.Number, e.Title, e.Phase, e.Reason)
		}
		w.t.Fatalf("%d entries, want %d", len(all), n)
	}
}

// releases are oldest first.
func (w *world) releases() []slipway.Release {
	w.t.Helper()
	var all []slipway.Release
	err := w.db.View(w.t.Context(), func(tx *store.Tx) (err error) {
		all, err = tx.Releases().Find(w.t.Context(), slipway.Query{Product: product})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// manifest is what main of the integration repository locks now, by component.
func (w *world) manifest() map[string]slipway.Locked {
	w.t.Helper()
	data, err := w.repos.File(w.t.Context(), "products/"+product, "refs/heads/main", release.ManifestPath("shore"))
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := release.DecodeManifest(data)
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Components
}

// locked checks that main locks a component to a commit.
func (w *world) locked(component, commit string) {
	w.t.Helper()
	if l := w.manifest()[component]; l.Commit != commit {
		w.t.Fatalf("the manifest has %s at %s, want %s", component, l.Commit, commit)
	}
}

// lockedIn checks that a configuration locks a component to a commit.
func (w *world) lockedIn(configuration, component, commit string) {
	w.t.Helper()
	data, err := w.repos.File(w.t.Context(), "products/"+product, "refs/heads/main", release.ManifestPath(configuration))
	w.do(err)
	m, err := release.DecodeManifest(data)
	w.do(err)
	if l := m.Components[component]; l.Commit != commit {
		w.t.Fatalf("the manifest of %s has %s at %s, want %s", configuration, component, l.Commit, commit)
	}
}

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// repositories are git repositories with their branch history. What a commit says is kept: it never changes.
type repositories struct {
	dir     string
	power   *power
	updates []integration.Update
	message string // of the next commit; empty: "a push"
	before  func() // called before refs of a release move
}

var said sync.Map // of commits, for all worlds: equal commits have equal ids

type answer struct {
	value any
	err   error
}

func remember[T any](key string, ask func() (T, error)) (T, error) {
	if a, ok := said.Load(key); ok {
		v, _ := a.(answer).value.(T)
		return v, a.(answer).err
	}
	v, err := ask()
	if err == nil || slipway.Is(err, slipway.NotFound) {
		said.Store(key, answer{v, err})
	}
	return v, err
}

func (r *repositories) git(repo string) (git.Repo, error) {
	dir := filepath.Join(r.dir, repo)
	if _, err := os.Stat(dir); err != nil {
		return git.Repo{}, slipway.Errorf(slipway.NotFound, "no repository %s", repo)
	}
	return git.Open(dir), nil
}

func (r *repositories) commit(t testing.TB, repo string, at time.Time, files map[string]string) string {
	t.Helper()
	return r.commitOn(t, repo, "", at, files)
}

// commitOn makes the branch a commit with a parent, which is its head unless another is given: then what came after that is dropped.
func (r *repositories) commitOn(t testing.TB, repo, parent string, at time.Time, files map[string]string) string {
	t.Helper()
	ctx := t.Context()
	g, err := git.Init(ctx, filepath.Join(r.dir, repo), "main")
	if err != nil {
		t.Fatal(err)
	}
	old, err := g.Ref(ctx, "refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	c := git.CommitSpec{Files: map[string][]byte{}, Message: cmp.Or(r.message, "a push"), Author: git.Signature{Name: "ada", Email: "ada@example.org"}, Time: at}
	if old != git.Zero {
		c.Parent = cmp.Or(parent, old)
	}
	for name, text := range files {
		c.Files[name] = []byte(text)
	}
	id, err := g.CommitFiles(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.move(ctx, "ada", slipway.RefUpdate{Repo: repo, Ref: "refs/heads/main", Old: old, New: id}); err != nil {
		t.Fatal(err)
	}
	return id
}

// move moves refs of one repository together and writes branch history.
func (r *repositories) move(ctx context.Context, actor string, moves ...slipway.RefUpdate) error {
	g, err := r.git(moves[0].Repo)
	if err != nil {
		return err
	}
	var changes []git.RefChange
	for _, m := range moves {
		changes = append(changes, git.RefChange{Ref: m.Ref, Old: m.Old, New: m.New})
	}
	if err := g.UpdateRefs(ctx, changes); err != nil {
		var e *slipway.Error
		if errors.As(err, &e) {
			return e.At(moves[0].Repo)
		}
		return err
	}
	for _, m := range moves {
		m.Actor = actor
		r.updates = append(r.updates, integration.Update{Seq: int64(len(r.updates) + 1), RefUpdate: m})
	}
	return nil
}

func (r *repositories) Resolve(ctx context.Context, repo, rev string) (string, error) {
	if err := r.power.on(); err != nil {
		return "", err
	}
	if git.IsID(rev) {
		return rev, nil
	}
	g, err := r.git(repo)
	if err != nil {
		return "", err
	}
	return g.Resolve(ctx, rev)
}

func (r *repositories) File(ctx context.Context, repo, rev, path string) ([]byte, error) {
	if err := r.power.on(); err != nil {
		return nil, err
	}
	id, err := r.Resolve(ctx, repo, rev)
	if err != nil {
		return nil, err
	}
	return remember("file "+id+" "+path, func() ([]byte, error) {
		g, err := r.git(repo)
		if err != nil {
			return nil, err
		}
		return g.File(ctx, id, path)
	})
}

func (r *repositories) Updates(_ context.Context, repo, ref string, after int64) ([]integration.Update, error) {
	var found []integration.Update
	for _, u := range r.updates {
		if u.Repo == repo && u.Ref == ref && u.Seq > after {
			found = append(found, u)
		}
	}
	return found, r.power.on()
}

func (r *repositories) IsAncestor(ctx context.Context, repo, ancestor, commit string) (bool, error) {
	if err := r.power.on(); err != nil {
		return false, err
	}
	return remember("ancestor "+ancestor+" "+commit, func() (bool, error) {
		g, err := r.git(repo)
		if err != nil {
			return false, err
		}
		return g.IsAncestor(ctx, ancestor, commit)
	})
}

func (r *repositories) Messages(ctx context.Context, repo, after, upTo string, limit int) ([]string, error) {
	commits, err := r.LogN(ctx, repo, after, upTo, "", limit)
	var messages []string
	for _, c := range commits {
		messages = append(messages, c.Message)
	}
	return messages, err
}

func (r *repositories) LogN(ctx context.Context, repo, from, to, path string, limit int, others ...string) ([]git.Commit, error) {
	return remember(fmt.Sprint("log ", from, " ", to, " ", path, " ", limit, others), func() ([]git.Commit, error) {
		g, err := r.git(repo)
		if err != nil {
			return nil, err
		}
		return g.Log(ctx, from, to, path, limit, others...)
	})
}

func (r *repositories) Refs(ctx context.Context, repo string, prefixes ...string) ([]git.Ref, error) {
	if strings.HasPrefix(repo, "components/") {
		return nil, nil // nobody tags components here
	}
	g, err := r.git(repo)
	if err != nil {
		return nil, err
	}
	return g.Refs(ctx, prefixes...)
}

func (r *repositories) Commit(ctx context.Context, repo string, c release.Commit) (string, error) {
	if err := r.power.on(); err != nil {
		return "", err
	}
	g, err := r.git(repo)
	if err != nil {
		return "", err
	}
	return g.CommitFiles(ctx, git.CommitSpec{Parent: c.Parent, Files: c.Files, Message: c.Message, Time: c.Time})
}

func (r *repositories) Tag(ctx context.Context, repo, name, commit, message string, at time.Time) (string, error) {
	g, err := r.git(repo)
	if err != nil {
		return "", err
	}
	return g.WriteTag(ctx, git.NewTag{Name: name, Commit: commit, Message: message, Tagger: git.Self(at)})
}

func (r *repositories) Move(ctx context.Context, actor, _ string, moves ...slipway.RefUpdate) error {
	if before := r.before; before != nil {
		r.before = nil
		before()
	}
	if err := r.move(ctx, actor, moves...); err != nil {
		return err
	}
	return r.power.wrote()
}

func (r *repositories) Object(ctx context.Context, repo, ref string) (string, error) {
	g, err := r.git(repo)
	if err != nil {
		return "", err
	}
	id, err := g.Ref(ctx, ref)
	if err == nil && id == slipway.ZeroCommit {
		err = slipway.Errorf(slipway.NotFound, "no ref %s", ref)
	}
	return id, err
}

func (r *repositories) Subjects(ctx context.Context, repo, path, after, upTo string) ([]string, error) {
	commits, err := r.LogN(ctx, repo, after, upTo, path, 0)
	var subjects []string
	for _, c := range commits {
		subjects = append(subjects, c.Subject())
	}
	return subjects, err
}

// products is the catalog of one product: pins and recipes are read by the real one.
type products struct {
	files *catalog.Service
	spec  spec.Product
	file  string

	retired string // why it takes nothing in any more
}

// load brings the product file at a commit into force if it is valid and says something else than before.
func (p *products) load(t testing.TB, r *repositories, commit string) bool {
	t.Helper()
	data, err := r.File(t.Context(), "products/"+product, commit, spec.ProductFile)
	if err != nil {
		return false
	}
	next, err := spec.ParseProduct(data, spec.ProductFile)
	if err != nil || fmt.Sprintf("%+v", next) == fmt.Sprintf("%+v", p.spec) && p.file != "" {
		return false
	}
	p.spec, p.file = next, commit
	return true
}

func (p *products) Product(context.Context, string) (spec.Product, string, error) {
	if p.file == "" {
		return spec.Product{}, "", slipway.Errorf(slipway.NotFound, "no product file")
	}
	return p.spec, p.file, nil
}

func (p *products) Retired(context.Context, string) (string, error) { return p.retired, nil }

func (p *products) PinAt(ctx context.Context, name string, ref spec.ComponentRef, commit string) (slipway.Pin, error) {
	return remember("pin "+name+" "+ref.Path+" "+commit, func() (slipway.Pin, error) { return p.files.PinAt(ctx, name, ref, commit) })
}

func (p *products) HeadPins(ctx context.Context, components map[string]spec.ComponentRef) (map[string]slipway.Pin, map[string]string, error) {
	return p.files.HeadPins(ctx, components)
}

func (p *products) Recipe(ctx context.Context, pin slipway.Pin) (spec.Component, error) {
	return p.files.Recipe(ctx, pin)
}

// changes are those that landed, by commit; one that has not is under its ref.
type changes map[string]integration.Change

func (c changes) Named(_ context.Context, name string) (integration.Change, bool, error) {
	for _, one := range c {
		if one.Ref == name {
			return one, true, nil
		}
	}
	return integration.Change{}, false, nil
}

func (c changes) Landed(_ context.Context, _, commit string) (integration.Change, bool, error) {
	found, ok := c[commit]
	return found, ok, nil
}

// trials are all that were ever asked for.
func (w *world) trials() []integration.Trial {
	w.t.Helper()
	var all []integration.Trial
	err := w.db.View(w.t.Context(), func(tx *store.Tx) (err error) {
		all, err = tx.Trials().Find(w.t.Context(), slipway.Query{Product: product})
		return err
	})
	w.do(err)
	return all
}

// lost counts the trials that ended with an outcome that is no verdict; a build that is lost loses the checks of all that need it.
func (w *world) lost(o slipway.Outcome) int {
	w.t.Helper()
	n := 0
	counted := map[string]bool{}
	for _, t := range w.trials() {
		if (t.Outcome == o || t.Outcome == slipway.Infra) && !counted[t.Wave] {
			counted[t.Wave] = true
			n++
		}
	}
	return n
}
