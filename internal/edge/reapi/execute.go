package reapi

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// Why an execution is stopped.
var (
	errCancelled = errors.New("its client cancelled it")
	errAlone     = errors.New("its client went away")
)

// operation is one execution.
type operation struct {
	name   string
	action *repb.Digest
	cancel context.CancelCauseFunc
	log    *liveLog // nil for a cached result
	linger time.Duration

	mu       sync.Mutex
	stage    repb.ExecutionStage_Value
	worker   string
	response *repb.ExecuteResponse // once it has ended
	changed  chan struct{}         // closed, and made anew, with each change
	watchers int
	alone    *time.Timer
}

func (o *operation) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
	close(o.changed)
	o.changed = make(chan struct{})
}

// message is the operation as it is now; changed is closed when that is no longer so.
func (o *operation) message() (m *longrunningpb.Operation, changed <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	meta := &repb.ExecuteOperationMetadata{Stage: o.stage, ActionDigest: o.action, DigestFunction: repb.DigestFunction_SHA256}
	if o.worker != "" {
		meta.PartialExecutionMetadata = &repb.ExecutedActionMetadata{Worker: o.worker}
	}
	if o.log != nil {
		meta.StdoutStreamName = "logs/" + strings.TrimPrefix(o.name, "operations/")
	}
	m = &longrunningpb.Operation{Name: o.name}
	if m.Metadata, err = anypb.New(meta); err != nil {
		return nil, nil, err
	}
	if o.response != nil {
		response, err := anypb.New(o.response)
		if err != nil {
			return nil, nil, err
		}
		m.Done, m.Result = true, &longrunningpb.Operation_Response{Response: response}
	}
	return m, o.changed, nil
}

// watch counts who looks on; without anybody the execution is cancelled after a while.
func (o *operation) watch(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watchers += n
	if o.alone != nil {
		o.alone.Stop()
		o.alone = nil
	}
	if o.watchers == 0 && o.response == nil {
		o.alone = time.AfterFunc(o.linger, func() { o.cancel(errAlone) })
	}
}

// Execute answers from the cache, or runs an action and streams how far it is.
func (s *Server) Execute(r *repb.ExecuteRequest, stream repb.Execution_ExecuteServer) error {
	ctx := stream.Context()
	digest, _, err := artifact.FromProto(r.ActionDigest)
	if err != nil {
		return err
	}
	_, missing, err := execution.Inputs(ctx, s.store, digest)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return missingStatus(missing).Err()
	}
	action, err := execution.Load(ctx, s.store, digest)
	if err != nil {
		return err
	}
	if action.Platform[execution.PropertyUnconfined] != "" {
		return slipway.Errorf(slipway.Forbidden, "no client may ask for a run without a sandbox").At("action " + digest).Try("take the property " + execution.PropertyUnconfined + " away")
	}
	if !r.SkipCacheLookup && action.Cacheable() {
		if m, err := s.cached(ctx, digest); err == nil {
			o := &operation{name: "operations/" + ulid.Make().String(), action: r.ActionDigest, changed: make(chan struct{}),
				stage: repb.ExecutionStage_COMPLETED, response: &repb.ExecuteResponse{Result: m, CachedResult: true}}
			s.remember(o)
			return s.follow(o, stream)
		} else if !slipway.Is(err, slipway.NotFound) {
			return err
		}
	}
	o, err := s.begin(Order{Action: digest, NoCache: r.SkipCacheLookup || !action.Cacheable(), Priority: r.GetExecutionPolicy().GetPriority(), User: auth.Actor(ctx)}, r.ActionDigest)
	if err != nil {
		return err
	}
	return s.follow(o, stream)
}

