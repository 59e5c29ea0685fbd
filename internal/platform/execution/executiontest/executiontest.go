// Package executiontest is the contract of [execution.Executor] as a suite that every executor passes.
package executiontest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/durationpb"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
)

// Rig is an executor under test and the store whose actions it runs, which is fresh. The executor runs on this machine, or
// processes that it starts do, so that the suite can see whether they are gone.
type Rig struct {
	Store    *artifact.Disk
	Executor execution.Executor
}

// Run runs the suite.
func Run(t *testing.T, make func(t *testing.T) Rig) {
	for _, c := range slices.Concat(endings, outputs, inputs, bounds) {
		t.Run(c.name, func(t *testing.T) {
			c.test(&bench{T: t, Rig: make(t)})
		})
	}
}

type testCase struct {
	name string
	test func(b *bench)
}

type bench struct {
	*testing.T
	Rig
}

// act is an action in the making. Files, links and folders make the input root.
type act struct {
	script  string // for sh -eu -c; or argv
	argv    []string
	env     map[string]string
	dir     string
	files   map[string]string // path to content; "x!" ends the path of an executable
	links   map[string]string
	folders []string
	outputs []string
	props   map[string]string
	timeout time.Duration
	edit    func(*repb.Action, *repb.Command)
}

const usualPath = "/usr/local/bin:/usr/bin:/bin"

// put makes the action's messages and inputs and returns its digest.
func (b *bench) put(a act) artifact.Digest {
	b.Helper()
	top := b.TempDir()
	for _, f := range a.folders {
		b.must(os.MkdirAll(filepath.Join(top, f), 0o755))
	}
	for name, text := range a.files {
		mode := os.FileMode(0o644)
		name, exec := strings.CutSuffix(name, "!")
		if exec {
			mode = 0o755
		}
		b.must(os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o755))
		b.must(os.WriteFile(filepath.Join(top, name), []byte(text), mode))
	}
	for name, target := range a.links {
		b.must(os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o755))
		b.must(os.Symlink(target, filepath.Join(top, name)))
	}
	root, err := artifact.PutTree(b.Context(), b.Store, top)
	b.must(err)
	size, err := b.Store.Stat(b.Context(), root)
	b.must(err)
	c := &repb.Command{Arguments: a.argv, WorkingDirectory: a.dir, OutputPaths: slices.Sorted(slices.Values(a.outputs))}
	if a.argv == nil {
		c.Arguments = []string{"sh", "-eu", "-c", a.script}
	}
	env := map[string]string{"PATH": usualPath}
	if a.env != nil {
		env = a.env
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		c.EnvironmentVariables = append(c.EnvironmentVariables, &repb.Command_EnvironmentVariable{Name: name, Value: env[name]})
	}
	m := &repb.Action{InputRootDigest: artifact.Proto(root, size), Platform: &repb.Platform{}}
	for _, name := range slices.Sorted(maps.Keys(a.props)) {
		m.Platform.Properties = append(m.Platform.Properties, &repb.Platform_Property{Name: name, Value: a.props[name]})
	}
	timeout := a.timeout
	if timeout == 0 {
		timeout = 5 * time.Minute
	}
	m.Timeout = durationpb.New(timeout)
	if a.edit != nil {
		a.edit(m, c)
	}
	command, n, err := artifact.PutMessage(b.Context(), b.Store, c)
	b.must(err)
	if m.CommandDigest == nil {
		m.CommandDigest = artifact.Proto(command, n)
	}
	digest, _, err := artifact.PutMessage(b.Context(), b.Store, m)
	b.must(err)
	return digest
}

// run runs an action that can be run, and returns what it said.
func (b *bench) run(a act, l execution.Limits) (execution.Result, string) {
	b.Helper()
	var log logBuffer
	res, err := b.Executor.Execute(b.Context(), execution.Request{Action: b.put(a), Limits: l, Log: &log})
	if err != nil {
		b.Fatalf("%v\n%s", err, log.String())
	}
	if res.Action == nil {
		b.Fatal("a result without an action result")
	}
	return res, log.String()
}

