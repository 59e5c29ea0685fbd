package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	agent "slipway.dev/slipway/internal/agent/deploy"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy"
	"slipway.dev/slipway/internal/stage/deploy/plan"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// TestMain is also the program that the tests deploy: with SERVE=ADDRESS it answers over HTTP with the first line of the
// file VERSION_FILE as it was when it started.
func TestMain(m *testing.M) {
	if addr := os.Getenv("SERVE"); addr != "" {
		text, err := os.ReadFile(os.Getenv("VERSION_FILE"))
		if err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		fmt.Println("serving on", addr)
		fmt.Println(http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/exit" {
				os.Exit(7)
			}
			fmt.Fprint(w, strings.TrimSpace(string(text)))
		})))
		os.Exit(4)
	}
	os.Exit(m.Run())
}

// world is a server's stage on a real database, with releases and nodes that the test makes, and real agents.
type world struct {
	t       *testing.T
	db      *store.DB
	svc     *deploy.Service
	disk    *artifact.Disk
	mu      sync.Mutex
	files   map[string]map[string]string // commit -> path -> text
	list    []slipway.Release
	compose map[string]deploy.ComposeStatus
	nodes   map[string]slipway.Node
	agents  map[string]*running
	pokes   map[string]chan struct{}
}

const productFile = `product: ferry
components:
  served: {repo: components/served}
configurations:
  edge:
    nodes: {role: edge}
deploy:
  model: deploy/model.star
`

