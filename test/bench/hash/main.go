// Command hash compares how fast a tree of files becomes a digest with sha256sum over the same files. It writes a page of Markdown; 'scripts/bench-hash'
// runs it.
//
// The digest of a tree is that of a message of the Remote Execution API, which holds the digests of all files: it cannot be
// had in less time than sha256sum takes, on as many processors. What is above that is the cost of ours.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/test/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir := flag.String("dir", os.TempDir(), "where to write")
	flag.Parse()
	if err := run(ctx, os.Stdout, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench-hash:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, in string) error {
	dir, err := os.MkdirTemp(in, "slipway-bench-hash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	page := report.New(ctx, w, "From files to a digest", "make bench-hash", []string{"sha256sum", "--version"})
	page.Text("The same files, once by sha256sum and once by what reads sources and outputs of builds (`artifact.PutTree`). All were read before, so that they come from " +
		"memory. Median, shortest and longest of five runs each, in turn.")
	goroot, _, err := report.Run(ctx, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	small, err := copyOf(filepath.Join(strings.TrimSpace(string(goroot)), "src"), filepath.Join(dir, "small"))
	if err != nil {
		return err
	}
	large := filepath.Join(dir, "large")
	if err := random(large, 8, 96<<20); err != nil {
		return err
	}
	for _, tree := range []struct{ what, dir string }{{"Many small files: the source of Go's standard library", small}, {"A few large files", large}} {
		if err := compare(ctx, page, tree.what, tree.dir, filepath.Join(dir, "store")); err != nil {
			return err
		}
	}
	page.Text("`sha256sum -P%[1]d` is `find . -type f -print0 | xargs -0 -n 64 -P%[1]d sha256sum` (`-n 1` for the few large files). \"Digest only\" computes all digests and "+
		"messages and keeps nothing. \"Into a store that has it\" is what an unchanged output costs, \"into an empty store\" what a new one does: all bytes are copied and "+
		"made durable.", runtime.GOMAXPROCS(0))
	return nil
}

func compare(ctx context.Context, page *report.Page, what, dir, storeDir string) error {
	files, bytes := 0, int64(0)
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			files, bytes = files+1, bytes+info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	batch := "64"
	if files < 64 {
		batch = "1"
	}
	shell := func(procs int) func() error {
		return func() error {
			_, _, err := report.Run(ctx, "sh", "-c", `cd "$0" && find . -type f -print0 | xargs -0 -n "$1" -P"$2" sha256sum >/dev/null`, dir, batch, strconv.Itoa(procs))
			return err
		}
	}
	put := func(st artifact.Store) func() error {
		return func() error {
			_, err := artifact.PutTree(ctx, st, dir)
			return err
		}
	}
	var empty artifact.Store // made anew before each run
	n := 0
	renew := func() (err error) {
		if err = os.RemoveAll(filepath.Join(storeDir, strconv.Itoa(n))); err == nil {
			n++
			empty, err = artifact.OpenDisk(filepath.Join(storeDir, strconv.Itoa(n)))
		}
		return err
	}
	kept, err := artifact.OpenDisk(filepath.Join(storeDir, "kept"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(storeDir)
	if err := put(kept)(); err != nil {
		return err
	}
	ways := []struct {
		name string
		do   func() error
	}{
		{"sha256sum, one process", shell(1)},
		{fmt.Sprintf("sha256sum -P%d", runtime.GOMAXPROCS(0)), shell(runtime.GOMAXPROCS(0))},
		{"**digest only**", put(nowhere{})},
		{"into a store that has it", put(kept)},
		{"into an empty store", func() error { return put(empty)() }},
	}
	times := make([]report.Sample, len(ways))
	for round := range 6 {
		if err := renew(); err != nil {
			return err
		}
		for i, way := range ways {
			one, err := report.Time(1, way.do)
			if err != nil {
				return err
			}
			if round > 0 { // the first warms up
				times[i] = append(times[i], one...)
			}
		}
	}
	var rows [][]string
	for i, way := range ways {
		median := times[i].Median()
		rows = append(rows, []string{way.name, times[i].String(), fmt.Sprintf("%.0f MB/s", float64(bytes)/1e6/median.Seconds()),
			fmt.Sprintf("%.2f", median.Seconds()/times[1].Median().Seconds())})
	}
	page.Text("## %s", what)
	page.Text("%d files, %.0f MB.", files, float64(bytes)/1e6)
	page.Table([]string{"how", "time", "rate", "to sha256sum on all processors"}, rows)
	return nil
}

// nowhere is a store that names what it is given and forgets it.
type nowhere struct{ artifact.Store }

func (nowhere) Put(_ context.Context, r io.Reader) (artifact.Digest, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return artifact.Prefix + hex.EncodeToString(h.Sum(nil)), n, err
}

// copyOf copies a tree, so that nothing else changes it meanwhile.
func copyOf(from, to string) (string, error) {
	return to, os.CopyFS(to, os.DirFS(from))
}

// random writes files of random bytes, the same ones each time.
func random(dir string, files int, size int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range files {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, rand.NewChaCha8([32]byte{byte(i)}), size)
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	}
	return nil
}
