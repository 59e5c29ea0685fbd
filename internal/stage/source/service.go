package source

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
)

// Config tunes the service.
type Config struct {
	Dir      string        // where the repositories are: DATA/git
	Wait     time.Duration // how long Start waits for git processes of a server that was killed; default 30 s
	MinEvery time.Duration // the shortest time between two polls of a mirror; default 5 s
	Local    bool          // mirrors may have file:// URLs
	Log      *slog.Logger  // default slog.Default()
}

// Service hosts repositories. It is safe for concurrent use between Start and Stop.
type Service struct {
	st  slipway.Store[Tx]
	dir string
	cfg Config
	log *slog.Logger

	held    *os.File // DIR/lock, from Start to Stop
	readers git.Readers

	mu     sync.Mutex
	locks  map[string]chan struct{} // by repository; full while somebody moves its refs
	pushes map[string]*prepared     // by push id: locks held by pushes that are under way
	unsure map[string]bool          // repositories with an intent whose outcome could not be recorded yet
	fault  func(point string)       // called between the steps of a move; tests die there
}

// New makes the service; it works from [Service.Start] on.
func New(st slipway.Store[Tx], cfg Config) *Service {
	if cfg.Wait <= 0 {
		cfg.Wait = 30 * time.Second
	}
	if cfg.MinEvery <= 0 {
		cfg.MinEvery = 5 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Service{
		st: st, dir: cfg.Dir, cfg: cfg, log: cfg.Log,
		locks: map[string]chan struct{}{}, pushes: map[string]*prepared{}, unsure: map[string]bool{},
		fault: func(string) {},
	}
}

// Create makes an empty repository. Branch is its default branch, "main" if empty. Kinds of errors: Invalid for
// a bad name, Conflict if it exists.
func (s *Service) Create(ctx context.Context, actor, name, summary, branch string) (Repo, error) {
	if err := CheckName(name); err != nil {
		return Repo{}, err
	}
	if branch == "" {
		branch = "main"
	}
	// A folder without a row is what a crash leaves; making it again is harmless, and nobody sees it before the row.
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
		return Repo{}, err
	}
	if _, err := git.Init(ctx, s.path(name), branch); err != nil {
		return Repo{}, err
	}
	var repo Repo
	err := s.st.Update(ctx, func(tx Tx) error {
		if _, err := tx.Repos().Get(ctx, name); err == nil {
			return slipway.Errorf(slipway.Conflict, "repository %s exists already", name)
		} else if !slipway.Is(err, slipway.NotFound) {
			return err
		}
		repo = Repo{Name: name, Summary: summary, Branch: branch, State: Hosted, Reason: "takes pushes", Creator: actor, Created: tx.Now().UTC()}
		if err := tx.Repos().Put(ctx, repo); err != nil {
			return err
		}
		return tx.Emit(ctx, slipway.Event{
			Type: slipway.RepoCreated, Subject: slipway.Ref("repo", name), Product: slipway.ProductAt(name, "main"),
			Actor: actor, Reason: "created by " + actor,
		})
	})
	return repo, err
}

// Repo returns one repository; NotFound if there is none.
func (s *Service) Repo(ctx context.Context, name string) (repo Repo, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		repo, err = tx.Repos().Get(ctx, name)
		return err
	})
	if slipway.Is(err, slipway.NotFound) {
		err = slipway.Errorf(slipway.NotFound, "there is no repository %q", name).Try("create it with: slipway repo create " + name)
	}
	return repo, err
}

// Repos lists repositories, of one namespace if it is not empty, oldest first.
func (s *Service) Repos(ctx context.Context, namespace, after string, limit int) (repos []Repo, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		repos, err = tx.Repos().Find(ctx, slipway.Query{Key: namespace, After: after, Limit: limit})
		return err
	})
	return repos, err
}

// Dir returns the folder of a repository. Others may read there; only this stage writes refs.
func (s *Service) Dir(repo string) (string, error) {
	if err := CheckName(repo); err != nil {
		return "", err
	}
	dir := s.path(repo)
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", slipway.Errorf(slipway.NotFound, "there is no repository %q", repo).Try("create it with: slipway repo create " + repo)
		}
		return "", err
	}
	return dir, nil
}

// Git returns the repository for git commands that move no refs.
func (s *Service) Git(repo string) (git.Repo, error) {
	dir, err := s.Dir(repo)
	return git.Open(dir).Reading(&s.readers), err
}

// Lock is the file that every git process which may move refs must have open (see the package comment).
func (s *Service) Lock() *os.File { return s.held }
