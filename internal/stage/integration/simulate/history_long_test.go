//go:build long

package simulate

import (
	"testing"

	"pgregory.net/rapid"

	"slipway.dev/slipway/internal/platform/seeded"
)

// The same as in every test run, thirty times as often.
func TestManyHistories(t *testing.T) {
	for name, property := range map[string]func(*rapid.T){"deterministic": deterministic, "unlucky": unlucky, "rivals": rivals} {
		t.Run(name, func(t *testing.T) { seeded.CheckMany(t, 3000, property) })
	}
}
