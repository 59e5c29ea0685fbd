// Package plan decides which waiting experiment gets which nodes. It is pure: a [Snapshot] in, a [Plan] out.
//
// Requests are taken by priority, then age. A request gets all of its nodes at once or none. One that cannot be placed
// now, but could be once leases end, becomes a holder: it picks the set of nodes that is free the soonest, as far as the
// deadlines of those that have them tell, and that time is its shadow. A later request may use a node that is
// held only when it is sure to end before the holder's shadow. So short experiments slip into the gaps, and nobody is
// overtaken for ever: as long as its nodes stay in service, the shadow of the first in line never moves back.
// This is the EASY backfilling of Lifka (The ANL/IBM SP scheduling system, 1995), with one reservation for each waiting
// request, over nodes that are not alike.
//
// Which node plays which role is an exact bipartite matching (Kuhn's augmenting paths), so roles whose labels overlap
// never block each other by an unlucky choice.
//
// A request that only nodes out of service (offline, drained) could satisfy holds nothing: nobody knows when they
// come back.
package plan

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Node is a node as the planner sees it.
type Node struct {
	Name    string
	Labels  map[string]string
	Out     string        // why it is out of service ("offline", "drained: new disk"); empty: in service
	Suspect bool          // taken only when no other will do
	Holder  string        // who has it leased ("experiment/3"); empty: free
	Busy    time.Duration // how long the holder may keep it at most, by its deadlines
}

// Role is a part to be played by Count nodes that have all the Labels.
type Role struct {
	Name   string
	Labels map[string]string
	Count  int
}

// Request is an experiment that waits.
type Request struct {
	ID       string // "experiment/4"
	Priority int    // higher first
	Age      int64  // lower first: its number
	Roles    []Role
	Length   time.Duration // how long it keeps its nodes at most, by its deadlines
	Avoid    []string      // nodes that failed it; used only if there are not enough others
}

// Snapshot is what is decided on.
type Snapshot struct {
	Nodes    []Node
	Requests []Request
}

// Assignment gives a request its nodes.
type Assignment struct {
	ID    string
	Roles map[string][]string // role -> node names, sorted
}

// Wait says why a request gets nothing now.
type Wait struct {
	ID            string
	Reason        string
	Unsatisfiable bool // no set of known nodes could ever do, in service or not
}

// Plan is the decision. Every request is in one of the two lists, in the order in which they were considered.
type Plan struct {
	Assign []Assignment
	Waits  []Wait
}

// Place decides.
func Place(s Snapshot) Plan {
	p := planner{held: map[string]hold{}, taken: map[string]string{}}
	p.nodes = slices.Clone(s.Nodes)
	slices.SortFunc(p.nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	requests := slices.Clone(s.Requests)
	slices.SortStableFunc(requests, func(a, b Request) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Age, b.Age), cmp.Compare(a.ID, b.ID))
	})
	var out Plan
	for _, r := range requests {
		if roles, ok := p.place(r); ok {
			out.Assign = append(out.Assign, Assignment{r.ID, roles})
			continue
		}
		out.Waits = append(out.Waits, p.wait(r))
	}
	return out
}

// hold is a node that is kept for a request that waits.
type hold struct {
	by     string
	shadow time.Duration // when that request can begin at the latest
}

type planner struct {
	nodes []Node
	taken map[string]string // node -> the request that was given it in this plan
	held  map[string]hold
}

// place takes nodes that are free now for r.
func (p *planner) place(r Request) (map[string][]string, bool) {
	roles, ok := p.match(r, func(n Node) bool {
		if n.Out != "" || n.Holder != "" || p.taken[n.Name] != "" {
			return false
		}
		h, isHeld := p.held[n.Name]
		return !isHeld || r.Length <= h.shadow
	})
	if ok {
		for _, nodes := range roles {
			for _, n := range nodes {
				p.taken[n] = r.ID
			}
		}
	}
	return roles, ok
}

// wait explains why r waits, and holds what it will need.
func (p *planner) wait(r Request) Wait {
	if _, ok := p.match(r, func(Node) bool { return true }); !ok {
		return Wait{r.ID, "unsatisfiable: " + p.lacking(r), true}
	}
	if _, ok := p.match(r, func(n Node) bool { return n.Out == "" }); !ok {
		return Wait{r.ID, p.blocked(r), false}
	}
	reason := p.blocked(r)
	// The soonest set: the lowest bound on Busy under which the roles can be filled from what nobody before r holds.
	bounds := []time.Duration{0}
	for _, n := range p.nodes {
		bounds = append(bounds, p.busy(n))
	}
	slices.Sort(bounds)
	for _, bound := range slices.Compact(bounds) {
		roles, ok := p.match(r, func(n Node) bool {
			_, isHeld := p.held[n.Name]
			return n.Out == "" && !isHeld && p.taken[n.Name] == "" && p.busy(n) <= bound
		})
		if !ok {
			continue
		}
		for _, nodes := range roles {
			for _, n := range nodes {
				p.held[n] = hold{r.ID, bound}
			}
		}
		break
	}
	return Wait{r.ID, reason, false}
}

func (p *planner) busy(n Node) time.Duration {
	if n.Holder == "" {
		return 0
	}
	return max(n.Busy, 0)
}

