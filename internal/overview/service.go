package overview

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// maxDepth bounds how far Why goes. The longest road from a node to the first build below its program is shorter.
const maxDepth = 40

// Service answers where things are and why.
type Service struct {
	lookups map[string]Lookup
	ledger  Ledger
}

// New makes the service from a lookup for each kind.
func New(lookups map[string]Lookup, ledger Ledger) *Service {
	return &Service{lookups: lookups, ledger: ledger}
}

// Kinds lists the kinds that have a lookup.
func (s *Service) Kinds() []string { return slices.Sorted(maps.Keys(s.lookups)) }

// Where returns one thing: by its subject ("change/12"), or by its bare name ("timetable") when just one kind has something of
// that name. Errors: NotFound; Conflict when several kinds do, with their subjects.
func (s *Service) Where(ctx context.Context, thing string) (Item, error) {
	if kind, id, ok := slipway.SplitRef(thing); ok {
		var missing error
		if lookup, known := s.lookups[kind]; known {
			item, err := lookup(ctx, id)
			if !slipway.Is(err, slipway.NotFound) {
				return item, err
			}
			missing = err
		}
		item, ok, err := s.told(ctx, thing)
		if ok || err != nil {
			return item, err
		}
		if missing != nil {
			return Item{}, missing
		}
	}
	var found []Item
	for _, kind := range s.Kinds() {
		item, err := s.lookups[kind](ctx, thing)
		switch {
		case err == nil:
			found = append(found, item)
		case slipway.Is(err, slipway.NotFound), slipway.Is(err, slipway.Invalid): // no name of that kind
		default:
			return Item{}, err
		}
	}
	switch len(found) {
	case 0:
		return Item{}, slipway.Errorf(slipway.NotFound, "nothing is called %q", thing).
			Try("write KIND/NAME with one of these kinds: " + strings.Join(s.Kinds(), ", "))
	case 1:
		return found[0], nil
	}
	var subjects []string
	for _, item := range found {
		subjects = append(subjects, item.Subject())
	}
	return Item{}, slipway.Errorf(slipway.Conflict, "several things are called %q", thing).Try("ask for " + strings.Join(subjects, " or "))
}

// told makes an item of the last event about a subject.
func (s *Service) told(ctx context.Context, subject string) (Item, bool, error) {
	e, ok, err := s.ledger.Last(ctx, subject)
	if !ok || err != nil {
		return Item{}, false, err
	}
	kind, id, _ := slipway.SplitRef(subject)
	stage, state, _ := strings.Cut(string(e.Type), ".")
	return Item{Kind: kind, Name: id, Product: e.Product, Stage: stage, State: state, Reason: e.Reason, Since: e.Time, Links: e.Links}, true, nil
}

// Why returns a thing with everything that it follows from, as a tree. What has been told once is not told again. A reason
// that cannot be looked up is part of the answer, not an error.
func (s *Service) Why(ctx context.Context, thing string) (Reason, error) {
	root, err := s.Where(ctx, thing)
	if err != nil {
		return Reason{}, err
	}
	return s.explain(ctx, root, map[string]bool{}, 0)
}

func (s *Service) explain(ctx context.Context, item Item, told map[string]bool, depth int) (Reason, error) {
	r := Reason{Item: item}
	if told[item.Subject()] {
		r.Above = true
		return r, nil
	}
	told[item.Subject()] = true
	if depth == maxDepth {
		return r, nil
	}
	for _, subject := range item.Because {
		cause, err := s.Where(ctx, subject)
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if err != nil {
			kind, id, _ := slipway.SplitRef(subject)
			r.Causes = append(r.Causes, Reason{Item: Item{Kind: kind, Name: id}, Gone: err.Error()})
			continue
		}
		below, err := s.explain(ctx, cause, told, depth+1)
		if err != nil {
			return r, err
		}
		r.Causes = append(r.Causes, below)
	}
	return r, nil
}

// Text writes the tree for a terminal, one line for each thing and one for each fact.
func (r Reason) Text() string {
	var b strings.Builder
	r.write(&b, "", "")
	return b.String()
}

func (r Reason) write(b *strings.Builder, first, rest string) {
	fmt.Fprintf(b, "%s%s\n", first, r.head())
	if r.Above {
		return
	}
	bar := "   "
	if len(r.Causes) > 0 {
		bar = "│  "
	}
	if r.Reason != "" {
		fmt.Fprintf(b, "%s%s%s\n", rest, bar, oneLine(r.Reason))
	}
	for _, f := range r.Facts {
		fmt.Fprintf(b, "%s%s%s: %s\n", rest, bar, f.Name, oneLine(f.Value))
	}
	for i, cause := range r.Causes {
		if i == len(r.Causes)-1 {
			cause.write(b, rest+"└─ ", rest+"   ")
		} else {
			cause.write(b, rest+"├─ ", rest+"│  ")
		}
	}
}

func (r Reason) head() string {
	parts := []string{r.Subject()}
	if r.Title != "" {
		parts = append(parts, r.Title)
	}
	switch {
	case r.Above:
		return strings.Join(append(parts, "(above)"), "  ")
	case r.Gone != "":
		return strings.Join(append(parts, "not known any more: "+oneLine(r.Gone)), "  ")
	}
	if r.State != "" {
		parts = append(parts, "["+r.State+"]")
	}
	if !r.Since.IsZero() {
		parts = append(parts, r.Since.UTC().Format("2006-01-02 15:04:05"))
	}
	return strings.Join(parts, "  ")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
