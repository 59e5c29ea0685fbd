package server_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution/executiontest"
	"slipway.dev/slipway/internal/platform/execution/remote"
	"slipway.dev/slipway/internal/server/servertest"
)

// freeAddr is an address where nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// cluster is a server process that serves remote execution.
func cluster(t *testing.T, args ...string) (rig *servertest.Rig, addr string) {
	addr = freeAddr(t)
	rig = servertest.New(t, append([]string{"--reapi", addr}, args...)...)
	rig.Up()
	rig.Ready()
	return rig, addr
}

// The farm of a server process is a cluster like any other.
func TestRemoteExecutorOnAFarm(t *testing.T) {
	rig, addr := cluster(t)
	client, err := remote.Dial(remote.Config{Endpoint: addr, Token: rig.Token()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	executiontest.Run(t, func(t *testing.T) executiontest.Rig {
		store, err := artifact.OpenDisk(filepath.Join(t.TempDir(), "artifacts"))
		if err != nil {
			t.Fatal(err)
		}
		return executiontest.Rig{Store: store, Executor: remote.New(store, client)}
	})
}

// Bazel builds on the farm, and with another output base everything comes from its cache.
func TestBazelBuildsOnTheFarm(t *testing.T) {
	rig, addr := cluster(t)
	ws := filepath.Join(rig.Dir, "ws")
	rig.Write(ws, map[string]string{
		"WORKSPACE": "workspace(name = \"story\")\n",
		"in.txt":    "input\n",
		"BUILD": `genrule(name = "a", outs = ["a.txt"], cmd = "echo first > $@")
genrule(name = "b", srcs = ["in.txt"], outs = ["b.txt"], cmd = "cat $< > $@; echo second >> $@")
genrule(name = "c", srcs = [":a", ":b"], outs = ["c.txt"], cmd = "cat $(SRCS) > $@")
genrule(name = "bad", outs = ["bad.txt"], cmd = "echo why it fails >&2; exit 3")
`,
	})
	bazel := func(base, token, target string) (string, error) {
		// No server of its own, and nothing of who runs the test.
		cmd := exec.Command("bazel", "--nohome_rc", "--batch", "--output_user_root="+filepath.Join(rig.Dir, "bazel"), "--output_base="+filepath.Join(rig.Dir, base),
			"build", target, "--remote_executor=grpc://"+addr, "--remote_header=authorization=Bearer "+token, "--spawn_strategy=remote", "--remote_retries=0", "--color=no", "--curses=no")
		cmd.Dir, cmd.Env = ws, append(os.Environ(), "HOME="+rig.Dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, run := range []struct{ base, want string }{
		{"first", "3 remote."},
		{"second", "3 remote cache hit"},
	} {
		out, err := bazel(run.base, rig.Token(), "//:c")
		if err != nil || !strings.Contains(out, run.want) {
			t.Fatalf("%s: %v: no %q in\n%s", run.base, err, run.want, out)
		}
		if text, err := os.ReadFile(filepath.Join(ws, "bazel-bin/c.txt")); err != nil || string(text) != "first\ninput\nsecond\n" {
			t.Fatalf("%s: %q %v", run.base, text, err)
		}
	}
	if out, err := bazel("second", rig.Token(), "//:bad"); err == nil || !strings.Contains(out, "why it fails") || !strings.Contains(out, "Exit 3") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := bazel("third", "slw_wrong", "//:c"); err == nil || !strings.Contains(out, "UNAUTHENTICATED") {
		t.Errorf("a wrong token: %v\n%s", err, out)
	}
}

// Builds of one server run on the farm of another: their logs come live, their outputs come home, and a farm that dies meanwhile only delays
// them.
func TestBuildsRunOnACluster(t *testing.T) {
	far, addr := cluster(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(far.Token()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	near := &outpost{servertest.New(t, "--remote-execution", "grpc://"+addr, "--remote-token-file", token), t}
	near.Up()
	near.Ready()
	near.begin()
	id := near.running(1)
	far.Kill("server")
	far.Up()
	b := near.passed(id)
	hex := strings.TrimPrefix(b.Output, artifact.Prefix)
	if _, err := os.Stat(filepath.Join(near.Data(), "artifacts", "blobs", hex[:2], hex)); err != nil {
		t.Errorf("the output is not here: %v", err)
	}
	if log := near.log(id); !strings.Contains(log, "\nstarted\n") {
		t.Errorf("%s", log)
	}
	tasks, err := client.All(far.Client().Tasks(t.Context(), "", "", 0))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%+v %v", tasks, err)
	}
	for _, task := range tasks {
		if task.Action != b.Key {
			t.Errorf("the cluster ran %+v", task)
		}
	}
}
