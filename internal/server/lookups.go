package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/overview"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

// lookups tells of every kind of thing where it stands and what made it so; see package overview. The subjects beside those
// of the ledger are commit/REPO@ID, resource/NODE/TYPE[NAME] and locked/RELEASE/CONFIGURATION/COMPONENT.
func (s *services) lookups() map[string]overview.Lookup {
	return map[string]overview.Lookup{
		"product": s.aboutProduct, "component": s.aboutComponent, "commit": s.aboutCommit, "change": s.aboutChange,
		"build": s.aboutBuild, "wave": s.aboutWave, "entry": s.aboutEntry, "experiment": s.aboutExperiment,
		"release": s.aboutRelease, "locked": s.aboutLocked, "compose": s.aboutCompose, "package": s.aboutPackage,
		"version": s.aboutVersion, "node": s.aboutNode, "resource": s.aboutResource,
	}
}

// number reads the id of a thing that is counted; anything else names nothing.
func number(kind, id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return 0, slipway.Errorf(slipway.NotFound, "no %s %q", kind, id)
	}
	return n, nil
}

// facts makes facts of pairs; empty values are left out.
func facts(pairs ...string) []overview.Fact {
	var out []overview.Fact
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out = append(out, overview.Fact{Name: pairs[i], Value: pairs[i+1]})
		}
	}
	return out
}

func commitRef(repo, id string) string { return slipway.Ref("commit", repo+"@"+id) }

func short(id string) string {
	if i := strings.IndexByte(id, ':'); i >= 0 {
		return fmt.Sprintf("%.12s", id[i+1:])
	}
	return fmt.Sprintf("%.12s", id)
}

func (s *services) aboutProduct(ctx context.Context, name string) (overview.Item, error) {
	p, err := s.catalog.Get(ctx, name)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{Kind: "product", Name: name, Product: name, Title: p.Spec.Summary, Stage: "source", State: p.State, Reason: p.Reason, Since: p.Since}
	if p.Commit != "" {
		repo, _ := slipway.Integration(name)
		item.Because = []string{commitRef(repo, p.Commit)}
	}
	latest, err := s.release.Latest(ctx, name)
	switch {
	case slipway.Is(err, slipway.NotFound):
		item.Next = "the first release, once every component of a configuration has landed something"
	case err != nil:
		return item, err
	default:
		item.Stage = "release"
		item.Facts = facts("latest release", latest.ID)
		item.Links = append(item.Links, slipway.Ref("release", latest.ID))
	}
	return item, nil
}

// aboutComponent compares the head of the branch with the latest release.
func (s *services) aboutComponent(ctx context.Context, name string) (overview.Item, error) {
	product, component, qualified := slipway.SplitRef(name)
	if !qualified {
		named, err := s.catalog.Named(ctx, name)
		if err != nil {
			return overview.Item{}, err
		}
		switch len(named) {
		case 0:
			return overview.Item{}, slipway.Errorf(slipway.NotFound, "no component %q", name)
		case 1:
			product, component = named[0].Product, name
		default:
			var subjects []string
			for _, c := range named {
				subjects = append(subjects, slipway.Ref("component", c.Product+"/"+c.Name))
			}
			return overview.Item{}, slipway.Errorf(slipway.Conflict, "several products have a component %q", name).Try("ask for " + strings.Join(subjects, " or "))
		}
	}
	c, err := s.catalog.Component(ctx, product, component)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{
		Kind: "component", Name: name, Product: product, Title: c.Recipe.Summary, Stage: "source", State: c.State, Reason: c.Reason, Since: c.Since,
		Facts: facts("source", strings.TrimSuffix(c.Source.Repo+"/"+c.Source.Path, "/")+" "+c.Source.Branch, "version", c.Version, "needs", strings.Join(c.Recipe.Needs, ", ")),
		Links: []string{slipway.Ref("product", product)},
	}
	if c.Head != "" && c.Head != slipway.ZeroCommit {
		item.Because = []string{commitRef(c.Source.Repo, c.Head)}
	}
	dependents, err := s.catalog.Dependents(ctx, product, component)
	if err != nil {
		return item, err
	}
	var names []string
	for _, d := range dependents {
		names = append(names, d.Component)
	}
	item.Facts = append(item.Facts, facts("needed by", strings.Join(names, ", "))...)
	latest, err := s.release.Latest(ctx, product)
	if slipway.Is(err, slipway.NotFound) {
		item.Next = "the product has no release yet"
		return item, nil
	}
	if err != nil {
		return item, err
	}
	for _, configuration := range sortedKeys(latest.Manifests) {
		l, ok := latest.Manifests[configuration].Components[component]
		if !ok {
			continue
		}
		item.Facts = append(item.Facts, facts("in "+latest.ID+" "+configuration, l.Version)...)
		item.Because = append(item.Because, slipway.Ref("locked", latest.ID+"/"+configuration+"/"+component))
		if l.Commit == c.Commit {
			item.Stage, item.State, item.Reason = "release", "released", "the head of "+c.Source.Branch+" is in "+latest.ID
		} else {
			item.Stage, item.Next = "integration", "the head of "+c.Source.Branch+" is not in the latest release; see the queue"
		}
	}
	return item, nil
}

