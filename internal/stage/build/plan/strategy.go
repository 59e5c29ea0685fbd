package plan

import (
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Strategy says which components of a run may take over what an earlier run built.
//
// The first three are those of Fedora's Module Build Service (fm-orchestrator, module_build_service/common/reuse.py); they look at
// what people changed. The last is the default and looks at bytes: it rebuilds less than "all" and "changed-and-after", and unlike
// "only-changed" never leaves a component on an old dependency.
type Strategy string

// The strategies.
const (
	ByKey           Strategy = "by-key"            // build what has other inputs, in bytes; take over the rest
	All             Strategy = "all"               // build everything anew
	OnlyChanged     Strategy = "only-changed"      // build what has another source; take over the rest, also where a dependency changed
	ChangedAndAfter Strategy = "changed-and-after" // build what has another source, and all of the tiers after the first such
)

// ParseStrategy reads a strategy's name; the empty one is [ByKey].
func ParseStrategy(s string) (Strategy, error) {
	switch Strategy(s) {
	case "":
		return ByKey, nil
	case ByKey, All, OnlyChanged, ChangedAndAfter:
		return Strategy(s), nil
	}
	return "", slipway.Errorf(slipway.Invalid, "unknown strategy %q", s).
		Try("use by-key, all, only-changed or changed-and-after")
}

// Member is a component in a run, as strategies compare it.
type Member struct {
	Component   string
	Tier        int
	Source      string // what identifies its source: the id of its tree
	Environment string // what identifies the tools and macros it is built with
	Arches      []string
}

// Way is what a strategy does with a component.
type Way string

// The ways.
const (
	Key    Way = "key"    // build it, unless the key was built before
	Anew   Way = "anew"   // build it, whatever was built before
	Reused Way = "reused" // take over what the run before built
)

// Choice is a way, and why.
type Choice struct {
	Way Way
	Why string
}

// Choose says for each component of a run what the strategy does with it. Before are the members of the run whose outputs may be
// taken over; without such a run everything is built by its key.
//
// For changed-and-after a component is taken over when it has the same source, arches, environment and tier as before, and every
// earlier tier consists of the same components with the same sources and arches. Each tier is compared by itself, so an early
// change leaves what is beside it in its own tier reused.
func Choose(s Strategy, now, before []Member) map[string]Choice {
	choices := make(map[string]Choice, len(now))
	old := make(map[string]Member, len(before))
	for _, m := range before {
		old[m.Component] = m
	}
	firstDifferent, why := -1, ""
	if s == ChangedAndAfter {
		firstDifferent, why = firstDifference(now, before)
	}
	for _, m := range now {
		was, known := old[m.Component]
		changed := difference(was, m)
		switch {
		case s == All:
			choices[m.Component] = Choice{Anew, "the strategy builds everything"}
		case s == ByKey || s == "":
			choices[m.Component] = Choice{Key, "the strategy goes by the bytes of all inputs"}
		case len(before) == 0:
			choices[m.Component] = Choice{Key, "there is no earlier run to take it from"}
		case !known:
			choices[m.Component] = Choice{Key, "the run before did not have it"}
		case changed != "":
			choices[m.Component] = Choice{Key, changed}
		case s == OnlyChanged:
			choices[m.Component] = Choice{Reused, "its source is that of the run before"}
		case was.Tier != m.Tier:
			choices[m.Component] = Choice{Key, fmt.Sprintf("it was in tier %d, now it is in tier %d", was.Tier, m.Tier)}
		case firstDifferent >= 0 && firstDifferent < m.Tier:
			choices[m.Component] = Choice{Key, fmt.Sprintf("tier %d before it changed: %s", firstDifferent, why)}
		default:
			choices[m.Component] = Choice{Reused, "it and all tiers before it are those of the run before"}
		}
	}
	return choices
}

// difference says what makes m another than was; empty: nothing.
func difference(was, m Member) string {
	switch {
	case was.Source != m.Source:
		return "its source changed"
	case !slices.Equal(was.Arches, m.Arches):
		return fmt.Sprintf("it was built for %s, now for %s", strings.Join(was.Arches, ", "), strings.Join(m.Arches, ", "))
	case was.Environment != m.Environment:
		return "what it is built with changed"
	}
	return ""
}

// firstDifference returns the lowest tier that does not consist of the same sources as before, and what differs; -1 if none.
func firstDifference(now, before []Member) (tier int, why string) {
	type place struct {
		tier int
		name string
	}
	in := func(members []Member) (map[place]Member, int) {
		all, last := make(map[place]Member, len(members)), -1
		for _, m := range members {
			all[place{m.Tier, m.Component}] = m
			last = max(last, m.Tier)
		}
		return all, last
	}
	a, lastA := in(now)
	b, lastB := in(before)
	tier = max(lastA, lastB) + 1
	note := func(t int, text string) {
		if t < tier || t == tier && text < why {
			tier, why = t, text
		}
	}
	for at, m := range a {
		was, ok := b[at]
		if !ok {
			note(at.tier, at.name+" is new in it")
		} else if was.Source != m.Source || !slices.Equal(was.Arches, m.Arches) {
			note(at.tier, at.name+" changed")
		}
	}
	for at := range b {
		if _, ok := a[at]; !ok {
			note(at.tier, at.name+" left it")
		}
	}
	if why == "" {
		return -1, ""
	}
	return tier, why
}
