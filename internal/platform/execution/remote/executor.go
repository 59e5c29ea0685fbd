package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// Executor implements [execution.Executor] on a cluster.
type Executor struct {
	store *artifact.Disk
	*Client
}

// New makes an executor over the local store and a client.
func New(store *artifact.Disk, c *Client) *Executor { return &Executor{store, c} }

// Check implements [execution.Executor].
func (x *Executor) Check(ctx context.Context) error {
	_, err := x.Capabilities(ctx, true)
	return err
}

var errLogTooLarge = errors.New("the log is too large")

// Execute implements [execution.Executor].
func (x *Executor) Execute(ctx context.Context, r execution.Request) (execution.Result, error) {
	if ctx.Err() != nil {
		return execution.Result{}, context.Cause(ctx)
	}
	if _, err := x.Capabilities(ctx, true); err != nil {
		return execution.Result{}, err
	}
	a, err := execution.Load(ctx, x.store, r.Action)
	if err != nil {
		return execution.Result{}, err
	}
	inputs, missing, err := execution.Inputs(ctx, x.store, r.Action)
	if err != nil {
		return execution.Result{}, err
	}
	if len(missing) > 0 {
		return execution.Result{}, slipway.Errorf(slipway.NotFound, "%d inputs are not in the store, %s among them", len(missing), missing[0].Digest).At("action " + r.Action)
	}
	run := &run{Executor: x, action: a, name: inputs[0], inputs: inputs, req: r, log: &limitedLog{to: r.Log, left: logLimit(r.Limits)}}
	res, err := run.do(ctx)
	if ctx.Err() != nil {
		return execution.Result{}, context.Cause(ctx)
	}
	return res, err
}

func logLimit(l execution.Limits) int64 {
	if l.LogBytes > 0 {
		return l.LogBytes
	}
	return 32 << 20
}

// run is one execution.
type run struct {
	*Executor
	action *execution.Action
	name   execution.Blob
	inputs []execution.Blob
	req    execution.Request
	log    *limitedLog
}

func (r *run) do(ctx context.Context) (execution.Result, error) {
	if !r.req.NoCache && r.action.Cacheable() {
		m, err := r.ActionResult(ctx, r.name)
		if err == nil && m.ExitCode == 0 {
			res, err := r.take(ctx, &repb.ExecuteResponse{Result: m, CachedResult: true})
			if !slipway.Is(err, slipway.NotFound) { // else outputs are gone: it has to run
				return res, err
			}
		} else if err != nil && !slipway.Is(err, slipway.NotFound) {
			return execution.Result{}, err
		}
	}
	if err := r.Upload(ctx, r.store, r.inputs); err != nil {
		return execution.Result{}, err
	}
	begin := time.Now()
	resp, err := r.execute(ctx)
	if errors.Is(err, errLogTooLarge) {
		return execution.Result{Status: execution.LogTooLarge, Reason: "stopped because it wrote too much to its log",
			Action: &repb.ActionResult{}, Wall: time.Since(begin)}, nil
	}
	if err != nil {
		return execution.Result{}, r.explain(ctx, err)
	}
	return r.take(ctx, resp)
}

// ending reads how a run ended out of a status.
func ending(st *status.Status) (execution.Status, bool) {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == execution.ErrorDomain {
			switch s := execution.Status(info.Reason); s {
			case execution.TimedOut, execution.LogTooLarge, execution.OutputTooLarge, execution.OutputRefused:
				return s, true
			}
		}
	}
	return execution.TimedOut, st.Code() == codes.DeadlineExceeded
}

