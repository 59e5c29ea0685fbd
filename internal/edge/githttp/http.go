package githttp

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/source"
)

// Prefix is the path below which repositories are: /git/components/libwire.git.
const Prefix = "/git/"

// maxFetch bounds the request of a fetch: what the client wants and has, not what it gets.
const maxFetch = 64 << 20

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, verb, ok := split(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	service := strings.TrimPrefix(verb, "/")
	if verb == "/info/refs" {
		service = r.URL.Query().Get("service")
	}
	if service != "git-upload-pack" && service != "git-receive-pack" {
		fail(w, slipway.Errorf(slipway.Forbidden, "only git's smart HTTP protocol is served").Try("use git 1.6.6 or newer"))
		return
	}
	user, err := s.admit(r, service)
	if err != nil {
		fail(w, err)
		return
	}
	repo, err := s.find(r.Context(), name)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	switch {
	case verb == "/info/refs" && r.Method == http.MethodGet:
		s.advertise(w, r, repo, service)
	case verb != "/info/refs" && r.Method == http.MethodPost && r.Header.Get("Content-Type") == "application/x-"+service+"-request":
		s.serve(w, r, repo, user, service)
	default:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "this is not a request of git", http.StatusMethodNotAllowed)
	}
}

// split takes /git/components/libwire.git/info/refs apart; the .git may be missing.
func split(path string) (repo, verb string, ok bool) {
	rest, ok := strings.CutPrefix(path, Prefix)
	if !ok {
		return "", "", false
	}
	for _, v := range []string{"/info/refs", "/git-upload-pack", "/git-receive-pack"} {
		if repo, ok := strings.CutSuffix(rest, v); ok {
			return strings.TrimSuffix(repo, ".git"), v, true
		}
	}
	return "", "", false
}

// admit authenticates and checks the role that the service needs.
func (s *Server) admit(r *http.Request, service string) (User, error) {
	name, token, ok := r.BasicAuth()
	if !ok || token == "" {
		return User{}, slipway.Errorf(slipway.Unauthenticated, "git needs a user and, as the password, an API token").
			Try("make one with: slipway token create")
	}
	user, err := s.auth.Authenticate(r.Context(), name, token)
	if err != nil {
		return User{}, err
	}
	switch {
	case service == "git-receive-pack" && !user.May(Developer):
		return User{}, slipway.Errorf(slipway.Forbidden, "%s may not push", user.Name).Try("ask an administrator for the role developer")
	case !user.May(Viewer):
		return User{}, slipway.Errorf(slipway.Forbidden, "%s may not read", user.Name).Try("ask an administrator for the role viewer")
	}
	return user, nil
}

func (s *Server) find(ctx context.Context, name string) (source.Repo, error) {
	if err := source.CheckName(name); err != nil {
		return source.Repo{}, slipway.Errorf(slipway.NotFound, "there is no repository %q", name).Try("list them with: slipway repo list")
	}
	return s.src.Repo(ctx, name)
}

