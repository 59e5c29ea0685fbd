package resource

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// Want is a resource as it is to be now.
type Want struct {
	plan.Resource
	// Stamp names the state of what the resource requires; when it changes, processes and services restart.
	Stamp string
}

// Diff is what was found.
type Diff struct {
	Absent  bool                   // there is nothing yet
	Changes map[string]plan.Change // attribute -> what it is and what it is to be; empty: as desired
	Actual  map[string]string      // what is there: digest, version, pid, ...
}

// Clean reports whether there is nothing to do.
func (d Diff) Clean() bool { return len(d.Changes) == 0 }

// change notes one attribute that differs.
func (d *Diff) change(attribute, current, desired string) {
	if d.Changes == nil {
		d.Changes = map[string]plan.Change{}
	}
	d.Changes[attribute] = plan.Change{Current: current, Desired: desired}
}

// fact notes one thing that is there.
func (d *Diff) fact(name, value string) {
	if d.Actual == nil {
		d.Actual = map[string]string{}
	}
	d.Actual[name] = value
}

// Handler knows one type of resource. All methods may be called at once for different resources.
type Handler interface {
	// Diff reads and compares. It writes nothing.
	Diff(ctx context.Context, w Want) (Diff, error)
	// Apply makes the resource as it is wanted. Doing it twice is harmless.
	Apply(ctx context.Context, w Want) error
	// Purge takes the resource away; one that is gone already is not an error.
	Purge(ctx context.Context, w Want) error
}

// Later is the error of something that will be tried again at a known time.
type Later struct {
	At     time.Time
	Reason string
}

// Error implements error.
func (l *Later) Error() string { return l.Reason }

// Config says where a host works and with what.
type Config struct {
	Node      string          // name of the node; commands see it as $NODE
	Root      string          // directory that all paths are below; default "/"
	State     string          // directory for what the host must remember; required
	Artifacts artifact.Opener // where artifacts come from; required for resources of type artifact
	Log       *slog.Logger    // default: discarded
	Client    *http.Client    // for health checks; default has a timeout of 2 s
	// Exited is called when a supervised process ends that was not told to; it must not block.
	Exited func(resource, reason string)
	Grace  time.Duration // between SIGTERM and SIGKILL; default 10 s
}

// Host makes resources so on one node.
type Host struct {
	cfg      Config
	root     *Root
	super    *Supervisor
	handlers map[plan.Type]Handler
	packages packages
}

// NewHost opens the root and takes up the processes that an earlier host with the same state left running.
func NewHost(cfg Config) (*Host, error) {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: 2 * time.Second}
	}
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Second
	}
	if err := os.MkdirAll(cfg.State, 0o755); err != nil {
		return nil, slipway.Errorf(slipway.Internal, "no directory for the agent's state: %w", err)
	}
	state, err := filepath.Abs(cfg.State)
	if err != nil {
		return nil, err
	}
	cfg.State = state
	root, err := OpenRoot(cfg.Root)
	if err != nil {
		return nil, err
	}
	super, err := openSupervisor(filepath.Join(cfg.State, "processes"), cfg)
	if err != nil {
		root.Close()
		return nil, err
	}
	h := &Host{cfg: cfg, root: root, super: super}
	h.handlers = map[plan.Type]Handler{
		plan.TypeFile:      fileHandler{root},
		plan.TypeDirectory: directoryHandler{root},
		plan.TypeArtifact:  artifactHandler{root, cfg.Artifacts},
		plan.TypeProcess:   processHandler{h},
		plan.TypeExec:      execHandler{h},
		plan.TypePackage:   packageHandler{h},
		plan.TypeService:   serviceHandler{h},
	}
	return h, nil
}

// Handler returns the handler of a type; the error is of kind Unavailable when this agent knows none.
func (h *Host) Handler(t plan.Type) (Handler, error) {
	if handler, ok := h.handlers[t]; ok {
		return handler, nil
	}
	return nil, slipway.Errorf(slipway.Unavailable, "this agent knows no resources of type %q", t).Try("update the agent")
}

// Root returns the root's directory.
func (h *Host) Root() string { return h.root.dir }

// Close stops watching; processes go on running and are taken up by the next host with the same state.
func (h *Host) Close() error {
	h.super.close()
	return h.root.Close()
}

// StopProcesses stops every supervised process.
func (h *Host) StopProcesses(ctx context.Context) error { return h.super.stopAll(ctx) }

// environment is what commands and processes see.
func (h *Host) environment(more map[string]string) []string {
	env := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME": h.root.dir, "ROOT": h.root.prefix(), "NODE": h.cfg.Node, "LANG": "C.UTF-8",
	}
	maps.Copy(env, more)
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	return out
}

// decode reads a resource's attributes.
func decode[T any](w Want) (T, error) {
	attrs, err := plan.Attributes[T](w.Resource)
	if err != nil {
		return attrs, slipway.Errorf(slipway.Invalid, "attributes of %s: %w", w.ID, err).Try("update the agent")
	}
	return attrs, nil
}

// short abbreviates a digest for people.
func short(digest string) string {
	if len(digest) > 19 {
		return digest[:19]
	}
	return digest
}

func bytesText(n int) string { return fmt.Sprintf("%d bytes", n) }
