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

// Folders that a build sees.
const (
	srcDir  = "/build/src"
	outDir  = "/build/out"
	depsDir = "/build/deps"
)

// sandboxVersion is raised when what the sandbox shows changes, so that old keys are not taken for new ones.
const sandboxVersion = "2"

// environment is a build's variables: the fixed ones, some of which the component may set otherwise.
func environment(pin slipway.Pin, rec recipe) map[string]string {
	env := map[string]string{
		"PATH": "/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin",
		"LANG": "C.UTF-8",
		"TZ":   "UTC",
	}
	maps.Copy(env, rec.Env)
	maps.Copy(env, map[string]string{
		"HOME":              "/tmp/home",
		"TMPDIR":            "/tmp",
		"SRC":               srcDir,
		"OUT":               outDir,
		"DEPS":              depsDir,
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
	messages []proto.Message // the Action and what it refers to, to be kept when it is queued
}

// prepare makes the build of an action whose needs have the given outputs.
func (s *Service) prepare(ctx context.Context, a plan.Action, req slipway.WaveRequest, rec recipe, outputs map[string]string) (prepared, error) {
	i := slices.IndexFunc(req.Pins, func(p slipway.Pin) bool { return p.Component == a.Component })
	pin := req.Pins[i]
	src, err := s.trees.digest(ctx, pin, rec.tree)
	if err != nil {
		return prepared{}, err
	}
	host, err := s.host.fingerprint(ctx)
	if err != nil {
		return prepared{}, err
	}
	step := rec.Build
	b := Build{
		Product: req.Product, Component: a.Component, Check: a.Check,
		Repo: pin.Repo, Path: pin.Path, Version: pin.Version, Commit: pin.Commit,
		State: Queued, Waves: []string{req.ID}, For: []string{req.For},
		Source: src, Inputs: map[string]string{}, Host: host,
	}
	for _, need := range rec.Needs {
		b.Inputs[need] = outputs[need]
	}
	if a.Check != "" {
		step = rec.Tests[a.Check]
		b.Own = outputs[a.Component]
	}
	b.Run = Run{Script: step.Run, Env: environment(pin, rec), Timeout: step.Timeout, Tools: rec.Tools}
	if a.Check == "" {
		b.Run.Outputs = rec.Outputs
	}
	p := prepared{action: a, build: b}
	if p.messages, err = s.messages(ctx, b); err != nil {
		return prepared{}, err
	}
	data, err := artifact.Marshal(p.messages[len(p.messages)-1])
	if err != nil {
		return prepared{}, slipway.Errorf(slipway.Internal, "encode an action: %w", err)
	}
	p.build.Key = artifact.DigestOf(data)
	return p, nil
}

// messages returns the Remote Execution messages of a build; the last is the Action.
func (s *Service) messages(ctx context.Context, b Build) ([]proto.Message, error) {
	var all []proto.Message
	ref := func(m proto.Message) (*repb.Digest, error) {
		data, err := artifact.Marshal(m)
		if err != nil {
			return nil, slipway.Errorf(slipway.Internal, "encode an action: %w", err)
		}
		all = append(all, m)
		return artifact.Proto(artifact.DigestOf(data), int64(len(data))), nil
	}
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
	depsRef, err := ref(deps)
	if err != nil {
		return nil, err
	}
	root := &repb.Directory{Directories: []*repb.DirectoryNode{{Name: "deps", Digest: depsRef}}}
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
	rootRef, err := ref(root)
	if err != nil {
		return nil, err
	}
	writable := "src,out"
	if b.Check != "" {
		writable = "src"
	}
	platform := &repb.Platform{Properties: []*repb.Platform_Property{
		{Name: execution.PropertyHost, Value: b.Host},
		{Name: execution.PropertySandbox, Value: sandboxVersion},
		{Name: execution.PropertyWritable, Value: writable},
	}}
	command := &repb.Command{Arguments: []string{"sh", "-eu", "-c", b.Run.Script}, WorkingDirectory: "src"}
	for _, name := range slices.Sorted(maps.Keys(b.Run.Env)) {
		command.EnvironmentVariables = append(command.EnvironmentVariables, &repb.Command_EnvironmentVariable{Name: name, Value: b.Run.Env[name]})
	}
	if b.Check == "" {
		command.OutputPaths = []string{"../out"}
	}
	commandRef, err := ref(command)
	if err != nil {
		return nil, err
	}
	_, err = ref(&repb.Action{CommandDigest: commandRef, InputRootDigest: rootRef, Timeout: durationpb.New(b.Run.Timeout), Platform: platform})
	return all, err
}
