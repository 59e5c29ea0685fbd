package executor

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"slipway.dev/slipway/internal/agent/spool"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/lab"
)

// signals is what the server has said about an assignment.
type signals struct {
	phase   string
	reason  string
	open    []string
	passed  []string
	missing map[string][]string
	forget  bool
}

// assignment is one order and everything that happened to it. Executor.mu guards records, acks and signals.
type assignment struct {
	x     *Executor
	dir   string
	order lab.Order
	over  chan struct{} // closed when its goroutine has ended

	spool   *spool.Log
	records []lab.Record
	acked   int64            // number of the last record that the server has
	logged  map[string]int64 // step -> bytes that the server has
	told    signals
	news    chan struct{} // signals have changed
}

func newAssignment(x *Executor, o lab.Order) (*assignment, error) {
	if filepath.Base(o.ID) != o.ID || o.ID == "." || o.ID == ".." {
		return nil, slipway.Errorf(slipway.Invalid, "refused an order whose id is not a name").At(o.ID)
	}
	dir := filepath.Join(x.dir, o.ID)
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o700); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "make the assignment's folder: %w", err)
	}
	// Without the folder the order would be taken a second time, with records that the server counts as old.
	if err := spool.SyncDir(x.dir); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "keep the assignment's folder: %w", err)
	}
	a, err := openAssignment(x, o.ID)
	if err != nil {
		return nil, err
	}
	a.order, a.told.phase = o, o.Phase
	return a, a.append(lab.Record{Kind: lab.RecordOrder, Order: &o})
}

// openAssignment reads an assignment's folder.
func openAssignment(x *Executor, id string) (*assignment, error) {
	a := &assignment{x: x, dir: filepath.Join(x.dir, id), over: make(chan struct{}), news: make(chan struct{}, 1)}
	log, lines, err := spool.Open(filepath.Join(a.dir, "records"))
	if err != nil {
		return nil, err
	}
	a.spool = log
	for i, line := range lines {
		var r lab.Record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "record %d is damaged: %w", i+1, err).At(a.dir)
		}
		if r.Order != nil {
			a.order, a.told.phase = *r.Order, r.Order.Phase
		}
		a.records = append(a.records, r)
	}
	return a, nil
}

func (a *assignment) remove() {
	a.spool.Close()
	if err := os.RemoveAll(a.dir); err != nil {
		a.x.cfg.Log.Warn("the assignment's folder stays", "dir", a.dir, "error", err)
	}
}

// append numbers a record and puts it on disk. Called with mu held, or before anybody else knows the assignment.
func (a *assignment) append(r lab.Record) error {
	r.Seq, r.Time = int64(len(a.records))+1, time.Now().UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return slipway.Errorf(slipway.Internal, "write a record: %w", err)
	}
	if err := a.spool.Append(line); err != nil {
		return err
	}
	a.records = append(a.records, r)
	return nil
}

// record appends and tells the agent. A disk that takes nothing is said in the log; the record is lost, and with it the
// server's trust: its deadlines end the experiment as infra.
func (a *assignment) record(r lab.Record) {
	a.x.mu.Lock()
	err := a.append(r)
	a.x.mu.Unlock()
	if err != nil {
		a.x.cfg.Log.Error("record lost", "assignment", a.order.ID, "kind", r.Kind, "error", err)
		return
	}
	a.x.signal()
}

// has reports whether a record of the kind exists.
func (a *assignment) has(kind string) bool {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	return slices.ContainsFunc(a.records, func(r lab.Record) bool { return r.Kind == kind })
}

// update changes what the server has said. Called with mu held.
func (a *assignment) update(f func(*signals)) {
	f(&a.told)
	select {
	case a.news <- struct{}{}:
	default:
	}
}

func (a *assignment) signals() signals {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	return a.told
}

// report tells what the server does not have yet, within what is left of the limits. Called with mu held.
func (a *assignment) report(records, logs *int) lab.AssignmentReport {
	r := lab.AssignmentReport{ID: a.order.ID, Epoch: a.order.Epoch}
	for _, rec := range a.records[min(a.acked, int64(len(a.records))):] {
		rec.Order = nil // it came from there
		size := 256
		if rec.Step != nil {
			size += len(rec.Step.Tail) + len(rec.Step.Reason)
		}
		if *records -= size; *records < 0 && len(r.Records) > 0 {
			break
		}
		r.Records = append(r.Records, rec)
	}
	for _, s := range a.steps() {
		have := a.logged[s.ID]
		data := readAt(a.logFile(s.ID), have, min(int64(*logs), lab.MaxLog-have))
		if len(data) > 0 {
			*logs -= len(data)
			r.Logs = append(r.Logs, lab.LogReport{Step: s.ID, Offset: have, Data: data})
		}
	}
	return r
}

// acknowledge notes what the server has, and reports whether there is more for it. Called with mu held.
func (a *assignment) acknowledge(ack lab.Ack) (more bool) {
	a.acked, a.logged = ack.Taken, ack.Logs
	if a.acked < int64(len(a.records)) {
		return true
	}
	for _, s := range a.steps() {
		if info, err := os.Stat(a.logFile(s.ID)); err == nil && min(info.Size(), lab.MaxLog) > a.logged[s.ID] {
			return true
		}
	}
	return false
}

// steps are the steps with scripts that this node has, cleanup included.
func (a *assignment) steps() []spec.ExperimentStep {
	var out []spec.ExperimentStep
	for _, s := range slices.Concat(a.order.Work.Steps, a.order.Work.Cleanup) {
		if lab.Takes(s, a.order.Work.Role) && s.Run != "" {
			out = append(out, s)
		}
	}
	return out
}

func (a *assignment) logFile(step string) string { return filepath.Join(a.dir, "log", step) }

func readAt(file string, offset, limit int64) []byte {
	if limit <= 0 {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil // the step has not begun
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, offset, limit))
	if err != nil {
		return nil
	}
	return data
}
