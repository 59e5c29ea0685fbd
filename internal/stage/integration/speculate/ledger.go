package speculate

import "slipway.dev/slipway/internal/slipway"

// Edge names what a run tries to prove: that the check passes on To, given that it passes on From. The verdict of an edge belongs to whoever meets it
// again. From is [Nothing] for a check that is Whole, and for a control run of the base.
type Edge struct {
	Check    int
	From, To State
}

// Verdict counts how the runs of one edge ended. One pass is a pass: failures before or after it were flakes.
type Verdict struct {
	Passes, Fails int
	Lost          int // ended by infrastructure; says nothing
	Late          int // ended by the time limit; says nothing of who is to blame
	Avoid         []string
}

// place is a check at a state.
type place struct {
	check int
	at    State
}

// node is what is known of one place.
type node struct {
	proven bool
	based  bool    // it has been the base
	passed []State // Froms of edges that passed
	failed []State // Froms of edges that failed and have not passed
	next   []State // Tos of edges that passed from here
}

// Ledger holds all verdicts of one queue. Its owner records; planners only read.
type Ledger struct {
	edges map[Edge]*Verdict
	nodes map[place]*node
}

// NewLedger makes an empty ledger.
func NewLedger() *Ledger { return &Ledger{edges: map[Edge]*Verdict{}, nodes: map[place]*node{}} }

func (l *Ledger) node(check int, at State) *node {
	p := place{check, at}
	n := l.nodes[p]
	if n == nil {
		n = &node{}
		l.nodes[p] = n
	}
	return n
}

// Prove records that a check is known to pass on a state from elsewhere: it was released so.
func (l *Ledger) Prove(check int, at State) {
	n := l.node(check, at)
	if n.proven {
		return
	}
	n.proven = true
	for _, to := range n.next {
		l.Prove(check, to)
	}
}

// Base records that a state is what has landed.
func (l *Ledger) Base(check int, at State) { l.node(check, at).based = true }

// Alone reports whether a tuple was a proven base and nothing but d: what fails there fails because of d.
func (l *Ledger) Alone(check int, tuple, d State) bool {
	n := l.nodes[place{check, tuple.Minus(d)}]
	return n != nil && n.based && n.proven
}

// Proven reports whether the check passes on the state, by runs that together cover everything in it.
func (l *Ledger) Proven(check int, at State) bool {
	if at == Nothing {
		return true
	}
	n := l.nodes[place{check, at}]
	return n != nil && n.proven
}

// Of returns the verdict of an edge; zero if none is known.
func (l *Ledger) Of(e Edge) Verdict {
	if v := l.edges[e]; v != nil {
		return *v
	}
	return Verdict{}
}

// Record adds how a run ended. where names its executor.
func (l *Ledger) Record(e Edge, outcome slipway.Outcome, where string) {
	v := l.edges[e]
	if v == nil {
		v = &Verdict{}
		l.edges[e] = v
	}
	n := l.node(e.Check, e.To)
	switch outcome {
	case slipway.Pass:
		v.Passes++
		if v.Passes > 1 {
			return
		}
		for i, from := range n.failed {
			if from == e.From {
				n.failed = append(n.failed[:i:i], n.failed[i+1:]...)
				break
			}
		}
		n.passed = append(n.passed, e.From)
		if l.Proven(e.Check, e.From) {
			l.Prove(e.Check, e.To)
		} else {
			from := l.node(e.Check, e.From)
			from.next = append(from.next, e.To)
		}
	case slipway.Fail:
		v.Fails++
		if v.Fails == 1 && v.Passes == 0 {
			n.failed = append(n.failed, e.From)
		}
	case slipway.Infra:
		v.Lost++
		v.Avoid = append(v.Avoid, where)
	case slipway.Timeout:
		v.Late++
	}
}

// Certificate is why a landing was sound: anybody who has the ledger can check it with [Verify].
type Certificate struct {
	Entries []ID
	Proofs  []Proof
	// Bypassed are entries that stood before and may still land; the landed ones pass with every combination of them, which Agreed shows.
	Bypassed []ID
	Agreed   []Edge
}

// Proof says that a check passes on a state that has landed.
type Proof struct {
	Check    int
	Base, To State
}

// Verify reports the first thing of a certificate that the ledger does not bear out; "" if all of it holds.
func Verify(c Certificate, checks []Check, l *Ledger) string {
	if len(c.Entries) == 0 {
		return "it lands nothing"
	}
	for _, p := range c.Proofs {
		if !l.Proven(p.Check, p.To) {
			return checks[p.Check].Name + " was not proven on the tuple that landed"
		}
	}
	for _, e := range c.Agreed {
		if l.Of(e).Passes == 0 && !l.Proven(e.Check, e.To) {
			return checks[e.Check].Name + " did not pass with an entry that was bypassed"
		}
	}
	return ""
}
