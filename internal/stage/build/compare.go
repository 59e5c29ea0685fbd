package build

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// Input is something that a build's key is made of.
type Input struct {
	Kind  string `json:"kind"` // source, dependency, output (its own, of a test), buildroot, host, command, environment
	Name  string `json:"name"`
	Value string `json:"value"`           // a digest, or the value of a variable
	Build string `json:"build,omitempty"` // of a dependency: the build that made it
	Note  string `json:"note,omitempty"`  // for a person: the commit, the version
}

// Changed is an input that differs between two builds; an empty side does not have it.
type Changed struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Was      string `json:"was,omitempty"`
	Is       string `json:"is,omitempty"`
	WasBuild string `json:"wasBuild,omitempty"`
	IsBuild  string `json:"isBuild,omitempty"`
	WasNote  string `json:"wasNote,omitempty"`
	IsNote   string `json:"isNote,omitempty"`
}

// inputs lists what a build's key is made of, in a fixed order.
func inputs(b Build) []Input {
	short := func(commit string) string { return fmt.Sprintf("%.12s", commit) }
	var all []Input
	if b.Source != "" { // the check of its packages sees none
		all = append(all, Input{Kind: "source", Name: b.Component, Value: b.Source, Note: strings.TrimSpace(b.Version + " at " + short(b.Commit))})
	}
	for _, need := range slices.Sorted(maps.Keys(b.Inputs)) {
		all = append(all, Input{Kind: "dependency", Name: need, Value: b.Inputs[need]})
	}
	if b.Own != "" {
		all = append(all, Input{Kind: "output", Name: b.Component, Value: b.Own})
	}
	if b.Extra != "" {
		all = append(all, Input{Kind: "source", Name: "paths of " + b.Repo, Value: b.Extra})
	}
	if b.Root != "" {
		all = append(all, Input{Kind: "buildroot", Name: b.Buildroot, Value: b.Root})
	} else {
		all = append(all, Input{Kind: "host", Name: "tools", Value: b.Host})
	}
	if b.Unconfined {
		all = append(all, Input{Kind: "host", Name: "sandbox", Value: "unconfined"})
	}
	all = append(all,
		Input{Kind: "command", Name: "script", Value: artifact.DigestOf([]byte(b.Run.Script))},
		Input{Kind: "command", Name: "timeout", Value: b.Run.Timeout.String()})
	for _, name := range slices.Sorted(maps.Keys(b.Run.Env)) {
		all = append(all, Input{Kind: "environment", Name: name, Value: b.Run.Env[name]})
	}
	return all
}

// Compare returns the inputs that differ between two builds, in the order of [Input] kinds.
func Compare(old, b Build) []Changed { return compare(inputs(old), inputs(b)) }

func compare(old, now []Input) []Changed {
	type id struct{ kind, name string }
	was := map[id]Input{}
	for _, i := range old {
		was[id{i.Kind, i.Name}] = i
	}
	var all []Changed
	for _, i := range now {
		o, ok := was[id{i.Kind, i.Name}]
		delete(was, id{i.Kind, i.Name})
		if !ok || o.Value != i.Value {
			all = append(all, Changed{Kind: i.Kind, Name: i.Name, Was: o.Value, Is: i.Value, WasBuild: o.Build, IsBuild: i.Build, WasNote: o.Note, IsNote: i.Note})
		}
	}
	for _, o := range old {
		if _, gone := was[id{o.Kind, o.Name}]; gone {
			all = append(all, Changed{Kind: o.Kind, Name: o.Name, Was: o.Value, WasBuild: o.Build, WasNote: o.Note})
		}
	}
	return all
}

