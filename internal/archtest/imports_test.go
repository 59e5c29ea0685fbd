package archtest

import (
	"slices"
	"strings"
	"testing"
)

// layer sorts a package by its path into the part of the design that it belongs to, and names the one it is of a kind with:
// a stage and its planner are both "stage" and "internal/stage/build".
func layer(dir string) (kind, unit string) {
	parts := strings.Split(dir, "/")
	first := func(n int) string { return strings.Join(parts[:min(n, len(parts))], "/") }
	switch {
	case dir == "internal/edge/httpapi/wire":
		return "wire", dir
	case dir == "client" || parts[0] == "cmd":
		return parts[0], first(2)
	case parts[0] != "internal" || len(parts) < 2:
		return "", dir
	}
	switch parts[1] {
	case "catalog", "overview", "notify", "provenance", "resolve":
		return "stage", first(2)
	case "stage", "platform", "edge":
		return parts[1], first(3)
	case "slipway", "spec", "store", "agent", "server", "cli", "archtest":
		return parts[1], first(2)
	}
	return "", dir
}

// law says which layers each may import, beside its own unit.
var law = map[string][]string{
	"slipway":  {},
	"spec":     {"slipway"},
	"platform": {"slipway", "platform"},
	"stage":    {"slipway", "spec", "platform"},
	"store":    {"slipway", "spec", "platform", "stage"},
	"edge":     {"slipway", "spec", "platform", "stage", "wire"},
	"agent":    {"slipway", "spec", "platform", "stage"},
	"wire":     {"slipway", "spec", "platform", "stage"},
	"client":   {"slipway", "spec", "platform", "stage", "wire"},
	"server":   {"slipway", "spec", "platform", "stage", "store", "edge", "agent"},
	"cli":      {"slipway", "spec", "platform", "stage", "client", "agent", "server"},
	"cmd":      {"cli"},
	"archtest": {},
}

// excepted are imports that the law forbids, each with the reason why it is right all the same.
var excepted = map[[2]string]string{
	{"internal/edge/httpapi", "internal/edge/githttp"}: "it tells the addresses at which repositories are served",
	{"internal/cli", "internal/edge/githttp"}:          "'slipway git-hook' is the server's other half of a push, not a command for people",
}

func TestImportLaw(t *testing.T) {
	needed := map[[2]string]bool{}
	for _, f := range goFiles(t) {
		if f.test || forTests(f.dir) || !strings.HasPrefix(f.dir, "internal/") && f.dir != "client" && !strings.HasPrefix(f.dir, "cmd/") {
			continue
		}
		kind, unit := layer(f.dir)
		allowed, known := law[kind]
		if !known {
			t.Errorf("%s: the design has no place for package %s", f.path, f.dir)
			continue
		}
		ours, others := f.imports()
		for _, imp := range ours {
			impKind, impUnit := layer(imp)
			switch {
			case forTests(imp):
				t.Errorf("%s imports %s, which is for tests", f.path, imp)
			case impUnit != unit && !slices.Contains(allowed, impKind) && excepted[[2]string{f.dir, imp}] != "":
				needed[[2]string{f.dir, imp}] = true
			case impUnit != unit && !slices.Contains(allowed, impKind):
				t.Errorf("%s imports %s: %s may not import %s", f.path, imp, kind, impKind)
			}
		}
		if kind == "slipway" {
			for _, imp := range others {
				if strings.Contains(strings.Split(imp, "/")[0], ".") {
					t.Errorf("%s imports %s: package slipway uses the standard library only", f.path, imp)
				}
			}
		}
	}
	for e := range excepted {
		if !needed[e] {
			t.Errorf("%s does not import %s any more; remove the exception", e[0], e[1])
		}
	}
}

// A planner decides: it has no context, clock, database, log, network or file.
func TestPlannersArePure(t *testing.T) {
	impure := []string{"context", "database/sql", "log", "log/slog", "net", "net/http", "os", "os/exec", "io/fs", "math/rand", "math/rand/v2", "crypto/rand"}
	seen := 0
	for _, f := range goFiles(t) {
		if f.test || !strings.HasSuffix(f.dir, "/plan") && !strings.HasSuffix(f.dir, "/speculate") && !strings.HasSuffix(f.dir, "/rival") {
			continue
		}
		seen++
		ours, others := f.imports()
		for _, imp := range others {
			if slices.Contains(impure, imp) {
				t.Errorf("%s imports %s: a planner only decides", f.path, imp)
			}
		}
		for _, imp := range ours {
			if kind, _ := layer(imp); kind == "platform" {
				t.Errorf("%s imports %s: a planner only decides", f.path, imp)
			}
		}
		for _, pos := range calls(f, "time", "Now", "Since", "Until", "After", "NewTimer", "NewTicker") {
			t.Errorf("%s: a planner has no clock", f.at(pos))
		}
	}
	if seen == 0 {
		t.Error("no planner was found; this test looks in the wrong place")
	}
}

func TestTheLawItself(t *testing.T) {
	for _, c := range []struct{ from, to string }{
		{"internal/stage/build", "internal/stage/change"},
		{"internal/catalog", "internal/stage/change"},
		{"internal/stage/build", "internal/store"},
		{"internal/edge/web", "internal/store"},
		{"internal/edge/web", "internal/edge/httpapi"},
		{"internal/platform/jobs", "internal/stage/build"},
		{"internal/store", "internal/server"},
		{"client", "internal/server"},
		{"client", "internal/edge/httpapi"},
		{"cmd/slipway", "internal/server"},
	} {
		kind, unit := layer(c.from)
		impKind, impUnit := layer(c.to)
		if impUnit == unit || slices.Contains(law[kind], impKind) {
			t.Errorf("%s may import %s", c.from, c.to)
		}
	}
}
