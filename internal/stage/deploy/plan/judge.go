package plan

import (
	"fmt"
	"strings"
)

// Standing is where one node stands with a version.
type Standing struct {
	Node   string        `json:"node"`
	State  State         `json:"state"`  // waiting, deploying, deployed or failed
	Reason string        `json:"reason"` // why, and what would move it on
	Counts map[State]int `json:"counts"` // of its resources
}

// Node is what is known about a node when it is judged.
type Node struct {
	Name     string
	Online   bool
	Desired  []Resource // what the version asks of it
	Reported []Status   // its last report about the version; nil: none yet
	Heard    bool       // it has reported about the version
}

// Stand says where a node stands. A status counts only when it is about the hash that is desired.
func Stand(n Node) Standing {
	s := Standing{Node: n.Name, Counts: map[State]int{}}
	reported := make(map[string]Status, len(n.Reported))
	for _, r := range n.Reported {
		reported[r.ID] = r
	}
	var worst *Status
	desired := make(map[string]bool, len(n.Desired))
	for _, r := range n.Desired {
		desired[r.ID] = true
		status, ok := reported[r.ID]
		if !ok || status.Hash != r.Hash {
			s.Counts[Waiting]++
			continue
		}
		s.Counts[status.State]++
		if worst == nil && (status.State == Failed || status.State == Unavailable) {
			worst = &status
		}
	}
	purging := 0
	for _, r := range n.Reported {
		if !desired[r.ID] { // held and no longer desired: being purged
			purging++
			if worst == nil && r.State == Failed {
				worst = &r
			}
		}
	}
	open := s.Counts[Waiting] + s.Counts[Deploying] + purging
	switch {
	case worst != nil:
		s.State, s.Reason = Failed, fmt.Sprintf("%s is %s: %s", worst.ID, worst.State, worst.Reason)
	case !n.Heard:
		s.State, s.Reason = Waiting, "not taken up yet"
	case s.Counts[Skipped] > 0:
		s.State, s.Reason = Deploying, firstSkip(n.Desired, reported)
	case open > 0:
		s.State, s.Reason = Deploying, fmt.Sprintf("%d of %d resources to go", open, len(n.Desired)+purging)
	default:
		s.State, s.Reason = Deployed, fmt.Sprintf("all %d resources are as desired", len(n.Desired))
	}
	if !n.Online {
		return Offline(s)
	}
	return s
}

// Offline says where a node stands that does not answer: it keeps what it has reached, and otherwise waits.
func Offline(s Standing) Standing {
	if s.State != Deployed {
		s.State, s.Reason = Waiting, "the node is offline; it goes on when it returns ("+s.Reason+")"
	}
	return s
}

func firstSkip(desired []Resource, reported map[string]Status) string {
	for _, r := range desired {
		if s := reported[r.ID]; s.State == Skipped && s.Hash == r.Hash {
			return fmt.Sprintf("%s is skipped: %s", s.ID, s.Reason)
		}
	}
	return ""
}

// Judge says where a version stands from where its nodes stand: deployed when all are; failed when one has
// failed and none is on its way; deploying when one has begun; else waiting.
func Judge(nodes []Standing) (State, string) {
	by := map[State][]Standing{}
	for _, n := range nodes {
		by[n.State] = append(by[n.State], n)
	}
	say := func(state State) string {
		list := by[state]
		first := "node " + list[0].Node + ": " + list[0].Reason
		if len(list) == 1 {
			return first
		}
		names := make([]string, 0, 3)
		for _, n := range list[1:min(len(list), 4)] {
			names = append(names, n.Node)
		}
		return fmt.Sprintf("%s; so too %s%s", first, strings.Join(names, ", "), map[bool]string{true: ", ..."}[len(list) > 4])
	}
	switch {
	case len(nodes) == 0:
		return Deployed, "the model asks nothing of any node"
	case len(by[Deployed]) == len(nodes):
		return Deployed, fmt.Sprintf("every resource of %s is as desired", count(len(nodes), "node"))
	case len(by[Failed]) > 0 && len(by[Deploying]) == 0:
		return Failed, say(Failed)
	case len(by[Deploying]) > 0:
		return Deploying, say(Deploying)
	case len(by[Deployed]) > 0:
		return Deploying, say(Waiting)
	default:
		return Waiting, say(Waiting)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