func newWorld(t *testing.T, db *store.DB) *world {
	t.Helper()
	disk, err := artifact.OpenDisk(filepath.Join(t.TempDir(), "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, disk: disk, files: map[string]map[string]string{}, compose: map[string]deploy.ComposeStatus{},
		nodes: map[string]slipway.Node{}, agents: map[string]*running{}, pokes: map[string]chan struct{}{}}
	w.svc = deploy.New(store.Scope(db, func(tx *store.Tx) deploy.Tx { return tx }),
		deploy.Deps{Releases: w, Composes: w, Files: w, Nodes: nodeList{w}, Agents: w})
	runner, err := jobs.NewRunner(db, w.svc.Handlers(), jobs.Config{Owner: "test", Poll: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, a := range w.agents {
			a.stop()
		}
		if err := runner.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return w
}

// each runs a test in a world on each database.
func each(t *testing.T, f func(t *testing.T, w *world)) {
	storetest.Each(t, func(t *testing.T, db *store.DB) { f(t, newWorld(t, db)) }, deploy.Routes()...)
}

func (w *world) Latest(_ context.Context, product string) (slipway.Release, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range slices.Backward(w.list) {
		if r.Product == product {
			return r, nil
		}
	}
	return slipway.Release{}, slipway.Errorf(slipway.NotFound, "no release of %s", product)
}

func (w *world) Release(_ context.Context, id string) (slipway.Release, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.list {
		if r.ID == id {
			return r, nil
		}
	}
	return slipway.Release{}, slipway.Errorf(slipway.NotFound, "no release %s", id)
}

func (w *world) ComposeOf(_ context.Context, release string) (deploy.ComposeStatus, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.compose[release]
	if !ok {
		return c, slipway.Errorf(slipway.NotFound, "no compose of %s", release)
	}
	return c, nil
}

func (w *world) File(_ context.Context, repo, rev, path string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text, ok := w.files[rev][path]; ok && repo == "products/ferry" {
		return []byte(text), nil
	}
	return nil, slipway.Errorf(slipway.NotFound, "no file %s in %s at %s", path, repo, rev)
}

type nodeList struct{ w *world }

func (l nodeList) Nodes(context.Context) ([]slipway.Node, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	var all []slipway.Node
	for _, n := range l.w.nodes {
		all = append(all, n)
	}
	return all, nil
}

func (w *world) Poke(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.pokes[node] <- struct{}{}:
	default:
	}
}

func (w *world) emit(t slipway.EventType, subject, product string) {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), func(tx *store.Tx) error {
		return tx.Emit(w.t.Context(), slipway.Event{Type: t, Subject: subject, Product: product})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// release makes a release whose component "served" has the version, with the model at its commit.
func (w *world) release(version, model string, more map[string]string) slipway.Release {
	w.t.Helper()
	return w.releaseOf("ferry", version, model, more)
}

func (w *world) releaseOf(product, version, model string, more map[string]string) slipway.Release {
	w.t.Helper()
	dir := w.t.TempDir()
	must(w.t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	must(w.t, os.WriteFile(filepath.Join(dir, "bin", "served"), []byte("#!/bin/sh\n# "+version+"\nexec \"$PROGRAM\"\n"), 0o755))
	must(w.t, os.WriteFile(filepath.Join(dir, "version"), []byte(version+"\n"), 0o644))
	digest, err := artifact.PutTree(w.t.Context(), w.disk, dir)
	must(w.t, err)
	commit := fmt.Sprintf("%040d", len(w.list)+1)
	files := map[string]string{"product.yaml": productFile, "deploy/model.star": model}
	for k, v := range more {
		files[k] = v
	}
	r := slipway.Release{ID: product + "-v" + version, Product: product, Tag: "v" + version, Commit: commit,
		Manifests: map[string]slipway.Manifest{"edge": {Product: product, Configuration: "edge", Components: map[string]slipway.Locked{
			"served": {Repo: "components/served", Version: version, Commit: strings.Repeat("a", 40), Artifact: digest},
		}}}}
	w.mu.Lock()
	w.files[commit] = files
	w.list = append(w.list, r)
	w.mu.Unlock()
	w.emit(slipway.ReleaseCreated, "release/"+r.ID, product)
	return r
}

func (w *world) composed(r slipway.Release, state, reason string) {
	w.t.Helper()
	w.mu.Lock()
	w.compose[r.ID] = deploy.ComposeStatus{ID: r.ID, State: state, Reason: reason, URL: "http://localhost/composes/" + r.ID}
	w.mu.Unlock()
	event := slipway.ComposeFinished
	if state == "failed" {
		event = slipway.ComposeFailed
	}
	w.emit(event, "compose/"+r.ID, r.Product)
}

// running is an agent's module with the loop of a session.
type running struct {
	w      *world
	name   string
	root   string
	module *agent.Module
	cancel context.CancelFunc
	done   chan struct{}
}

// node makes a node with a free port and starts its agent.
func (w *world) node(name string) *running {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	must(w.t, l.Close())
	root := w.t.TempDir()
	program, err := os.Executable()
	must(w.t, err)
	w.mu.Lock()
	w.nodes[name] = slipway.Node{Name: name, Labels: map[string]string{"role": "edge"}, Online: true,
		Facts: map[string]string{"port": port, "root": root, "program": program}}
	w.pokes[name] = make(chan struct{}, 1)
	w.mu.Unlock()
	w.emit(slipway.NodeJoined, "node/"+name, "")
	return w.start(name, false)
}

// start starts the agent of a node over the state that it has.
func (w *world) start(name string, last bool) *running {
	w.t.Helper()
	w.mu.Lock()
	n := w.nodes[name]
	n.Online = true
	w.nodes[name] = n
	poke := w.pokes[name]
	w.mu.Unlock()
	a := &running{w: w, name: name, root: n.Facts["root"], done: make(chan struct{})}
	var err error
	a.module, err = agent.New(agent.Config{Node: name, Root: a.root, State: filepath.Join(a.root, "state"), Artifacts: w.disk,
		Repair: 300 * time.Millisecond, Grace: 2 * time.Second, StopAll: last})
	must(w.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	a.cancel = cancel
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.module.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	wg.Go(func() {
		heartbeat := time.NewTicker(200 * time.Millisecond)
		defer heartbeat.Stop()
		for ctx.Err() == nil {
			if err := a.sync(ctx); err != nil && ctx.Err() == nil {
				w.t.Error(err)
			}
			select {
			case <-ctx.Done():
			case <-poke:
			case <-a.module.Changed():
			case <-heartbeat.C:
			}
		}
	})
	go func() { wg.Wait(); close(a.done) }()
	w.agents[name] = a
	w.emit(slipway.NodeOnline, "node/"+name, "")
	return a
}

func (a *running) sync(ctx context.Context) error {
	report, err := a.module.Report(ctx)
	if err != nil {
		return err
	}
	desired, err := a.w.svc.Sync(ctx, a.name, report)
	if err != nil {
		return err
	}
	return a.module.Apply(ctx, desired)
}

// halt ends the agent and leaves its processes, as a kill does.
func (a *running) halt() {
	a.cancel()
	<-a.done
	a.w.mu.Lock()
	n := a.w.nodes[a.name]
	n.Online = false
	a.w.nodes[a.name] = n
	a.w.mu.Unlock()
	a.w.emit(slipway.NodeOffline, "node/"+a.name, "")
}

// stop ends the agent and everything that it started.
func (a *running) stop() {
	a.cancel()
	<-a.done
	m, err := agent.New(agent.Config{Node: a.name, Root: a.root, State: filepath.Join(a.root, "state"), StopAll: true})
	must(a.w.t, err)
	done, cancel := context.WithCancel(context.Background())
	cancel()
	must(a.w.t, m.Run(done))
}

// get asks the node's process.
func (a *running) get(path string) (string, error) {
	resp, err := http.Get("http://127.0.0.1:" + a.w.nodes[a.name].Facts["port"] + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body := make([]byte, 100)
	n, _ := resp.Body.Read(body)
	return string(body[:n]), nil
}

func (a *running) path(p string) string { return filepath.Join(a.root, p) }

// eventually waits for a condition that says "" when it holds, else what is missing.
func (w *world) eventually(what string, f func() string) {
	w.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		missing := f()
		if missing == "" {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			status, err := w.svc.Status(w.t.Context(), "ferry")
			doc, _ := json.MarshalIndent(status, "", " ")
			w.t.Fatalf("%s: %s\n%s %v", what, missing, doc, err)
		}
	}
}

// reaches waits until the version in force is in a state, and returns it.
func (w *world) reaches(id string, state deploy.State) (v deploy.Version) {
	w.t.Helper()
	w.eventually(id+" "+string(state), func() string {
		var err error
		if v, err = w.svc.Version(w.t.Context(), id); err != nil {
			return err.Error()
		}
		if v.State != state {
			return fmt.Sprintf("it is %s: %s", v.State, v.Reason)
		}
		return ""
	})
	return v
}

// status returns what a node last said about a resource.
func (w *world) status(node, id string) plan.Status {
	w.t.Helper()
	on, err := w.svc.Node(w.t.Context(), node)
	must(w.t, err)
	for _, o := range on {
		for _, k := range o.Resources {
			if k.ID == node+"/"+id && k.Status != nil {
				return *k.Status
			}
		}
	}
	return plan.Status{}
}

func (w *world) events(t slipway.EventType) []slipway.Event {
	w.t.Helper()
	all, err := w.db.Events(w.t.Context(), store.EventQuery{})
	must(w.t, err)
	return slices.DeleteFunc(all, func(e slipway.Event) bool { return e.Type != t })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
