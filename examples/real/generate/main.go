package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	from := flag.String("from", "examples/real", "folder with components/ and product/")
	out := flag.String("out", "", "folder to write to; must not exist")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := generate(ctx, *from, *out); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// generate makes everything below out; see the package comment.
func generate(ctx context.Context, from, out string) error {
	if out == "" {
		return fmt.Errorf("give a folder to write to with -out")
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	from, err = filepath.Abs(from)
	if err != nil {
		return err
	}
	start := time.Now()
	got, newest, err := downloadAll(ctx)
	if err != nil {
		return err
	}
	templates := filepath.Join(from, "components")
	for _, l := range lines {
		if err := history(ctx, filepath.Join(out, "components", l.Name), filepath.Join(templates, l.Name), l, got); err != nil {
			return err
		}
	}
	fmt.Printf("modules of others, asked of the go command for %d upgrades:\n", len(steps))
	work, err := os.MkdirTemp("", "slipway-real-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	t, err := collect(ctx, work, filepath.Join(templates, "thirdparty"), got)
	if err != nil {
		return err
	}
	goVersion, err := goEnv(ctx, "GOVERSION")
	if err != nil {
		return err
	}
	goVersion = strings.TrimPrefix(strings.Fields(goVersion)[0], "go")
	if err := t.write(ctx, filepath.Join(out, "components"), templates, goVersion, newest); err != nil {
		return err
	}
	fmt.Printf("  %d modules, %d packages of theirs, %d of Go %s\n", len(t.modules), len(t.packages), len(t.std), goVersion)
	product, err := newRepository(ctx, filepath.Join(out, "product"))
	if err != nil {
		return err
	}
	if err := product.fill([]string{filepath.Join(from, "product")}, nil); err != nil {
		return err
	}
	if err := product.commit(ctx, "vista: the product", "", newest); err != nil {
		return err
	}
	fmt.Printf("written to %s in %s\n", out, time.Since(start).Round(100*time.Millisecond))
	return nil
}

// downloadAll gets all versions of all lines and reports each. A version of the past that the proxy does not serve is left out; one that
// the demo begins with or upgrades to is an error.
func downloadAll(ctx context.Context) (got map[string]Module, newest time.Time, err error) {
	got = map[string]Module{}
	for _, l := range lines {
		fmt.Printf("%-18s", l.Name)
		for i, version := range append(append([]string{}, l.Versions...), l.Next...) {
			m, err := download(ctx, l.Module, version)
			if err != nil {
				return nil, newest, err
			}
			got[l.Module+"@"+version] = m
			if m.Error == "" {
				fmt.Printf("  %s", version)
				if m.Time.After(newest) {
					newest = m.Time
				}
				continue
			}
			fmt.Printf("  (%s: not served)", version)
			if i >= len(l.Versions)-1 {
				return nil, newest, fmt.Errorf("%s@v%s is needed: %s", l.Module, version, m.Error)
			}
		}
		fmt.Println()
	}
	return got, newest, nil
}
