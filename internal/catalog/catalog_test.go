package catalog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// world is real repositories and a real database, moved by pushes as the source stage records them.
type world struct {
	t   *testing.T
	db  *store.DB
	s   *catalog.Service
	dir string
	at  time.Time // of the last push
}

func newWorld(t *testing.T, db *store.DB) *world {
	w := &world{t: t, db: db, dir: t.TempDir(), at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	w.s = catalog.New(store.Scope(db, func(tx *store.Tx) catalog.Tx { return tx }), w)
	return w
}

func (w *world) repo(name string) git.Repo { return git.Open(filepath.Join(w.dir, name)) }

func (w *world) File(ctx context.Context, repo, rev, path string) ([]byte, error) {
	return w.repo(repo).File(ctx, rev, path)
}

func (w *world) Resolve(ctx context.Context, repo, rev string) (string, error) {
	if ok, _ := filepath.Glob(filepath.Join(w.dir, repo, "HEAD")); len(ok) == 0 {
		return "", slipway.Errorf(slipway.NotFound, "no repository %s", repo)
	}
	return w.repo(repo).Resolve(ctx, rev)
}

func (w *world) LogN(ctx context.Context, repo, from, to, path string, limit int, others ...string) ([]git.Commit, error) {
	return w.repo(repo).Log(ctx, from, to, path, limit, others...)
}

func (w *world) Refs(ctx context.Context, repo string, prefixes ...string) ([]git.Ref, error) {
	return w.repo(repo).Refs(ctx, prefixes...)
}

func (w *world) push(repo string, files map[string]string, tags ...string) string {
	w.t.Helper()
	return w.pushTo(repo, "main", files, tags...)
}

// pushTo commits files onto a branch an hour after the last push and records the move; the reconcilers have not run yet.
func (w *world) pushTo(repo, branch string, files map[string]string, tags ...string) string {
	w.t.Helper()
	ctx := w.t.Context()
	ref := "refs/heads/" + branch
	w.at = w.at.Add(time.Hour)
	g, err := git.Init(ctx, filepath.Join(w.dir, repo), "main")
	if err != nil {
		w.t.Fatal(err)
	}
	old, err := g.Ref(ctx, ref)
	if err != nil {
		w.t.Fatal(err)
	}
	parent := old
	if old == slipway.ZeroCommit {
		parent = ""
	}
	data := map[string][]byte{}
	for path, text := range files {
		data[path] = []byte(text)
	}
	id, err := g.CommitFiles(ctx, git.CommitSpec{Parent: parent, Files: data, Message: "push\n", Author: git.Signature{Name: "Ann", Email: "ann@example.org", Time: w.at}})
	if err != nil {
		w.t.Fatal(err)
	}
	changes := []git.RefChange{{Ref: ref, Old: old, New: id}}
	for _, tag := range tags {
		changes = append(changes, git.RefChange{Ref: "refs/tags/" + tag, Old: slipway.ZeroCommit, New: id})
	}
	if err := g.UpdateRefs(ctx, changes); err != nil {
		w.t.Fatal(err)
	}
	err = w.db.Update(ctx, func(tx *store.Tx) error {
		for _, c := range changes {
			u := slipway.RefUpdate{Repo: repo, Ref: c.Ref, Old: c.Old, New: c.New, Actor: "ann", Time: w.at}
			if err := tx.RefHistory().Append(ctx, u); err != nil {
				return err
			}
			data, err := json.Marshal(u)
			if err != nil {
				return err
			}
			if err := tx.Emit(ctx, slipway.Event{Type: slipway.RefUpdated, Subject: "repo/" + repo, Data: data}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) drain() { w.t.Helper(); jobstest.Drain(w.t, w.db, w.s.Handlers()...) }

func (w *world) events(kind slipway.EventType) []slipway.Event {
	w.t.Helper()
	events, err := w.db.Events(w.t.Context(), store.EventQuery{Type: string(kind)})
	if err != nil {
		w.t.Fatal(err)
	}
	return events
}

func recipe(name string, needs ...string) map[string]string {
	return map[string]string{"slipway.yaml": fmt.Sprintf("component: %s\nneeds: [%s]\nbuild: make\n", name, strings.Join(needs, ", "))}
}

const ferry = `product: ferry
components:
  tide: {}
  wire: {}
  quay: {repo: components/harbour, path: cmd/quay}
  wharf: {repo: components/harbour, path: cmd/wharf}
configurations: {deck: {}}
`

func each(t *testing.T, f func(t *testing.T, w *world)) {
	storetest.Each(t, func(t *testing.T, db *store.DB) { f(t, newWorld(t, db)) }, catalog.Routes()...)
}

// TestProduct loads a file, keeps it in force over a broken one, and loads the next.
func TestProduct(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		first := w.push("products/ferry", map[string]string{"product.yaml": ferry})
		w.drain()
		p, commit, err := w.s.Product(ctx, "ferry")
		if err != nil || commit != first || len(p.Components) != 4 {
			t.Fatalf("product %+v at %s: %v", p, commit, err)
		}
		broken := w.push("products/ferry", map[string]string{"product.yaml": "product: ferry\ncomponents: {tide: {}}\nconfigurations: {deck: {components: [tyde]}}\n"})
		w.drain()
		if _, commit, err := w.s.Product(ctx, "ferry"); err != nil || commit != first {
			t.Fatalf("after a broken push the file at %s is in force, want %s: %v", commit, first, err)
		}
		got, err := w.s.Get(ctx, "ferry")
		if err != nil || got.State != catalog.Broken || got.Head != broken || !strings.Contains(got.Reason, "product.yaml:3:38") {
			t.Fatalf("state %s: %s (%v)", got.State, got.Reason, err)
		}
		third := w.push("products/ferry", map[string]string{"product.yaml": ferry + "summary: better\n"})
		w.drain()
		if _, commit, err := w.s.Product(ctx, "ferry"); err != nil || commit != third {
			t.Fatalf("in force is %s, want %s: %v", commit, third, err)
		}
		w.push("products/ferry", map[string]string{"manifests/deck.yaml": "product: ferry\n"})
		w.drain()
		if _, commit, _ := w.s.Product(ctx, "ferry"); commit != third {
			t.Errorf("a commit that leaves product.yaml alone moved it to %s", commit)
		}
		if n, m := len(w.events(slipway.ProductLoaded)), len(w.events(slipway.ProductBroken)); n != 2 || m != 1 {
			t.Errorf("%d loaded and %d broken events, want 2 and 1", n, m)
		}
		if _, _, err := w.s.Product(ctx, "barge"); !slipway.Is(err, slipway.NotFound) || !strings.Contains(err.Error(), "products/barge") {
			t.Errorf("unknown product: %v", err)
		}
	})
}

// TestComponents reads every push, also those that came while nobody looked, and keeps needs over time.
// TestBranches gives branches of the integration repository queues, and takes them away.
func TestBranches(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.pushTo("products/ferry", "topic", map[string]string{"product.yaml": ferry})
		w.pushTo("products/ferry", "stable-1", map[string]string{"product.yaml": strings.Replace(ferry, "tide: {}", "tide: {branch: stable-1}", 1)})
		w.push("products/ferry", map[string]string{"product.yaml": ferry})
		w.drain()
		list := func(want string) {
			t.Helper()
			all, err := w.s.Products(ctx, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			var have []string
			for _, p := range all {
				have = append(have, p.Name+" "+p.State)
			}
			slices.Sort(have)
			if got := strings.Join(have, ", "); got != want {
				t.Fatalf("%s; want %s", got, want)
			}
		}
		list("ferry loaded")

		w.push("products/ferry", map[string]string{"product.yaml": ferry + "branches: [stable-*]\n"})
		w.drain()
		list("ferry loaded, ferry@stable-1 loaded")
		w.pushTo("products/ferry", "stable-2", map[string]string{"product.yaml": ferry})
		w.pushTo("components/tide", "stable-1", recipe("tide"))
		w.push("components/tide", recipe("tide"))
		w.drain()
		list("ferry loaded, ferry@stable-1 loaded, ferry@stable-2 loaded")
		old, err := w.s.Component(ctx, "ferry@stable-1", "tide")
		if err != nil {
			t.Fatal(err)
		}
		now, err := w.s.Component(ctx, "ferry", "tide")
		if err != nil || old.State != catalog.OK || now.State != catalog.OK || old.Head == now.Head {
			t.Fatalf("%+v %+v %v", old, now, err)
		}
		for ref, want := range map[string]bool{"main": true, "stable-1": true, "stable-3": true, "topic": false} {
			if has, err := w.s.HasQueue(ctx, "products/ferry", "refs/heads/"+ref); err != nil || has != want {
				t.Errorf("%s: %v %v", ref, has, err)
			}
		}
		files := func(text string) func(string) ([]byte, error) {
			return func(string) ([]byte, error) { return []byte(text), nil }
		}
		if err := w.s.Check(ctx, "products/ferry", "refs/heads/topic", files("nonsense")); err != nil {
			t.Error(err)
		}
		if err := w.s.Check(ctx, "products/ferry", "refs/heads/stable-1", files("nonsense")); !slipway.Is(err, slipway.Invalid) {
			t.Error(err)
		}
		if err := w.s.Check(ctx, "products/ferry", "refs/heads/stable-Ä", files(ferry)); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "stable-*") {
			t.Error(err)
		}

		w.push("products/ferry", map[string]string{"product.yaml": ferry + "branches: [stable-2]\n"})
		w.drain()
		list("ferry loaded, ferry@stable-1 retired, ferry@stable-2 loaded")
		if why, err := w.s.Retired(ctx, "ferry@stable-1"); err != nil || !strings.Contains(why, "does not name stable-1 any more") {
			t.Errorf("%q %v", why, err)
		}
		if n := len(w.events(slipway.ProductRetired)); n != 1 {
			t.Errorf("%d retired", n)
		}
		if uses, err := w.s.ProductsOf(ctx, "components/tide"); err != nil || len(uses) != 2 {
			t.Errorf("%+v %v", uses, err)
		}
		w.push("products/ferry", map[string]string{"product.yaml": ferry + "branches: [stable-1]\n"})
		w.drain()
		list("ferry loaded, ferry@stable-1 loaded, ferry@stable-2 retired")
	})
}

func TestComponents(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.push("products/ferry", map[string]string{"product.yaml": ferry})
		w.push("components/tide", recipe("tide"), "v1.2.0")
		w.push("components/wire", recipe("wire", "tide"))
		early := w.at
		w.push("components/harbour", map[string]string{
			"cmd/quay/slipway.yaml":  "component: quay\nneeds: [wire]\nbuild: make\n",
			"cmd/wharf/slipway.yaml": "component: wharf\nneeds: [quay]\nbuild: make\n",
		}, "cmd/quay/v0.3.0")
		middle := w.at
		wharf := w.push("components/harbour", map[string]string{"cmd/wharf/slipway.yaml": "component: wharf\nneeds: [tide]\nbuild: make\n"}, "cmd/wharf/v2.0.0", "v9.9.9")
		w.drain()

		for at, want := range map[time.Time]string{
			early:                   "wire",
			middle:                  "quay wharf wire",
			w.at:                    "quay wharf wire",
			early.Add(-time.Hour):   "",
			w.at.Add(24 * 3600e9):   "quay wharf wire",
			middle.Add(30 * 60e9):   "quay wharf wire",
			early.Add(-48 * 3600e9): "",
		} {
			deps, err := w.s.DependentsAt(ctx, "ferry", "tide", at)
			if err != nil {
				t.Fatal(err)
			}
			if got := names(deps); got != want {
				t.Errorf("dependents of tide at %s: %q, want %q", at, got, want)
			}
		}
		deps, err := w.s.DependentsAt(ctx, "ferry", "tide", middle)
		if err != nil || len(deps) != 3 || deps[0].Component != "wire" || deps[2].Component != "wharf" || deps[2].Tier != 3 ||
			!slices.Equal(deps[2].Path, []string{"wharf", "quay", "wire", "tide"}) {
			t.Errorf("then: %+v %v", deps, err)
		}
		now, err := w.s.Dependents(ctx, "ferry", "tide")
		if err != nil || now[0].Component != "wharf" || now[0].Tier != 1 {
			t.Errorf("now: %+v %v", now, err)
		}

		pins, err := w.s.Heads(ctx, "ferry")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range pins {
			got = append(got, p.Component+" "+p.Version)
		}
		wire, _ := w.repo("components/wire").Resolve(ctx, "main")
		want := []string{"quay 0.3.0", "tide 1.2.0", "wharf 2.0.0", "wire 0.0.0+1.g" + wire[:7]}
		if !slices.Equal(got, want) {
			t.Errorf("heads %q, want %q", got, want)
		}
		if pins[2].Commit != wharf || pins[0].Commit == wharf {
			t.Errorf("a monorepo pin is the last commit that touched its path: %+v", pins)
		}
		if n := len(w.events(slipway.ComponentSeen)); n != 6 {
			t.Errorf("%d ComponentSeen, want one for each move and component: 6", n)
		}
		w.drain()
		uses, err := w.s.ProductsOf(ctx, "components/harbour")
		if err != nil || len(uses) != 2 || uses[0].Path == "" {
			t.Errorf("uses: %+v %v", uses, err)
		}
	})
}

