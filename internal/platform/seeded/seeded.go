// Package seeded makes property tests draw the same cases every time: a failure then belongs to the change that is tested, and a
// passing result can be cached. `make hunt` draws others.
package seeded

import (
	"flag"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// Check is [rapid.Check] with a fixed seed. Another one on the command line (-rapid.seed=N) wins.
func Check(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	usual(t, "rapid.seed", "0", "1")
	rapid.Check(t, property)
}

// CheckMany is [Check] with a number of cases; another one on the command line (-rapid.checks=N) wins.
func CheckMany(t *testing.T, checks int, property func(*rapid.T)) {
	t.Helper()
	usual(t, "rapid.checks", "100", strconv.Itoa(checks))
	Check(t, property)
}

// usual sets a flag of rapid while a test runs, unless it was set to something else than its default.
func usual(t *testing.T, name, standard, value string) {
	t.Helper()
	f := flag.Lookup(name)
	if f.Value.String() != standard {
		return
	}
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Value.Set(standard); err != nil {
			t.Error(err)
		}
	})
}
