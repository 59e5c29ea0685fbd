// Package local runs actions in bubblewrap sandboxes of this host.
//
// A run has a work folder of its own, which is gone when it ends. What the action may write is copied there; what it only
// reads is mounted read-only out of the store's expanded trees, so that a large dependency costs one mount and no copy. An action that says
// nothing of what it writes (see [execution.PropertyWritable]) gets a private copy of its whole input root.
//
// The command sees its input root as /build, the tools of the host or of the root filesystem that it names, and the variables
// that it declares; its standard output and error are one stream, which the result has as standard output. When it has ended by
// itself, its outputs are put into the store together with it: the blobs are durable when Execute returns.
package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
)

// Config tunes an [Executor]. Dir is required.
type Config struct {
	Dir     string                                    // folder for work folders, this executor's alone; emptied by [New]
	Worker  string                                    // name in the metadata of results; default the host's name
	Host    func(ctx context.Context) (string, error) // fingerprint of the host's tools, compared with [execution.PropertyHost]; nil compares nothing
	Labels  map[string]string                         // platform properties that actions may ask for; default OSFamily and ISA
	Limits  execution.Limits                          // of a run that brings none; zero fields take the sandbox's
	Timeout time.Duration                             // of an action that has none; default 1 h
}

// Executor implements [execution.Executor]. It may be used by several goroutines at once, and runs as many actions.
type Executor struct {
	store *artifact.Disk
	box   *sandbox.Runner
	cfg   Config
}

// New makes an executor over a store and a sandbox, and removes what a crash left in its folder.
func New(store *artifact.Disk, box *sandbox.Runner, cfg Config) (*Executor, error) {
	if cfg.Worker == "" {
		cfg.Worker, _ = os.Hostname()
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Hour
	}
	if cfg.Labels == nil {
		isa := map[string]string{"amd64": "x86-64", "arm64": "arm-a64"}[runtime.GOARCH]
		cfg.Labels = map[string]string{"OSFamily": "linux", "ISA": isa}
	}
	if err := artifact.RemoveTree(cfg.Dir); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "clear the work folder: %w", err).At(cfg.Dir)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err).At(cfg.Dir)
	}
	// No client uploads the empty blob: everybody has it, says the protocol.
	if _, _, err := store.Put(context.Background(), bytes.NewReader(nil)); err != nil {
		return nil, err
	}
	return &Executor{store, box, cfg}, nil
}

// Check implements [execution.Executor].
func (x *Executor) Check(ctx context.Context) error { return x.box.Check(ctx) }

// Execute implements [execution.Executor].
func (x *Executor) Execute(ctx context.Context, r execution.Request) (execution.Result, error) {
	if ctx.Err() != nil {
		return execution.Result{}, context.Cause(ctx)
	}
	meta := &repb.ExecutedActionMetadata{Worker: x.cfg.Worker, WorkerStartTimestamp: timestamppb.Now(), InputFetchStartTimestamp: timestamppb.Now()}
	a, err := execution.Load(ctx, x.store, r.Action)
	if err != nil {
		return execution.Result{}, err
	}
	if err := x.suits(ctx, a); err != nil {
		return execution.Result{}, err
	}
	work, err := os.MkdirTemp(x.cfg.Dir, "run-")
	if err != nil {
		return execution.Result{}, slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err)
	}
	res, err := x.run(ctx, a, r, work, meta)
	if e := artifact.RemoveTree(work); err == nil && e != nil {
		err = slipway.Errorf(slipway.Unavailable, "clear the work folder: %w", e)
	}
	if ctx.Err() != nil {
		return execution.Result{}, context.Cause(ctx)
	}
	return res, err
}

// suits refuses an action that this host cannot run as it is meant.
func (x *Executor) suits(ctx context.Context, a *execution.Action) error {
	for _, name := range slices.Sorted(maps.Keys(a.Platform)) {
		value := a.Platform[name]
		switch name {
		case execution.PropertyWritable, execution.PropertyRoot, execution.PropertySandbox, execution.PropertyUnconfined:
		case execution.PropertyUser:
			if value != "root" {
				return slipway.Errorf(slipway.Invalid, "the action wants to be the user %q", value).At("action " + a.Digest).Try("leave " + name + " out, or say root")
			}
		case execution.PropertyHost:
			if x.cfg.Host == nil {
				continue
			}
			have, err := x.cfg.Host(ctx)
			if err != nil {
				return err
			}
			if have != value {
				return slipway.Errorf(slipway.Unavailable, "the action wants the tools of a host %s, and this one is %s", value, have).
					At("action " + a.Digest).Try("run it on a worker with the same packages")
			}
		default:
			if x.cfg.Labels[name] != value {
				return slipway.Errorf(slipway.Unavailable, "the action wants a worker with %s=%s", name, value).
					At("action " + a.Digest).Try("give a worker this label, or take the property away")
			}
		}
	}
	return nil
}

