package githttp

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/source"
)

// User is somebody who was authenticated.
type User struct {
	Name string
	May  func(role string) bool // whether the user has the role, or one that includes it
}

// Authenticator knows API tokens.
type Authenticator interface {
	// Authenticate returns whose token it is. Name is what the client gave as user name, and may be anything. An
	// error of kind Unauthenticated means that nobody has this token.
	Authenticate(ctx context.Context, name, token string) (User, error)
}

// Validator reads Slipway's own files (slipway.yaml, product.yaml) at a commit that is about to be accepted.
type Validator interface {
	// Check returns an error fit for the pusher if one of the files is broken. File reads at the pushed commit; NotFound
	// means that there is no such file.
	Check(ctx context.Context, repo, ref string, file func(path string) ([]byte, error)) error
	// HasQueue reports whether a branch's commits are the releases of a product.
	HasQueue(ctx context.Context, repo, ref string) (bool, error)
}

// Changes takes proposals.
type Changes interface {
	Propose(ctx context.Context, p change.Proposal) (change.Receipt, error)
}

// Config tunes the server.
type Config struct {
	Program string       // the slipway binary that runs the hooks, absolute
	Dir     string       // for the hooks and the socket: DATA/git/.hooks
	URL     string       // how people reach the server: "http://127.0.0.1:7420"; printed to pushers
	MaxPush int64        // bytes of one push; default 1 GiB
	Log     *slog.Logger // default slog.Default()
}

// Server is an [http.Handler] for the paths below [Prefix], between Start and Stop.
type Server struct {
	src     *source.Service
	auth    Authenticator
	changes Changes
	check   Validator
	cfg     Config
	log     *slog.Logger

	socket  string
	remove  string // a temporary folder that holds the socket
	listen  net.Listener
	serving sync.WaitGroup // connections of hooks
	active  sync.WaitGroup // pushes
	ended   chan struct{}

	mu     sync.Mutex
	closed bool
	pushes map[string]*push
}

// push is one run of receive-pack.
type push struct {
	id   string
	repo source.Repo
	user User
	ctx  context.Context // of the run, not of the request: a push that was accepted is carried out
}

// New makes the server.
func New(src *source.Service, auth Authenticator, changes Changes, check Validator, cfg Config) *Server {
	if cfg.MaxPush <= 0 {
		cfg.MaxPush = 1 << 30
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Server{src: src, auth: auth, changes: changes, check: check, cfg: cfg, log: cfg.Log, pushes: map[string]*push{}}
}

// Start writes the hooks and listens for them.
func (s *Server) Start(ctx context.Context) error {
	if !filepath.IsAbs(s.cfg.Program) {
		return slipway.Errorf(slipway.Invalid, "the program of the hooks must be an absolute path, not %q", s.cfg.Program)
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	for _, hook := range []string{"pre-receive", "proc-receive"} {
		script := "#!/bin/sh\nexec \"$SLIPWAY_HOOK_PROGRAM\" git-hook " + hook + "\n"
		if err := os.WriteFile(filepath.Join(s.cfg.Dir, hook), []byte(script), 0o700); err != nil {
			return err
		}
	}
	s.socket = filepath.Join(s.cfg.Dir, "socket")
	if len(s.socket) > 100 { // a socket's address has room for 107 bytes
		dir, err := os.MkdirTemp("", "slipway-git-")
		if err != nil {
			return err
		}
		s.remove, s.socket = dir, filepath.Join(dir, "socket")
	}
	if err := os.Remove(s.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var err error
	if s.listen, err = net.Listen("unix", s.socket); err != nil {
		return err
	}
	if err := os.Chmod(s.socket, 0o600); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go s.accept()
	return nil
}

// Stop refuses new pushes, waits until those under way have ended or ctx does, and closes the socket.
func (s *Server) Stop(ctx context.Context) error {
	if s.listen == nil {
		return nil
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		s.active.Wait()
		close(idle)
	}()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = slipway.Errorf(slipway.Unavailable, "pushes are still under way; they are recorded at the next start")
	}
	if cerr := s.listen.Close(); err == nil {
		err = cerr
	}
	<-s.ended
	if s.remove != "" {
		os.RemoveAll(s.remove)
	}
	return err
}

func (s *Server) accept() {
	defer close(s.ended)
	for {
		conn, err := s.listen.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("git hooks cannot connect any more", "error", err)
			}
			s.serving.Wait()
			return
		}
		s.serving.Go(func() {
			defer conn.Close()
			s.answer(conn)
		})
	}
}

// begin registers a push; the caller ends it.
func (s *Server) begin(ctx context.Context, repo source.Repo, user User) (*push, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, slipway.Errorf(slipway.Unavailable, "the server is stopping").Try("push again in a moment")
	}
	p := &push{id: rand.Text(), repo: repo, user: user, ctx: ctx}
	s.pushes[p.id] = p
	s.active.Add(1)
	return p, nil
}

// settle records what the push moved and frees its repository. It may be repeated.
func (s *Server) settle(p *push) {
	if err := s.src.Conclude(p.ctx, p.id); err != nil {
		s.log.Error("a push could not be recorded; it will be before the repository's next move", "repo", p.repo.Name, "error", err)
	}
}

// end forgets the push.
func (s *Server) end(p *push) {
	s.settle(p)
	s.mu.Lock()
	delete(s.pushes, p.id)
	s.mu.Unlock()
	s.active.Done()
}
