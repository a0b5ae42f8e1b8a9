package apiserver

import (
	"bytes"
	"context"
	"strconv"

	"quell"
)

type againInput struct {
	Request
	JobID
	RawBody []byte // see noBody
}

// againAnswer is the answer of POST /v1/jobs/{id}/resume and …/rerun.
type againAnswer struct {
	JobID       string `json:"job_execution_id" doc:"Of the new job."`
	ResumedFrom string `json:"resumed_from,omitempty"`
	RerunOf     string `json:"rerun_of,omitempty"`
}

type againOutput struct {
	Revision string `header:"X-Quell-Revision" doc:"Of the store, when the job was stored."`
	Body     againAnswer
}

// resumeJob makes a job that goes on with the work of another. It stays in
// that one's transaction, since it is the same work.
func (s *Server) resumeJob(ctx context.Context, in *againInput) (*againOutput, error) {
	old, spec, err := s.again(ctx, in)
	if err != nil {
		return nil, err
	}
	spec.ResumedFrom, spec.Params.TransactionID = old.Spec.ID, old.Spec.Transaction()
	revision, err := s.create(ctx, spec, func(ctx context.Context, spec quell.Spec) (int64, error) {
		return s.store.ResumeJob(ctx, spec, old)
	})
	if err != nil {
		return nil, err
	}
	return newAgainOutput(revision, againAnswer{JobID: spec.ID, ResumedFrom: old.Spec.ID}), nil
}

// rerunJob makes a job that does all of another's work again. It is in that
// one's transaction only where its request named one.
func (s *Server) rerunJob(ctx context.Context, in *againInput) (*againOutput, error) {
	old, spec, err := s.again(ctx, in)
	if err != nil {
		return nil, err
	}
	spec.RerunOf = old.Spec.ID
	if err := spec.Check(); err != nil { // an earlier release may have taken it
		return nil, err
	}
	revision, err := s.create(ctx, spec, s.store.CreateJob)
	if err != nil {
		return nil, err
	}
	return newAgainOutput(revision, againAnswer{JobID: spec.ID, RerunOf: old.Spec.ID}), nil
}

func newAgainOutput(revision int64, answer againAnswer) *againOutput {
	return &againOutput{Revision: strconv.FormatInt(revision, 10), Body: answer}
}

// again reads a job and makes a new one of its snapshot.
func (s *Server) again(ctx context.Context, in *againInput) (quell.Job, quell.Spec, error) {
	from, err := whoOf(in.http)
	if err != nil {
		return quell.Job{}, quell.Spec{}, err
	}
	if err := noBody(in.RawBody); err != nil {
		return quell.Job{}, quell.Spec{}, err
	}
	old, err := s.job(ctx, in.ID)
	if err != nil {
		return quell.Job{}, quell.Spec{}, err
	}
	spec := old.Spec
	spec.ResumedFrom, spec.RerunOf = "", ""
	return old, spec, s.stamp(&spec, from)
}

// noBody refuses a body that asks for something: whoever sends another input
// must not get a job with the old one. An empty object asks for nothing.
func noBody(body []byte) error {
	if text := bytes.TrimSpace(body); len(text) > 0 && string(text) != "{}" {
		return invalid("this request takes no body: the new job has the template, input and params of the old one; to change them, POST /execute-job")
	}
	return nil
}