// match fills every role of r from the nodes that may be used, or reports that it cannot.
func (p *planner) match(r Request, may func(Node) bool) (map[string][]string, bool) {
	if roles, ok := p.assign(r, func(n Node) bool { return may(n) && !slices.Contains(r.Avoid, n.Name) }); ok {
		return roles, true
	}
	// The nodes that failed it come into question only if the others could not do it even when all are free.
	if len(r.Avoid) > 0 {
		if _, ok := p.assign(r, func(n Node) bool { return n.Out == "" && !slices.Contains(r.Avoid, n.Name) }); ok {
			return nil, false
		}
		return p.assign(r, may)
	}
	return nil, false
}

func (p *planner) assign(r Request, may func(Node) bool) (map[string][]string, bool) {
	type slot struct {
		role string
		fit  []int // indexes of nodes, best first
	}
	var slots []slot
	for _, role := range sorted(r.Roles) {
		var fit []int
		for i, n := range p.nodes {
			if has(n.Labels, role.Labels) && may(n) {
				fit = append(fit, i)
			}
		}
		// Spare what is rare: sound nodes first, then those with fewer labels.
		slices.SortStableFunc(fit, func(a, b int) int {
			x, y := p.nodes[a], p.nodes[b]
			if x.Suspect != y.Suspect {
				if x.Suspect {
					return 1
				}
				return -1
			}
			return cmp.Or(cmp.Compare(p.busy(x), p.busy(y)), cmp.Compare(len(x.Labels), len(y.Labels)), cmp.Compare(x.Name, y.Name))
		})
		for range role.Count {
			slots = append(slots, slot{role.Name, fit})
		}
	}
	owner := map[int]int{} // node -> slot
	var try func(s int, seen map[int]bool) bool
	try = func(s int, seen map[int]bool) bool {
		for _, n := range slots[s].fit {
			if seen[n] {
				continue
			}
			seen[n] = true
			if o, used := owner[n]; !used || try(o, seen) {
				owner[n] = s
				return true
			}
		}
		return false
	}
	for s := range slots {
		if !try(s, map[int]bool{}) {
			return nil, false
		}
	}
	roles := map[string][]string{}
	for n, s := range owner {
		roles[slots[s].role] = append(roles[slots[s].role], p.nodes[n].Name)
	}
	for _, names := range roles {
		sort.Strings(names)
	}
	return roles, true
}

// lacking says what no known node offers.
func (p *planner) lacking(r Request) string {
	for _, role := range sorted(r.Roles) {
		var fit []string
		for _, n := range p.nodes {
			if has(n.Labels, role.Labels) {
				fit = append(fit, n.Name)
			}
		}
		switch {
		case len(p.nodes) == 0:
			return fmt.Sprintf("role %s needs %s, but no node has joined", role.Name, need(role))
		case len(fit) == 0:
			return fmt.Sprintf("no node has %s, which role %s needs", labels(role.Labels), role.Name)
		case len(fit) < role.Count:
			return fmt.Sprintf("role %s needs %s, but only %s exist", role.Name, need(role), strings.Join(fit, ", "))
		}
	}
	return "the roles need more nodes together than there are: " + strings.Join(needs(r.Roles), " and ")
}

// blocked says what stands between r and its nodes.
func (p *planner) blocked(r Request) string {
	var parts []string
	for _, role := range sorted(r.Roles) {
		var free int
		var why []string
		for _, n := range p.nodes {
			if !has(n.Labels, role.Labels) {
				continue
			}
			h, isHeld := p.held[n.Name]
			switch {
			case n.Out != "":
				why = append(why, n.Name+" is "+n.Out)
			case n.Holder != "":
				why = append(why, n.Name+" leased to "+n.Holder)
			case p.taken[n.Name] != "":
				why = append(why, n.Name+" goes to "+p.taken[n.Name])
			case isHeld && r.Length > h.shadow:
				why = append(why, n.Name+" held for "+h.by+", which is before it")
			case slices.Contains(r.Avoid, n.Name):
				why = append(why, n.Name+" failed it before")
			default:
				free++
			}
		}
		if free < role.Count {
			parts = append(parts, fmt.Sprintf("waits for %s: %s", need(role), strings.Join(append(why, "none other"), ", ")))
		}
	}
	if len(parts) == 0 {
		return "waits for " + strings.Join(needs(r.Roles), " and ") + ": the same free nodes fit several roles"
	}
	return strings.Join(parts, "; ")
}

func needs(roles []Role) []string {
	var out []string
	for _, r := range sorted(roles) {
		out = append(out, need(r))
	}
	return out
}

func need(r Role) string {
	noun := "nodes"
	if r.Count == 1 {
		noun = "node"
	}
	if len(r.Labels) == 0 {
		return fmt.Sprintf("%d %s", r.Count, noun)
	}
	return fmt.Sprintf("%d %s with %s", r.Count, noun, labels(r.Labels))
}

func labels(m map[string]string) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return strings.Join(out, ",")
}

func has(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func sorted(roles []Role) []Role {
	out := slices.Clone(roles)
	slices.SortFunc(out, func(a, b Role) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
