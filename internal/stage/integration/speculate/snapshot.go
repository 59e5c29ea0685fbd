package speculate

import (
	"crypto/sha256"
	"encoding/binary"

	"slipway.dev/slipway/internal/slipway"
)

// ID is the number of a queue entry. Greater is younger.
type ID int64

// State names the contents of everything that one check depends on. States add: the state of a tuple is that of the base plus the digests
// of the entries in it that move an input of the check, in whatever order. So an entry that lands changes no key: what was
// candidate+entry before is base+entry after. The zero State is "nothing at all", which needs no proof.
//
// It is a set hash of 128 bits over digests that nobody chooses freely (commits that passed review). It finds verdicts again; a landing
// compares the full tuple besides.
type State struct{ hi, lo uint64 }

// Nothing is the state before any content.
var Nothing State

// Digest makes the state of one piece of content: a base commit's inputs, an entry's pins.
func Digest(text string) State {
	sum := sha256.Sum256([]byte(text))
	return State{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])}
}

// Plus adds the content d to s.
func (s State) Plus(d State) State { return State{s.hi + d.hi, s.lo + d.lo} }

// Minus takes the content d out of s.
func (s State) Minus(d State) State { return State{s.hi - d.hi, s.lo - d.lo} }

// Check is one test of the product in one configuration; the catalogue of a snapshot lists all of them.
type Check struct {
	Name          string
	Configuration string // empty: the same for all
	Tier          int    // cheap ones first; a check starts only when those of lower tiers have not refuted the candidate
	Label         string // the pool that it runs in: "build", or the label of rigs
	// Whole says that a run proves its whole tuple, as an experiment does. Otherwise a run is incremental: it tests what the entries that it
	// covers affect, and proves its tuple together with a proof of what they stand on.
	Whole bool
	Blame float64 // share of all failures that this check finds, relative to the other checks of an entry; 0 counts as 1
}

// Need is one check that an entry has to pass: one of its affected set.
type Need struct {
	Check   int     // index into the catalogue
	Minutes float64 // predicted length of a run for this entry alone
	Passed  bool    // it has passed it in some candidate before; evidence, not a verdict
	Failed  int     // runs for it that failed on a proven base and it alone ([Ledger.Alone]), since the last that passed; evidence too

	moves State // of a batch: what its entries that the check depends on move
}

// Entry is a request to move some pins, all or nothing: a change set.
type Entry struct {
	ID        ID
	Rank      float64 // its place; given by [Place] when it came or was promoted, then kept
	Urgent    bool    // the incident lane: only such entries may stand before what has begun
	Priority  int
	Pins      []slipway.Pin // for people; the planner compares Digest
	Digest    State         // of the pins
	Needs     []Need        // its affected set that votes, by tier
	DependsOn []ID          // must land before it, or with it
	Clashes   []ID          // cannot be merged into one manifest with these
	Arrived   float64       // minutes, on the clock of Snapshot.Now
	P         float64       // predicted chance that it passes all of Needs on a good base, in (0, 1)
	Begun     bool          // something ran for it
	Invalid   string        // why no candidate can be made of it any more: it does not merge, its approval is gone
	Replaces  []ID          // entries whose content it holds in a newer version
}

// digest is what the entry adds to the state of its k-th need.
func (e *Entry) digest(k int) State {
	if e.Needs[k].moves != Nothing {
		return e.Needs[k].moves
	}
	return e.Digest
}

// Run is a check under way on a tuple.
type Run struct {
	ID     int64
	Edge   Edge
	Set    []ID // the entries of the tuple beyond the base, as far as the check depends on them
	Covers []ID // those of Set that it is to speak for
	Left   float64
}

// Pool is capacity of one kind.
type Pool struct {
	Label string
	Free  int
	Total int
	// Weight is what a minute of it costs, in minutes of a build slot. Rigs have 20 or more; what is dear is speculated with more caution.
	Weight float64
}

// Memory is what a policy wants to be given again with the next snapshot. It is stored with the queue.
type Memory struct {
	Window  int    // of an adaptive window; 0: not used yet
	Batches [][]ID // entries that are tested together
}

// Snapshot is a queue at one moment.
type Snapshot struct {
	Now     float64 // minutes
	Checks  []Check
	Base    []State // by check: the state of its inputs in the current manifest
	Entries []Entry
	Runs    []Run
	Pools   []Pool
	Ledger  *Ledger // read only
	Landed  func(ID) bool
	Frozen  string // why nothing new begins; empty: it is not frozen
	Memory  Memory
}

// Plan is what to do. Everything has its reason. Lists are in the order of value; what is kept is what is neither started nor cancelled.
type Plan struct {
	Land   []Landing
	Evict  []Eviction
	Cancel []Cancel
	Start  []Start
	Keep   []Keep
	Wait   []Wait
	Freeze []Freeze
	Yield  []ID // stand last from now on: they failed on the base alone, and nobody is to wait while they are run again
	Memory Memory
}

// Landing moves the base by the pins of some entries in one compare-and-swap.
type Landing struct {
	Entries     []ID
	Certificate Certificate
	Reason      string
}

// Why says in one word why an entry leaves.
type Why string

// The causes of an eviction. Only Culprit blames the entry.
const (
	Culprit    Why = "culprit"    // it fails a check on a base that passes it
	Dependent  Why = "dependent"  // what it depends on has left
	NoVerdict  Why = "no-verdict" // infrastructure or time-outs, too often
	Unmergable Why = "unmergable" // no candidate can be made of it
	Superseded Why = "superseded" // a newer version of it is in the queue
)

// Eviction takes an entry out.
type Eviction struct {
	Entry  ID
	Why    Why
	Edge   Edge // of a Culprit: the run that refutes it
	Reason string
}

// Start asks for a run.
type Start struct {
	Edge    Edge
	Set     []ID
	Covers  []ID
	Minutes float64 // predicted
	Needed  float64 // chance that its verdict will decide something
	Value   float64
	Avoid   []string // executors that lost it before
	Control bool     // it tests the base itself
	Reason  string
}

// Cancel stops a run.
type Cancel struct {
	Run    int64
	Reason string
}

// Keep lets a run go on.
type Keep struct {
	Run    int64
	Needed float64
}

// Wait tells an entry that stays why it waits, and how likely it is to land.
type Wait struct {
	Entry  ID
	Ahead  int // undecided entries before it that it has to wait for
	P      float64
	Reason string
}

// Freeze says that a check fails on the base itself: nobody is evicted for it, and what needs it waits.
type Freeze struct {
	Check  int
	Reason string
}

// Planner decides. Equal snapshots give equal plans.
type Planner interface {
	Plan(s *Snapshot) Plan
}
