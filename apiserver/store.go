package apiserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"quell"
)

// Store is what the API server needs of the store. Its errors are
// quell.Errors: of a write, CodeUnavailable says that nothing was written and
// CodeUnknown that this is not known.
type Store interface {
	// Template returns a job template and its mod revision, or CodeNotFound.
	Template(ctx context.Context, name quell.FQName) (quell.Template, int64, error)
	// PutTemplate stores a job template and returns its mod revision.
	PutTemplate(ctx context.Context, t quell.Template) (int64, error)

	// Templates lists the job templates, by name.
	Templates(ctx context.Context) ([]quell.StoredTemplate, error)
	// DeleteTemplate deletes a job template and returns the revision of the
	// store after it, or CodeNotFound.
	DeleteTemplate(ctx context.Context, name quell.FQName) (int64, error)

	// CreateJob stores a job as QUEUED, in one transaction, and returns a
	// revision of the store at which it is there.
	CreateJob(ctx context.Context, spec quell.Spec) (int64, error)
	// ResumeJob stores a job as QUEUED that goes on with the work of another,
	// and links that one to it, in one transaction. CodeConflict says why the
	// other cannot be resumed, or by which job it was before. It returns a
	// revision of the store at which the job is there.
	ResumeJob(ctx context.Context, spec quell.Spec, from quell.Job) (int64, error)
	// Job returns a job, or CodeNotFound.
	Job(ctx context.Context, id string) (quell.Job, error)
	// JobsByID returns those of the jobs that exist.
	JobsByID(ctx context.Context, ids []string) (map[string]quell.Job, error)
	// ActiveJobs lists the jobs that are not final, and the revision of that.
	ActiveJobs(ctx context.Context) ([]quell.ActiveJob, int64, error)
	// WaitFinal returns when all of the jobs are final, or ctx's error.
	WaitFinal(ctx context.Context, ids []string) error

	// PutIntent merges an abort intent into that of the job and writes it
	// where that adds something and the job is not final. It returns the job
	// as it is now, or CodeNotFound.
	PutIntent(ctx context.Context, id string, intent quell.Intent) (job quell.Job, written bool, err error)
	// WithdrawIntent deletes the job's own intent, which has to be a graceful
	// one that has not taken effect: CodeConflict says why not, CodeNotFound
	// that there is no job or no intent. It returns the job as it is then and
	// the revision of the store.
	WithdrawIntent(ctx context.Context, id string) (quell.Job, int64, error)
	// PutAbortAll writes an intent for every job whose SpecRevision is below
	// the revision that it returns.
	PutAbortAll(ctx context.Context, intent quell.Intent) (int64, error)

	// FollowChanges tells of all jobs and nodes, and then of every change,
	// until ctx ends. A receive from hurry makes it prove at once how fresh
	// it is.
	FollowChanges(ctx context.Context, hurry <-chan struct{}, told func(quell.Changes)) error
	Nodes(ctx context.Context) ([]quell.Node, error)
	// Ping does a linearizable read.
	Ping(ctx context.Context) error
	// Healthy is nil when no watch of this process is behind.
	Healthy() error
}

// read calls a reading method of the store within the time that it has. A
// failure of the store leaves nothing behind, so that it is CodeUnavailable.
func read[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	v, err := call(ctx)
	return v, timedOut(ctx, err, quell.CodeUnavailable, "etcd did not answer within %s: try again", limit)
}

// write calls a writing method of the store within the time that it has. It
// goes on when the client goes away: what a request asked for is written or
// not, whoever still listens.
func write[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	v, err := call(ctx)
	return v, timedOut(ctx, err, quell.CodeUnknown, "etcd did not answer within %s: it is not known whether this was written", limit)
}

// timedOut gives the bare error of a context a code. The store's own errors
// know better and stay.
func timedOut(ctx context.Context, err error, code quell.Code, format string, limit time.Duration) error {
	var coded *quell.Error
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case ctx.Err() != nil:
		return &quell.Error{Code: code, Message: fmt.Sprintf(format, limit), Err: err}
	}
	return err
}
