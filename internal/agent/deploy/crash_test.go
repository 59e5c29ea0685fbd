package deploy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"slipway.dev/slipway/internal/agent/deploy"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// TestMain is also the program that is deployed (SERVE=ADDRESS) and an agent that can be killed (AGENT=FILE).
func TestMain(m *testing.M) {
	if addr := os.Getenv("SERVE"); addr != "" {
		version := os.Getenv("VERSION")
		fmt.Println(http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, version) })))
		os.Exit(4)
	}
	if file := os.Getenv("AGENT"); file != "" {
		if err := runAgent(file); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// job is what the killed agent is to do.
type job struct {
	Root, State, Disk string
	Desired           plan.Desired
}

// runAgent applies a desired state, prints DONE when the node reports it, and works on until its standard input ends.
func runAgent(file string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var j job
	if err := json.Unmarshal(doc, &j); err != nil {
		return err
	}
	disk, err := artifact.OpenDisk(j.Disk)
	if err != nil {
		return err
	}
	m, err := deploy.New(deploy.Config{Node: "n", Root: j.Root, State: j.State, Artifacts: disk, Repair: time.Second, Grace: 2 * time.Second})
	if err != nil {
		return err
	}
	orders, err := json.Marshal(j.Desired)
	if err != nil {
		return err
	}
	if err := m.Apply(context.Background(), orders); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	for !settled(m, j.Desired.Products["ferry"]) {
		select {
		case err := <-ended:
			return err
		case <-m.Changed():
		}
	}
	fmt.Println("DONE")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	cancel()
	return <-ended
}

// settled reports whether everything is deployed and nothing is left to purge.
func settled(m *deploy.Module, want plan.Slice) bool {
	r := report(m).Products["ferry"]
	s := plan.Stand(plan.Node{Name: "n", Online: true, Heard: true, Desired: want.Resources, Reported: r.Statuses})
	return r.Epoch == want.Epoch && s.State == plan.Deployed
}

func report(m *deploy.Module) plan.Report {
	var r plan.Report
	doc, err := m.Report(context.Background())
	if err == nil {
		err = json.Unmarshal(doc, &r)
	}
	if err != nil {
		panic(err)
	}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func resource(t *testing.T, typ plan.Type, name string, attrs any, requires ...string) plan.Resource {
	t.Helper()
	r, err := plan.New("n", typ, name, attrs, requires, "deploy/model.star:1:1")
	must(t, err)
	return r
}

func slice(epoch int64, resources ...plan.Resource) plan.Slice {
	return plan.Slice{Product: "ferry", Version: fmt.Sprintf("ferry-%d", epoch), Epoch: epoch, Complete: true, Resources: resources, Digest: plan.Digest(resources)}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// TestKillsLoseNothing kills the agent with SIGKILL at random moments while it goes from version to version. Each version
// must end as if there had been no kills: its files, its tree, exactly one process, and nothing of the version before.
func TestKillsLoseNothing(t *testing.T) {
	root, state, disk := t.TempDir(), t.TempDir(), t.TempDir()
	st, err := artifact.OpenDisk(disk)
	must(t, err)
	addr := freePort(t)
	self, err := os.Executable()
	must(t, err)
	rng := rand.New(rand.NewPCG(7, 7))
	kills := 0
	defer func() { killMarked(t, state) }()
	for version := int64(1); version <= 6 || kills < 30; version++ { // a quick machine comes to its end before it is killed
		if version > 100 {
			t.Fatalf("only %d kills in %d versions", kills, version)
		}
		tree := t.TempDir()
		for i := range 20 {
			must(t, os.WriteFile(filepath.Join(tree, fmt.Sprintf("f%d", i)), bytes.Repeat([]byte{byte(version)}, 10_000*i), 0o644))
		}
		digest, err := artifact.PutTree(t.Context(), st, tree)
		must(t, err)
		bin := resource(t, plan.TypeArtifact, "/opt/app", plan.Artifact{Path: "/opt/app", Component: "app", Digest: digest})
		var all []plan.Resource
		for i := range 15 {
			p := fmt.Sprintf("/etc/app/%d-%d", i, int64(i)%version) // some names live on, others go
			all = append(all, resource(t, plan.TypeFile, p, plan.File{Path: p, Content: fmt.Appendf(nil, "%d", version), Mode: 0o644}, bin.ID))
		}
		seed := resource(t, plan.TypeExec, "seed", plan.Exec{Command: []string{"/bin/sh", "-euc", fmt.Sprintf(`echo x >> "$ROOT/seed-%d"`, version)},
			Creates: fmt.Sprintf("/seed-%d", version)})
		proc := resource(t, plan.TypeProcess, "app", plan.Process{Command: []string{self}, Health: "http://" + addr + "/",
			Env: map[string]string{"SERVE": addr, "VERSION": fmt.Sprint(version)}}, bin.ID, all[0].ID, seed.ID)
		want := slice(version, append(append([]plan.Resource{bin}, all...), seed, proc)...)
		doc, err := json.Marshal(job{root, state, disk, plan.Desired{Products: map[string]plan.Slice{"ferry": want}}})
		must(t, err)
		file := filepath.Join(t.TempDir(), "job.json")
		must(t, os.WriteFile(file, doc, 0o600))
		for attempt := 0; ; attempt++ {
			var lifetime time.Duration // 0: it may come to its end
			if attempt < 15 {
				lifetime = time.Duration(10+rng.IntN(70)) * time.Millisecond
			}
			if runKilled(t, self, file, lifetime, func() { check(t, root, state, addr, version, all) }) {
				break
			}
			kills++
		}
	}
	t.Logf("%d kills", kills)
}

// runKilled runs an agent and kills it after its lifetime. One that is done before that lives on while the node is
// checked; runKilled then reports true.
func runKilled(t *testing.T, self, file string, lifetime time.Duration, check func()) bool {
	t.Helper()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "AGENT="+file)
	in, err := cmd.StdinPipe()
	must(t, err)
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = cmd.Stdout
	must(t, cmd.Start())
	alive := func() bool { return true }
	if lifetime > 0 {
		alive = time.AfterFunc(lifetime, func() { cmd.Process.Kill() }).Stop
	}
	out := ""
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		if lines.Text() == "DONE" && alive() {
			check()
			must(t, in.Close())
			must(t, cmd.Wait())
			return true
		}
		out += lines.Text() + "\n"
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%s: %v\n%s", file, err, out)
	}
	return false
}

// check compares the node with what a version asks for.
func check(t *testing.T, root, state, addr string, version int64, files []plan.Resource) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "etc/app"))
	must(t, err)
	if len(entries) != len(files) {
		t.Errorf("version %d: %d files, want %d: %v", version, len(entries), len(files), entries)
	}
	for _, r := range files {
		text, err := os.ReadFile(filepath.Join(root, r.Name))
		if err != nil || string(text) != fmt.Sprint(version) {
			t.Errorf("version %d: %s holds %q, %v", version, r.Name, text, err)
		}
	}
	last, err := os.ReadFile(filepath.Join(root, "opt/app/f19"))
	if err != nil || !bytes.Equal(last, bytes.Repeat([]byte{byte(version)}, 190_000)) {
		t.Errorf("version %d: the tree holds %d bytes of another, %v", version, len(last), err)
	}
	// Processes that a killed agent left are looked at again, and may be started anew, while the agent works.
	var said string
	var pids []string
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; {
		said, pids = ask(addr), marked(state)
		if said == fmt.Sprint(version) && len(pids) == 1 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if said != fmt.Sprint(version) || len(pids) != 1 {
		t.Errorf("version %d: the process says %q; the processes are %v", version, said, pids)
	}
	if trees, err := filepath.Glob(filepath.Join(root, "opt/.app.slipway/*-*.list")); err != nil || len(trees) > 3 {
		t.Errorf("version %d: %d trees kept, %v", version, len(trees), err)
	}
}

// ask returns what the deployed process answers, or why it does not.
func ask(addr string) string {
	resp, err := http.Get("http://" + addr)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// marked finds the processes that agents over the state directory have started.
func marked(state string) (pids []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		env, err := os.ReadFile(dir + "/environ")
		if err == nil && bytes.Contains(env, []byte("SLIPWAY_PROCESS="+state)) {
			pids = append(pids, filepath.Base(dir))
		}
	}
	return pids
}

func killMarked(t *testing.T, state string) {
	for _, pid := range marked(state) {
		if err := exec.Command("kill", "-9", pid).Run(); err != nil {
			t.Logf("kill %s: %v", pid, err)
		}
	}
}
