package web

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm"
)

// Farm knows the workers and their tasks.
type Farm interface {
	Workers(ctx context.Context) ([]farm.Worker, error)
	Tasks(ctx context.Context, q slipway.Query) ([]farm.Task, error)
}

func (s *Server) farm() {
	s.page("GET /ui/workers", func(r *http.Request) (view, error) {
		workers, err := s.Farm.Workers(r.Context())
		slices.SortStableFunc(workers, func(a, b farm.Worker) int { return strings.Compare(b.State, a.State) }) // online before gone
		return view{Title: "Workers", Topics: []string{"build.action."}, Poll: true, Body: workerList(workers)}, err
	})
	s.page("GET /ui/tasks", func(r *http.Request) (view, error) {
		open, err := s.Farm.Tasks(r.Context(), slipway.Query{States: []string{string(farm.Queued), string(farm.Claimed)}, Limit: maxTasks + 1})
		if err != nil {
			return view{}, err
		}
		done, err := s.Farm.Tasks(r.Context(), slipway.Query{States: []string{string(farm.Done)}, Newest: true, After: r.URL.Query().Get("after"), Limit: pageSize + 1})
		done, next := cut(done, func(t farm.Task) string { return t.ID })
		return view{Title: "Tasks", Topics: []string{"build.action."}, Poll: true, Body: taskPage(open[:min(len(open), maxTasks)], len(open) > maxTasks, done, next)}, err
	})
}

// maxTasks is how many open tasks the page reads.
const maxTasks = 2000

// classes are those of the farm's work, most urgent first.
var classes = []slipway.Class{slipway.ClassInteractive, slipway.ClassCandidate, slipway.ClassRebuild, slipway.ClassIdle}

// classOf names a task's class, also where it has the default one.
func classOf(t farm.Task) slipway.Class { return classes[t.Class.Rank()] }

// queueCell is how much of one class waits and runs for a product.
type queueCell struct{ Waits, Runs int }

// queueTable counts open tasks by product and class.
func queueTable(open []farm.Task) (products []string, cells map[string]map[slipway.Class]queueCell) {
	cells = map[string]map[slipway.Class]queueCell{}
	for _, t := range open {
		product := productOf(t)
		if cells[product] == nil {
			cells[product] = map[slipway.Class]queueCell{}
		}
		class := classOf(t)
		cell := cells[product][class]
		if t.State == farm.Claimed {
			cell.Runs++
		} else {
			cell.Waits++
		}
		cells[product][class] = cell
	}
	return slices.Sorted(maps.Keys(cells)), cells
}

// productOf names whom a task is for; clients of the Remote Execution API name no product.
func productOf(t farm.Task) string {
	if t.Product == "" {
		return "others"
	}
	return t.Product
}

// inOrder sorts open tasks: those that run, then those that wait, the more urgent first.
func inOrder(open []farm.Task) []farm.Task {
	sorted := slices.Clone(open)
	slices.SortStableFunc(sorted, func(a, b farm.Task) int {
		if a.State != b.State {
			return strings.Compare(string(a.State), string(b.State)) // claimed before queued
		}
		return a.Class.Rank() - b.Class.Rank()
	})
	return sorted
}

// shownTasks is how many open tasks are listed one by one.
const shownTasks = 100

// taskState is a task's state in one word: the outcome once it is done.
func taskState(t farm.Task) string {
	switch {
	case t.State == farm.Done && t.Outcome != "":
		return string(t.Outcome)
	case t.State == farm.Claimed:
		return "running"
	}
	return string(t.State)
}

// taskLink is the page of what a task builds; "" when no build owns it.
func taskLink(t farm.Task) string {
	for _, owner := range t.Owners {
		if kind, _, _ := slipway.SplitRef(owner); kind == "build" {
			return href(owner)
		}
	}
	return ""
}

// ago words how long something has lasted already.
func ago(since time.Time) string { return took(since, time.Now()) }
