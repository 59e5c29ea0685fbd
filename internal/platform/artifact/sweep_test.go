package artifact_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
)

// shelf is a store with trees that share folders and files at random.
type shelf struct {
	t      testing.TB
	dir    string
	disk   *artifact.Disk
	random *rand.Rand
	trees  []artifact.Digest
	below  map[artifact.Digest][]artifact.Digest // of a tree: everything that it needs, itself too
	all    map[artifact.Digest]bool
}

func newShelf(t testing.TB, seed uint64, n int) *shelf {
	s := &shelf{t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(seed, 7)), below: map[artifact.Digest][]artifact.Digest{}, all: map[artifact.Digest]bool{}}
	t.Cleanup(func() { artifact.RemoveTree(s.dir) })
	s.open()
	err := s.disk.Together(t.Context(), func(_ context.Context, st artifact.Store) error {
		for range n {
			s.grow(st)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shelf) open() {
	var err error
	if s.disk, err = artifact.OpenDisk(s.dir); err != nil {
		s.t.Fatal(err)
	}
}

// grow adds a tree over some of those that are there.
func (s *shelf) grow(st artifact.Store) artifact.Digest {
	s.t.Helper()
	dir := &repb.Directory{}
	needs := []artifact.Digest{}
	for i := range 1 + s.random.IntN(3) {
		text := fmt.Sprintf("file %d\n", s.random.IntN(40))
		if s.random.IntN(3) == 0 {
			text = "\n\x12\x1a looks like a message " + text
		}
		d, size, err := st.Put(s.t.Context(), strings.NewReader(text))
		if err != nil {
			s.t.Fatal(err)
		}
		dir.Files = append(dir.Files, &repb.FileNode{Name: fmt.Sprintf("f%d", i), Digest: artifact.Proto(d, size), IsExecutable: s.random.IntN(2) == 0})
		needs = append(needs, d)
	}
	for i := range s.random.IntN(3) {
		if len(s.trees) == 0 {
			break
		}
		sub := s.trees[s.random.IntN(len(s.trees))]
		dir.Directories = append(dir.Directories, &repb.DirectoryNode{Name: fmt.Sprintf("d%d", i), Digest: artifact.Proto(sub, 1)})
		needs = append(needs, s.below[sub]...)
	}
	d, _, err := artifact.PutMessage(s.t.Context(), st, dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.trees = append(s.trees, d)
	s.below[d] = append(needs, d)
	for _, b := range s.below[d] {
		s.all[b] = true
	}
	return d
}

// age makes everything look unused for a month.
func (s *shelf) age() {
	s.t.Helper()
	old := time.Now().Add(-30 * 24 * time.Hour)
	err := filepath.WalkDir(filepath.Join(s.dir, "blobs"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Chtimes(p, old, old)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// some picks roots at random, and returns them with everything below.
func (s *shelf) some() (roots []artifact.Root, kept map[artifact.Digest]bool) {
	kept = map[artifact.Digest]bool{}
	for _, d := range s.trees {
		if s.random.IntN(4) == 0 {
			roots = append(roots, artifact.Root{Digest: d, Why: "release"})
			for _, b := range s.below[d] {
				kept[b] = true
			}
		}
	}
	return roots, kept
}

// whole checks that what is in the store needs nothing that is not.
func (s *shelf) whole() (left int) {
	s.t.Helper()
	for d := range s.all {
		if s.disk.Has(d) {
			left++
		}
	}
	for i, d := range s.trees {
		if !s.disk.Has(d) {
			continue
		}
		for _, b := range s.below[d] {
			if !s.disk.Has(b) {
				s.t.Fatalf("%s is there, and %s below it is not", d, b)
			}
		}
		if i%10 != 0 {
			continue
		}
		if _, err := s.disk.Tree(s.t.Context(), d); err != nil {
			s.t.Fatal(err)
		}
	}
	return left
}

// For random graphs and roots: exactly what no root leads to goes, and a dry run tells the same.
func TestSweepRemovesExactlyWhatNothingNeeds(t *testing.T) {
	for seed := range uint64(5) {
		s := newShelf(t, seed, 60)
		for _, d := range s.trees[:15] { // expanded trees and executable copies go too
			if _, err := s.disk.Tree(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		roots, kept := s.some()
		s.age()
		told, err := s.disk.Sweep(t.Context(), roots, time.Hour, true)
		if err != nil {
			t.Fatal(err)
		}
		swept, err := s.disk.Sweep(t.Context(), roots, time.Hour, false)
		if err != nil {
			t.Fatal(err)
		}
		if told.Removed != swept.Removed || swept.Removed.Blobs != len(s.all)-len(kept) || swept.Kept["release"].Blobs != len(kept) {
			t.Fatalf("seed %d: told %+v, did %+v; %d of %d are needed", seed, told, swept, len(kept), len(s.all))
		}
		for d := range s.all {
			if s.disk.Has(d) != kept[d] {
				t.Fatalf("seed %d: %s is there: %t, needed: %t", seed, d, s.disk.Has(d), kept[d])
			}
		}
		trees, err := os.ReadDir(filepath.Join(s.dir, "trees"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range trees {
			if !kept[artifact.Prefix+e.Name()] {
				t.Fatalf("seed %d: the expanded tree %s is left", seed, e.Name())
			}
		}
		s.whole()
	}
}

// What is used meanwhile stays, with all that it names.
func TestSweepBesideWriters(t *testing.T) {
	for seed := range uint64(3) {
		s := newShelf(t, seed, 80)
		s.age()
		use := make([]artifact.Digest, 0, 20)
		for range 20 {
			use = append(use, s.trees[s.random.IntN(len(s.trees))])
		}
		var wg sync.WaitGroup
		found := make([]bool, len(use))
		start := make(chan struct{})
		wg.Go(func() {
			<-start
			for i, d := range use {
				_, err := s.disk.Stat(t.Context(), d)
				found[i] = err == nil
			}
		})
		wg.Go(func() {
			close(start)
			if _, err := s.disk.Sweep(t.Context(), nil, time.Hour, false); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		for i, d := range use {
			if found[i] && !s.disk.Has(d) {
				t.Fatalf("seed %d: %s was told to be there, and is gone", seed, d)
			}
		}
		s.whole()
	}
}

func TestSweepKeepsWhatWasUsedLately(t *testing.T) {
	s := newShelf(t, 1, 40)
	s.age()
	fresh := s.grow(s.disk)
	old := s.trees[10]
	r, err := s.disk.Open(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	r.Close()
	// An action that was put leads to its command and its inputs.
	command, n, err := s.disk.Put(t.Context(), strings.NewReader("the command"))
	if err != nil {
		t.Fatal(err)
	}
	action, _, err := artifact.PutMessage(t.Context(), s.disk, &repb.Action{CommandDigest: artifact.Proto(command, n), InputRootDigest: artifact.Proto(s.trees[20], 1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.disk.Sweep(t.Context(), nil, time.Hour, false); err != nil {
		t.Fatal(err)
	}
	for _, d := range append(append(s.below[fresh], s.below[old]...), append(s.below[s.trees[20]], action, command)...) {
		if !s.disk.Has(d) {
			t.Errorf("%s is gone", d)
		}
	}
	s.whole()
}

const sweepDir = "SLIPWAY_SWEEP_TEST_DIR"

// TestSweepKilled kills sweeps with SIGKILL at random points: what is left is whole, and the next sweep ends the work.
func TestSweepKilled(t *testing.T) {
	if dir := os.Getenv(sweepDir); dir != "" {
		disk, err := artifact.OpenDisk(dir)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("sweeping")
		if _, err := disk.Sweep(context.Background(), nil, time.Hour, false); err != nil {
			t.Fatal(err)
		}
		fmt.Println("swept")
		return
	}
	cut := 0
	for seed := range uint64(3) {
		s := newShelf(t, seed, 150)
		for _, d := range s.trees[:20] {
			if _, err := s.disk.Tree(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		s.age()
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestSweepKilled$")
		cmd.Env = append(os.Environ(), sweepDir+"="+s.dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, len("sweeping\n"))
		if _, err := io.ReadFull(out, line); err != nil {
			t.Fatal(err)
		}
		timer := time.NewTimer(time.Duration(s.random.IntN(20)) * time.Millisecond)
		<-timer.C
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		s.open()
		if left := s.whole(); left > 0 && left < len(s.all) {
			cut++
		}
		s.age()
		if _, err := s.disk.Sweep(t.Context(), nil, time.Hour, false); err != nil {
			t.Fatal(err)
		}
		if left := s.whole(); left != 0 {
			t.Fatalf("%d blobs are left", left)
		}
		if trees, err := os.ReadDir(filepath.Join(s.dir, "trees")); err != nil || len(trees) != 0 {
			t.Fatalf("expanded trees are left: %v %v", trees, err)
		}
	}
	t.Logf("%d of 3 sweeps were cut in the middle", cut)
}
