package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/execution/local"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

// buildCmd builds on the desk, and holds the commands that ask the server about its builds.
func (a *app) buildCmd() *cobra.Command {
	cmd := a.deskCmd("build [DIR]", "Build a checkout here as the server would; see what was built, from what, and why",
		"  slipway build\n  slipway build libwire --out /tmp/libwire\n  slipway build codec --dep libwire=/tmp/libwire\n  slipway build --check\n  slipway build list")
	cmd.AddCommand(a.buildListCmd(), a.buildShowCmd(), a.buildLogCmd(), a.buildCancelCmd(), a.buildForgetCmd(),
		a.deskCmd("run [DIR]", "The same as slipway build", "  slipway build run\n  slipway build run libwire --out /tmp/libwire"))
	return cmd
}

// deskCmd builds on the desk; it needs no server.
func (a *app) deskCmd(use, short, example string) *cobra.Command {
	d := build.Desk{Tests: true}
	var deps []string
	var check bool
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long: `Builds the component in DIR (default: here) in the sandbox that the server uses, without
network, and runs its tests. Nothing is sent anywhere. A clean checkout is read out of git
as the server does it: the key and the output have the digests that they have there. One
with changes is built as it is, with the files that git does not ignore.

What the component needs is built before it, from checkouts found in the folders around, or
beside the product's when --product names one; or it is given as a folder with --dep.

--check builds once more, at another place and another time, and tells every difference,
what makes it most likely, and what to do about it.

Exit status: 0 built (and the same twice), 2 the build or a test failed, 4 two builds
differ, 8 nothing can be built on this machine.`,
		Example: example,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d.Dir, d.Log = ".", a.out
			if a.format != "table" {
				d.Log = a.errOut
			}
			if len(args) == 1 {
				d.Dir = args[0]
				cmd.SuggestionsMinimumDistance = 2
				if _, err := os.Stat(d.Dir); err != nil && len(cmd.SuggestionsFor(d.Dir)) > 0 { // a verb is misspelt
					return unknownVerb(cmd, d.Dir)
				}
			}
			d.Deps = map[string]string{}
			for _, dep := range deps {
				name, dir, ok := strings.Cut(dep, "=")
				if !ok || name == "" || dir == "" {
					return slipway.Errorf(slipway.Invalid, "%q names no component and folder", dep).At("--dep").Try("--dep libwire=FOLDER")
				}
				d.Deps[name] = dir
			}
			return a.desk(cmd.Context(), d, check)
		},
	}
	cmd.Flags().StringArrayVar(&deps, "dep", nil, "a needed component's output: NAME=FOLDER; may be given several times")
	cmd.Flags().StringVar(&d.Product, "product", "", "folder with the product's file, beside whose repositories needed components are")
	cmd.Flags().StringVar(&d.Out, "out", "", "write the output to this folder, which must not exist or be empty")
	cmd.Flags().StringVar(&d.Version, "version", "", "what $VERSION is for a stamped component (default 0.0.0)")
	cmd.Flags().BoolVar(&d.Tests, "tests", true, "run the tests too")
	cmd.Flags().BoolVar(&check, "check", false, "build twice and compare")
	return cmd
}

func (a *app) desk(ctx context.Context, d build.Desk, check bool) error {
	tmp, err := os.MkdirTemp("", "slipway-desk-")
	if err != nil {
		return err
	}
	defer artifact.RemoveTree(tmp)
	disk, exec, err := workplace(tmp, "desk")
	if err != nil {
		return err
	}
	if !check {
		built, err := build.RunDesk(ctx, exec, disk, tmp, d)
		if err != nil {
			return err
		}
		return a.print(built, func() *table { return deskTable(built) })
	}
	place, clear, err := secondPlace(tmp)
	if err != nil {
		return err
	}
	defer clear()
	c, err := build.CheckDesk(ctx, exec, disk, tmp, d, place)
	if err != nil {
		return err
	}
	if err := a.print(c, func() *table { return deskTable(c.DeskBuild) }); err != nil {
		return err
	}
	if a.format == "table" {
		writeCheck(a.out, c)
	}
	if !c.Same {
		return slipway.Errorf(slipway.Conflict, "%s is not reproducible: %s", c.Component, c.Reason)
	}
	return nil
}

// workplace is a store and an executor below a folder.
func workplace(dir, worker string) (*artifact.Disk, execution.Executor, error) {
	disk, err := artifact.OpenDisk(filepath.Join(dir, "artifacts"))
	if err != nil {
		return nil, nil, err
	}
	runner, err := sandbox.New(filepath.Join(dir, "sandbox"))
	if err != nil {
		return nil, nil, err
	}
	exec, err := local.New(disk, runner, local.Config{Dir: filepath.Join(dir, "work"), Worker: worker, Host: build.Fingerprint()})
	return disk, exec, err
}

// memory is where files lie in memory, and folders list them in another order than a disk's file system does.
const memory = "/dev/shm"

// secondPlace is somewhere else than tmp: on another file system if there is one with room.
func secondPlace(tmp string) (place build.Place, clear func(), err error) {
	at, varied := tmp, []string{"work folder", "processes"}
	const room = 512 << 20
	var here, there syscall.Statfs_t
	if syscall.Statfs(tmp, &here) == nil && syscall.Statfs(memory, &there) == nil && here.Fsid != there.Fsid && uint64(there.Bsize)*there.Bavail > room {
		at = memory
	}
	dir, err := os.MkdirTemp(at, "slipway-second-place-with-a-longer-name-")
	if err != nil && at == memory {
		at = tmp
		dir, err = os.MkdirTemp(at, "slipway-second-place-with-a-longer-name-")
	}
	if err != nil {
		return place, nil, err
	}
	if at == memory {
		varied = append(varied, "order of files")
	}
	clear = func() { artifact.RemoveTree(dir) } //nolint:errcheck // it is temporary
	disk, exec, err := workplace(dir, "second")
	if err != nil {
		clear()
		return place, nil, err
	}
	return build.Place{Executor: exec, Artifacts: disk, Varied: varied}, clear, nil
}

func deskTable(b build.DeskBuild) *table {
	t := fields("component", b.Component, "commit", cmp.Or(b.Commit, "none: the checkout has changes"), "key", b.Key, "source", b.Source)
	for _, need := range slices.Sorted(maps.Keys(b.Inputs)) {
		t.add("needs "+need, b.Inputs[need])
	}
	t.add("output", b.Output)
	return t
}

// writeCheck tells the differences, each cause's remedy once.
func writeCheck(w io.Writer, c build.Check) {
	fmt.Fprintf(w, "\n%s (varied: %s)\n", c.Reason, strings.Join(c.Varied, ", "))
	var remedies []string
	for _, d := range c.Differences {
		fmt.Fprintf(w, "  %s\n", d)
		if line := fmt.Sprintf("%s: %s", d.Kind, d.Remedy); !slices.Contains(remedies, line) {
			remedies = append(remedies, line)
		}
	}
	for _, line := range remedies {
		fmt.Fprintf(w, "try, for %s\n", line)
	}
}