// TestBrokenComponent keeps what was valid, and says what is missing.
func TestBrokenComponent(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.push("products/ferry", map[string]string{"product.yaml": ferry})
		w.push("components/wire", recipe("wire", "tide"))
		w.drain()
		if c, err := w.s.Component(ctx, "ferry", "tide"); err != nil || c.State != catalog.Missing || !strings.Contains(c.Reason, "nobody has pushed to main of components/tide") {
			t.Errorf("tide: %+v %v", c, err)
		}
		w.push("components/wire", map[string]string{"slipway.yaml": "component: wire\nneeds: tide\nbuild: make\n"})
		w.drain()
		c, err := w.s.Component(ctx, "ferry", "wire")
		if err != nil || c.State != catalog.Broken || !strings.Contains(c.Reason, "slipway.yaml:2:8") || !slices.Equal(c.Recipe.Needs, []string{"tide"}) {
			t.Errorf("wire: %+v %v", c, err)
		}
		if deps, err := w.s.Dependents(ctx, "ferry", "tide"); err != nil || names(deps) != "wire" {
			t.Errorf("dependents %v %v", deps, err)
		}
		w.push("products/ferry", map[string]string{"product.yaml": "product: ferry\ncomponents: {tide: {}}\nconfigurations: {deck: {}}\n"})
		w.drain()
		if _, err := w.s.Component(ctx, "ferry", "wire"); !slipway.Is(err, slipway.NotFound) {
			t.Errorf("wire left the product: %v", err)
		}
		if deps, err := w.s.Dependents(ctx, "ferry", "tide"); err != nil || len(deps) != 0 {
			t.Errorf("dependents %v %v", deps, err)
		}
	})
}

