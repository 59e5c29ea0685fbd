//go:build long

package script

import "testing"

// TestLongStories are those that take a while.
func TestLongStories(t *testing.T) { stories(t, "testdata/long") }
