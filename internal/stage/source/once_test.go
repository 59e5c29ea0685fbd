package source_test

import (
	"slices"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/source"
	"slipway.dev/slipway/internal/store/storetest"
)

// Two pushes of one commit, at once: git lets one in, and history tells one.
func TestTheSamePushTwiceIsRecordedOnce(t *testing.T) {
	ctx, db := t.Context(), storetest.Open(t)
	s := start(t, db, t.TempDir())
	if _, err := s.Create(ctx, "ada", repo, "", ""); err != nil {
		t.Fatal(err)
	}
	a := commit(t, s, "", "a")
	push := []slipway.RefUpdate{move("refs/heads/main", "", a)}
	if err := s.Prepare(ctx, "first", repo, "ada", push); err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() { second <- s.Prepare(ctx, "second", repo, "bob", push) }() // waits for the first
	g, err := s.Git(repo)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.UpdateRefs(ctx, source.Changes(push)); err != nil { // what receive-pack does for the first
		t.Fatal(err)
	}
	if err := s.Conclude(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	wantKind(t, g.UpdateRefs(ctx, source.Changes(push)), slipway.Conflict) // and for the second
	if err := s.Conclude(ctx, "second"); err != nil {
		t.Fatal(err)
	}
	want := []string{"refs/heads/main 0000 " + a[:4] + " ada"}
	if got := lines(t, s); !slices.Equal(got, want) {
		t.Errorf("history has %q, want %q", got, want)
	}
	if got := told(t, db); !slices.Equal(got, want) {
		t.Errorf("the ledger tells %q, want %q", got, want)
	}
}

// A move of which a part is done already does the rest and records only that.
func TestAMoveThatIsHalfDoneRecordsTheOtherHalf(t *testing.T) {
	ctx, db := t.Context(), storetest.Open(t)
	s := start(t, db, t.TempDir())
	if _, err := s.Create(ctx, "ada", repo, "", ""); err != nil {
		t.Fatal(err)
	}
	a := commit(t, s, "", "a")
	tag := move("refs/tags/v1", "", a)
	if err := s.Move(ctx, "ada", "tag", tag); err != nil {
		t.Fatal(err)
	}
	if err := s.Move(ctx, "bob", "both", move("refs/heads/main", "", a), tag); err != nil {
		t.Fatal(err)
	}
	want := []string{"refs/tags/v1 0000 " + a[:4] + " ada", "refs/heads/main 0000 " + a[:4] + " bob"}
	if got := lines(t, s); !slices.Equal(got, want) {
		t.Errorf("history has %q, want %q", got, want)
	}
	if got := told(t, db); !slices.Equal(got, want) {
		t.Errorf("the ledger tells %q, want %q", got, want)
	}
}
