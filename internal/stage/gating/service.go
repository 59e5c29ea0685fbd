package gating

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Tx is what gating needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Results() slipway.Table[slipway.Result]
	Waivers() slipway.Table[Waiver]
}

// Service keeps results and waivers and decides over them.
type Service struct{ store slipway.Store[Tx] }

// New makes the service.
func New(st slipway.Store[Tx]) *Service { return &Service{st} }

// Record keeps a result. Its ID and time are filled in when empty; the ID is made of subject, check, item and
// configuration, so that a check run again replaces its result. Recording an equal result again changes nothing.
func (s *Service) Record(ctx context.Context, r slipway.Result) error {
	return s.RecordAll(ctx, []slipway.Result{r})
}

// RecordAll is [Service.Record] of several results in one transaction: all are kept, or none.
func (s *Service) RecordAll(ctx context.Context, all []slipway.Result) error {
	for _, r := range all {
		if r.Subject == "" || r.Check == "" || r.Outcome == "" {
			return slipway.Errorf(slipway.Invalid, "a result needs a subject, a check and an outcome")
		}
	}
	if len(all) == 0 {
		return nil
	}
	return s.store.Update(ctx, func(tx Tx) error {
		for _, r := range all {
			if err := record(ctx, tx, r); err != nil {
				return err
			}
		}
		return nil
	})
}

func record(ctx context.Context, tx Tx, r slipway.Result) error {
	if r.ID == "" {
		sum := sha256.Sum256([]byte(strings.Join([]string{r.Subject, r.Check, r.Item, r.Configuration}, "\x00")))
		r.ID = hex.EncodeToString(sum[:10])
	}
	if r.Time.IsZero() {
		r.Time = tx.Now()
	}
	old, err := tx.Results().Get(ctx, r.ID)
	if err != nil && !slipway.Is(err, slipway.NotFound) {
		return err
	}
	if err == nil {
		same := old
		same.Time = r.Time
		if same == r {
			return nil
		}
	}
	if err := tx.Results().Put(ctx, r); err != nil {
		return err
	}
	links := []string{}
	if r.Link != "" {
		links = append(links, r.Link)
	}
	return tx.Emit(ctx, slipway.Event{Type: slipway.ResultRecorded, Subject: r.Subject, Product: r.Product, Links: links,
		Reason: fmt.Sprintf("%s: %s", slipway.Requirement{Check: r.Check, Item: r.Item, Configuration: r.Configuration}, r.Outcome)})
}

// Results returns what is known of a subject.
func (s *Service) Results(ctx context.Context, subject string) (found []slipway.Result, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		found, err = tx.Results().Find(ctx, slipway.Query{Key: subject})
		return err
	})
	return found, err
}

// Waive records an exception and returns it with its id. It needs a product, a check, a reason and an author.
func (s *Service) Waive(ctx context.Context, w Waiver) (Waiver, error) {
	switch {
	case w.Product == "" || w.Check == "":
		return w, slipway.Errorf(slipway.Invalid, "a waiver needs a product and a check").Try("name the check that is to be excused, as in the decision")
	case strings.TrimSpace(w.Reason) == "":
		return w, slipway.Errorf(slipway.Invalid, "a waiver needs a reason").Try("say why the failure is acceptable; everybody will read it")
	case w.Author == "":
		return w, slipway.Errorf(slipway.Invalid, "a waiver needs an author")
	}
	err := s.store.Update(ctx, func(tx Tx) error {
		n, err := tx.Next(ctx, "waiver")
		if err != nil {
			return err
		}
		w.ID, w.Time, w.Revoked = fmt.Sprint(n), tx.Now(), ""
		if !w.Until.IsZero() && !w.Until.After(w.Time) {
			return slipway.Errorf(slipway.Invalid, "the waiver would have ended already, at %s", w.Until.Format(time.RFC3339))
		}
		if err := tx.Waivers().Put(ctx, w); err != nil {
			return err
		}
		return tx.Emit(ctx, slipway.Event{Type: slipway.WaiverGranted, Subject: slipway.Ref("waiver", w.ID), Product: w.Product, Actor: w.Author,
			Reason: fmt.Sprintf("%s: %s", slipway.Requirement{Check: w.Check, Item: w.Item, Configuration: w.Configuration}, w.Reason), Links: linkOf(w.Subject)})
	})
	return w, err
}

// Revoke ends a waiver; it is kept for the record.
func (s *Service) Revoke(ctx context.Context, id, actor, reason string) error {
	return s.store.Update(ctx, func(tx Tx) error {
		w, err := tx.Waivers().Get(ctx, id)
		if err != nil || w.Revoked != "" {
			return err
		}
		w.Revoked = strings.TrimSuffix(actor+": "+reason, ": ")
		if err := tx.Waivers().Put(ctx, w); err != nil {
			return err
		}
		return tx.Emit(ctx, slipway.Event{Type: slipway.WaiverRevoked, Subject: slipway.Ref("waiver", id), Product: w.Product, Actor: actor, Reason: reason, Links: linkOf(w.Subject)})
	})
}

// Waivers lists the waivers of a product, or of all, newest first.
func (s *Service) Waivers(ctx context.Context, product string) (found []Waiver, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		found, err = tx.Waivers().Find(ctx, slipway.Query{Product: product, Newest: true})
		return err
	})
	return found, err
}

// Decide decides on the subject now.
func (s *Service) Decide(ctx context.Context, product, subject string, required []slipway.Requirement) (d slipway.Decision, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		results, err := tx.Results().Find(ctx, slipway.Query{Key: subject})
		if err != nil {
			return err
		}
		waivers, err := tx.Waivers().Find(ctx, slipway.Query{Product: product, States: []string{"active"}})
		if err != nil {
			return err
		}
		d = Decide(subject, required, results, waivers, tx.Now())
		return nil
	})
	return d, err
}

// Required turns the checks that ran into requirements: those that gates lists, or all when it lists none.
func Required(gates []string, ran []slipway.Requirement) []slipway.Requirement {
	if len(gates) == 0 {
		return ran
	}
	var required []slipway.Requirement
	for _, r := range ran {
		for _, g := range gates {
			if g == r.Check {
				required = append(required, r)
			}
		}
	}
	return required
}

func linkOf(subject string) []string {
	if subject == "" {
		return []string{}
	}
	return []string{subject}
}
