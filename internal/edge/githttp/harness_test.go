package githttp_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway.dev/slipway/internal/edge/githttp"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/source"
	"slipway.dev/slipway/internal/store"
)

// TestMain lets the test binary be what it tests: the program of git's hooks, and a server that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "git-hook" {
		os.Exit(githttp.Hook(os.Args[2], os.Stdin, os.Stdout, os.Stderr))
	}
	if dir := os.Getenv("GITHTTP_SERVE"); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const repo = "components/libwire"

// ranks are the users of the tests; each one's token is "token-NAME".
var ranks = map[string]int{"vic": 1, "dev": 2, "dora": 2, "gail": 3, "root": 5}

type tokens struct{}

func (tokens) Authenticate(_ context.Context, _, token string) (githttp.User, error) {
	name := strings.TrimPrefix(token, "token-")
	rank, ok := ranks[name]
	if !ok || name == token {
		return githttp.User{}, slipway.Errorf(slipway.Unauthenticated, "nobody has this token")
	}
	need := map[string]int{"viewer": 1, "developer": 2, "gatekeeper": 3, "admin": 5}
	return githttp.User{Name: name, May: func(role string) bool { return rank >= need[role] }}, nil
}

// validator is the real parser of slipway.yaml.
type validator struct{}

func (validator) Check(_ context.Context, _, _ string, file func(string) ([]byte, error)) error {
	data, err := file("slipway.yaml")
	if slipway.Is(err, slipway.NotFound) {
		return nil
	}
	if err == nil {
		_, err = spec.ParseComponent(data, "slipway.yaml")
	}
	return err
}

func (validator) HasQueue(_ context.Context, repo, ref string) (bool, error) {
	return strings.HasPrefix(repo, "products/") && (ref == "refs/heads/main" || ref == "refs/heads/stable-1"), nil
}

// noProducts is a catalog of nothing: changes are opened and wait.
type noProducts struct{ change.Catalog }

func (noProducts) UsesOf(context.Context, string) ([]change.Use, error) { return nil, nil }

// road is a server with what it stands on.
type road struct {
	db      *store.DB
	src     *source.Service
	changes *change.Service
	git     *githttp.Server
	url     string
	stop    func() error
}

// build starts a server on a folder.
func build(ctx context.Context, dir string, maxPush int64) (r *road, err error) {
	db, err := store.Open(ctx, store.Config{URL: "sqlite:" + filepath.Join(dir, "db"), Routes: change.Routes()})
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r = &road{db: db}
	r.src = source.New(store.Scope(db, func(tx *store.Tx) source.Tx { return tx }), source.Config{Dir: filepath.Join(dir, "git"), Wait: 30 * time.Second})
	if err := r.src.Start(ctx); err != nil {
		return nil, err
	}
	r.changes = change.New(store.Scope(db, func(tx *store.Tx) change.Tx { return tx }), r.src, noProducts{}, nil, nil, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.url = "http://" + listener.Addr().String()
	r.git = githttp.New(r.src, tokens{}, r.changes, validator{}, githttp.Config{
		Program: self, Dir: filepath.Join(dir, "git", ".hooks"), URL: r.url, MaxPush: maxPush,
	})
	if err := r.git.Start(ctx); err != nil {
		return nil, err
	}
	web := &http.Server{Handler: r.git}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	r.stop = func() error {
		ctx := context.WithoutCancel(ctx)
		if err := web.Shutdown(ctx); err != nil {
			return err
		}
		<-served
		if err := r.git.Stop(ctx); err != nil {
			return err
		}
		if err := r.src.Stop(ctx); err != nil {
			return err
		}
		return db.Close()
	}
	return r, nil
}

// start is build for a test, with the repository made.
func start(t *testing.T, maxPush int64) *road {
	t.Helper()
	r, err := build(t.Context(), t.TempDir(), maxPush)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	if _, err := r.src.Create(t.Context(), "root", repo, "", ""); err != nil {
		t.Fatal(err)
	}
	return r
}

// serve is the child process: a server that says where it is and lives until it is killed or its input ends.
func serve(dir string) error {
	r, err := build(context.Background(), dir, 0)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(fmt.Sprint(os.Getpid())), 0o600); err != nil {
		return err
	}
	fmt.Println(r.url)
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	return r.stop()
}

// child starts the server as a process of its own, and returns its URL and how it is waited for.
func child(t *testing.T, dir string) (url string, cmd *exec.Cmd) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "GITHTTP_SERVE="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server does not start: %v", err)
	}
	return strings.TrimSpace(url), cmd
}

// work is a clone on a desk.
type work struct {
	t   testing.TB
	dir string
}

// desk makes an empty work tree whose remote "origin" is the repository, as the user.
func desk(t testing.TB, url, user string) *work {
	t.Helper()
	w := &work{t, filepath.Join(t.TempDir(), "work")}
	if err := os.Mkdir(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.must("init", "-q", "-b", "main")
	w.point(url, user)
	return w
}

// point sets the remote.
func (w *work) point(url, user string) {
	w.t.Helper()
	w.git("remote", "remove", "origin")
	w.must("remote", "add", "origin", strings.Replace(url, "http://", "http://"+user+":token-"+user+"@", 1)+"/git/"+repo+".git")
}

// git runs the real git and returns everything that it said.
func (w *work) git(args ...string) (string, error) {
	cmd := exec.CommandContext(w.t.Context(), "git", args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Dev", "GIT_AUTHOR_EMAIL=dev@example.org", "GIT_COMMITTER_NAME=Dev", "GIT_COMMITTER_EMAIL=dev@example.org")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *work) must(args ...string) string {
	w.t.Helper()
	out, err := w.git(args...)
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// refused runs a command that must fail and say the words.
func (w *work) refused(words []string, args ...string) {
	w.t.Helper()
	out, err := w.git(args...)
	if err == nil {
		w.t.Errorf("git %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	for _, word := range words {
		if !strings.Contains(out, word) {
			w.t.Errorf("git %s does not say %q:\n%s", strings.Join(args, " "), word, out)
		}
	}
}

// commit writes a file and commits it; it returns the id.
func (w *work) commit(file, text, message string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.must("add", "-A")
	w.must("commit", "-q", "-m", message)
	return w.must("rev-parse", "HEAD")
}

// history is what the server has recorded of the repository, oldest first.
func history(t testing.TB, src *source.Service) (out []string) {
	t.Helper()
	lines, err := src.History(t.Context(), source.HistoryQuery{Repo: repo})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range slices.Backward(lines) {
		out = append(out, fmt.Sprintf("%s %.6s %.6s %s", l.Ref, l.Old, l.New, l.Actor))
	}
	return out
}

func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s is\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// get asks for a path as a user, "" for nobody.
func get(t testing.TB, url, user string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, "token-"+user)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	b.ReadFrom(res.Body)
	return res.StatusCode, b.String()
}
