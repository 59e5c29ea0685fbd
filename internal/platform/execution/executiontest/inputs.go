package executiontest

import (
	"context"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// absent is the digest of bytes that no store has.
var absent = artifact.Proto(artifact.DigestOf([]byte("nobody has this")), 15)

// inputs are what a run sees, and what happens when that is wrong.
var inputs = []testCase{
	{"files, modes, links and empty folders", func(b *bench) {
		_, log := b.pass(act{
			script:  "cat a/f; a/tool; cat l; [ -d e ]; [ ! -x a/f ]; readlink l; ls -A",
			files:   map[string]string{"a/f": "f\n", "a/tool!": "#!/bin/sh\necho tool\n"},
			links:   map[string]string{"l": "a/f"},
			folders: []string{"e"},
		})
		b.expect("the log", log, "f\ntool\nf\na/f\na\ne\nl\n")
	}},
	{"a private copy may be changed", func(b *bench) {
		a := act{script: "cat f; echo more >>f; rm -r d; echo n >new; cat f", files: map[string]string{"f": "f\n", "d/x": ""}}
		for range 2 {
			_, log := b.pass(a)
			b.expect("the log", log, "f\nf\nmore\n")
			a.env = map[string]string{"PATH": usualPath, "AGAIN": "1"} // another key
		}
	}},
	{"what it does not say that it writes is read-only", func(b *bench) {
		a := act{
			script: `cat deps/one/f deps/two/g own/x top; echo w >src/w; echo s >>src/s
for p in deps/one/f own/x own/new deps/new deps/one/new new top; do (echo x >$p) 2>/dev/null && echo WROTE $p; done
rm -rf deps/one 2>/dev/null || true; cat deps/one/f; cat src/s; [ -d made ]; echo m >made/m`,
			files: map[string]string{"deps/one/f": "1\n", "deps/two/g": "2\n", "own/x": "own\n", "own/d/y": "", "src/s": "s\n", "top": "top\n"},
			props: map[string]string{execution.PropertyWritable: "src,made"},
		}
		for range 2 {
			_, log := b.pass(a)
			b.expect("the log", log, "1\n2\nown\ntop\n1\ns\ns\n")
			a.env = map[string]string{"PATH": usualPath, "AGAIN": "1"}
		}
	}},
	{"many files", func(b *bench) {
		for _, props := range []map[string]string{nil, {execution.PropertyWritable: "out"}} {
			_, log := b.pass(act{script: "find d? -type f | wc -l; cat d3/f10", files: many(500), props: props})
			b.expect("the log", strings.TrimSpace(log), "500\ncontent 10")
		}
	}},
	{"an input is missing", func(b *bench) {
		missing := func(what string, digest artifact.Digest) {
			b.Helper()
			if err := b.fails(digest); !slipway.Is(err, slipway.NotFound) {
				b.Errorf("%s: %s: %v", what, slipway.KindOf(err), err)
			}
		}
		missing("the action", artifact.Prefix+absent.Hash)
		missing("the command", b.put(act{script: "true", edit: func(a *repb.Action, _ *repb.Command) { a.CommandDigest = absent }}))
		missing("the root", b.put(act{script: "true", edit: func(a *repb.Action, _ *repb.Command) { a.InputRootDigest = absent }}))
		for _, props := range []map[string]string{nil, {execution.PropertyWritable: "src"}, {execution.PropertyWritable: "in"}} {
			for what, in := range map[string]*repb.Directory{
				"a file":   {Files: []*repb.FileNode{{Name: "f", Digest: absent}}},
				"a folder": {Directories: []*repb.DirectoryNode{{Name: "d", Digest: absent}}},
			} {
				d, n, err := artifact.PutMessage(b.Context(), b.Store, in)
				b.must(err)
				root, size, err := artifact.PutMessage(b.Context(), b.Store, &repb.Directory{Directories: []*repb.DirectoryNode{{Name: "in", Digest: artifact.Proto(d, n)}}})
				b.must(err)
				missing(what, b.put(act{script: "true", props: props, edit: func(a *repb.Action, _ *repb.Command) { a.InputRootDigest = artifact.Proto(root, size) }}))
			}
		}
	}},
	{"an action that nobody can run", func(b *bench) {
		for what, a := range map[string]act{
			"no arguments":             {argv: []string{}},
			"a working directory out":  {script: "true", dir: "../x"},
			"an absolute directory":    {script: "true", dir: "/etc"},
			"an absent directory":      {script: "true", dir: "none/such", props: map[string]string{execution.PropertyWritable: "out"}},
			"an output outside":        {script: "true", outputs: []string{"../../etc/passwd"}},
			"an absolute output":       {script: "true", outputs: []string{"/etc/passwd"}},
			"an output it cannot make": {script: "true", outputs: []string{"in/x"}, folders: []string{"in"}, props: map[string]string{execution.PropertyWritable: "out"}},
			"a writable path":          {script: "true", props: map[string]string{execution.PropertyWritable: "a/b"}},
			"a root that is absent":    {script: "true", props: map[string]string{execution.PropertyRoot: "root"}},
			"a link out":               {script: "true", edit: b.rootWithLink("/etc")},
			"a link up":                {script: "true", edit: b.rootWithLink("../x")},
		} {
			if err := b.fails(b.put(a)); !slipway.Is(err, slipway.Invalid) {
				b.Errorf("%s: %s: %v", what, slipway.KindOf(err), err)
			}
		}
	}},
	{"a label that no worker has", func(b *bench) {
		// A cluster may wait for such a worker to come.
		ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second)
		defer cancel()
		res, err := b.Executor.Execute(ctx, execution.Request{Action: b.put(act{script: "true", props: map[string]string{"gpu": "many"}})})
		if err == nil || ctx.Err() == nil && (!slipway.Is(err, slipway.Unavailable) || !strings.Contains(err.Error(), "gpu")) {
			b.Errorf("%+v %s: %v", res, slipway.KindOf(err), err)
		}
	}},
}

func (b *bench) rootWithLink(target string) func(*repb.Action, *repb.Command) {
	return func(a *repb.Action, _ *repb.Command) {
		d, n, err := artifact.PutMessage(b.Context(), b.Store, &repb.Directory{Symlinks: []*repb.SymlinkNode{{Name: "l", Target: target}}})
		b.must(err)
		a.InputRootDigest = artifact.Proto(d, n)
	}
}