// String words a change for a person.
func (c Changed) String() string {
	switch {
	case c.Kind == "source":
		return "the source changed (" + cmp.Or(c.IsNote, c.Is) + ")"
	case c.Kind == "dependency" && c.Was == "":
		return c.Name + " is needed now"
	case c.Kind == "dependency" && c.Is == "":
		return c.Name + " is no longer needed"
	case c.Kind == "dependency":
		return c.Name + " has another output"
	case c.Kind == "output":
		return "its own output changed"
	case c.Kind == "host":
		return "the host's tools changed"
	case c.Kind == "command":
		return "the " + c.Name + " changed"
	case c.Is == "":
		return c.Name + " is no longer set"
	}
	return c.Name + " is " + c.Is
}

// Difference says, for a person, what differs between the inputs of two builds of one action.
func Difference(old, b Build) string {
	changes := Compare(old, b)
	if len(changes) == 0 {
		return "another recipe than build " + old.ID
	}
	what := make([]string, len(changes))
	for i, c := range changes {
		what[i] = c.String()
	}
	return strings.Join(what, ", ") + " since build " + old.ID
}

// compare writes into b which build of the same action came before it, and why b is needed. Same are those with its key.
func (s *Service) compare(ctx context.Context, tx Tx, b *Build, same []Build) error {
	if len(same) > 0 {
		b.Before, b.Why = same[0].ID, fmt.Sprintf("build %s of the same inputs ended with %s", same[0].ID, same[0].Outcome)
		return nil
	}
	old, err := marked(ctx, tx, actionMark(b.Product, b.Name()), 1)
	if err != nil {
		return err
	}
	if len(old) == 0 {
		b.Why = "was never built"
		if b.Check != "" {
			b.Why = "was never run"
		}
		return nil
	}
	b.Before, b.Why = old[0].ID, Difference(old[0], *b)
	return nil
}

// Explanation says why a build was made: its inputs, and what differs from the build of the same action before it.
type Explanation struct {
	Build   Build     `json:"build"`
	Why     string    `json:"why"`
	Inputs  []Input   `json:"inputs"`
	Before  string    `json:"before,omitempty"` // the build it is compared with; empty: there was none
	Changes []Changed `json:"changes"`
	Same    bool      `json:"same"` // it came out with the bytes of the one before
	For     []string  `json:"for"`  // who asked for it
}

// Explain says why a build was made. The id is a build's, an action's key, or the digest of an output.
func (s *Service) Explain(ctx context.Context, id string) (Explanation, error) {
	b, err := s.Build(ctx, id)
	if slipway.Is(err, slipway.NotFound) && strings.HasPrefix(id, artifact.Prefix) {
		b, err = s.maker(ctx, id)
	}
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{Build: b, Why: b.Why, Changes: []Changed{}, For: b.For}
	if e.Inputs, err = s.made(ctx, b); err != nil {
		return e, err
	}
	if b.Before == "" {
		return e, nil
	}
	old, err := s.Build(ctx, b.Before)
	if err != nil {
		return e, err
	}
	was, err := s.made(ctx, old)
	if err != nil {
		return e, err
	}
	e.Before, e.Changes = old.ID, append(e.Changes, compare(was, e.Inputs)...)
	e.Same = b.Output != "" && b.Output == old.Output
	return e, nil
}

// maker finds the oldest build that made an output.
func (s *Service) maker(ctx context.Context, output string) (Build, error) {
	made, err := s.marks(ctx, outputMark(output))
	if err != nil {
		return Build{}, err
	}
	if len(made) == 0 {
		return Build{}, slipway.Errorf(slipway.NotFound, "no build has the key %s, and none made it", output)
	}
	return made[len(made)-1], nil
}

// made lists a build's inputs, each dependency with the build of that component that made it first.
func (s *Service) made(ctx context.Context, b Build) ([]Input, error) {
	all := inputs(b)
	for i, in := range all {
		if in.Kind != "dependency" && in.Kind != "output" {
			continue
		}
		found, err := s.marks(ctx, outputMark(in.Value))
		if err != nil {
			return nil, err
		}
		for _, m := range slices.Backward(found) {
			if m.Component == in.Name {
				all[i].Build, all[i].Note = m.ID, fmt.Sprintf("%s at %.12s", m.Version, m.Commit)
				break
			}
		}
	}
	return all, nil
}
