package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose/plan"
)

// job is one run for one compose.
type job struct {
	compose Compose
	release slipway.Release
	product spec.Product
	plan    plan.Plan
	keys    keys
	times   map[string]time.Time // of the components' commits, by component and commit
}

// reconcile brings the compose of a release a step further, up to its end.
func (s *Service) reconcile(ctx context.Context, id string) error {
	rel, err := s.releases.Release(ctx, id)
	if err != nil {
		return err
	}
	c, err := s.begin(ctx, rel)
	if err != nil || c.State == Finished || c.State == Failed {
		return err
	}
	j := &job{compose: c, release: rel, times: map[string]time.Time{}}
	err = s.advance(ctx, j)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case slipway.Is(err, slipway.Invalid), slipway.Is(err, slipway.NotFound), slipway.Is(err, slipway.Conflict):
		return s.fail(ctx, id, err) // the same again would end the same
	default:
		return errors.Join(err, s.note(ctx, id, err))
	}
}

// begin loads the compose, or records that there is one to make.
func (s *Service) begin(ctx context.Context, rel slipway.Release) (c Compose, err error) {
	err = s.store.Update(ctx, func(tx Tx) error {
		c, err = tx.Composes().Get(ctx, rel.ID)
		if !slipway.Is(err, slipway.NotFound) {
			return err
		}
		c = fresh(rel, tx.Now())
		return tx.Composes().Put(ctx, c)
	})
	return c, err
}

func (s *Service) advance(ctx context.Context, j *job) error {
	if err := s.load(ctx, j); err != nil {
		return err
	}
	missing, err := s.missing(ctx, j.plan)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return s.rebuild(ctx, j, missing)
	}
	if err := s.building(ctx, j); err != nil {
		return err
	}
	if j.keys, err = s.keys(j.plan); err != nil {
		return err
	}
	made, err := s.packages(ctx, j)
	if err != nil {
		return err
	}
	variants, err := s.place(ctx, j, made)
	if err != nil {
		return err
	}
	return s.finish(ctx, j, variants)
}

// load reads the product file and the components' files as they were at the release, and plans.
func (s *Service) load(ctx context.Context, j *job) error {
	text, err := s.source.ProductFile(ctx, j.release.Product, j.release.Commit, spec.ProductFile)
	if err != nil {
		return fmt.Errorf("read the product file of %s: %w", j.release.Tag, err)
	}
	if j.product, err = spec.ParseProduct(text, spec.ProductFile); err != nil {
		return err
	}
	recipes := map[slipway.Pin]spec.Component{}
	j.plan, err = plan.Make(j.release, j.product, func(component string, l slipway.Locked) (spec.Component, error) {
		pin := l.Pin(component)
		if r, ok := recipes[pin]; ok {
			return r, nil
		}
		r, at, err := s.source.Recipe(ctx, pin)
		if err != nil {
			return r, fmt.Errorf("read the file of %s at %.10s: %w", component, pin.Commit, err)
		}
		recipes[pin], j.times[component+"@"+pin.Commit] = r, at
		return r, nil
	})
	return err
}

// missing returns the components whose outputs are needed and are not in the store.
func (s *Service) missing(ctx context.Context, p plan.Plan) (map[string]slipway.Locked, error) {
	missing, there := map[string]slipway.Locked{}, map[string]bool{}
	for _, v := range p.Variants {
		for _, it := range v.Items {
			if there[it.Locked.Artifact] {
				continue
			}
			_, err := s.artifacts.Tree(ctx, it.Locked.Artifact)
			switch {
			case err == nil:
				there[it.Locked.Artifact] = true
			case slipway.Is(err, slipway.NotFound):
				missing[it.Component] = it.Locked
			default:
				return nil, err
			}
		}
	}
	return missing, nil
}

