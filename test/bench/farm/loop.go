package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"slipway.dev/slipway/test/bench/report"
)

// loop runs the builds of all components under bubblewrap from shell loops, one for each slot, tier by tier, and nothing more: no keys, no
// digests, no record. It returns the time from the first to the last.
func loop(ctx context.Context, dir, sources string, all []component, slots int) (time.Duration, error) {
	tiers := all[len(all)-1].tier + 1
	scripts := make([][]strings.Builder, tiers)
	for t := range scripts {
		scripts[t] = make([]strings.Builder, slots)
	}
	out := func(c component) string { return filepath.Join(dir, "out", c.name) }
	for i, c := range all {
		b := &scripts[c.tier][i%slots]
		fmt.Fprintf(b, "mkdir -p %s\n", out(c))
		fmt.Fprintf(b, "bwrap --unshare-all --die-with-parent --clearenv --uid 1000 --gid 1000 --proc /proc --dev /dev --tmpfs /tmp")
		for _, host := range []string{"/usr", "/bin", "/lib", "/lib64"} {
			if _, err := os.Stat(host); err == nil {
				fmt.Fprintf(b, " --ro-bind %s %s", host, host)
			}
		}
		fmt.Fprintf(b, " --bind %s /build/src --bind %s /build/out", filepath.Join(sources, repository(c.tier), c.name), out(c))
		for _, n := range c.needs {
			fmt.Fprintf(b, " --ro-bind %s /build/deps/%s", out(all[n]), all[n].name)
		}
		fmt.Fprintf(b, " --chdir /build/src --setenv PATH /usr/bin:/bin --setenv OUT /build/out --setenv DEPS /build/deps /bin/sh -euc '%s'\n", strings.ReplaceAll(command, "'", `'\''`))
	}
	var whole strings.Builder
	whole.WriteString("set -e\n")
	for t := range scripts {
		for s := range scripts[t] {
			path := filepath.Join(dir, fmt.Sprintf("tier-%02d-%d.sh", t, s))
			if err := os.WriteFile(path, []byte("set -e\n"+scripts[t][s].String()), 0o644); err != nil {
				return 0, err
			}
			fmt.Fprintf(&whole, "sh %s & p%d=$!\n", path, s)
		}
		for s := range scripts[t] {
			fmt.Fprintf(&whole, "wait $p%d\n", s)
		}
	}
	path := filepath.Join(dir, "all.sh")
	if err := os.WriteFile(path, []byte(whole.String()), 0o644); err != nil {
		return 0, err
	}
	_, took, err := report.Run(ctx, "sh", path)
	return took, err
}
