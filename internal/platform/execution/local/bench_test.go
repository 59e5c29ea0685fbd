package local_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
)

// BenchmarkExecute runs trivial actions like a component's build: sources to copy, dependencies to mount, an output tree to keep.
func BenchmarkExecute(b *testing.B) {
	for _, deps := range []int{0, 4} {
		b.Run(fmt.Sprintf("deps=%d", deps), func(b *testing.B) {
			r, _ := rig(b)
			actions := make([]artifact.Digest, b.N)
			top := b.TempDir()
			for _, dir := range []string{"src", "deps"} {
				if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
					b.Fatal(err)
				}
			}
			for i := range 10 {
				if err := os.WriteFile(filepath.Join(top, "src", fmt.Sprint(i)), make([]byte, 1000+i), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			for i := range deps {
				dir := filepath.Join(top, "deps", fmt.Sprint(i))
				if err := os.MkdirAll(dir, 0o755); err != nil {
					b.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "lib"), make([]byte, 100_000+i), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			root, err := artifact.PutTree(b.Context(), r.Store, top)
			if err != nil {
				b.Fatal(err)
			}
			size, err := r.Store.Stat(b.Context(), root)
			if err != nil {
				b.Fatal(err)
			}
			for i := range actions {
				command, n, err := artifact.PutMessage(b.Context(), r.Store, &repb.Command{
					Arguments: []string{"/bin/sh", "-c", fmt.Sprintf("echo %d >../out/f", i)}, WorkingDirectory: "src", OutputPaths: []string{"../out"}})
				if err != nil {
					b.Fatal(err)
				}
				actions[i], _, err = artifact.PutMessage(b.Context(), r.Store, &repb.Action{CommandDigest: artifact.Proto(command, n), InputRootDigest: artifact.Proto(root, size),
					Platform: &repb.Platform{Properties: []*repb.Platform_Property{{Name: execution.PropertyWritable, Value: "out,src"}}}})
				if err != nil {
					b.Fatal(err)
				}
			}
			for _, warm := range []int{0, b.N} { // the first expands the trees
				if warm == 0 {
					if _, err := r.Executor.Execute(b.Context(), execution.Request{Action: actions[0]}); err != nil {
						b.Fatal(err)
					}
					b.ResetTimer()
					defer processor(b)()
					continue
				}
				for _, a := range actions {
					if res, err := r.Executor.Execute(b.Context(), execution.Request{Action: a}); err != nil || res.Status != execution.Exited || res.Output == "" {
						b.Fatalf("%+v %v", res, err)
					}
				}
			}
		})
	}
}

// BenchmarkBubblewrap runs the same command under bubblewrap alone.
func BenchmarkBubblewrap(b *testing.B) {
	out := b.TempDir()
	defer processor(b)()
	for i := range b.N {
		cmd := exec.Command("bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv", "--ro-bind", "/usr", "/usr",
			"--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
			"--bind", out, "/build/out", "--chdir", "/build", "/bin/sh", "-c", fmt.Sprintf("echo %d >out/f", i))
		if text, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, text)
		}
	}
}

// processor reports, besides the time, the processor time of each operation, with that of the processes it ran: the machine may be busy
// with something else.
func processor(b *testing.B) (done func()) {
	used := func() (sum time.Duration) {
		for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
			var u unix.Rusage
			if err := unix.Getrusage(who, &u); err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
		return sum
	}
	begin := used()
	return func() { b.ReportMetric(float64((used()-begin).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}
