package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// Callers of Update that share commits: what fails, panics or is cancelled undoes its own part and no other's, and what returned is there.
func TestUpdatesAtOnceHoldApart(t *testing.T) {
	db := storetest.Open(t)
	const writers, rounds = 16, 20
	refused := errors.New("refused")
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range rounds {
				ctx, cancel := context.WithCancel(t.Context())
				name := fmt.Sprintf("%d/%d", w, i)
				told := false
				err := func() (err error) {
					defer func() {
						if p := recover(); p != nil {
							err = p.(error)
						}
					}()
					return db.Update(ctx, func(tx *store.Tx) error {
						tx.AfterCommit(func() { told = true })
						if _, err := tx.Next(ctx, "all"); err != nil {
							return err
						}
						if err := tx.SetCursor(ctx, name, 1); err != nil {
							return err
						}
						switch w % 4 {
						case 1:
							return refused
						case 2:
							cancel()
							_, err := tx.Next(ctx, "all")
							return err
						case 3:
							panic(refused)
						}
						return nil
					})
				}()
				cancel()
				switch w % 4 {
				case 0:
					if err != nil || !told {
						t.Errorf("%s: %v, told %t", name, err, told)
					}
				case 2:
					if !errors.Is(err, context.Canceled) || told {
						t.Errorf("%s: %v, told %t; want it cancelled", name, err, told)
					}
				default:
					if !errors.Is(err, refused) || told {
						t.Errorf("%s: %v, told %t; want it refused", name, err, told)
					}
				}
				var there int64
				err = db.View(t.Context(), func(tx *store.Tx) (err error) { there, err = tx.Cursor(t.Context(), name); return err })
				if want := w%4 == 0; err != nil || (there == 1) != want {
					t.Errorf("%s: there is %d (%v), want it there: %t", name, there, err, want)
				}
			}
		})
	}
	all.Wait()
	var next int64
	err := db.Update(t.Context(), func(tx *store.Tx) (err error) { next, err = tx.Next(t.Context(), "all"); return err })
	if want := int64(writers/4*rounds + 1); err != nil || next != want {
		t.Errorf("the counter is %d (%v), want %d", next, err, want)
	}
}

// BenchmarkUpdatesAtOnce is what a transaction costs when eight want one at a time.
func BenchmarkUpdatesAtOnce(b *testing.B) {
	db := storetest.Open(b)
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := db.Update(b.Context(), func(tx *store.Tx) error { _, err := tx.Next(b.Context(), "all"); return err }); err != nil {
				b.Error(err)
			}
		}
	})
}
