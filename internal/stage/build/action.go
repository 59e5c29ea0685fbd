package build

import (
	"context"
	"maps"
	"slices"
	"strconv"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// sandboxVersion is raised when what the sandbox shows changes, so that old keys are not taken for new ones.
const sandboxVersion = "3"

// Where a build is on our own workers, for what it may have written into its output.
const (
	srcDir = "/build/src"
	outDir = "/build/out"
)

// prelude begins each script, in its first line so that its lines keep their numbers. A build finds its folders from where it
// is, so that it runs on any Remote Execution cluster; on our own workers that is /build.
const prelude = `export SRC="$PWD/src" OUT="$PWD/out" DEPS="$PWD/deps"; [ -d "$OUT" ] || mkdir "$OUT"; [ -d "$HOME" ] || mkdir -p "$HOME" || :; cd src; unset OLDPWD; `

// preludeRepo is for components that see more of their repository.
const preludeRepo = `export REPO="$PWD/repo"; `

// toolPath is where builds find programs.
const toolPath = "/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin"

// environment is a build's variables: the fixed ones, some of which the buildroot and the component may set otherwise.
func environment(pin slipway.Pin, rec recipe, root map[string]string) map[string]string {
	env := map[string]string{
		"PATH": toolPath,
		"LANG": "C.UTF-8",
		"TZ":   "UTC",
	}
	maps.Copy(env, root)
	maps.Copy(env, rec.Env)
	maps.Copy(env, map[string]string{
		"HOME":              "/tmp/home",
		"TMPDIR":            "/tmp",
		"SOURCE_DATE_EPOCH": strconv.FormatInt(max(rec.epoch.Unix(), 0), 10),
	})
	if rec.Stamp {
		env["VERSION"] = pin.Version
	}
	return env
}

// prepared is an action with its key, ready to be looked up or queued.
type prepared struct {
	action   plan.Action
	build    Build
	notes    []string        // for people: what a check looks at
	messages []proto.Message // the Action and what it refers to, to be kept when it is queued
	known    Build           // what its key came to before, if anything
}

// prepare makes the build of an action whose needs have the given outputs.
func (s *Service) prepare(ctx context.Context, a plan.Action, req slipway.WaveRequest, rec recipe, outputs map[string]string) (prepared, error) {
	i := slices.IndexFunc(req.Pins, func(p slipway.Pin) bool { return p.Component == a.Component })
	pin := req.Pins[i]
	src, err := s.trees.digest(ctx, pin, rec.tree)
	if err != nil {
		return prepared{}, err
	}
	step := rec.Build
	b := buildFor(req, pin, a)
	b.Source = src
	if b.Extra, err = s.trees.extra(ctx, pin, rec); err != nil {
		return prepared{}, err
	}
	rootEnv, err := s.equip(ctx, &b, req, rec)
	if err != nil {
		return prepared{}, err
	}
	for _, need := range rec.Needs {
		b.Inputs[need] = outputs[need]
	}
	if a.Check != "" {
		step = rec.Tests[a.Check]
		b.Own = outputs[a.Component]
	}
	b.Run = Run{Script: step.Run, Env: environment(pin, rec, rootEnv), Timeout: step.Timeout, Tools: rec.Tools}
	if a.Check == "" {
		b.Run.Outputs = rec.Outputs
	}
	p := prepared{action: a, build: b}
	if p.messages, err = s.messages(ctx, b); err != nil {
		return prepared{}, err
	}
	p.build.Key, err = keyOf(p.messages)
	return p, err
}

// buildFor is the build of an action as a wave asks for it, before it is known what goes into it.
func buildFor(req slipway.WaveRequest, pin slipway.Pin, a plan.Action) Build {
	return Build{
		Product: req.Product, Component: a.Component, Check: a.Check,
		Repo: pin.Repo, Path: pin.Path, Version: pin.Version, Commit: pin.Commit,
		State: Queued, Waves: []string{req.ID}, For: []string{req.For}, Inputs: map[string]string{},
	}
}

// keyOf is the digest of the last of an action's messages.
func keyOf(messages []proto.Message) (artifact.Digest, error) {
	data, err := artifact.Marshal(messages[len(messages)-1])
	if err != nil {
		return "", slipway.Errorf(slipway.Internal, "encode an action: %w", err)
	}
	return artifact.DigestOf(data), nil
}

// messages returns the Remote Execution messages of a build; the last is the Action.
func (s *Service) messages(ctx context.Context, b Build) ([]proto.Message, error) {
	m := &messages{}
	node := func(name string, d artifact.Digest) (*repb.DirectoryNode, error) {
		size, err := s.artifacts.Stat(ctx, d)
		if err != nil {
			return nil, err
		}
		return &repb.DirectoryNode{Name: name, Digest: artifact.Proto(d, size)}, nil
	}
	deps := &repb.Directory{}
	for _, need := range slices.Sorted(maps.Keys(b.Inputs)) {
		n, err := node(need, b.Inputs[need])
		if err != nil {
			return nil, err
		}
		deps.Directories = append(deps.Directories, n)
	}
	root := &repb.Directory{Directories: []*repb.DirectoryNode{{Name: "deps", Digest: m.ref(deps)}}}
	src, err := node("src", b.Source)
	if err != nil {
		return nil, err
	}
	root.Directories = append(root.Directories, src)
	if b.Own != "" {
		own, err := node("out", b.Own)
		if err != nil {
			return nil, err
		}
		root.Directories = append(root.Directories, own)
	}
	for name, d := range map[string]artifact.Digest{"repo": b.Extra, "root": b.Root} {
		if d == "" {
			continue
		}
		n, err := node(name, d)
		if err != nil {
			return nil, err
		}
		root.Directories = append(root.Directories, n)
	}
	writable := "src,out"
	if b.Check != "" && b.Own != "" {
		writable = "src"
	}
	properties := map[string]string{execution.PropertySandbox: sandboxVersion, execution.PropertyWritable: writable}
	switch {
	case b.Root != "":
		properties[execution.PropertyRoot] = "root"
	default:
		properties[execution.PropertyHost] = b.Host
	}
	if b.Unconfined {
		properties[execution.PropertyUnconfined] = "allow"
	}
	script := prelude + b.Run.Script
	if b.Extra != "" {
		script = preludeRepo + script
	}
	var outputs []string
	if b.Check == "" {
		outputs = []string{"out"}
	}
	m.action(b.Run, root, properties, outputs, script)
	return m.all, m.err
}

// messages are those of an action, each after what it refers to.
type messages struct {
	all []proto.Message
	err error // the first
}

// ref adds a message and returns its digest.
func (m *messages) ref(one proto.Message) *repb.Digest {
	data, err := artifact.Marshal(one)
	if err != nil && m.err == nil {
		m.err = slipway.Errorf(slipway.Internal, "encode an action: %w", err)
	}
	m.all = append(m.all, one)
	return artifact.Proto(artifact.DigestOf(data), int64(len(data)))
}

// action adds an input root, the command that runs a script over it, and last the Action of both.
func (m *messages) action(run Run, root *repb.Directory, properties map[string]string, outputs []string, script string) {
	platform := &repb.Platform{}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		platform.Properties = append(platform.Properties, &repb.Platform_Property{Name: name, Value: properties[name]})
	}
	command := &repb.Command{Arguments: []string{"sh", "-eu", "-c", script}, OutputPaths: outputs}
	for _, name := range slices.Sorted(maps.Keys(run.Env)) {
		command.EnvironmentVariables = append(command.EnvironmentVariables, &repb.Command_EnvironmentVariable{Name: name, Value: run.Env[name]})
	}
	m.ref(&repb.Action{InputRootDigest: m.ref(root), CommandDigest: m.ref(command), Timeout: durationpb.New(run.Timeout), Platform: platform})
}
