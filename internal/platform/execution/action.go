package execution

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// maxMessage bounds an Action or Command message, in bytes.
const maxMessage = 16 << 20

// Action is an Action message with its Command, checked.
type Action struct {
	Digest    artifact.Digest
	Message   *repb.Action
	Command   *repb.Command
	Root      artifact.Digest // of the input root
	Dir       string          // working directory below the input root; "." is the root itself
	Env       map[string]string
	Timeout   time.Duration     // 0: the executor's own
	Platform  map[string]string // properties; values of one name are joined by commas
	Outputs   []Output
	cacheable bool
}

// Output is a path that an action declares.
type Output struct {
	Declared string // as the Command has it, relative to the working directory
	Path     string // relative to the input root, clean
	Only     string // "file" or "directory" where the Command says which; else ""
}

// Cacheable reports whether the result may answer for later runs of the same action.
func (a *Action) Cacheable() bool { return a.cacheable }

// Load reads an action and its command from a store. It returns NotFound when one of them is not there, and Invalid when they
// mean nothing: no arguments, a path that leaves the input root, an unknown property of Slipway's own.
func Load(ctx context.Context, from artifact.Opener, digest artifact.Digest) (*Action, error) {
	a := &Action{Digest: digest, Message: &repb.Action{}, Command: &repb.Command{}}
	if err := readMessage(ctx, from, digest, "action", a.Message); err != nil {
		return nil, err
	}
	command, _, err := artifact.FromProto(a.Message.CommandDigest)
	if err != nil {
		return nil, wrong(digest, "names no command: %w", err)
	}
	if err := readMessage(ctx, from, command, "command", a.Command); err != nil {
		return nil, err
	}
	if a.Root, _, err = artifact.FromProto(a.Message.InputRootDigest); err != nil {
		return nil, wrong(digest, "names no input root: %w", err)
	}
	c := a.Command
	if len(c.Arguments) == 0 || c.Arguments[0] == "" {
		return nil, wrong(digest, "has a command without arguments")
	}
	if a.Dir, err = below("", c.WorkingDirectory); err != nil {
		return nil, wrong(digest, "has the working directory %q: %w", c.WorkingDirectory, err)
	}
	a.Env = map[string]string{}
	for _, v := range c.EnvironmentVariables {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.ContainsRune(v.Value, 0) {
			return nil, wrong(digest, "has a variable that no program can be given, %q", v.Name)
		}
		a.Env[v.Name] = v.Value
	}
	for _, arg := range c.Arguments {
		if strings.ContainsRune(arg, 0) {
			return nil, wrong(digest, "has an argument that no program can be given, %q", arg)
		}
	}
	if t := a.Message.Timeout; t != nil {
		if !t.IsValid() || t.AsDuration() < 0 {
			return nil, wrong(digest, "has the timeout %v", t)
		}
		a.Timeout = t.AsDuration()
	}
	platform := a.Message.Platform
	if platform == nil {
		//lint:ignore SA1019 clients before version 2.2 of the API send it there
		platform = c.Platform
	}
	a.Platform = map[string]string{}
	for _, p := range platform.GetProperties() {
		if old, ok := a.Platform[p.Name]; ok {
			a.Platform[p.Name] = old + "," + p.Value
		} else {
			a.Platform[p.Name] = p.Value
		}
	}
	a.cacheable = !a.Message.DoNotCache
	return a, a.outputs()
}

// outputs reads the declared outputs of either form.
func (a *Action) outputs() error {
	add := func(paths []string, only string) error {
		for _, p := range paths {
			clean, err := below(a.Dir, p)
			if err != nil || p == "" && only != "directory" {
				return wrong(a.Digest, "declares the output %q: %w", p, err)
			}
			a.Outputs = append(a.Outputs, Output{Declared: p, Path: clean, Only: only})
		}
		return nil
	}
	if len(a.Command.OutputPaths) > 0 {
		return add(a.Command.OutputPaths, "")
	}
	//lint:ignore SA1019 clients before version 2.1 of the API send these
	files, dirs := a.Command.OutputFiles, a.Command.OutputDirectories
	if err := add(files, "file"); err != nil {
		return err
	}
	return add(dirs, "directory")
}

// Writable returns the top folders of the input root that the action may write to. With all it may write everywhere.
func (a *Action) Writable() (folders []string, all bool, err error) {
	value, ok := a.Platform[PropertyWritable]
	if !ok {
		return nil, true, nil
	}
	for name := range strings.SplitSeq(value, ",") {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return nil, false, wrong(a.Digest, "has %q in %s, which is no top folder", name, PropertyWritable)
		}
		folders = append(folders, name)
	}
	slices.Sort(folders)
	return slices.Compact(folders), false, nil
}

// below returns p, relative to dir, as a clean path that stays below the root.
func below(dir, p string) (string, error) {
	clean := path.Join(dir, p)
	switch {
	case clean == "":
		return ".", nil
	case strings.ContainsRune(p, 0), strings.HasPrefix(p, "/"):
		return "", slipway.Errorf(slipway.Invalid, "it is not a relative path")
	case clean == "..", strings.HasPrefix(clean, "../"):
		return "", slipway.Errorf(slipway.Invalid, "it leaves the input root")
	}
	return clean, nil
}

func readMessage(ctx context.Context, from artifact.Opener, digest artifact.Digest, what string, m proto.Message) error {
	data, err := artifact.Bytes(ctx, from, digest, maxMessage)
	if err != nil {
		return slipway.Errorf(slipway.KindOf(err), "the %s: %w", what, err)
	}
	if err := proto.Unmarshal(data, m); err != nil {
		return slipway.Errorf(slipway.Invalid, "%s is no %s: %w", digest, what, err)
	}
	return nil
}

func wrong(digest artifact.Digest, format string, args ...any) error {
	return slipway.Errorf(slipway.Invalid, format, args...).At("action " + digest)
}
