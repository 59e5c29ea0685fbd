package executiontest

import (
	"strings"

	"slipway.dev/slipway/internal/platform/execution"
)

// bounds are what a run may use.
var bounds = []testCase{
	{"too much log", func(b *bench) {
		sleep := b.lasting()
		res, log := b.run(act{script: "while echo 0123456789abcdef; do :; done; sleep " + sleep}, execution.Limits{LogBytes: 10_000})
		if res.Status != execution.LogTooLarge || res.Reason == "" {
			b.Fatalf("%s: %s", res.Status, res.Reason)
		}
		if n := len(log); n > 10_000 || n < 5_000 {
			b.Errorf("the log has %d bytes", n)
		}
		b.eventually("its processes are gone", func() bool { return !running(sleep) })
	}},
	{"too much output", func(b *bench) {
		res, _ := b.run(act{script: "mkdir o; head -c 3000000 /dev/zero >o/a; head -c 3000000 /dev/urandom >o/b", outputs: []string{"o"}}, execution.Limits{OutputBytes: 4 << 20})
		if res.Status != execution.OutputTooLarge || res.Reason == "" {
			b.Fatalf("%s: %s", res.Status, res.Reason)
		}
	}},
	{"one file of too many bytes", func(b *bench) {
		res, _ := b.run(act{script: "head -c 9000000 /dev/zero >o", outputs: []string{"o"}}, execution.Limits{OutputBytes: 4 << 20})
		if res.Status != execution.OutputTooLarge && (res.Status != execution.Exited || res.Action.ExitCode == 0) {
			b.Fatalf("%s: %s", res.Status, res.Reason)
		}
	}},
	{"within the bounds", func(b *bench) {
		res, log := b.run(act{script: "head -c 3000000 /dev/zero >o; echo fine", outputs: []string{"o"}}, execution.Limits{OutputBytes: 4 << 20, LogBytes: 100})
		if res.Status != execution.Exited || res.Action.ExitCode != 0 || !strings.Contains(log, "fine") {
			b.Fatalf("%s: %s", res.Status, res.Reason)
		}
	}},
}
