// Package plan decides which task a worker with a free slot starts next.
//
// It is a pure function of a [Snapshot]. The order is:
//
//  1. the most urgent class; a task that waited gains one class every [Snapshot.Aging], so that none starves;
//  2. in a class, the product that has the least of the farm: its running tasks, and the slot time that it used lately
//     (as the caller weighs it);
//  3. in a product, the one that has waited longest.
//
// A task is offered to a worker only if the worker has the host and the labels that it asks for, and has not failed it before. When
// no other worker could take it, one that failed it may try again, once the task's NotBefore has come.
package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Task is one task that waits.
type Task struct {
	ID        string
	Product   string
	Class     int // 0 is the most urgent
	Queued    time.Time
	NotBefore time.Time         // of a retry on a worker that failed it; zero: at once
	Host      string            // fingerprint that the worker must have; empty: any
	Labels    map[string]string // that the worker must have
	Failed    []string          // workers that could not run it
}

// Worker is one that may take tasks.
type Worker struct {
	Name     string
	Host     string
	Labels   map[string]string
	Draining bool // takes nothing new
}

// Snapshot is what the decision rests on.
type Snapshot struct {
	Now     time.Time
	Queued  []Task             // in the order in which they were queued
	Workers []Worker           // all that are there
	Share   map[string]float64 // by product: tasks running, and a measure of what it used lately
	Aging   time.Duration      // of waiting for one class; 0: never
}

// Fits reports whether the worker can run the task at all, failures aside.
func (w Worker) Fits(t Task) bool {
	if w.Draining || t.Host != "" && t.Host != w.Host {
		return false
	}
	for k, v := range t.Labels {
		if w.Labels[k] != v {
			return false
		}
	}
	return true
}

// Next returns the index in s.Queued of the task that the worker starts next, or -1.
func (s Snapshot) Next(w Worker) int {
	best := -1
	var bestClass int
	for i, t := range s.Queued {
		class := s.class(t)
		if best >= 0 && !s.before(t, class, s.Queued[best], bestClass) {
			continue
		}
		if w.Fits(t) && s.mayTry(t, w) {
			best, bestClass = i, class
		}
	}
	return best
}

// class is the task's class, less what it gained by waiting.
func (s Snapshot) class(t Task) int {
	if s.Aging <= 0 {
		return t.Class
	}
	return max(0, t.Class-int(s.Now.Sub(t.Queued)/s.Aging))
}

func (s Snapshot) before(a Task, classA int, b Task, classB int) bool {
	if classA != classB {
		return classA < classB
	}
	if a.Product != b.Product {
		if x, y := s.Share[a.Product], s.Share[b.Product]; x != y {
			return x < y
		}
	}
	return a.Queued.Before(b.Queued)
}

func (s Snapshot) mayTry(t Task, w Worker) bool {
	if !slices.Contains(t.Failed, w.Name) {
		return true
	}
	if s.Now.Before(t.NotBefore) {
		return false
	}
	return !slices.ContainsFunc(s.Workers, func(other Worker) bool {
		return other.Fits(t) && !slices.Contains(t.Failed, other.Name)
	})
}

// Why says what a task waits for.
func (s Snapshot) Why(t Task) string {
	fits, fresh := 0, 0
	for _, w := range s.Workers {
		if w.Fits(t) {
			fits++
			if !slices.Contains(t.Failed, w.Name) {
				fresh++
			}
		}
	}
	switch {
	case len(s.Workers) == 0:
		return "no worker is there; start one with: slipway worker"
	case fits == 0:
		var want []string
		if t.Host != "" {
			want = append(want, "the host tools "+t.Host)
		}
		for k, v := range t.Labels {
			want = append(want, "the label "+k+"="+v)
		}
		slices.Sort(want)
		if len(want) == 0 {
			return "all workers are draining"
		}
		return fmt.Sprintf("none of %d workers has %s", len(s.Workers), strings.Join(want, " and "))
	case fresh == 0 && s.Now.Before(t.NotBefore):
		return "failed on every worker that fits; tried again at " + t.NotBefore.UTC().Format(time.TimeOnly)
	}
	return "waits for a free slot"
}
