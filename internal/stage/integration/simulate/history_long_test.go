//go:build long

package simulate

import (
	"flag"
	"testing"

	"pgregory.net/rapid"
)

// The same as in every test run, thirty times as often.
func TestManyHistories(t *testing.T) {
	usual := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", "3000"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := flag.Set("rapid.checks", usual); err != nil {
			t.Error(err)
		}
	})
	t.Run("deterministic", rapid.MakeCheck(deterministic))
	t.Run("unlucky", rapid.MakeCheck(unlucky))
	t.Run("rivals", rapid.MakeCheck(rivals))
}
