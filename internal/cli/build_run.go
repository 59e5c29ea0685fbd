package cli

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution/local"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

// buildRunCmd builds on the desk; it needs no server.
func (a *app) buildRunCmd() *cobra.Command {
	d := build.Desk{Tests: true}
	var deps []string
	cmd := &cobra.Command{
		Use:   "run [DIR]",
		Short: "Build and test a checkout here, as the server would: sandboxed, without network",
		Long: `Builds the component in DIR (default: here) with the files that git tracks or does not
ignore, committed or not, in the sandbox that the server uses, and runs its tests. Nothing
is sent anywhere. What the component needs is given as folders with outputs.`,
		Example: "  slipway build run\n  slipway build run libwire --out /tmp/libwire\n  slipway build run codec --dep libwire=/tmp/libwire --out /tmp/codec",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d.Dir, d.Log = ".", a.out
			if len(args) == 1 {
				d.Dir = args[0]
			}
			d.Deps = map[string]string{}
			for _, dep := range deps {
				name, dir, ok := strings.Cut(dep, "=")
				if !ok || name == "" || dir == "" {
					return slipway.Errorf(slipway.Invalid, "%q names no component and folder", dep).At("--dep").Try("--dep libwire=FOLDER")
				}
				d.Deps[name] = dir
			}
			tmp, err := os.MkdirTemp("", "slipway-desk-")
			if err != nil {
				return err
			}
			defer artifact.RemoveTree(tmp)
			disk, err := artifact.OpenDisk(filepath.Join(tmp, "artifacts"))
			if err != nil {
				return err
			}
			runner, err := sandbox.New(filepath.Join(tmp, "sandbox"))
			if err != nil {
				return err
			}
			exec, err := local.New(disk, runner, local.Config{Dir: filepath.Join(tmp, "work"), Host: build.Fingerprint()})
			if err != nil {
				return err
			}
			return build.RunDesk(cmd.Context(), exec, disk, tmp, d)
		},
	}
	cmd.Flags().StringArrayVar(&deps, "dep", nil, "a needed component's output: NAME=FOLDER; may be given several times")
	cmd.Flags().StringVar(&d.Out, "out", "", "write the output to this folder, which must not exist or be empty")
	cmd.Flags().StringVar(&d.Version, "version", "", "what $VERSION is for a stamped component (default 0.0.0)")
	cmd.Flags().BoolVar(&d.Tests, "tests", true, "run the tests too")
	return cmd
}
