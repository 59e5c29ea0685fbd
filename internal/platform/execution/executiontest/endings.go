package executiontest

import (
	"context"
	"errors"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// endings are the ways in which a run ends, and what is left of it.
var endings = []testCase{
	{"it says that it can run", func(b *bench) { b.must(b.Executor.Check(b.Context())) }},
	{"exit code", func(b *bench) {
		for script, code := range map[string]int32{"exit 0": 0, "exit 7": 7, "kill -9 $$": 128 + 9} {
			res, _ := b.run(act{script: script}, execution.Limits{})
			if res.Status != execution.Exited || res.Action.ExitCode != code {
				b.Errorf("%s: %s: %s", script, res.Status, res.Reason)
			}
		}
	}},
	{"a program that is not there is the command's fault", func(b *bench) {
		res, _ := b.run(act{argv: []string{"/nonexistent"}}, execution.Limits{})
		if res.Status != execution.Exited || res.Action.ExitCode == 0 {
			b.Fatalf("%s: %s", res.Status, res.Reason)
		}
	}},
	{"environment", func(b *bench) {
		_, log := b.pass(act{script: "env | grep -v ^PWD= | sort", env: map[string]string{"A": "b c", "PATH": usualPath, "Z": "line\tend"}})
		b.expect("the environment", log, "A=b c\nPATH="+usualPath+"\nZ=line\tend\n")
	}},
	{"it runs in the working directory", func(b *bench) {
		_, log := b.pass(act{script: "pwd; cat f", dir: "a/b", files: map[string]string{"a/b/f": "here"}})
		if !strings.HasSuffix(log, "/a/b\nhere") {
			b.Fatal(log)
		}
		_, log = b.pass(act{script: "cat a/b/f", files: map[string]string{"a/b/f": "here"}})
		b.expect("the log", log, "here")
	}},
	{"a program of the input root", func(b *bench) {
		_, log := b.pass(act{argv: []string{"./tool", "x y"}, files: map[string]string{"tool!": "#!/bin/sh\necho got $1\n"}})
		b.expect("the log", log, "got x y\n")
	}},
	{"the result has the output", func(b *bench) {
		res, log := b.pass(act{script: "echo out; echo err >&2"})
		for _, want := range []string{"out\n", "err\n"} {
			if !strings.Contains(log, want) {
				b.Errorf("the log is %q", log)
			}
		}
		if said := string(res.Action.StdoutRaw) + string(res.Action.StderrRaw); !strings.Contains(said, "out\n") || !strings.Contains(said, "err\n") {
			b.Errorf("the result has %q", said)
		}
		if res.Action.ExecutionMetadata.GetWorker() == "" || !res.Action.ExecutionMetadata.GetExecutionStartTimestamp().IsValid() {
			b.Errorf("metadata: %v", res.Action.ExecutionMetadata)
		}
	}},
	{"the result has a long output", func(b *bench) {
		res, log := b.pass(act{script: "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"})
		if n := strings.Count(log, "\n"); n != 20000 || !strings.HasSuffix(log, "line 19999\n") {
			b.Fatalf("%d lines", n)
		}
		b.expect("the result's output", b.bytes(res.Action.StdoutDigest), log)
	}},
	{"the log is live", func(b *bench) {
		var log logBuffer
		ctx, cancel := context.WithCancelCause(b.Context())
		enough := errors.New("seen enough")
		done := make(chan error, 1)
		digest := b.put(act{script: "echo begun; sleep " + b.lasting()})
		go func() {
			_, err := b.Executor.Execute(ctx, execution.Request{Action: digest, Log: &log})
			done <- err
		}()
		b.eventually("the first line is in the log", func() bool { return strings.Contains(log.String(), "begun\n") })
		cancel(enough)
		if err := <-done; !errors.Is(err, enough) {
			b.Fatalf("the error is %v, not the cause of the end", err)
		}
	}},
	{"timeout", func(b *bench) {
		sleep := b.lasting()
		res, _ := b.run(act{script: "echo x; sleep " + sleep, timeout: time.Second}, execution.Limits{})
		if res.Status != execution.TimedOut || !strings.Contains(res.Reason, "1s") {
			b.Fatalf("%s: %s", res.Status, res.Reason)
		}
		b.eventually("its processes are gone", func() bool { return !running(sleep) })
	}},
	{"cancelled, nothing of it is left", func(b *bench) {
		sleep := b.lasting()
		digest := b.put(act{script: "(setsid sleep " + sleep + " &) ; sleep " + sleep})
		ctx, cancel := context.WithCancelCause(b.Context())
		why := errors.New("nobody wants it")
		done := make(chan error, 1)
		go func() {
			_, err := b.Executor.Execute(ctx, execution.Request{Action: digest})
			done <- err
		}()
		b.eventually("it sleeps", func() bool { return running(sleep) })
		cancel(why)
		if err := <-done; !errors.Is(err, why) {
			b.Errorf("the error is %v", err)
		}
		b.eventually("its processes are gone", func() bool { return !running(sleep) })
	}},
	{"a process left behind dies with it", func(b *bench) {
		sleep := b.lasting()
		b.pass(act{script: "setsid nohup sleep " + sleep + " >/dev/null 2>&1 & echo started"})
		b.eventually("its processes are gone", func() bool { return !running(sleep) })
	}},
	{"a context that has ended", func(b *bench) {
		ctx, cancel := context.WithCancelCause(b.Context())
		why := errors.New("too late")
		cancel(why)
		if _, err := b.Executor.Execute(ctx, execution.Request{Action: b.put(act{script: "true"})}); !errors.Is(err, why) {
			b.Fatal(err)
		}
	}},
	{"no network", func(b *bench) {
		_, log := b.pass(act{script: "awk 'NR>2{print $1}' /proc/net/dev"})
		b.expect("the interfaces", log, "lo:\n")
	}},
	{"several at once", func(b *bench) {
		type end struct {
			log string
			err error
		}
		ends := make(chan end)
		for _, word := range []string{"a", "b", "c"} {
			digest := b.put(act{script: "echo " + word + " >o; cat o", outputs: []string{"o"}})
			go func() {
				var log logBuffer
				_, err := b.Executor.Execute(b.Context(), execution.Request{Action: digest, Log: &log})
				ends <- end{strings.TrimPrefix(log.String(), word), err}
			}()
		}
		for range 3 {
			if e := <-ends; e.err != nil || e.log != "\n" {
				b.Errorf("%q %v", e.log, e.err)
			}
		}
	}},
	{"an action that is none", func(b *bench) {
		d, _, err := b.Store.Put(b.Context(), strings.NewReader("\xff\xff garbage"))
		b.must(err)
		if err := b.fails(d); !slipway.Is(err, slipway.Invalid) {
			b.Fatalf("%s: %v", slipway.KindOf(err), err)
		}
	}},
}
