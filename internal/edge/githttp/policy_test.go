package githttp

import (
	"cmp"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
)

func TestJudge(t *testing.T) {
	const zero, a, b = slipway.ZeroCommit, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	roles := []string{Viewer, Developer, Gatekeeper, Admin}
	for _, c := range []struct {
		name string
		r    request
		from string // the lowest role that may; "": nobody
	}{
		{"first push", request{Ref: "refs/heads/main", Old: zero, New: a, Empty: true}, Developer},
		{"first tag", request{Ref: "refs/tags/v1", Old: zero, New: a, Empty: true}, Developer},
		{"another branch", request{Ref: "refs/heads/x", Old: zero, New: a}, Gatekeeper},
		{"direct push", request{Ref: "refs/heads/main", Old: a, New: b}, Gatekeeper},
		{"forced push", request{Ref: "refs/heads/main", Old: a, New: b, Forced: true}, Admin},
		{"branch deleted", request{Ref: "refs/heads/main", Old: a, New: zero}, Admin},
		{"tag made", request{Ref: "refs/tags/v1", Old: zero, New: a}, Gatekeeper},
		{"tag moved", request{Ref: "refs/tags/v1", Old: a, New: b}, Admin},
		{"tag deleted", request{Ref: "refs/tags/v1", Old: a, New: zero}, Admin},
		{"release's tag moved", request{Repo: "products/p", Ref: "refs/tags/v1", Old: a, New: b}, ""},
		{"release's tag deleted", request{Repo: "products/p", Ref: "refs/tags/v1", Old: a, New: zero}, ""},
		{"releases dropped", request{Repo: "products/p", Ref: "refs/heads/main", Old: a, New: b, Forced: true, Queue: true}, ""},
		{"releases deleted", request{Repo: "products/p", Ref: "refs/heads/main", Old: a, New: zero, Queue: true}, ""},
		{"product's topic dropped", request{Repo: "products/p", Ref: "refs/heads/x", Old: a, New: b, Forced: true}, Admin},
		{"proposal", request{Ref: "refs/for/main", Old: zero, New: a, Target: true}, Developer},
		{"proposal for nothing", request{Ref: "refs/for/x", Old: zero, New: a}, ""},
		{"proposal deleted", request{Ref: "refs/for/main", Old: a, New: zero, Target: true}, ""},
		{"Slipway's own", request{Ref: "refs/changes/1/1", Old: zero, New: a}, ""},
		{"notes", request{Ref: "refs/notes/commits", Old: zero, New: a}, ""},
		{"mirror", request{Ref: "refs/heads/main", Old: a, New: b, Mirror: true}, ""},
		{"proposal to a mirror", request{Ref: "refs/for/main", Old: zero, New: a, Mirror: true, Target: true}, ""},
	} {
		may := false
		for i, role := range roles {
			may = may || role == c.from
			c.r.Repo = cmp.Or(c.r.Repo, "components/x")
			c.r.User = User{Name: "u", May: func(need string) bool {
				for _, have := range roles[:i+1] {
					if have == need {
						return true
					}
				}
				return false
			}}
			err := judge(c.r)
			if (err == nil) != may {
				t.Errorf("%s by a %s: %v", c.name, role, err)
			}
			if err != nil && !strings.Contains(err.Error(), "(") {
				t.Errorf("%s by a %s: %q does not say what to do", c.name, role, err)
			}
		}
	}
}

func TestTarget(t *testing.T) {
	branches := map[string]bool{"main": true, "release/1": true}
	for ref, want := range map[string][2]string{
		"refs/for/main": {"main", ""}, "refs/for/main/topic": {"main", "topic"}, "refs/for/main/a/b": {"main", "a/b"},
		"refs/for/release/1": {"release/1", ""}, "refs/for/release/1/x": {"release/1", "x"},
	} {
		if b, topic, ok := target(ref, branches); !ok || b != want[0] || topic != want[1] {
			t.Errorf("%s: %q %q %v", ref, b, topic, ok)
		}
	}
	for _, ref := range []string{"refs/for/release", "refs/for/mainline", "refs/heads/main", "refs/for/"} {
		if b, topic, ok := target(ref, branches); ok {
			t.Errorf("%s: %q %q", ref, b, topic)
		}
	}
}

func FuzzReadPackets(f *testing.F) {
	f.Add("0009hello0000")
	f.Add("0000")
	f.Add("fff0")
	f.Add("0003")
	f.Fuzz(func(t *testing.T, s string) {
		lines, err := readPackets(strings.NewReader(s))
		if err != nil {
			return
		}
		var b strings.Builder
		if err := writePackets(&b, lines...); err != nil {
			t.Fatal(err)
		}
		again, err := readPackets(strings.NewReader(b.String()))
		if err != nil || len(again) != len(lines) {
			t.Errorf("%q: %q, then %q, %v", s, lines, again, err)
		}
	})
}
