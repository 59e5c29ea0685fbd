package executor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/lab"
)

// begin records that a step runs, then starts it: whatever a kill leaves running has a record. A process that it began
// without coming to say so is found by its mark.
func (a *assignment) begin(step spec.ExperimentStep, try int) (*process, error) {
	if try > 1 {
		if err := note(a.logFile(step.ID), fmt.Sprintf("--- try %d ---\n", try)); err != nil {
			return nil, err
		}
	}
	cleanup := slices.ContainsFunc(a.order.Work.Cleanup, func(s spec.ExperimentStep) bool { return s.ID == step.ID })
	a.record(lab.Record{Kind: lab.RecordStep, Step: &lab.StepResult{Step: step.ID, State: "running", Tries: try, Cleanup: cleanup, Started: time.Now().UTC()}})
	return startProcess(step.Run, filepath.Join(a.dir, "work"), a.logFile(step.ID), a.env())
}

// runStep runs a step to its end, with its retries, and returns its result. When ctx ends, the step is stopped and counts
// as cancelled.
func (a *assignment) runStep(ctx context.Context, step spec.ExperimentStep, cleanup bool) lab.StepResult {
	began := time.Now().UTC()
	for try := 1; ; try++ {
		res := a.once(ctx, step, began, try)
		res.Cleanup = cleanup
		if res.Outcome != slipway.Fail && res.Outcome != slipway.Timeout || try > step.Retries {
			return res
		}
		t := time.NewTimer(retryAfter)
		select {
		case <-ctx.Done():
			t.Stop()
			return res
		case <-t.C:
		}
	}
}

// retryAfter is the time between two tries of a step.
const retryAfter = time.Second

func (a *assignment) once(ctx context.Context, step spec.ExperimentStep, began time.Time, try int) lab.StepResult {
	if ctx.Err() != nil {
		return lab.StepResult{Step: step.ID, State: "finished", Outcome: slipway.Cancelled, Exit: -1, Reason: context.Cause(ctx).Error(), Started: began, Finished: time.Now().UTC(), Tries: try}
	}
	p, err := a.begin(step, try)
	if err != nil {
		return lab.StepResult{Step: step.ID, State: "finished", Outcome: slipway.Infra, Exit: -1, Reason: err.Error(), Started: began, Finished: time.Now().UTC(), Tries: try}
	}
	t := time.NewTimer(step.Timeout)
	defer t.Stop()
	select {
	case <-p.done:
		return a.result(step, p, began, try)
	case <-t.C:
		p.kill()
		res := a.result(step, p, began, try)
		res.Outcome, res.Reason = slipway.Timeout, fmt.Sprintf("did not end in %s", step.Timeout)
		return res
	case <-ctx.Done():
		p.kill()
		res := a.result(step, p, began, try)
		res.Outcome, res.Reason = slipway.Cancelled, context.Cause(ctx).Error()
		return res
	}
}

// result describes a process that has ended.
func (a *assignment) result(step spec.ExperimentStep, p *process, began time.Time, try int) lab.StepResult {
	res := lab.StepResult{Step: step.ID, State: "finished", Outcome: slipway.Pass, Exit: p.exit, Tries: try, Started: began, Finished: time.Now().UTC(), Tail: tail(a.logFile(step.ID), tailBytes)}
	switch {
	case p.exit < 0:
		res.Outcome, res.Reason = slipway.Fail, "ended by a signal: "+p.cmd.ProcessState.String()
	case p.exit > 0:
		res.Outcome, res.Reason = slipway.Fail, fmt.Sprintf("exit status %d", p.exit)
		if last := lastLine(res.Tail); last != "" {
			res.Reason += ": " + last
		}
	}
	return res
}

// lastLine is the last line of text that is not empty, cut to fit a reason.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimRight(text, " \t\r\n"), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	if len(line) > 200 {
		line = strings.ToValidUTF8(line[:200], "") + "..."
	}
	return line
}

func note(file, text string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "write the step's log: %w", err)
	}
	return nil
}

// env is the environment of every step.
//
//	ARTIFACTS      folder with one subfolder per component of the role
//	WORK           the folder that steps begin in, shared by all steps of the node
//	ROLE, NODE     what the node plays, and its name
//	NODE_<ROLE>    address of the first node of a role
//	NODES_<ROLE>   addresses of all its nodes, separated by spaces
//	FACT_<KEY>     the node's facts
//	EXPERIMENT     "experiment/4"
//
// and what the request and the experiment's file set; they cannot change the ones above.
func (a *assignment) env() []string {
	w := a.order.Work
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
	if path := os.Getenv("PATH"); path != "" {
		env["PATH"] = path
	}
	maps.Copy(env, w.Env)
	for key, value := range a.x.cfg.Facts {
		env["FACT_"+variable(key)] = value
	}
	addresses := map[string][]string{}
	for _, m := range w.Members {
		key := variable(m.Role)
		addresses[key] = append(addresses[key], cmp.Or(m.Address, m.Node))
	}
	for key, all := range addresses {
		env["NODE_"+key], env["NODES_"+key] = all[0], strings.Join(all, " ")
	}
	env["ARTIFACTS"], env["WORK"] = filepath.Join(a.dir, "artifacts"), filepath.Join(a.dir, "work")
	env["HOME"], env["TMPDIR"] = env["WORK"], filepath.Join(a.dir, "tmp")
	env["ROLE"], env["NODE"], env["EXPERIMENT"] = w.Role, w.Node, w.Experiment
	env[markVariable] = a.dir
	out := make([]string, 0, len(env))
	for _, key := range slices.Sorted(maps.Keys(env)) {
		out = append(out, key+"="+env[key])
	}
	return out
}

// variable writes a name as part of an environment variable's: upper case, everything else an underscore.
func variable(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
}
