package reapi_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/edge/reapi"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/execution/remote"
	"slipway.dev/slipway/internal/slipway"
)

// relay passes connections on, and cuts all of them when it is told to.
type relay struct {
	to   string
	mu   sync.Mutex
	open []net.Conn
}

func (r *relay) listen(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); r.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", r.to)
			if err != nil {
				in.Close()
				continue
			}
			r.mu.Lock()
			r.open = append(r.open, in, out)
			r.mu.Unlock()
			go io.Copy(in, out) //nolint:errcheck // it is cut
			go io.Copy(out, in) //nolint:errcheck // it is cut
		}
	}()
	return l.Addr().String()
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.open {
		c.Close()
	}
	r.open = nil
}

// lines is a log that tells of each write.
type lines struct {
	mu  sync.Mutex
	b   bytes.Buffer
	new chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(p)
	l.new <- l.b.String()
	return len(p), nil
}

func shell(t *testing.T, store *artifact.Disk, script string) artifact.Digest {
	t.Helper()
	root, n, err := artifact.PutMessage(t.Context(), store, &repb.Directory{})
	if err != nil {
		t.Fatal(err)
	}
	command, m, err := artifact.PutMessage(t.Context(), store, &repb.Command{Arguments: []string{"/bin/sh", "-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := artifact.PutMessage(t.Context(), store, &repb.Action{CommandDigest: artifact.Proto(command, m), InputRootDigest: artifact.Proto(root, n)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// An execution outlives the streams that watch it: it runs once, and its log comes once.
func TestExecutionOverABrokenConnection(t *testing.T) {
	c := start(t, reapi.Config{})
	way := &relay{to: c.addr}
	store := disk(t)
	x := remote.New(store, c.client(auth.Developer, remote.Config{Endpoint: way.listen(t), Attempts: 100}))
	log := &lines{new: make(chan string, 1000)}
	done := make(chan error, 1)
	var res execution.Result
	digest := shell(t, store, "i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); sleep 0.1; done")
	go func() {
		var err error
		res, err = x.Execute(t.Context(), execution.Request{Action: digest, Log: log})
		done <- err
	}()
	for _, want := range []string{"line 1\n", "line 5\n", "line 9\n"} {
		for text := ""; !strings.Contains(text, want); {
			select {
			case text = <-log.new:
			case <-time.After(time.Minute):
				t.Fatalf("no %q", want)
			}
		}
		way.cut()
	}
	if err := <-done; err != nil || res.Action.ExitCode != 0 {
		t.Fatalf("%+v %v", res, err)
	}
	if c.farm.runs != 1 {
		t.Errorf("it ran %d times", c.farm.runs)
	}
	if text := log.b.String(); strings.Count(text, "\n") != 20 || !strings.HasSuffix(text, "line 19\n") {
		t.Errorf("%s", text)
	}
}

// An execution that nobody watches any more is stopped.
func TestExecutionThatNobodyWatches(t *testing.T) {
	c := start(t, reapi.Config{Linger: 10 * time.Millisecond})
	way := &relay{to: c.addr}
	store := disk(t)
	x := remote.New(store, c.client(auth.Developer, remote.Config{Endpoint: way.listen(t), Attempts: 1}))
	log := &lines{new: make(chan string, 1000)}
	done := make(chan error, 1)
	digest := shell(t, store, "echo begun; sleep 86400")
	go func() {
		_, err := x.Execute(t.Context(), execution.Request{Action: digest, Log: log})
		done <- err
	}()
	<-log.new
	way.cut()
	if err := <-done; !slipway.Is(err, slipway.Unavailable) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c.farm.mu.Lock()
		runs := c.farm.runs
		c.farm.mu.Unlock()
		if runs == 1 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("it still runs")
		case <-tick.C:
		}
	}
}
