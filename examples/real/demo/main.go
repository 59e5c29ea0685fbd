package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	program := flag.String("slipway", "bin/slipway", "the slipway program")
	from := flag.String("from", "examples/real", "folder with components/ and product/")
	dir := flag.String("dir", "", "folder to write to, which must not exist and is kept (default: a temporary one)")
	keep := flag.Bool("keep", false, "leave the server running until interrupted")
	queue := flag.Bool("queue", false, "tell of ten changes at once instead")
	limit := flag.Duration("limit", 30*time.Minute, "give up after")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *program, *from, *dir, *keep, *queue, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo-real:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, program, from, dir string, keep, queue bool, limit time.Duration) (err error) {
	start := time.Now()
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done in %s", limit))
	defer cancel()
	program, err = filepath.Abs(program)
	if err != nil {
		return err
	}
	temporary := dir == ""
	if temporary {
		dir, err = os.MkdirTemp("", "slipway-demo-real-")
	} else {
		dir, err = filepath.Abs(dir)
		if err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	if err != nil {
		return err
	}
	ok := false
	defer func() {
		if ok && temporary {
			os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "demo-real: everything is in", dir)
		}
	}()
	s := &story{}
	err = s.act("repositories are made of released Go modules", func() error {
		cmd := exec.CommandContext(limited, "go", "run", "./"+filepath.Join(from, "generate"), "-from", from, "-out", filepath.Join(dir, "upstream"))
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd.Run()
	})
	if err != nil {
		return err
	}
	fmt.Println("\n== slipway up")
	s.road, err = newRoad(limited, program, dir)
	defer s.stop()
	if err != nil {
		return err
	}
	fmt.Println("  dashboard", s.url)
	tell := s.tell
	if queue {
		tell = s.queue
	}
	if err := tell(limited); err != nil {
		return err
	}
	fmt.Println("\n== where time went")
	for _, t := range s.times {
		fmt.Printf("  %6.1fs  %s\n", t.took.Seconds(), t.what)
	}
	fmt.Printf("  %6.1fs  in all\n", time.Since(start).Seconds())
	if keep {
		fmt.Printf("\nThe server goes on at %s until interrupted; export SLIPWAY_DATA=%s to use it.\n", s.url, filepath.Join(dir, "data"))
		<-ctx.Done()
	}
	ok = true
	return nil
}
