package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	program := flag.String("slipway", "bin/slipway", "the slipway program")
	from := flag.String("from", "examples/ferry", "folder with the product and its components")
	dir := flag.String("dir", "", "folder to write to (default: a temporary one)")
	keep := flag.Bool("keep", false, "leave the server and the nodes running until interrupted")
	limit := flag.Duration("limit", 10*time.Minute, "give up after")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *program, *from, *dir, *keep, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, program, from, dir string, keep bool, limit time.Duration) (err error) {
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done in %s", limit))
	defer cancel()
	if program, err = filepath.Abs(program); err != nil {
		return err
	}
	if from, err = filepath.Abs(from); err != nil {
		return err
	}
	if dir == "" {
		dir, err = os.MkdirTemp("", "slipway-demo-")
	} else if dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return err
	}
	w := newWorld(program, from, dir)
	defer func() {
		w.stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, "\ndemo: everything is in", dir)
			return
		}
		if removeErr := remove(dir); removeErr != nil {
			fmt.Fprintln(os.Stderr, "demo:", removeErr)
		}
	}()
	s := &story{world: w, start: time.Now()}
	if err := s.tell(limited); err != nil {
		if cause := context.Cause(limited); cause != nil {
			return cause
		}
		return err
	}
	if keep {
		fmt.Printf("\n%s goes on until you interrupt it (Ctrl-C).\n", w.url)
		<-ctx.Done()
	}
	return nil
}

// remove deletes a folder in which some folders are read-only: artifacts and finished composes.
func remove(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}
