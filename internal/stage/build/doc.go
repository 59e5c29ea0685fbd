// Package build is stage 3 of 9: takes in waves (components at pins, asked for by changes and candidates); gives out
// artifacts, in tiers, reused where the key is known.
//
// A wave names targets and pins. The recipes (slipway.yaml at each pin) give the graph; [plan] orders it. Each vertex is an
// action: the build of a component, or one of its tests. An action's key is the digest of a Remote Execution API Action
// message: the command with its environment, the fingerprint of the host's tools unless it has a buildroot, and the input tree
//
//	src/         the component's folder at its commit
//	repo/PATH    what else of its repository it declares
//	deps/NAME/   the output tree of each component that it needs
//	out/         for tests: its own output tree
//	root/        the tree of its buildroot, shown as / (package buildroot)
//
// so a key is known as soon as the outputs of what it needs are. Then one of four things happens, in one transaction:
// the key was built before (reused); it failed before, by its own fault (the failure is reused: the same input fails again;
// [Service.Forget] lifts that); it is being built for another wave (joined); or a build is queued. A dependency that was rebuilt to
// the same bytes leads to keys that are known: the wave stops there.
//
// The reconciler build.wave (wave id) decides what can start, and ends the wave. What is queued is a task of the farm (package
// farm), which runs it on a worker and tells, in the transaction that changes the task, how the build stands.
//
// A wave is kept in pieces, so that a step costs what changed: an [Order] (what was asked for), an [Item] for each action, a small
// [Wave] row, and [News] of the builds that have moved. A [Rebuild] follows waves that validate, one for each attempt; the reconcilers
// build.rebuild (rebuild id), build.fixed (product) and build.inspect (item id, package inspect) serve it. A check that fails there
// and that gating counts as waived holds nothing up. By [Mark]s builds are
// found again: by action, commit, input and output.
//
// States of a build: queued, running, done with an outcome; queued again when its worker could not run it. Outcome infra says that
// Slipway or its hosts failed: it was tried three times, on different workers where there are several, and the next wave tries again;
// so it is with timeout and cancelled. Killed at any point, a build runs again from the start, or goes on where a worker elsewhere has it: its output tree and log
// become visible only in the transaction that ends it. While it runs its log is a file that [Service.Log] follows;
// afterwards it is an artifact.
//
// The command finds its folders from where it is, so it runs on any Remote Execution cluster. On our own workers what it sees is fixed: /build/src (its working directory, writable), $OUT=/build/out, $DEPS=/build/deps, $SRC, $REPO, HOME, PATH, a UTF-8
// locale, UTC, SOURCE_DATE_EPOCH (the author time of the last commit that touched the component's path), and $VERSION if it asks
// to be stamped. Tests see $OUT read-only. Nothing else: see platform/sandbox. Where no sandbox
// can run, builds are refused, unless the product allows them unconfined; those say so, and have other keys.
package build
