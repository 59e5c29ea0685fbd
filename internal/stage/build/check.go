package build

import (
	"context"
	"fmt"
	"io"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/treediff"
)

// Place is where a build runs a second time.
type Place struct {
	Executor  execution.Executor // over Artifacts
	Artifacts Artifacts          // a store of its own, so that inputs are laid out anew
	Varied    []string           // what is not as it was at the first place, for people
}

// Check is what building twice has shown.
type Check struct {
	DeskBuild
	Again       string                `json:"again"` // digest of the second output; empty: the second build failed
	Same        bool                  `json:"same"`
	Varied      []string              `json:"varied"` // what was different the second time
	Reason      string                `json:"reason"`
	Differences []treediff.Difference `json:"differences"`
}

// CheckDesk builds a checkout, then the same action once more at another place and at another time, and compares the outputs. That they
// differ is no error; that the first build fails is.
func CheckDesk(ctx context.Context, run execution.Executor, artifacts Artifacts, tmp string, d Desk, second Place) (Check, error) {
	begun := time.Now()
	built, err := RunDesk(ctx, run, artifacts, tmp, d)
	c := Check{DeskBuild: built, Varied: append([]string{"clock"}, second.Varied...), Differences: []treediff.Difference{}}
	if err != nil {
		return c, err
	}
	inputs, missing, err := execution.Inputs(ctx, artifacts, built.Key)
	if err != nil {
		return c, err
	}
	if len(missing) > 0 {
		return c, slipway.Errorf(slipway.Internal, "the input %s is no longer in the store", missing[0].Digest)
	}
	for _, in := range inputs {
		if err := transfer(ctx, second.Artifacts, artifacts, in.Digest); err != nil {
			return c, err
		}
	}
	if err := clockMoved(ctx, begun); err != nil {
		return c, err
	}
	fmt.Fprintf(d.Log, "# %s once more, at another place\n", built.Component)
	outcome, reason, output, err := execute(ctx, second.Executor, second.Artifacts, built.Key, built.outputs, d.Log)
	if err != nil {
		return c, err
	}
	c.Again, c.Same = output, outcome == slipway.Pass && output == built.Output
	switch {
	case outcome != slipway.Pass:
		c.Again, c.Reason = "", fmt.Sprintf("the second build did not pass: %s: %s", outcome, reason)
		return c, nil
	case c.Same:
		c.Reason = "both builds came out the same"
		return c, nil
	}
	c.Differences, err = treediff.Trees(ctx, either{artifacts, second.Artifacts}, built.Output, output)
	c.Reason = fmt.Sprintf("the outputs differ in %d places", len(c.Differences))
	return c, err
}

// clockMoved waits until every clock that archives and programs write shows another time than at begun: zip counts in steps of 2 s.
func clockMoved(ctx context.Context, begun time.Time) error {
	const step = 2 * time.Second
	wait := time.NewTimer(time.Until(begun.Truncate(step).Add(step)))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func transfer(ctx context.Context, to, from artifact.Store, d artifact.Digest) error {
	if _, err := to.Stat(ctx, d); err == nil {
		return nil
	}
	r, err := from.Open(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close()
	_, _, err = to.Put(ctx, r)
	return err
}

// either opens what one of two stores has.
type either struct{ first, second artifact.Opener }

// Open implements [artifact.Opener].
func (e either) Open(ctx context.Context, d artifact.Digest) (io.ReadCloser, error) {
	r, err := e.first.Open(ctx, d)
	if slipway.Is(err, slipway.NotFound) {
		return e.second.Open(ctx, d)
	}
	return r, err
}