func (s *services) aboutCommit(ctx context.Context, name string) (overview.Item, error) {
	at := strings.LastIndexByte(name, '@')
	if at < 0 {
		return overview.Item{}, slipway.Errorf(slipway.NotFound, "no commit %q", name).Try("write commit/REPO@ID")
	}
	repo, id := name[:at], name[at+1:]
	c, err := s.source.Commit(ctx, repo, id)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{
		Kind: "commit", Name: repo + "@" + c.ID, Title: c.Subject(), Stage: "source", State: "pushed", Since: c.Committer.Time.UTC(),
		Reason: "written by " + c.Author.Name + " <" + c.Author.Email + ">",
	}
	moves, err := s.source.PointedAt(ctx, c.ID)
	for _, m := range moves {
		item.Facts = append(item.Facts, facts(m.Ref, "moved here by "+m.Actor+" at "+m.From.UTC().Format(time.RFC3339))...)
	}
	return item, err
}

func (s *services) aboutChange(ctx context.Context, id string) (overview.Item, error) {
	n, err := number("change", strings.SplitN(id, ".", 2)[0])
	if err != nil {
		return overview.Item{}, err
	}
	c, err := s.change.Change(ctx, n)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{
		Kind: "change", Name: c.ID(), Title: c.Title, Stage: "change", State: string(c.State), Reason: c.Reason, Since: c.Updated,
		Facts: facts("for", c.Repo+" "+c.Branch, "by", c.Author, "patchset", strconv.Itoa(c.Current().Number)),
	}
	for _, t := range c.Tests {
		item.Facts = append(item.Facts, facts("tested for "+t.Product, orDefault(string(t.State), "not yet")+" "+t.Reason)...)
		item.Links = append(item.Links, slipway.Ref("wave", t.Wave))
	}
	if c.Landed == nil {
		item.Because = []string{commitRef(c.Repo, c.Current().Commit)}
		return item, nil
	}
	for _, p := range c.Landed.Pins {
		item.Facts = append(item.Facts, facts("landed as", p.Component+" "+p.Version+": "+p.Reason)...)
	}
	item.Because = []string{commitRef(c.Repo, c.Landed.Commit)}
	for _, t := range c.Tests {
		if err := s.entryOf(ctx, slipway.Ref("change", c.ID()), t.Product, &item); err != nil {
			return overview.Item{}, err
		}
	}
	return item, nil
}

// recentEntries is how far back an entry of a change is looked for.
const recentEntries = 200

// entryOf adds how the newest queue entry of a landed change stands.
func (s *services) entryOf(ctx context.Context, change, product string, item *overview.Item) error {
	entries, err := s.integration.Entries(ctx, slipway.Query{Product: product, Newest: true, Limit: recentEntries})
	if err != nil {
		return err
	}
	for _, e := range entries {
		if slices.Contains(e.Changes, change) {
			ref := slipway.Ref("entry", strconv.FormatInt(e.Number, 10))
			item.Facts = append(item.Facts, facts("in "+product, fmt.Sprintf("%s, %s: %s", ref, e.Phase, e.Reason))...)
			item.Links = append(item.Links, ref)
			return nil
		}
	}
	return nil
}

func (s *services) aboutBuild(ctx context.Context, id string) (overview.Item, error) {
	if _, err := number("build", id); err != nil {
		return overview.Item{}, err
	}
	b, err := s.build.Build(ctx, id)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{
		Kind: "build", Name: id, Product: b.Product, Title: b.Name() + " " + b.Version, Stage: "build", State: string(b.State), Reason: b.Reason, Since: b.Queued,
		Facts: facts("why it ran", b.Why, "key", short(b.Key), "output", short(b.Output), "took", took(b.Started, b.Finished), "on", b.Worker),
		Links: b.For,
	}
	if item.Because, err = s.broughtBy(ctx, b.Repo, b.Commit); err != nil {
		return item, err
	}
	if b.Outcome != "" {
		item.State = string(b.Outcome)
	}
	for _, need := range sortedKeys(b.Inputs) {
		made, err := s.build.Select(ctx, build.Selection{Component: need, State: build.Done, Outcome: slipway.Pass})
		if err != nil {
			return item, err
		}
		// Several builds may have made the same bytes; the newest that was there when this one was asked for is what it saw.
		i := slices.IndexFunc(made, func(m build.Build) bool {
			return m.Check == "" && m.Output == b.Inputs[need] && !m.Finished.After(b.Queued)
		})
		if i >= 0 {
			item.Because = append(item.Because, slipway.Ref("build", made[i].ID))
		}
	}
	return item, nil
}

