package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution/local"
	"slipway.dev/slipway/internal/platform/lifecycle"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/build/farm/worker"
)

// workerCmd is both the process that works and the parent of the verbs about workers.
func (a *app) workerCmd() *cobra.Command {
	var o workerOptions
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run builds of a server on this machine",
		Long: `Dials out to a server, claims tasks of its farm and runs them here, in the same
sandbox as the server. The token is that of an operator: a worker reads and writes
artifacts, and what it says an action made is believed.

A signal drains the worker: it ends what it runs, and takes nothing new. A second one
ends it at once; what it ran is then run again elsewhere when its claim expires.`,
		Example: `  slipway worker --server http://slipway:8470 --token $TOKEN
  slipway worker --name big-1 --slots 16 --label gpu=yes
  slipway worker list`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runWorker(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "the worker's name, unique in the farm (default: the host's, with -worker)")
	f.IntVar(&o.slots, "slots", runtime.NumCPU(), "tasks at once")
	f.StringArrayVar(&o.labels, "label", nil, "what actions may ask for, KEY=VALUE; may be repeated")
	f.StringVar(&o.root, "root", "/var/lib/slipway-worker", "folder that belongs to the worker: its store, which is a cache, and what it runs")
	f.DurationVar(&o.keep, "keep", 7*24*time.Hour, "how long the cache keeps what is not used")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	cmd.AddCommand(a.workerListCmd())
	return cmd
}

type workerOptions struct {
	name, root          string
	slots               int
	labels              []string
	keep                time.Duration
	logFormat, logLevel string
}

// runWorker wires a worker and runs it until it is drained.
func (a *app) runWorker(drain context.Context, o workerOptions) error {
	log, err := lifecycle.NewLogger(a.errOut, o.logFormat, o.logLevel)
	if err != nil {
		return err
	}
	labels, err := parsePairs("--label", o.labels)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	if o.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return slipway.Errorf(slipway.Invalid, "the worker needs a name: %w", err).Try("give --name")
		}
		o.name = strings.ToLower(host) + "-worker"
	}
	unlock, err := lockDir(o.root)
	if err != nil {
		return err
	}
	defer unlock()
	disk, err := artifact.OpenDisk(filepath.Join(o.root, "artifacts"))
	if err != nil {
		return err
	}
	box, err := sandbox.New(filepath.Join(o.root, "sandbox"))
	if err != nil {
		return err
	}
	spool := filepath.Join(o.root, "logs")
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return slipway.Errorf(slipway.Unavailable, "make the worker's folder: %w", err)
	}
	host := build.Fingerprint()
	exec, err := local.New(disk, box, local.Config{Dir: filepath.Join(o.root, "work"), Worker: o.name, Host: host, Labels: labels})
	if err != nil {
		return err
	}
	if err := exec.Check(drain); err != nil {
		return err
	}
	w := worker.New(c.Farm(), exec, worker.Config{
		Name: o.name, Host: host, Labels: labels, Slots: o.slots, Spool: spool, Log: log,
		Transfer: worker.Sync{Local: disk, Remote: c.Farm()},
	})
	log.Info("worker", "name", o.name, "server", c.Server(), "slots", o.slots, "root", o.root)
	// The first signal drains; what runs goes on until the second, which the runtime lets end the process.
	context.AfterFunc(drain, func() { log.Info("draining: what runs goes on, nothing new is taken; a second signal ends at once") })
	ctx, cancel := context.WithCancel(context.WithoutCancel(drain))
	defer cancel()
	cleaning := make(chan struct{})
	go func() {
		defer close(cleaning)
		cleanCache(ctx, disk, o.keep, log)
	}()
	err = w.Run(ctx, drain)
	cancel()
	<-cleaning
	return err
}

// lockDir makes sure that one worker runs on a folder, which is made if missing. The lock ends with the process.
func lockDir(dir string) (func(), error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "make the worker's folder: %w", err).Try("give another with --root")
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "lock the worker's folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, slipway.Errorf(slipway.Conflict, "another worker runs on this folder").At(dir).Try("give another with --root")
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

func (a *app) workerListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the workers of the farm, with what they run",
		Example: "  slipway worker list\n  slipway worker list -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := c.Workers(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(all, func() *table {
				t := newTable("worker", "state", "seen", "host", "labels", "reason", "runs")
				for _, w := range all {
					var runs []string
					for _, task := range w.Tasks {
						runs = append(runs, task.Name)
					}
					t.add(w.Name, w.State, w.Seen, w.Host, pairs(w.Labels), w.Reason, strings.Join(runs, " "))
				}
				return t
			})
		},
	}
}

func (a *app) taskCmd() *cobra.Command {
	var product, state string
	var limit int
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the farm's tasks, newest first, with what they wait for",
		Example: "  slipway task list --state queued\n  slipway task list --product ferry -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := client.All(c.Tasks(cmd.Context(), product, state, limit))
			if err != nil {
				return err
			}
			return a.print(all, func() *table {
				t := newTable("task", "name", "product", "class", "state", "worker", "age", "reason")
				for _, task := range all {
					t.add(task.ID, task.Name, task.Product, string(task.Class), string(task.State), task.Worker, task.Queued, task.Reason)
				}
				return t
			})
		},
	}
	f := list.Flags()
	f.StringVar(&product, "product", "", "only this product's")
	f.StringVar(&state, "state", "", "only queued, claimed or done ones")
	f.IntVar(&limit, "limit", 30, "how many at most; 0 for all")
	return parent("task", "See what the farm runs, and what waits", list)
}

// cleanCache keeps a worker's store from growing for ever: once an hour, what nobody used for the given time goes.
func cleanCache(ctx context.Context, disk *artifact.Disk, keep time.Duration, log *slog.Logger) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		swept, err := disk.Sweep(ctx, nil, keep, false)
		if err != nil && ctx.Err() == nil {
			log.Warn("cleaning the cache", "err", err)
		}
		if swept.Removed.Blobs > 0 {
			log.Info("cleaned the cache", "blobs", swept.Removed.Blobs, "bytes", swept.Removed.Bytes)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