// fail answers with a status and a plain text, which git shows as "remote:" lines.
func fail(w http.ResponseWriter, err error) {
	status := map[slipway.Kind]int{
		slipway.Invalid: http.StatusUnprocessableEntity, slipway.NotFound: http.StatusNotFound, slipway.Conflict: http.StatusConflict,
		slipway.Unauthenticated: http.StatusUnauthorized, slipway.Forbidden: http.StatusForbidden,
		slipway.TooLarge: http.StatusRequestEntityTooLarge, slipway.Unavailable: http.StatusServiceUnavailable,
	}[slipway.KindOf(err)]
	text := err.Error()
	if status == 0 {
		status, text = http.StatusInternalServerError, "something went wrong in the server; its log says what"
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="Slipway", charset="UTF-8"`)
	}
	http.Error(w, text, status)
}

// settings is git's configuration while it serves.
func (s *Server) settings() []string {
	set := []string{
		"core.hooksPath=" + s.cfg.Dir,
		"receive.advertisePushOptions=true",
		"receive.advertiseAtomic=true",
		"receive.procReceiveRefs=refs/for",
		"receive.denyDeletes=false",
		"receive.denyNonFastForwards=false",
		"receive.denyDeleteCurrent=ignore",
		"receive.autogc=false",
		"receive.maxInputSize=" + strconv.FormatInt(s.cfg.MaxPush, 10),
		"transfer.fsckObjects=true",
		"transfer.hideRefs=refs/mirror",
		"uploadpack.allowFilter=true",
	}
	// Harmless faults that old, public histories have.
	for _, fault := range []string{"missingSpaceBeforeDate", "badTimezone", "zeroPaddedFilemode", "missingEmail", "badDateOverflow"} {
		set = append(set, "receive.fsck."+fault+"=ignore")
	}
	return set
}

// advertise lists the refs, the first half of every conversation.
func (s *Server) advertise(w http.ResponseWriter, r *http.Request, repo source.Repo, service string) {
	g, err := s.src.Git(repo.Name)
	if err != nil {
		fail(w, err)
		return
	}
	cmd := g.Command(r.Context(), append(git.Environ(s.settings()...), protocol(r)...),
		strings.TrimPrefix(service, "git-"), "--stateless-rpc", "--advertise-refs", g.Dir())
	out, err := cmd.Output()
	if err != nil {
		if r.Context().Err() == nil {
			s.log.Error("git cannot list refs", "repo", repo.Name, "error", err)
		}
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-"+service+"-advertisement")
	if err := writePackets(w, "# service="+service+"\n"); err == nil {
		_, _ = w.Write(out) // a client that is gone needs no answer
	}
}

// protocol passes on the protocol version that the client asks for, if it is one that could be.
func protocol(r *http.Request) []string {
	v := r.Header.Get("Git-Protocol")
	if v == "" || len(v) > 64 || strings.Trim(v, "abcdefghijklmnopqrstuvwxyz0123456789=:-") != "" {
		return nil
	}
	return []string{"GIT_PROTOCOL=" + v}
}

// serve runs one service on the request's body.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, repo source.Repo, user User, service string) {
	limit := int64(maxFetch)
	if service == "git-receive-pack" {
		limit = s.cfg.MaxPush + 1<<20 // the list of refs comes before the pack; git itself limits the pack
	}
	if r.ContentLength > limit {
		fail(w, slipway.Errorf(slipway.TooLarge, "the request has %d bytes, the limit is %d", r.ContentLength, limit).
			Try("push in smaller parts, or keep large files elsewhere"))
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			fail(w, slipway.Errorf(slipway.Invalid, "the body is not gzip: %w", err))
			return
		}
		body = z
	}
	// receive-pack talks while it reads. Where this is not supported it still works, but for large pushes.
	_ = http.NewResponseController(w).EnableFullDuplex()
	if service == "git-upload-pack" {
		s.run(r.Context(), w, body, limit, repo, service, protocol(r), nil)
		return
	}
	p, err := s.begin(context.WithoutCancel(r.Context()), repo, user)
	if err != nil {
		fail(w, err)
		return
	}
	defer s.end(p)
	s.run(p.ctx, w, body, limit, repo, service, protocol(r), p)
}

// run feeds at most limit bytes of body to git and copies its answer to w, for as long as the client wants it.
func (s *Server) run(ctx context.Context, w http.ResponseWriter, body io.Reader, limit int64, repo source.Repo, service string, env []string, p *push) {
	g, err := s.src.Git(repo.Name)
	if err != nil {
		fail(w, err)
		return
	}
	env = append(git.Environ(s.settings()...), env...)
	if p != nil {
		g = g.Holding(s.src.Lock())
		env = append(env, envSocket+"="+s.socket, envPush+"="+p.id, envProgram+"="+s.cfg.Program)
	}
	cmd := g.Command(ctx, env, strings.TrimPrefix(service, "git-"), "--stateless-rpc", g.Dir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		fail(w, err)
		return
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		fail(w, err)
		return
	}
	if err := cmd.Start(); err != nil {
		s.log.Error("git cannot be started", "error", err)
		fail(w, err)
		return
	}
	fed := make(chan error, 1)
	go func() {
		n, err := io.Copy(in, io.LimitReader(body, limit+1))
		if n > limit {
			err = fmt.Errorf("more than %d bytes", limit)
		}
		in.Close()
		if err != nil {
			// Git wants no more, but its client must be able to send the rest before it reads why.
			_, _ = io.Copy(io.Discard, io.LimitReader(body, limit))
		}
		fed <- err
	}()
	w.Header().Set("Content-Type", "application/x-"+service+"-result")
	copyFlushing(w, out)
	err = cmd.Wait()
	if p != nil {
		s.settle(p) // before the client learns that it is over, and whether or not it still listens
	}
	var interrupted error
	select {
	case interrupted = <-fed:
	case <-ctx.Done():
	}
	if err != nil && ctx.Err() == nil && !errors.Is(interrupted, io.ErrUnexpectedEOF) {
		s.log.Warn("git ended badly", "repo", repo.Name, "service", service, "error", err, "stderr", strings.TrimSpace(stderr.String()), "body", interrupted)
	}
}

// copyFlushing copies until out ends, whether or not anybody reads w: git must never block on a client that is gone.
func copyFlushing(w http.ResponseWriter, out io.Reader) {
	buf := make([]byte, 32<<10)
	gone := false
	rc := http.NewResponseController(w)
	for {
		n, err := out.Read(buf)
		if n > 0 && !gone {
			if _, werr := w.Write(buf[:n]); werr != nil {
				gone = true
			}
			_ = rc.Flush()
		}
		if err != nil {
			return
		}
	}
}