func took(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return ""
	}
	return to.Sub(from).Round(10 * time.Millisecond).String()
}

func (s *services) aboutWave(ctx context.Context, id string) (overview.Item, error) {
	w, err := s.build.WaveRecord(ctx, id)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{
		Kind: "wave", Name: id, Product: w.Request.Product, Title: w.Request.Reason, Stage: "build", State: string(w.State), Reason: w.Reason, Since: w.Created,
		Links: []string{w.Request.For},
	}
	for _, name := range sortedKeys(w.Components) {
		c := w.Components[name]
		item.Facts = append(item.Facts, facts(fmt.Sprintf("tier %d %s", c.Tier, name), strings.TrimSpace(c.State+" "+c.Reason))...)
		if c.State == "failed" && c.Build != "" {
			item.Because = append(item.Because, slipway.Ref("build", c.Build))
		}
		for _, t := range c.Tests {
			if t.Outcome != "" && t.Outcome != slipway.Pass && t.Build != "" {
				item.Because = append(item.Because, slipway.Ref("build", t.Build))
			}
		}
	}
	return item, nil
}

func (s *services) aboutEntry(ctx context.Context, id string) (overview.Item, error) {
	n, err := number("entry", id)
	if err != nil {
		return overview.Item{}, err
	}
	e, err := s.integration.Entry(ctx, n)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{Kind: "entry", Name: id, Product: e.Product, Title: e.Title, Stage: "integration", State: string(e.Phase), Reason: e.Reason}
	if len(e.History) > 0 {
		item.Since = e.History[len(e.History)-1].Time
	}
	for _, p := range e.Pins {
		item.Facts = append(item.Facts, facts("moves", p.Component+" to "+p.Version)...)
	}
	item.Facts = append(item.Facts, facts("candidate", e.Candidate)...)
	if e.Candidate != "" {
		d, err := s.integration.Decision(ctx, n)
		if err != nil {
			return item, err
		}
		for _, v := range d.Of(slipway.CheckWaived) { // a failed wave of a landed entry is no contradiction
			item.Facts = append(item.Facts, facts("waived", v.Requirement.String()+": "+v.Reason)...)
		}
	}
	item.Because = append(item.Because, e.Changes...)
	if len(e.Changes) == 0 {
		for _, p := range e.Pins {
			item.Because = append(item.Because, commitRef(p.Repo, p.Commit))
		}
	}
	if e.Wave != "" {
		item.Because = append(item.Because, slipway.Ref("wave", e.Wave))
	}
	for _, run := range e.Experiments {
		item.Because = append(item.Because, slipway.Ref("experiment", run.ID))
	}
	if e.Release != "" {
		item.Links = append(item.Links, slipway.Ref("release", e.Release))
	}
	return item, nil
}

func (s *services) aboutExperiment(ctx context.Context, id string) (overview.Item, error) {
	e, err := s.lab.Get(ctx, id)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{
		Kind: "experiment", Name: strconv.FormatInt(e.Number, 10), Product: e.Request.Product, Title: e.Spec.Name + " on " + e.Request.Configuration,
		Stage: "lab", State: e.State, Reason: e.Reason, Since: e.Since, Facts: facts("took", took(e.Started, e.Finished)),
	}
	if e.Outcome != "" {
		item.State = string(e.Outcome)
	}
	for _, m := range e.Members {
		item.Facts = append(item.Facts, facts(m.Role, m.Node+" "+m.State+" "+string(m.Outcome)+" "+m.Reason)...)
		item.Links = append(item.Links, slipway.Ref("node", m.Node))
	}
	return item, nil
}

