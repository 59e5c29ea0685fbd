package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/platform/lifecycle"
	"slipway.dev/slipway/internal/slipway"
)

var quiet = slog.New(slog.DiscardHandler)

// journal notes what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) part(name string, startErr error) lifecycle.Part {
	return lifecycle.Part{Name: name,
		Start: func(context.Context) error { j.note("start %s", name); return startErr },
		Stop:  func(context.Context) error { j.note("stop %s", name); return nil }}
}

func (j *journal) want(t *testing.T, lines ...string) {
	t.Helper()
	if !slices.Equal(j.lines, lines) {
		t.Errorf("got  %q\nwant %q", j.lines, lines)
	}
}

func TestOrder(t *testing.T) {
	var j journal
	g := lifecycle.New(quiet)
	g.Add(j.part("a", nil), j.part("b", nil), j.part("c", nil))
	ctx, cancel := context.WithCancel(t.Context())
	if err := g.Run(ctx, func() { j.note("started"); cancel() }); err != nil {
		t.Error(err)
	}
	j.want(t, "start a", "start b", "start c", "started", "stop c", "stop b", "stop a")
}

func TestAFailedStartStopsWhatWasStarted(t *testing.T) {
	var j journal
	g := lifecycle.New(quiet)
	g.Add(j.part("a", nil), j.part("b", errors.New("no port")), j.part("c", nil))
	err := g.Run(t.Context(), func() { t.Error("started") })
	if err == nil || err.Error() != "start b: no port" {
		t.Error(err)
	}
	j.want(t, "start a", "start b", "stop a")
}

func TestAFailureInTheBackgroundStopsInOrder(t *testing.T) {
	var j journal
	g := lifecycle.New(quiet)
	g.Add(j.part("a", nil), j.part("b", nil))
	boom := errors.New("the disk is gone")
	err := g.Run(t.Context(), func() { g.Fail("b", boom); g.Fail("a", errors.New("because of it")) })
	if !errors.Is(err, boom) || err.Error() != "b: the disk is gone" {
		t.Error(err)
	}
	j.want(t, "start a", "start b", "stop b", "stop a")
}

func TestALatePartKeepsNobodyFromStopping(t *testing.T) {
	var j journal
	g := lifecycle.New(quiet)
	g.Add(j.part("a", nil), lifecycle.Part{Name: "late", Grace: time.Millisecond,
		Stop: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, j.part("c", nil))
	ctx, cancel := context.WithCancel(t.Context())
	err := g.Run(ctx, cancel)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stop late") {
		t.Error(err)
	}
	j.want(t, "start a", "start c", "stop c", "stop a")
}