// rebuild asks for the missing outputs. What comes back must be what was tested: otherwise the compose fails.
func (s *Service) rebuild(ctx context.Context, j *job, missing map[string]slipway.Locked) error {
	targets := slices.Sorted(maps.Keys(missing))
	req := slipway.WaveRequest{
		ID: fmt.Sprintf("compose-%s-%d", j.compose.ID, j.compose.Attempt), Product: j.release.Product, For: slipway.Ref("compose", j.compose.ID),
		Targets: targets, Reason: "the compose needs outputs that are no longer in the store",
	}
	pins := map[string]slipway.Pin{}
	for _, m := range j.release.Manifests {
		for name, l := range m.Components {
			pins[name] = l.Pin(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(pins)) {
		req.Pins = append(req.Pins, pins[name])
	}
	wave, err := s.builder.StartWave(ctx, req)
	if err != nil {
		return fmt.Errorf("build what is missing: %w", err)
	}
	switch wave.State {
	case slipway.WaveRunning:
		return s.update(ctx, j.compose.ID, func(tx Tx, c *Compose) error {
			c.State, c.Wave = Waiting, req.ID
			c.Reason = fmt.Sprintf("the outputs of %s are no longer in the store and are built again by wave %s", strings.Join(targets, ", "), req.ID)
			return nil
		})
	case slipway.WavePassed:
		for _, name := range targets {
			if got := wave.Components[name].Artifact; got != missing[name].Artifact {
				return slipway.Errorf(slipway.Conflict, "component %s was built again and came out as %s, not as %s, which was tested", name, got, missing[name].Artifact).
					Try("make its build reproducible, or make a new release")
			}
		}
		return slipway.Errorf(slipway.Unavailable, "wave %s passed, but the outputs of %s are not in the store", req.ID, strings.Join(targets, ", "))
	default:
		return slipway.Errorf(slipway.Conflict, "the outputs of %s are missing, and building them again %s: %s", strings.Join(targets, ", "), wave.State, wave.Reason).
			Try("see wave " + req.ID + ", then retry the compose")
	}
}

// building records that the folder is being written.
func (s *Service) building(ctx context.Context, j *job) error {
	return s.update(ctx, j.compose.ID, func(tx Tx, c *Compose) error {
		c.Reason = "packages and repositories of " + count(len(j.plan.Variants), "variant") + " are being written"
		if c.State == Building {
			return nil
		}
		c.State = Building
		return tx.Emit(ctx, s.event(slipway.ComposeStarted, c))
	})
}

func (s *Service) finish(ctx context.Context, j *job, variants []Variant) error {
	dir := filepath.Join(s.cfg.Dir, j.compose.ID)
	sums, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return err
	}
	files, size, err := measure(dir)
	if err != nil {
		return err
	}
	return s.update(ctx, j.compose.ID, func(tx Tx, c *Compose) error {
		c.State, c.FinishedAt, c.Variants = Finished, tx.Now(), variants
		c.Digest, c.Files, c.Size, c.Signed = digest(sums), files, size, j.keys.pgp.Fingerprint()
		packages := 0
		for _, v := range variants {
			packages += len(v.Packages)
		}
		c.Reason = count(packages, "package") + " in " + count(len(variants), "variant")
		return tx.Emit(ctx, s.event(slipway.ComposeFinished, c))
	})
}

func (s *Service) fail(ctx context.Context, id string, cause error) error {
	return s.update(ctx, id, func(tx Tx, c *Compose) error {
		c.State, c.Reason = Failed, cause.Error()
		return tx.Emit(ctx, s.event(slipway.ComposeFailed, c))
	})
}

// note records why a run did not get to the end, while the job waits to be tried again.
func (s *Service) note(ctx context.Context, id string, cause error) error {
	return s.update(ctx, id, func(_ Tx, c *Compose) error {
		c.Reason = "will be tried again: " + cause.Error()
		return nil
	})
}

// update changes a compose that is neither finished nor failed; of one that is, nothing changes.
func (s *Service) update(ctx context.Context, id string, f func(tx Tx, c *Compose) error) error {
	return s.store.Update(ctx, func(tx Tx) error {
		c, err := tx.Composes().Get(ctx, id)
		if err != nil || c.State == Finished || c.State == Failed {
			return err
		}
		if err := f(tx, &c); err != nil {
			return err
		}
		return tx.Composes().Put(ctx, c)
	})
}

func (s *Service) event(t slipway.EventType, c *Compose) slipway.Event {
	return slipway.Event{Type: t, Subject: slipway.Ref("compose", c.ID), Product: c.Product, Actor: "slipway-compose", Reason: c.Reason,
		Links: []string{slipway.Ref("release", c.ID)}}
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