func (s *services) aboutRelease(ctx context.Context, id string) (overview.Item, error) {
	r, err := s.release.Release(ctx, id)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{
		Kind: "release", Name: id, Product: r.Product, Title: r.Tag, Stage: "release", State: "released", Since: r.Time,
		Reason: "landed on the verdicts of " + r.Candidate, Facts: facts("commit", short(r.Commit), "before", r.Previous), Because: []string{r.Entry},
	}
	for _, p := range r.Moved {
		item.Facts = append(item.Facts, facts("moved", p.Component+" to "+p.Version)...)
	}
	c, err := s.compose.Compose(ctx, id)
	switch {
	case slipway.Is(err, slipway.NotFound):
		item.Next = "its compose"
	case err != nil:
		return item, err
	default:
		item.Links = append(item.Links, slipway.Ref("compose", id))
		item.Facts = append(item.Facts, facts("compose", string(c.State)+": "+c.Reason)...)
	}
	return item, nil
}

// aboutLocked is one line of a release's manifest.
func (s *services) aboutLocked(ctx context.Context, id string) (overview.Item, error) {
	missing := slipway.Errorf(slipway.NotFound, "no locked component %q", id)
	parts := strings.Split(id, "/")
	if len(parts) != 3 {
		return overview.Item{}, missing
	}
	r, err := s.release.Release(ctx, parts[0])
	if err != nil {
		return overview.Item{}, err
	}
	l, ok := r.Manifests[parts[1]].Components[parts[2]]
	if !ok {
		return overview.Item{}, missing
	}
	item := overview.Item{
		Kind: "locked", Name: id, Product: r.Product, Title: parts[2] + " " + l.Version, Stage: "release", State: "released", Since: r.Time,
		Reason: "the manifest of " + r.ID + " for " + parts[1] + " has it", Facts: facts("artifact", short(l.Artifact), "commit", short(l.Commit)),
	}
	builds, err := s.build.Select(ctx, build.Selection{Component: parts[2], Key: l.Build, State: build.Done, Outcome: slipway.Pass, Limit: 1})
	if err != nil {
		return item, err
	}
	for _, b := range builds {
		item.Because = append(item.Because, slipway.Ref("build", b.ID))
	}
	brought, err := s.broughtBy(ctx, l.Repo, l.Commit)
	item.Because = append(item.Because, brought...)
	return item, err
}

// broughtBy is the change that landed a commit, or the commit itself where it was pushed directly.
func (s *services) broughtBy(ctx context.Context, repo, commit string) ([]string, error) {
	change, ok, err := landedChanges{s}.Landed(ctx, repo, commit)
	if err != nil {
		return nil, err
	}
	if ok {
		return []string{change.Ref}, nil
	}
	return []string{commitRef(repo, commit)}, nil
}

func (s *services) aboutCompose(ctx context.Context, id string) (overview.Item, error) {
	c, err := s.compose.Compose(ctx, id)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{
		Kind: "compose", Name: id, Product: c.Product, Title: c.Tag, Stage: "compose", State: string(c.State), Reason: c.Reason, Since: c.CreatedAt,
		Facts: facts("took", took(c.CreatedAt, c.FinishedAt), "digest", short(c.Digest)), Because: []string{slipway.Ref("release", id)},
	}
	for _, v := range c.Variants {
		var names []string
		for _, p := range v.Packages {
			names = append(names, p.Name+" "+p.Version)
		}
		item.Facts = append(item.Facts, facts("variant "+v.ID, strings.Join(names, ", "))...)
	}
	return item, nil
}

// aboutPackage finds a package in the latest finished compose of each product.
func (s *services) aboutPackage(ctx context.Context, name string) (overview.Item, error) {
	products, err := s.catalog.Products(ctx, "", 0)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{Kind: "package", Name: name, Stage: "compose", State: "composed"}
	for _, p := range products {
		c, err := s.compose.Latest(ctx, p.Name)
		if slipway.Is(err, slipway.NotFound) {
			continue
		}
		if err != nil {
			return item, err
		}
		for _, v := range c.Variants {
			for _, pkg := range v.Packages {
				if pkg.Name != name {
					continue
				}
				item.Product, item.Title, item.Since = p.Name, pkg.Summary, c.FinishedAt
				item.Reason = fmt.Sprintf("%s-%d is in the variant %s of %s: %s", pkg.Version, pkg.Release, v.ID, c.ID, pkg.Reason)
				item.Facts = append(item.Facts, facts(v.ID, strings.Join(sortedValues(pkg.Files), ", "))...)
				locked := slipway.Ref("locked", c.ID+"/"+v.Configuration+"/"+pkg.Component)
				if !slices.Contains(item.Because, locked) {
					item.Because = append(item.Because, locked)
				}
				if link := slipway.Ref("compose", c.ID); !slices.Contains(item.Links, link) {
					item.Links = append(item.Links, link)
				}
			}
		}
	}
	if item.Product == "" {
		return item, slipway.Errorf(slipway.NotFound, "no package %q in the latest compose of any product", name)
	}
	return item, nil
}