// execute has the action run and waits for the end, whatever happens to streams.
func (r *run) execute(parent context.Context) (*repb.ExecuteResponse, error) {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	f := &follower{run: r, stop: stop}
	defer f.wait()
	var name string
	uploaded := false
	for fails, forgotten := 0, 0; ; {
		op, err := r.stream(ctx, name, func(op *longrunningpb.Operation) {
			name, fails = op.Name, 0
			f.see(ctx, op)
		})
		switch {
		case err == nil && op.Done:
			f.finish()
			if cause := context.Cause(ctx); cause != nil {
				return nil, cause
			}
			return response(op)
		case ctx.Err() != nil:
			r.cancel(parent, name)
			return nil, context.Cause(ctx)
		case status.Code(err) == codes.NotFound && name != "": // it has restarted: ask for the action again
			name, fails = "", 0
			if forgotten++; forgotten >= r.cfg.Attempts {
				return nil, status.Errorf(codes.Unavailable, "it forgot the execution %d times", forgotten)
			}
		case len(missingIn(status.Convert(err))) > 0 && !uploaded: // lost between the question and now
			uploaded = true
			if err := r.Upload(ctx, r.store, r.inputs); err != nil {
				return nil, err
			}
			continue
		case err != nil && !transient(err):
			return nil, err
		}
		if fails++; fails >= r.cfg.Attempts {
			if err == nil {
				err = status.Error(codes.Unavailable, "the stream of the execution ends too early")
			}
			return nil, err
		}
		if err := r.pause(ctx, fails); err != nil {
			r.cancel(parent, name)
			return nil, err
		}
	}
}

// stream follows the execution, or begins it; it returns the last message.
func (r *run) stream(ctx context.Context, name string, see func(*longrunningpb.Operation)) (*longrunningpb.Operation, error) {
	var s interface {
		Recv() (*longrunningpb.Operation, error)
	}
	var err error
	if name != "" {
		s, err = r.exec.WaitExecution(ctx, &repb.WaitExecutionRequest{Name: name})
	} else {
		s, err = r.exec.Execute(ctx, &repb.ExecuteRequest{InstanceName: r.cfg.Instance, ActionDigest: r.name.Proto(), SkipCacheLookup: r.req.NoCache})
	}
	if err != nil {
		return nil, err
	}
	last := &longrunningpb.Operation{}
	for {
		op, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return nil, err
		}
		last = op
		see(op)
		if op.Done {
			return op, nil
		}
	}
}

// cancel stops the execution, as far as the cluster knows how to; else it ends by itself.
func (r *run) cancel(parent context.Context, name string) {
	if name == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), 20*time.Second)
	defer cancel()
	_, _ = r.ops.CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: name})
}

func response(op *longrunningpb.Operation) (*repb.ExecuteResponse, error) {
	if st := op.GetError(); st != nil {
		return nil, status.FromProto(st).Err()
	}
	resp := &repb.ExecuteResponse{}
	if err := op.GetResponse().UnmarshalTo(resp); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "the cluster's answer cannot be read: %w", err)
	}
	if resp.Result == nil {
		resp.Result = &repb.ActionResult{}
	}
	return resp, nil
}

// take fetches what a run left and makes the result.
func (r *run) take(ctx context.Context, resp *repb.ExecuteResponse) (execution.Result, error) {
	m := resp.Result
	res := execution.Result{Status: execution.Exited, Reason: fmt.Sprintf("exit code %d", m.ExitCode), Action: m, Wall: wall(m)}
	if st := status.FromProto(resp.Status); st.Code() != codes.OK {
		how, ok := ending(st)
		if !ok {
			return execution.Result{}, r.failure(st)
		}
		res.Status, res.Reason = how, st.Message()
	}
	err := r.store.Together(ctx, func(ctx context.Context, st artifact.Store) error { return r.fetchOutputs(ctx, st, &res) })
	if err != nil {
		return execution.Result{}, err
	}
	if err := r.log.rest(ctx, r.store, m); errors.Is(err, errLogTooLarge) {
		res.Status, res.Reason = execution.LogTooLarge, "it wrote too much to its log"
	} else if err != nil {
		return execution.Result{}, err
	}
	return res, nil
}

func wall(m *repb.ActionResult) time.Duration {
	meta := m.GetExecutionMetadata()
	if d := meta.GetVirtualExecutionDuration(); d != nil {
		return d.AsDuration()
	}
	return meta.GetExecutionCompletedTimestamp().AsTime().Sub(meta.GetExecutionStartTimestamp().AsTime())
}
