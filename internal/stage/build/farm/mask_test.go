package farm

import (
	"math/rand/v2"
	"strings"
	"testing"
)

const someToken = "slw_" + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP-" // 43 after the prefix

// A stream is masked alike however it is cut into writes, and keeps its length.
func TestMask(t *testing.T) {
	secrets := []string{"hunter2-hunter2", "hunter2-hunter2-and-more", "pass\nphrase", "abc"}
	text := "a " + someToken + "b\nslw_short slw_\n" + someToken[:30] + "\nhunter2-hunter2!hunter2-hunter2-and-more hunter2-hunter2-and-mor pass\nphrase pass\nabc hunter2"
	want := "a " + stars(len(someToken)) + "b\nslw_short slw_\n" + someToken[:30] + "\n" + stars(15) + "!" + stars(24) + " " + stars(15) + "-and-mor " + stars(11) + " pass\nabc hunter2"
	random := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		m := newMask(secrets)
		var got strings.Builder
		for left := text; left != ""; {
			n := min(len(left), 1+random.IntN(20))
			got.Write(m.next([]byte(left[:n])))
			left = left[n:]
		}
		got.Write(m.rest())
		if got.String() != want {
			t.Fatalf("%q\nnot\n%q", got.String(), want)
		}
	}
}

// A line that cannot be a secret is told at once.
func TestMaskHoldsNothingBackWithoutNeed(t *testing.T) {
	m := newMask([]string{"hunter2-hunter2"})
	if got := string(m.next([]byte("working\n"))); got != "working\n" {
		t.Errorf("%q", got)
	}
}

func stars(n int) string { return strings.Repeat("*", n) }
