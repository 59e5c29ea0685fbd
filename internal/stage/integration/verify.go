package integration

import (
	"context"
	"fmt"
	"slices"

	"slipway.dev/slipway/internal/slipway"
)

// Finding is one thing that a certificate claims, and whether it holds.
type Finding struct {
	Claim string `json:"claim"`
	OK    bool   `json:"ok"`
	Why   string `json:"why,omitempty"` // how it was found, or what contradicts it
}

// Verification is a certificate and what came of checking it again.
type Verification struct {
	Certificate Certificate `json:"certificate"`
	OK          bool        `json:"ok"`
	Findings    []Finding   `json:"findings"`
}

// Verify checks the certificate of an entry's landing again, against the repositories and the records of builds, experiments and trials: that
// main was moved once and from the base that it names; that what landed is the tuple; that everything its gate asked for had passed on
// exactly that tuple, or was waived; and, where it passed others in the queue, that it had passed with each combination of those.
func (s *Service) Verify(ctx context.Context, number int64) (Verification, error) {
	e, err := s.Entry(ctx, number)
	if err != nil {
		return Verification{}, err
	}
	if e.Release == "" {
		return Verification{}, slipway.Errorf(slipway.Conflict, "entry %d has not landed: %s", number, e.Reason)
	}
	var v Verification
	err = s.store.View(ctx, func(tx Tx) error { v.Certificate, err = tx.Certificates().Get(ctx, e.Release); return err })
	if slipway.Is(err, slipway.NotFound) {
		err = slipway.Errorf(slipway.NotFound, "the release %s has no certificate: it landed before they were kept", e.Release)
	}
	if err != nil {
		return v, err
	}
	find := func(claim string, problem error) {
		f := Finding{Claim: claim, OK: problem == nil}
		if problem != nil {
			f.Why = problem.Error()
		}
		v.Findings = append(v.Findings, f)
	}
	c, err := s.Candidate(ctx, v.Certificate.Candidate)
	if err != nil {
		return v, err
	}
	find("the candidate is what its name says", named(c))
	find("main was moved from the base of the certificate to the release, in one step", s.movedOnce(ctx, v.Certificate))
	find("the manifests of the release are the tuple of the candidate", s.landedAs(ctx, c, v.Certificate.Commit))
	w, err := s.builder.Wave(ctx, v.Certificate.Wave)
	if err != nil {
		return v, err
	}
	for _, r := range c.required(w) {
		find(r.String()+" passed on it", s.stillPassed(ctx, c, v.Certificate, r))
	}
	for _, proof := range v.Certificate.Agreed {
		find(fmt.Sprintf("%s passed with entries %s before it", proof.Check, numbers(v.Certificate.Bypassed)), s.stillProven(ctx, proof))
	}
	v.OK = !slices.ContainsFunc(v.Findings, func(f Finding) bool { return !f.OK })
	return v, nil
}

func named(c Candidate) error {
	id, err := c.digest()
	if err == nil && id != c.ID {
		err = fmt.Errorf("its contents are those of candidate %s", id)
	}
	return err
}

func (s *Service) movedOnce(ctx context.Context, c Certificate) error {
	repo, ref := slipway.Integration(c.Product)
	updates, err := s.source.Updates(ctx, repo, ref, 0)
	if err != nil {
		return err
	}
	n := 0
	for _, u := range updates {
		if u.New == c.Commit {
			if n++; u.Old != c.Base {
				return fmt.Errorf("branch history moves main to it from %s, not from %s", short(u.Old), short(c.Base))
			}
		}
	}
	if n != 1 {
		return fmt.Errorf("branch history moves main to %s %d times", short(c.Commit), n)
	}
	return nil
}

func (s *Service) landedAs(ctx context.Context, c Candidate, commit string) error {
	for _, cc := range c.Configurations {
		m, err := s.manifest(ctx, c.Product, commit, cc.Name)
		if err != nil {
			return err
		}
		if len(m.Components) != len(cc.Components) {
			return fmt.Errorf("the manifest of %s has %d components, the candidate %d", cc.Name, len(m.Components), len(cc.Components))
		}
		for _, name := range cc.Components {
			if locked := m.Components[name].Pin(name); locked != c.pin(name) {
				return fmt.Errorf("the manifest of %s has %s at %s, the candidate at %s", cc.Name, name, short(locked.Commit), short(c.pin(name).Commit))
			}
		}
	}
	return nil
}

// stillPassed looks for the verdict that a requirement was met by.
func (s *Service) stillPassed(ctx context.Context, c Candidate, cert Certificate, r slipway.Requirement) error {
	i := slices.IndexFunc(cert.Verdicts, func(v slipway.Verdict) bool { return v.Requirement == r })
	if i < 0 {
		return fmt.Errorf("the certificate says nothing of it")
	}
	v := cert.Verdicts[i]
	switch v.State {
	case slipway.CheckWaived:
		if v.Waiver == "" {
			return fmt.Errorf("waived, but by no waiver")
		}
		return nil
	case slipway.CheckPassed:
	default:
		return fmt.Errorf("it was %s: %s", v.State, v.Reason)
	}
	d, err := s.gate.Decide(ctx, c.Product, slipway.Ref("candidate", c.ID), []slipway.Requirement{r})
	if err != nil {
		return err
	}
	if now := d.Verdicts[0]; now.State != slipway.CheckPassed {
		return fmt.Errorf("its result is %s now: %s", now.State, now.Reason)
	}
	return nil
}

func (s *Service) stillProven(ctx context.Context, proof Proof) error {
	if proof.Trial == 0 {
		return fmt.Errorf("no trial is named")
	}
	var t Trial
	err := s.store.View(ctx, func(tx Tx) (err error) { t, err = tx.Trials().Get(ctx, fmt.Sprint(proof.Trial)); return err })
	if err != nil {
		return err
	}
	if t.Check != proof.Check || t.To != proof.To || t.Outcome != slipway.Pass {
		return fmt.Errorf("trial %d is %s on another tuple, or ended with %q", t.Number, t.Check, t.Outcome)
	}
	return nil
}