// pass runs an action that has to exit with 0.
func (b *bench) pass(a act) (execution.Result, string) {
	b.Helper()
	res, log := b.run(a, execution.Limits{})
	if res.Status != execution.Exited || res.Action.ExitCode != 0 {
		b.Fatalf("%s: %s\n%s", res.Status, res.Reason, log)
	}
	return res, log
}

// fails runs an action that nobody can run and returns why.
func (b *bench) fails(digest artifact.Digest) error {
	b.Helper()
	res, err := b.Executor.Execute(b.Context(), execution.Request{Action: digest})
	if err == nil {
		b.Fatalf("it ran: %s: %s", res.Status, res.Reason)
	}
	return err
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) bytes(d *repb.Digest) string {
	b.Helper()
	digest, size, err := artifact.FromProto(d)
	b.must(err)
	data, err := artifact.Bytes(b.Context(), b.Store, digest, 1<<30)
	b.must(err)
	if int64(len(data)) != size {
		b.Fatalf("%s has %d bytes, and the result says %d", digest, len(data), size)
	}
	return string(data)
}

// listing describes all outputs of a result, one a line: "file x! text", "dir d", "link l -> t".
func (b *bench) listing(r *repb.ActionResult) string {
	b.Helper()
	var lines []string
	describe := func(at string, e artifact.Entry) string {
		p := strings.TrimPrefix(at+"/"+e.Path, "/")
		switch {
		case e.Dir:
			return "dir " + p
		case e.Target != "":
			return "link " + p + " -> " + e.Target
		case e.Executable:
			p += "!"
		}
		return "file " + p + " " + b.bytes(artifact.Proto(e.Digest, e.Size))
	}
	for _, f := range r.OutputFiles {
		d, size, err := artifact.FromProto(f.Digest)
		b.must(err)
		lines = append(lines, describe("", artifact.Entry{Path: f.Path, Digest: d, Size: size, Executable: f.IsExecutable}))
	}
	//lint:ignore SA1019 clients before version 2.1 of the API look there
	for _, l := range slices.Concat(r.OutputSymlinks, r.OutputFileSymlinks, r.OutputDirectorySymlinks) {
		lines = append(lines, describe("", artifact.Entry{Path: l.Path, Target: l.Target}))
	}
	for _, d := range r.OutputDirectories {
		lines = append(lines, "dir "+d.Path)
		tree, _, err := artifact.FromProto(d.TreeDigest)
		b.must(err)
		t, err := execution.ReadTree(b.Context(), b.Store, tree)
		b.must(err)
		root, err := execution.PutDirectories(b.Context(), b.Store, t)
		b.must(err)
		if d.RootDirectoryDigest != nil && artifact.Prefix+d.RootDirectoryDigest.Hash != root {
			b.Errorf("the tree of %s has the root %s, its folder %s", d.Path, root, d.RootDirectoryDigest.Hash)
		}
		entries, err := artifact.ListTree(b.Context(), b.Store, root)
		b.must(err)
		for _, e := range entries {
			lines = append(lines, describe(d.Path, e))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (b *bench) expect(what, got, want string) {
	b.Helper()
	if got != want {
		b.Fatalf("%s is\n%s\nand should be\n%s", what, got, want)
	}
}

// eventually waits until ok.
func (b *bench) eventually(what string, ok func() bool) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			b.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

// running reports whether a process of this machine has the word in its command line.
func running(word string) bool {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range lines {
		text, _ := os.ReadFile(f)
		if args := strings.Split(string(text), "\x00"); slices.Contains(args, word) && filepath.Base(args[0]) == "sleep" {
			return true
		}
	}
	return false
}

// lasting is a number of seconds that no other process sleeps for.
func (b *bench) lasting() string {
	return fmt.Sprintf("86400.%d%d", os.Getpid(), time.Now().UnixNano())
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
