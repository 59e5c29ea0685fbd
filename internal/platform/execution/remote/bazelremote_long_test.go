//go:build long

package remote_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/execution/remote"
	"slipway.dev/slipway/internal/slipway"
)

// bazelRemoteVersion is the cache that the client is tested with. It is a program of its own: linked into this one, its copy of the
// protocol's messages would clash with ours.
const bazelRemoteVersion = "v2.6.1"

func buildBazelRemote(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bazel-remote")
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module bazelremote\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"get", "github.com/buchgr/bazel-remote/v2@" + bazelRemoteVersion, "google.golang.org/genproto/googleapis/bytestream@latest"},
		{"build", "-o", bin, "github.com/buchgr/bazel-remote/v2"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	return bin
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The client's half that needs no execution, against a cache that others wrote.
func TestBazelRemote(t *testing.T) {
	bin := buildBazelRemote(t)
	addr := freeAddr(t)
	cmd := exec.Command(bin, "--dir", t.TempDir(), "--max_size", "1", "--grpc_address", addr, "--http_address", freeAddr(t))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // it is killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	// It takes a moment to listen; the client tries again.
	c, err := remote.Dial(remote.Config{Endpoint: addr, Attempts: 100, Backoff: func(int) time.Duration { return 200 * time.Millisecond }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if _, err := c.Capabilities(ctx, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Capabilities(ctx, true); !slipway.Is(err, slipway.Unavailable) {
		t.Errorf("it says that it executes: %v", err)
	}
	from, to := disk(t), disk(t)
	tree := t.TempDir()
	random := rand.NewChaCha8([32]byte{7})
	for name, size := range map[string]int{"empty": 0, "small": 10, "middle": 500_000, "large": 9 << 20} {
		data := make([]byte, size)
		random.Read(data) //nolint:errcheck // it never fails
		if err := os.WriteFile(filepath.Join(tree, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := artifact.PutTree(ctx, from, tree)
	if err != nil {
		t.Fatal(err)
	}
	message, err := execution.PutTreeMessage(ctx, from, root)
	if err != nil {
		t.Fatal(err)
	}
	result := &repb.ActionResult{StdoutRaw: []byte("said"), OutputDirectories: []*repb.OutputDirectory{{Path: "out", TreeDigest: message}}}
	blobs, missing, err := execution.Outputs(ctx, from, result)
	if err != nil || len(missing) > 0 || len(blobs) != 5 {
		t.Fatalf("%v %v %v", blobs, missing, err)
	}
	action := execution.Blob{Digest: artifact.DigestOf([]byte("an action")), Size: 9}
	if _, err := c.ActionResult(ctx, action); !slipway.Is(err, slipway.NotFound) {
		t.Fatalf("before: %v", err)
	}
	for range 2 { // the second time nothing is missing
		if err := c.Upload(ctx, from, blobs); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.PutActionResult(ctx, action, result); err != nil {
		t.Fatal(err)
	}
	got, err := c.ActionResult(ctx, action)
	if err != nil || got.OutputDirectories[0].TreeDigest.Hash != message.Hash {
		t.Fatalf("%v %v", got, err)
	}
	// It makes a blob of what the result held itself.
	said, size, err := artifact.FromProto(got.StdoutDigest)
	if err != nil || said != artifact.DigestOf([]byte("said")) {
		t.Fatalf("%v %v", got, err)
	}
	blobs = append(blobs, execution.Blob{Digest: said, Size: size})
	if err := c.Fetch(ctx, to, blobs); err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if data, err := artifact.Bytes(ctx, to, b.Digest, 1<<30); err != nil || int64(len(data)) != b.Size {
			t.Errorf("%s: %d bytes, %v", b.Digest, len(data), err)
		}
	}
	if err := c.Fetch(ctx, to, []execution.Blob{{Digest: artifact.DigestOf([]byte("absent")), Size: 6}}); !slipway.Is(err, slipway.NotFound) {
		t.Errorf("what is not there: %v", err)
	}
}

func disk(t *testing.T) *artifact.Disk {
	t.Helper()
	d, err := artifact.OpenDisk(filepath.Join(t.TempDir(), "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
