// Command farm measures what the build farm costs: it generates a product of many components in tiers with trivial builds, lets a real server
// build it in real sandboxes, and compares that with the same commands under bubblewrap from shell loops. Then it rebuilds everything when nothing has
// changed, and when a comment in the base library has. It writes a page of Markdown; 'scripts/bench-farm' runs it.
//
// With -profile the server runs in this process, and its processor profiles of the full run and of the one without builds are kept.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"

	"slipway.dev/slipway/internal/cli"
)

func main() {
	if len(os.Args) > 1 && (os.Args[1] == "git-hook" || os.Args[1] == "git-credential") { // the server's, when it runs in this process
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := bench{product: "fleet"}
	flag.StringVar(&b.program, "slipway", "bin/slipway", "the program")
	flag.StringVar(&b.dir, "dir", "", "where to write: a folder that does not exist (default: a temporary one, removed at the end)")
	flag.IntVar(&b.components, "components", 1000, "how many components")
	flag.IntVar(&b.tiers, "tiers", 12, "in how many tiers")
	flag.IntVar(&b.slots, "slots", runtime.NumCPU(), "builds at once")
	flag.Uint64Var(&b.seed, "seed", 1, "of the generated product")
	flag.StringVar(&b.profile, "profile", "", "folder for processor profiles; the server runs in this process")
	limit := flag.Duration("limit", 20*time.Minute, "give up after")
	flag.Parse()
	ctx, cancel := context.WithTimeoutCause(ctx, *limit, fmt.Errorf("not done in %s", *limit))
	defer cancel()
	if err := b.run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench-farm:", err)
		os.Exit(1)
	}
}
