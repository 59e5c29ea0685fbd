package reapi

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// codeOf is the gRPC code of each kind of error.
var codeOf = map[slipway.Kind]codes.Code{
	slipway.Invalid:         codes.InvalidArgument,
	slipway.NotFound:        codes.NotFound,
	slipway.Conflict:        codes.Aborted,
	slipway.Unauthenticated: codes.Unauthenticated,
	slipway.Forbidden:       codes.PermissionDenied,
	slipway.TooLarge:        codes.ResourceExhausted,
	slipway.Unavailable:     codes.Unavailable,
	slipway.Internal:        codes.Internal,
}

// toStatus returns err as an error with a gRPC status; one that has a status already is left as it is.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	return status.Error(codeOf[slipway.KindOf(err)], err.Error())
}

// missingStatus is the error of an action whose inputs are not all in the store, as the protocol wants it: a client uploads them and asks again.
func missingStatus(missing []execution.Blob) *status.Status {
	failure := &errdetails.PreconditionFailure{}
	for _, b := range missing {
		d := b.Proto()
		failure.Violations = append(failure.Violations, &errdetails.PreconditionFailure_Violation{
			Type: "MISSING", Subject: fmt.Sprintf("blobs/%s/%d", d.Hash, d.SizeBytes), Description: "not in the store",
		})
		if len(failure.Violations) == 1000 { // a status has to fit into a header
			break
		}
	}
	st := status.New(codes.FailedPrecondition, fmt.Sprintf("%d inputs are not in the store, %s among them", len(missing), missing[0].Digest))
	if with, err := st.WithDetails(failure); err == nil {
		return with
	}
	return st
}

// endStatus is the status of a run that did not end by itself, or whose outputs cannot be kept; nil for one that exited.
func endStatus(r execution.Result) *status.Status {
	code := map[execution.Status]codes.Code{
		execution.TimedOut:       codes.DeadlineExceeded,
		execution.LogTooLarge:    codes.ResourceExhausted,
		execution.OutputTooLarge: codes.ResourceExhausted,
		execution.OutputRefused:  codes.InvalidArgument,
	}[r.Status]
	if code == codes.OK {
		return nil
	}
	st := status.New(code, r.Reason)
	if with, err := st.WithDetails(&errdetails.ErrorInfo{Reason: string(r.Status), Domain: execution.ErrorDomain}); err == nil {
		return with
	}
	return st
}

// noBlob is the error of a blob that is not there.
func noBlob(d artifact.Digest) error {
	return slipway.Errorf(slipway.NotFound, "there is no blob %s", d)
}
