package deploy

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/agent/resource"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// holder keeps one product's resources on this node.
type holder struct {
	cfg     Config
	product string
	host    *resource.Host
	log     *slog.Logger

	mu       sync.Mutex
	journal  *journal
	taken    plan.Slice               // the version held, with all resources
	held     map[string]plan.Resource // what may be there, as it was begun
	outcomes map[string]outcome
	drifts   []plan.Drift
	driftSeq int64
	waits    map[string]string
	refused  string
	refusedN int64
	full     bool   // the next report asks for everything
	acked    string // digest of the statuses that the server has
	dirty    map[string]bool
	drifting map[string]map[string]plan.Change // found and not yet repaired
	retries  map[string]retry
	dryRuns  map[string]plan.DryRun
	dryDone  map[string]plan.DryRunReport
	ready    chan struct{} // capacity 1: there is something to do
	stop     func()        // interrupts the running pass; may be nil
	running  bool          // a goroutine works for it
}

// retry is when something that failed is tried again.
type retry struct {
	failures int
	at       time.Time
}

// openHolder reads the journal and takes up the processes.
func openHolder(cfg Config, product string) (*holder, error) {
	h := &holder{
		cfg: cfg, product: product, log: cfg.Log.With("product", product),
		held: map[string]plan.Resource{}, outcomes: map[string]outcome{}, waits: map[string]string{}, dirty: map[string]bool{},
		drifting: map[string]map[string]plan.Change{}, retries: map[string]retry{},
		dryRuns: map[string]plan.DryRun{}, dryDone: map[string]plan.DryRunReport{}, ready: make(chan struct{}, 1),
	}
	state := filepath.Join(cfg.State, product)
	var err error
	h.journal, err = openJournal(filepath.Join(state, "journal"), h.replay)
	if err != nil {
		return nil, err
	}
	if err := h.journal.rewrite(h.lines()); err != nil {
		return nil, err
	}
	h.host, err = resource.NewHost(resource.Config{
		Node: cfg.Node, Root: cfg.Root, State: state, Artifacts: cfg.Artifacts, Log: h.log, Client: cfg.Client, Grace: cfg.Grace,
		Exited: func(id, _ string) { h.touch(id) },
	})
	if err != nil {
		h.journal.close()
		return nil, err
	}
	h.wake()
	return h, nil
}

// replay applies one line of the journal to the state in memory.
func (h *holder) replay(l line) {
	switch {
	case l.Slice != nil:
		h.taken = *l.Slice
	case l.Begin != nil:
		h.held[l.Begin.ID] = *l.Begin
	case l.Status != nil:
		h.outcomes[l.Status.ID] = *l.Status
	case l.Gone != "":
		delete(h.held, l.Gone)
		delete(h.outcomes, l.Gone)
	case l.Drift != nil:
		h.drifts = append(h.drifts, *l.Drift)
		h.drifts = h.drifts[max(len(h.drifts)-maxKept, 0):]
		h.driftSeq = max(h.driftSeq, l.Drift.Seq)
	case l.Acked != 0:
		h.driftSeq = max(h.driftSeq, l.Acked)
		h.drifts = slices.DeleteFunc(h.drifts, func(d plan.Drift) bool { return d.Seq <= l.Acked })
	}
}

// lines is the state as the shortest journal.
func (h *holder) lines() []line {
	var all []line
	if h.taken.Epoch != 0 {
		all = append(all, line{Slice: &h.taken})
	}
	for _, id := range slices.Sorted(maps.Keys(h.held)) {
		r := h.held[id]
		all = append(all, line{Begin: &r})
	}
	for _, id := range slices.Sorted(maps.Keys(h.outcomes)) {
		o := h.outcomes[id]
		all = append(all, line{Status: &o})
	}
	if h.driftSeq > 0 {
		all = append(all, line{Acked: h.driftSeq - int64(len(h.drifts))})
	}
	for _, d := range h.drifts {
		all = append(all, line{Drift: &d})
	}
	return all
}

// record writes lines to the journal and then applies them. The lock is held.
func (h *holder) record(lines ...line) error {
	for _, l := range lines {
		if err := h.journal.append(l); err != nil {
			return err
		}
		h.replay(l)
	}
	if h.journal.lines > 1000+4*(len(h.held)+len(h.outcomes)+len(h.drifts)) {
		return h.journal.rewrite(h.lines())
	}
	return nil
}

// wake makes the worker look.
func (h *holder) wake() {
	select {
	case h.ready <- struct{}{}:
	default: // it will look anyway
	}
}

// touch has a resource compared as soon as possible.
func (h *holder) touch(id string) {
	h.mu.Lock()
	h.dirty[id] = true
	h.mu.Unlock()
	h.wake()
}

