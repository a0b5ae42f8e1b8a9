package store

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quell"
)

// errClosed says that the Store was closed.
var errClosed = errors.New("the store is closed")

// notSentError is a failure before anything went to etcd.
type notSentError struct{ err error }

func (e *notSentError) Error() string { return e.err.Error() }
func (e *notSentError) Unwrap() error { return e.err }

// grpcCode returns the code of an error of etcd's client, which has two ways
// to tell it.
func grpcCode(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}

// refused says whether etcd turned a request down: it did none of it.
func refused(err error) bool {
	if err == nil {
		return false
	}
	switch grpcCode(err) {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.Unauthenticated,
		codes.ResourceExhausted, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented:
		return true
	}
	return false
}

func unreachable(err error) error {
	return &quell.Error{Code: quell.CodeUnavailable, Message: "etcd is out of reach", Err: err}
}

// inDoubt is what a write fails with that may have been done.
func inDoubt(err error) error {
	return &quell.Error{Code: quell.CodeUnknown, Message: "etcd did not answer; it is unknown whether this was written", Err: err}
}

// readError gives a failed read its code: nothing can have been written.
func readError(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, rpctypes.ErrTooManyRequests):
		return unreachable(err)
	case refused(err):
		return &quell.Error{Code: quell.CodeInternal, Message: "etcd refused a read", Err: err}
	}
	return unreachable(err)
}

// writeError gives a failed write its code. Where etcd did not refuse it, it
// may have been done.
func writeError(err error) error {
	var notSent *notSentError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &notSent), errors.Is(err, rpctypes.ErrTooManyRequests):
		return unreachable(err)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return &quell.Error{Code: quell.CodeNoSpace, Message: "etcd has no space left: compact and defragment it, or raise its quota", Err: err}
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return &quell.Error{Code: quell.CodeTooLarge, Message: "the value is too large for etcd", Err: err}
	case refused(err):
		return &quell.Error{Code: quell.CodeInternal, Message: "etcd refused a write", Err: err}
	}
	return inDoubt(err)
}

// retry calls try until it succeeds, fails for good or ctx ends, with a pause
// in between that grows to a second. try says whether to go on.
func retry(ctx context.Context, try func() (again bool, err error)) error {
	pause := shortPause
	for {
		again, err := try()
		if !again {
			return err
		}
		if !rest(ctx, pause) {
			if err == nil {
				err = ctx.Err()
			}
			return err
		}
		pause = min(2*pause, time.Second)
	}
}

const shortPause = 10 * time.Millisecond

// rest waits; it returns false when ctx has ended.
func rest(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// settle sends a transaction until it is known what became of it, as long as
// ctx lasts. doubt says that an earlier try may have arrived, so that a failed
// compare can be its doing: the caller has to tell by what orElse read.
//
// Sending it again is safe only for a transaction that makes its own compares
// fail: of all tries that are under way, one gets through.
func (s *Store) settle(ctx context.Context, t transaction) (r reply, doubt bool, err error) {
	err = retry(ctx, func() (bool, error) {
		r = s.batch.commit(ctx, t)
		err := writeError(r.err)
		if quell.CodeOf(err) == quell.CodeUnknown {
			doubt = true
		}
		switch {
		case err == nil:
			return false, nil
		case doubt: // whatever came since, the first try decides
			return !errors.Is(err, errClosed), inDoubt(r.err)
		}
		return false, err
	})
	return r, doubt, err
}
