package local_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution/executiontest"
	"slipway.dev/slipway/internal/platform/execution/local"
	"slipway.dev/slipway/internal/platform/sandbox"
)

func rig(t testing.TB) (executiontest.Rig, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := artifact.OpenDisk(filepath.Join(dir, "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	box, err := sandbox.New(filepath.Join(dir, "sandbox"))
	if err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(dir, "work")
	x, err := local.New(store, box, local.Config{Dir: work, Worker: "here", Host: func(context.Context) (string, error) { return "this-host", nil }})
	if err != nil {
		t.Fatal(err)
	}
	return executiontest.Rig{Store: store, Executor: x}, work
}

func TestConformance(t *testing.T) {
	executiontest.Run(t, func(t *testing.T) executiontest.Rig {
		r, work := rig(t)
		t.Cleanup(func() {
			if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
				t.Errorf("left in the work folder: %v %v", left, err)
			}
		})
		return r
	})
}
