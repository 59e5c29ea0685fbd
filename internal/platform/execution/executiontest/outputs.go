package executiontest

import (
	"fmt"
	"slices"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
)

// outputs are what a run leaves.
var outputs = []testCase{
	{"outputs of each kind", func(b *bench) {
		res, _ := b.pass(act{
			script: `echo f >f; echo x >tool; chmod 755 tool; mkdir -p d/sub d/empty; echo 1 >d/1; echo 2 >d/sub/2; ln -s ../1 d/sub/link; ln -s f link; echo lost >lost`,
			outputs: []string{
				"d", "f", "tool", "link", "absent",
			},
		})
		b.expect("the outputs", b.listing(res.Action), strings.Join([]string{
			"dir d", "dir d/empty", "dir d/sub", "file d/1 1\n", "file d/sub/2 2\n", "file f f\n", "file tool! x\n", "link d/sub/link -> ../1", "link link -> f"}, "\n"))
		if res.Output != "" {
			b.Errorf("with several outputs none is the output, and it is %s", res.Output)
		}
	}},
	{"the single output directory", func(b *bench) {
		res, _ := b.pass(act{script: "mkdir -p ../out/a/b; echo x >../out/a/b/c", dir: "src", folders: []string{"src"}, outputs: []string{"../out"},
			props: map[string]string{execution.PropertyWritable: "src,out"}})
		entries, err := artifact.ListTree(b.Context(), b.Store, res.Output)
		b.must(err)
		if len(entries) != 3 || entries[2].Path != "a/b/c" || res.Action.OutputDirectories[0].Path != "../out" {
			b.Fatalf("%+v", entries)
		}
		same, _ := b.pass(act{script: ": otherwise; mkdir -p a/b; echo x | tee a/b/c", dir: "out", outputs: []string{""}, folders: []string{"out"}, edit: older(nil, []string{""})})
		b.expect("the tree of the same files", artifact.Prefix+same.Action.OutputDirectories[0].RootDirectoryDigest.GetHash(), res.Output)
	}},
	{"an empty output directory", func(b *bench) {
		res, _ := b.pass(act{script: "mkdir d", outputs: []string{"d"}})
		b.expect("the outputs", b.listing(res.Action), "dir d")
	}},
	{"folders above outputs are there before it runs", func(b *bench) {
		res, _ := b.pass(act{script: "echo x >a/b/f; mkdir c/d; [ ! -e a/b/g ]", outputs: []string{"a/b/f", "c/d", "a/b/g"}})
		b.expect("the outputs", b.listing(res.Action), "dir c/d\nfile a/b/f x\n")
	}},
	{"the older form", func(b *bench) {
		res, _ := b.pass(act{script: "echo x >a/f; echo y >a/d/g; ln -s g a/d/l; ln -s f a/link", edit: older([]string{"a/f", "a/link", "a/none"}, []string{"a/d"}), folders: []string{"a/d"}})
		b.expect("the outputs", b.listing(res.Action), "dir a/d\nfile a/d/g y\n\nfile a/f x\n\nlink a/d/l -> g\nlink a/link -> f")
	}},
	{"an empty file", func(b *bench) {
		res, _ := b.pass(act{script: "cat e; : >f", files: map[string]string{"e": ""}, outputs: []string{"f"}})
		b.expect("the outputs", b.listing(res.Action), "file f ")
	}},
	{"outputs of a command that failed", func(b *bench) {
		res, _ := b.run(act{script: "echo why >report; exit 3", outputs: []string{"report"}}, execution.Limits{})
		if res.Action.ExitCode != 3 {
			b.Fatal(res.Reason)
		}
		b.expect("the outputs", b.listing(res.Action), "file report why\n")
	}},
	{"odd names", func(b *bench) {
		names := []string{"new\nline", " blank ", "-dash", "ünï çödé", "quo'te\"", "back\\slash", "*", strings.Repeat("n", 255)}
		files := map[string]string{}
		for _, n := range names {
			files["in/"+n] = "of " + n
		}
		res, _ := b.pass(act{script: "cp -r in out", files: files, outputs: []string{"out"}})
		entries, err := artifact.ListTree(b.Context(), b.Store, res.Output)
		b.must(err)
		var got []string
		for _, e := range entries {
			got = append(got, e.Path)
		}
		slices.Sort(names)
		b.expect("the names", strings.Join(got, "|"), strings.Join(names, "|"))
	}},
	{"large outputs", func(b *bench) {
		res, _ := b.pass(act{script: "head -c 40000000 /dev/zero >big; mkdir d; i=0; while [ $i -lt 300 ]; do echo $i >d/$i; i=$((i+1)); done; head -c 9000000 /dev/zero >d/big", outputs: []string{"big", "d"}})
		if n := len(b.bytes(res.Action.OutputFiles[0].Digest)); n != 40_000_000 {
			b.Fatal(n)
		}
		if n := strings.Count(b.listing(res.Action), "file d/"); n != 301 {
			b.Fatal(n)
		}
	}},
	{"a link out of the output is refused", func(b *bench) {
		for _, script := range []string{"mkdir o; ln -s /etc/passwd o/l", "mkdir -p o; ln -s ../../x o/l", "ln -s /etc o", "mkdir -p o/a; ln -s a/../../../x o/l"} {
			res, log := b.run(act{script: script, outputs: []string{"o"}}, execution.Limits{})
			if res.Status != execution.OutputRefused || !strings.Contains(res.Reason, "o") || !strings.Contains(res.Reason, "link") {
				b.Errorf("%s: %s: %s\n%s", script, res.Status, res.Reason, log)
			}
			if len(res.Action.OutputDirectories)+len(res.Action.OutputSymlinks) > 0 {
				b.Errorf("%s: %s", script, b.listing(res.Action))
			}
		}
	}},
	{"a pipe is refused", func(b *bench) {
		res, _ := b.run(act{script: "mkdir -p o/p; mkfifo o/p/pipe", outputs: []string{"o"}}, execution.Limits{})
		if res.Status != execution.OutputRefused || !strings.Contains(res.Reason, "o/p/pipe") {
			b.Errorf("%s: %s", res.Status, res.Reason)
		}
	}},
	{"a name that is not UTF-8 is refused", func(b *bench) {
		res, _ := b.run(act{script: `mkdir o; touch "$(printf 'o/\377')"`, outputs: []string{"o"}}, execution.Limits{})
		if res.Status != execution.OutputRefused || !strings.Contains(res.Reason, `\xff`) {
			b.Errorf("%s: %s", res.Status, res.Reason)
		}
	}},
	{"no output is read through a link", func(b *bench) {
		res, _ := b.run(act{script: "rm -rf a; ln -s /etc a", outputs: []string{"a/passwd"}}, execution.Limits{})
		if len(res.Action.OutputFiles) > 0 || res.Status != execution.OutputRefused {
			b.Fatalf("%s: %s\n%s", res.Status, res.Reason, b.listing(res.Action))
		}
	}},
	{"unreadable outputs", func(b *bench) {
		res, _ := b.run(act{script: "mkdir o; echo x >o/f; chmod 0 o/f; mkdir o/d; echo y >o/d/g; chmod 0 o/d", outputs: []string{"o"}}, execution.Limits{})
		switch res.Status { // who runs as root can read it all the same
		case execution.Exited:
			b.expect("the outputs", b.listing(res.Action), "dir o\ndir o/d\nfile o/d/g y\n\nfile o/f x\n")
		case execution.OutputRefused:
		default:
			b.Fatalf("%s: %s", res.Status, res.Reason)
		}
	}},
}

func older(files, dirs []string) func(*repb.Action, *repb.Command) {
	return func(_ *repb.Action, c *repb.Command) {
		c.OutputPaths = nil
		//lint:ignore SA1019 the older form is what is tested
		c.OutputFiles, c.OutputDirectories = files, dirs
	}
}

// many is a tree of n files.
func many(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("d%d/f%d", i%7, i)] = fmt.Sprint("content ", i)
	}
	return files
}