func TestHealth(t *testing.T) {
	g := lifecycle.New(quiet)
	var sick error
	g.Add(lifecycle.Part{Name: "db", Ready: func(context.Context) error { return sick }}, lifecycle.Part{Name: "jobs"})
	if h := g.Health(t.Context()); h.Ready || h.Parts[0].State != "waiting" {
		t.Errorf("before the start: %+v", h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := g.Run(ctx, func() {
		if h := g.Health(ctx); !h.Ready {
			t.Errorf("%+v", h)
		}
		sick = errors.New("no answer")
		if h := g.Health(ctx); h.Ready || h.Parts[0] != (lifecycle.PartHealth{Name: "db", State: "failing", Error: "no answer"}) {
			t.Errorf("%+v", h)
		}
		cancel()
	})
	if err != nil {
		t.Error(err)
	}
	if h := g.Health(t.Context()); h.Ready || h.Parts[1].State != "stopped" {
		t.Errorf("after the stop: %+v", h)
	}
}

// The test binary runs itself as a process that is sent a real signal.
func TestSignal(t *testing.T) {
	if os.Getenv("LIFECYCLE_CHILD") != "" {
		g := lifecycle.New(quiet)
		g.Add(lifecycle.Part{Name: "a", Stop: func(context.Context) error { fmt.Println("stopped"); return nil }})
		err := g.Run(context.Background(), func() { fmt.Println("started") })
		fmt.Println("ended:", err)
		os.Exit(0)
	}
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSignal$")
		cmd.Env = append(os.Environ(), "LIFECYCLE_CHILD=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		first := make([]byte, len("started\n"))
		if _, err := io.ReadFull(out, first); err != nil || string(first) != "started\n" {
			t.Fatalf("%q %v", first, err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(out)
		if err != nil || string(rest) != "stopped\nended: <nil>\n" {
			t.Errorf("after %s: %q %v", sig, rest, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// A request under way is finished during the shutdown, a stream is ended by closing, and new requests are refused.
func TestHTTPShutdown(t *testing.T) {
	g := lifecycle.New(quiet)
	closing, entered, release := make(chan struct{}), make(chan struct{}, 2), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-release
		fmt.Fprint(w, "done")
	})
	mux.HandleFunc("/stream", func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-closing
		close(release) // only now may the slow request go on: closing came while it was under way
	})
	srv := lifecycle.NewHTTP(g, "127.0.0.1:0", nil, mux, quiet, func() { close(closing) })
	g.Add(srv.Part())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := make(chan string, 2)
	var url string
	err := g.Run(ctx, func() {
		url = "http://" + srv.Addr().String()
		for _, path := range []string{"/slow", "/stream"} {
			go func() {
				resp, err := http.Get(url + path)
				if err != nil {
					answers <- err.Error()
					return
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				answers <- fmt.Sprint(path, " ", string(text), " ", err)
			}()
		}
		<-entered
		<-entered
		cancel()
	})
	if err != nil {
		t.Error(err)
	}
	got := []string{<-answers, <-answers}
	slices.Sort(got)
	if !slices.Equal(got, []string{"/slow done <nil>", "/stream  <nil>"}) {
		t.Errorf("%q", got)
	}
	if _, err := http.Get(url); err == nil {
		t.Error("it still answers")
	}
}

func TestAPortInUseFailsTheStart(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	g := lifecycle.New(quiet)
	g.Add(lifecycle.NewHTTP(g, taken.Listener.Addr().String(), nil, http.NotFoundHandler(), quiet).Part())
	if err := g.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Error(err)
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	log, err := lifecycle.NewLogger(&b, "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("no")
	log.Info("yes", "n", 1)
	if !strings.Contains(b.String(), `"msg":"yes","n":1`) || strings.Contains(b.String(), "no\"") {
		t.Error(b.String())
	}
	for _, bad := range [][2]string{{"xml", "info"}, {"text", "loud"}} {
		if _, err := lifecycle.NewLogger(&b, bad[0], bad[1]); !slipway.Is(err, slipway.Invalid) {
			t.Error(bad, err)
		}
	}
}

// Spans of a request and of a failed job arrive at a collector before the process has stopped.
func TestTraces(t *testing.T) {
	arrived := make(chan []byte, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Error(r.URL.Path, err)
		}
		arrived <- body
	}))
	defer collector.Close()
	tracer, err := lifecycle.NewTracer(t.Context(), collector.URL, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	log, err := lifecycle.NewLogger(&logged, "text", "info")
	if err != nil {
		t.Fatal(err)
	}
	h := tracer.HTTP(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { log.InfoContext(r.Context(), "inside") }))
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", nil)
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	h.ServeHTTP(httptest.NewRecorder(), req)
	if !strings.Contains(logged.String(), "trace=0af7651916cd43dd8448eb211c80319c") {
		t.Error(logged.String())
	}
	failed := errors.New("no compiler")
	err = tracer.Job(t.Context(), jobs.Claim{Kind: "build.run", Key: "7"}, func(context.Context) error { return failed })
	if !errors.Is(err, failed) {
		t.Error(err)
	}
	g := lifecycle.New(quiet)
	g.Add(tracer.Part())
	ctx, cancel := context.WithCancel(t.Context())
	if err := g.Run(ctx, cancel); err != nil {
		t.Fatal(err)
	}
	close(arrived)
	var all []byte
	for body := range arrived {
		all = append(all, body...)
	}
	for _, want := range []string{"job build.run", "no compiler", "1.2.3"} {
		if !bytes.Contains(all, []byte(want)) {
			t.Errorf("no %q among the spans", want)
		}
	}
	off, err := lifecycle.NewTracer(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := off.Job(t.Context(), jobs.Claim{Kind: "x"}, func(context.Context) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
}
