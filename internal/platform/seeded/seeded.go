// Package seeded makes property tests draw the same cases every time: a failure then belongs to the change that is tested, and a
// passing result can be cached. `make hunt` draws others.
package seeded

import (
	"flag"
	"sync"

	"pgregory.net/rapid"
)

// seed is for rapid what -rapid.seed=1 on the command line is; another one there wins.
var seed = sync.OnceValue(func() error {
	if f := flag.Lookup("rapid.seed"); f.Value.String() == "0" {
		return f.Value.Set("1")
	}
	return nil
})

// Check is [rapid.Check] with a fixed seed.
func Check(t rapid.TB, property func(*rapid.T)) {
	t.Helper()
	if err := seed(); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, property)
}