func (x *Executor) run(ctx context.Context, a *execution.Action, r execution.Request, work string, meta *repb.ExecutedActionMetadata) (execution.Result, error) {
	lay := &layout{store: x.store, action: a, work: work}
	if err := lay.make(ctx); err != nil {
		return execution.Result{}, err
	}
	meta.InputFetchCompletedTimestamp = timestamppb.Now()
	said := &capture{to: r.Log, file: work + "/log"}
	defer said.close()
	limits := x.limits(r.Limits, a)
	meta.ExecutionStartTimestamp = timestamppb.Now()
	exit, err := x.box.Run(ctx, sandbox.Spec{
		Root: lay.root, Mounts: lay.mounts, Dir: lay.dir(), Env: a.Env, Argv: a.Command.Arguments, Limits: limits, Log: said,
		Superuser:  a.Platform[execution.PropertyUser] != "",
		Unconfined: a.Platform[execution.PropertyUnconfined] != "" && x.box.Check(ctx) != nil,
	})
	if err != nil {
		return execution.Result{}, err
	}
	meta.ExecutionCompletedTimestamp = timestamppb.Now()
	if r.Ended != nil {
		r.Ended()
	}
	meta.VirtualExecutionDuration = durationpb.New(exit.Wall)
	res := execution.Result{Wall: exit.Wall, Action: &repb.ActionResult{ExecutionMetadata: meta}}
	switch exit.Status {
	case sandbox.Exited:
		res.Status, res.Reason = execution.Exited, fmt.Sprintf("exit code %d", exit.Code)
		res.Action.ExitCode = int32(exit.Code)
		if exit.Code == 128+25 { // SIGXFSZ
			res.Status, res.Reason = execution.OutputTooLarge, "stopped because it wrote a file of too many bytes"
		}
	case sandbox.TimedOut:
		res.Status, res.Reason = execution.TimedOut, fmt.Sprintf("stopped after its timeout of %s", limits.Wall)
	case sandbox.LogTooLarge:
		res.Status, res.Reason = execution.LogTooLarge, "stopped because it wrote too much to its log"
	case sandbox.OutputTooLarge:
		res.Status, res.Reason = execution.OutputTooLarge, "stopped because it wrote too many bytes to its folders"
	case sandbox.Cancelled:
		if said.err != nil {
			return res, slipway.Errorf(slipway.Unavailable, "the log cannot be written: %w", said.err)
		}
		return res, context.Cause(ctx)
	}
	meta.OutputUploadStartTimestamp = timestamppb.Now()
	err = x.store.Together(ctx, func(ctx context.Context, st artifact.Store) error {
		if res.Status == execution.Exited {
			if err := lay.collect(ctx, st, &res, limits.OutputBytes); err != nil {
				return err
			}
		}
		return said.keep(ctx, st, res.Action)
	})
	meta.OutputUploadCompletedTimestamp, meta.WorkerCompletedTimestamp = timestamppb.Now(), timestamppb.Now()
	return res, err
}

func (x *Executor) limits(of execution.Limits, a *execution.Action) sandbox.Limits {
	l := sandbox.Limits{
		Wall:        a.Timeout,
		CPU:         first(of.CPU, x.cfg.Limits.CPU),
		Memory:      first(of.Memory, x.cfg.Limits.Memory),
		Processes:   first(of.Processes, x.cfg.Limits.Processes),
		OutputBytes: first(of.OutputBytes, x.cfg.Limits.OutputBytes),
		LogBytes:    first(of.LogBytes, x.cfg.Limits.LogBytes),
	}
	if l.Wall <= 0 {
		l.Wall = x.cfg.Timeout
	}
	return l
}

// first returns the first of two limits that is one.
func first[T int | int64 | time.Duration](a, b T) T {
	if a > 0 {
		return a
	}
	return b
}

// maxInline is how much standard output a result holds itself, in bytes; more is a blob.
const maxInline = 2 << 10

// capture passes the output of a run on and keeps it.
type capture struct {
	to   io.Writer
	file string // where it goes when it is more than maxInline

	mu  sync.Mutex
	buf []byte
	f   *os.File
	err error
}

func (c *capture) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	defer func() { c.err = err }()
	if c.to != nil {
		if n, err := c.to.Write(p); err != nil {
			return n, err
		}
	}
	if c.f == nil && len(c.buf)+len(p) <= maxInline {
		c.buf = append(c.buf, p...)
		return len(p), nil
	}
	if c.f == nil {
		if c.f, err = os.Create(c.file); err != nil {
			return 0, err
		}
		if _, err := c.f.Write(c.buf); err != nil {
			return 0, err
		}
	}
	return c.f.Write(p)
}

// keep puts the output into the result.
func (c *capture) keep(ctx context.Context, st artifact.Store, r *repb.ActionResult) error {
	if c.f == nil {
		r.StdoutRaw = c.buf
		return nil
	}
	if _, err := c.f.Seek(0, io.SeekStart); err != nil {
		return slipway.Errorf(slipway.Unavailable, "read the log: %w", err)
	}
	d, size, err := st.Put(ctx, c.f)
	if err != nil {
		return err
	}
	r.StdoutDigest = artifact.Proto(d, size)
	return nil
}

func (c *capture) close() {
	if c.f != nil {
		c.f.Close()
	}
}

// inputError says which input is wrong or missing.
func inputError(at string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return slipway.Errorf(slipway.KindOf(err), "the input %s: %w", at, err)
}