// accept takes what the server wants, or says in the next report why not.
func (h *holder) accept(s plan.Slice) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	refuse := func(why string) {
		if h.refused != why {
			h.log.Warn("version refused", "version", s.Version, "reason", why)
			h.refused, h.refusedN = why, s.Epoch
			h.cfg.changed()
		}
	}
	if s.Epoch < h.taken.Epoch {
		refuse(fmt.Sprintf("the node holds %s, which is newer than %s", h.taken.Version, s.Version))
		return nil
	}
	h.acked = s.Acked
	if len(h.drifts) > 0 && s.AckedSeq >= h.drifts[0].Seq {
		if err := h.record(line{Acked: s.AckedSeq}); err != nil {
			return err
		}
	}
	if !maps.Equal(h.waits, s.Held) {
		h.waits = s.Held
		h.wake()
	}
	if !s.Complete {
		h.full = s.Digest != h.taken.Digest
		if h.full {
			h.cfg.changed()
			return nil
		}
		h.refused, h.refusedN = "", 0
		if s.Epoch == h.taken.Epoch {
			return nil
		}
		s.Resources = h.taken.Resources // the same under another number
		return h.take(s)
	}
	known := maps.Clone(h.held)
	for _, r := range h.taken.Resources {
		known[r.ID] = r
	}
	resources, ok := plan.Merge(s.Resources, known)
	if !ok {
		h.full = true
		h.cfg.changed()
		return nil
	}
	if plan.Digest(resources) != s.Digest {
		refuse("the resources of " + s.Version + " do not have the digest that they were announced with")
		return nil
	}
	if s.Epoch == h.taken.Epoch && s.Digest == h.taken.Digest {
		h.refused, h.refusedN, h.full = "", 0, false
		return nil
	}
	s.Resources = resources
	return h.take(s)
}

// take puts a version in force on this node. The lock is held.
func (h *holder) take(s plan.Slice) error {
	s.Held, s.Acked, s.AckedSeq, s.Complete = nil, "", 0, true
	if err := h.record(line{Slice: &s}); err != nil {
		return err
	}
	h.log.Info("version taken", "version", s.Version, "resources", len(s.Resources))
	h.refused, h.refusedN, h.full = "", 0, false
	h.retries = map[string]retry{}
	if h.stop != nil {
		h.stop()
	}
	h.wake()
	h.cfg.changed()
	return nil
}

// statuses lists how everything stands: what is desired in its order, then what is still to be purged.
func (h *holder) statuses() []plan.Status {
	all := []plan.Status{}
	desired := map[string]bool{}
	for _, r := range h.taken.Resources {
		desired[r.ID] = true
		if o, ok := h.outcomes[r.ID]; ok && o.Hash == r.Hash {
			all = append(all, o.Status)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(h.held)) {
		if desired[id] {
			continue
		}
		s := plan.Status{ID: id, Hash: h.held[id].Hash, State: plan.Deploying, Reason: "no longer in the model; being taken away"}
		if o, ok := h.outcomes[id]; ok && strings.HasPrefix(o.Reason, purgeFailed) {
			s = o.Status
		}
		all = append(all, s)
	}
	return all
}

// maxDrifts bounds the drifts of one report, so that what gathered while the server was away fits into a message of the bus;
// the rest follows when these are acknowledged. maxKept bounds what is kept for it: beyond that the oldest are dropped.
const (
	maxDrifts = 500
	maxKept   = 10_000
)

// report says how the product stands.
func (h *holder) report() plan.ProductReport {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := plan.ProductReport{
		Version: h.taken.Version, Epoch: h.taken.Epoch, Digest: h.taken.Digest, Refused: h.refused, RefusedEpoch: h.refusedN, Full: h.full,
		Drifts: slices.Clone(h.drifts[:min(len(h.drifts), maxDrifts)]),
	}
	statuses := h.statuses()
	r.StatusDigest = plan.StatusDigest(statuses)
	if r.StatusDigest != h.acked {
		r.Statuses = statuses
	}
	return r
}

func (h *holder) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.journal.close()
	return h.host.Close()
}

// note records how a resource stands.
func (h *holder) note(o outcome) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, had := h.outcomes[o.ID]
	if had && sameStatus(old, o) {
		return nil
	}
	if err := h.record(line{Status: &o}); err != nil {
		return slipway.Errorf(slipway.Internal, "remember %s: %w", o.ID, err)
	}
	h.cfg.changed()
	return nil
}

// sameStatus compares all but the times.
func sameStatus(a, b outcome) bool {
	return a.Hash == b.Hash && a.State == b.State && a.Reason == b.Reason && a.Stamp == b.Stamp && a.Changed == b.Changed &&
		maps.Equal(a.Actual, b.Actual) && maps.Equal(a.Changes, b.Changes) && a.Finished.Equal(b.Finished)
}