// begin starts an execution, which lives until its end or the server's.
func (s *Server) begin(order Order, action *repb.Digest) (*operation, error) {
	log, err := newLiveLog(s.cfg.Temp)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(s.life)
	o := &operation{name: "operations/" + ulid.Make().String(), action: action, cancel: cancel, log: log, linger: s.cfg.Linger,
		stage: repb.ExecutionStage_QUEUED, changed: make(chan struct{})}
	s.mu.Lock()
	s.operations[o.name] = o
	s.mu.Unlock()
	s.work.Go(func() {
		order.Log = log
		order.Started = func(worker string) { o.set(func() { o.stage, o.worker = repb.ExecutionStage_EXECUTING, worker }) }
		res, err := s.farm.Execute(ctx, order)
		log.end()
		response := s.response(ctx, order.Action, res, err)
		o.set(func() { o.stage, o.response = repb.ExecutionStage_COMPLETED, response })
		cancel(nil)
		s.remember(o)
	})
	return o, nil
}

// response is what a client gets of the end of a run.
func (s *Server) response(ctx context.Context, digest artifact.Digest, res execution.Result, err error) *repb.ExecuteResponse {
	if err == nil {
		r := &repb.ExecuteResponse{Result: res.Action, Message: res.Reason}
		if st := endStatus(res); st != nil {
			r.Status = st.Proto()
		}
		return r
	}
	st := status.Convert(toStatus(err))
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errCancelled), errors.Is(cause, errAlone):
		st = status.New(codes.Canceled, cause.Error())
	case cause != nil:
		st = status.New(codes.Unavailable, cause.Error())
	case slipway.Is(err, slipway.NotFound): // it was lost after we looked
		if _, missing, e := execution.Inputs(ctx, s.store, digest); e == nil && len(missing) > 0 {
			st = missingStatus(missing)
		} else {
			st = status.New(codes.FailedPrecondition, err.Error())
		}
	}
	return &repb.ExecuteResponse{Status: st.Proto(), Message: err.Error()}
}

// remember keeps a finished operation for a while.
func (s *Server) remember(o *operation) {
	s.mu.Lock()
	s.operations[o.name] = o
	s.mu.Unlock()
	time.AfterFunc(s.cfg.Keep, func() {
		s.mu.Lock()
		delete(s.operations, o.name)
		s.mu.Unlock()
		if o.log != nil {
			o.log.remove()
		}
	})
}

func (s *Server) operation(name string) (*operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := strings.LastIndex(name, "operations/"); i > 0 {
		name = name[i:] // an instance's name stands before it
	}
	o := s.operations[name]
	if o == nil {
		return nil, slipway.Errorf(slipway.NotFound, "there is no execution %s any more", name).Try("ask for the action again")
	}
	return o, nil
}

// follow streams an operation to its end.
func (s *Server) follow(o *operation, stream interface {
	Context() context.Context
	Send(*longrunningpb.Operation) error
}) error {
	o.watch(1)
	defer o.watch(-1)
	for {
		m, changed, err := o.message()
		if err != nil {
			return err
		}
		if err := stream.Send(m); err != nil || m.Done {
			return err
		}
		select {
		case <-stream.Context().Done():
			return context.Cause(stream.Context())
		case <-changed:
		}
	}
}

// WaitExecution takes up the stream of an execution.
func (s *Server) WaitExecution(r *repb.WaitExecutionRequest, stream repb.Execution_WaitExecutionServer) error {
	o, err := s.operation(r.Name)
	if err != nil {
		return err
	}
	return s.follow(o, stream)
}

// GetOperation returns an execution as it is now.
func (s *Server) GetOperation(_ context.Context, r *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	o, err := s.operation(r.Name)
	if err != nil {
		return nil, err
	}
	m, _, err := o.message()
	return m, err
}

// CancelOperation stops an execution and returns when it has ended. One that ended before is left as it is.
func (s *Server) CancelOperation(ctx context.Context, r *longrunningpb.CancelOperationRequest) (*emptypb.Empty, error) {
	o, err := s.operation(r.Name)
	if err != nil {
		return nil, err
	}
	for {
		m, changed, err := o.message()
		if err != nil {
			return nil, err
		}
		if m.Done {
			return &emptypb.Empty{}, nil
		}
		o.cancel(errCancelled)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-changed:
		}
	}
}