// TestCheck refuses at the push what would be broken behind it.
func TestCheck(t *testing.T) {
	w := newWorld(t, storetest.Open(t, catalog.Routes()...))
	w.push("products/ferry", map[string]string{"product.yaml": ferry})
	w.push("components/tide", recipe("tide"))
	w.push("components/wire", recipe("wire", "tide"))
	w.drain()
	smoke := "experiment: smoke\nroles: {a: {artifacts: [tide]}}\nsteps: [{run: x}]\n"
	with := func(extra string, files map[string]string) map[string]string {
		out := map[string]string{"product.yaml": strings.Replace(ferry, "{deck: {}}", extra, 1)}
		for k, v := range files {
			out[k] = v
		}
		return out
	}
	for _, c := range []struct {
		name, repo, ref string
		files           map[string]string
		want            string // in the error; empty: accepted
	}{
		{"good", "components/tide", "refs/heads/main", recipe("tide"), ""},
		{"broken", "components/tide", "refs/heads/main", map[string]string{"slipway.yaml": "component: tide\n"}, `slipway.yaml:1:1: "build" is missing`},
		{"broken, for review", "components/tide", "refs/for/main", map[string]string{"slipway.yaml": "component: tide\n"}, `"build" is missing`},
		{"broken, with a topic", "components/tide", "refs/for/main/topic", map[string]string{"slipway.yaml": "component: tide\n"}, `"build" is missing`},
		{"broken, but nobody takes the branch", "components/tide", "refs/heads/wip", map[string]string{"slipway.yaml": "component: tide\n"}, ""},
		{"another name", "components/tide", "refs/heads/main", recipe("tyde"), `the product has "tide" there`},
		{"unknown need", "components/tide", "refs/heads/main", recipe("tide", "moon"), "needs moon, which the product does not have"},
		{"circle", "components/tide", "refs/heads/main", recipe("tide", "wire"), "tide needs wire needs tide"},
		{"nobody's component", "components/other", "refs/heads/main", map[string]string{"slipway.yaml": "component: [\n"}, "slipway.yaml:"},
		{"nobody's code", "components/other", "refs/heads/main", map[string]string{"main.go": "package main"}, ""},
		{"product", "products/ferry", "refs/heads/main", with("{deck: {experiments: [e/smoke.yaml]}}", map[string]string{"e/smoke.yaml": smoke}), ""},
		{"product without its file", "products/ferry", "refs/heads/main", nil, "has no product.yaml"},
		{"another product", "products/barge", "refs/heads/main", with("{deck: {}}", nil), `of the product "ferry", the repository of "barge"`},
		{"experiment missing", "products/ferry", "refs/heads/main", with("{deck: {experiments: [e/smoke.yaml]}}", nil), "e/smoke.yaml, which is missing"},
		{"experiment broken", "products/ferry", "refs/heads/main", with("{deck: {experiments: [e/smoke.yaml]}}", map[string]string{"e/smoke.yaml": "experiment: x\n"}), `e/smoke.yaml:1:1: "roles" is missing`},
		{"experiment of nothing", "products/ferry", "refs/heads/main", with("{deck: {experiments: [e/smoke.yaml]}}", map[string]string{"e/smoke.yaml": strings.Replace(smoke, "tide", "moon", 1)}), "no component of the product"},
		{"a module's file", "modules/base", "refs/heads/main", map[string]string{"module.yaml": "module: base\nstream: 1\ncomponents: [tide]\nbuildroots:\n  small: {base: host, tools: [sh]}\n"},
			"module.yaml:4:1: nothing is built by a module's own file yet"},
		{"a module's file, broken", "modules/base", "refs/for/main", map[string]string{"module.yaml": "module: base\ncomponents: [tide]\nbuildroot: odd\n"}, `module.yaml:`},
		{"a module's component", "modules/base", "refs/heads/main", recipe("base"), ""},
		{"model missing", "products/ferry", "refs/heads/main", with("{deck: {}}\ndeploy: {model: main.star}", nil), "main.star is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := w.s.Check(t.Context(), c.repo, c.ref, func(path string) ([]byte, error) {
				if text, ok := c.files[path]; ok {
					return []byte(text), nil
				}
				return nil, slipway.Errorf(slipway.NotFound, "no %s", path)
			})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (!slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want it to hold %q", err, c.want)
			}
		})
	}
}

func TestNeedsProblems(t *testing.T) {
	n := catalog.Needs{"a": {"b"}, "b": {"c", "x"}, "c": {"a"}, "d": {"d", "a"}}
	var got []string
	for _, p := range n.Problems([]string{"d", "c", "b", "a"}) {
		got = append(got, p.Error().Error())
	}
	want := []string{
		"components need each other in a circle: a needs b needs c needs a (remove one of these needs, move what both share into a component of its own, or say in product.yaml with bootstrap: where it starts)",
		"the component b needs x, which the product does not have (add x to the components of product.yaml, or remove the need)",
		"components need each other in a circle: d needs d (remove one of these needs, move what both share into a component of its own, or say in product.yaml with bootstrap: where it starts)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	// A circle that the product says how to start is none.
	if left := n.Without([]spec.Bootstrap{{From: "c", To: "a"}, {From: "d", To: "d"}}).Problems([]string{"d", "c", "b", "a"}); len(left) != 1 || left[0].Unknown != "x" {
		t.Errorf("%+v", left)
	}
}

func names(deps []catalog.Dependent) string {
	var out []string
	for _, d := range deps {
		out = append(out, d.Component)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
