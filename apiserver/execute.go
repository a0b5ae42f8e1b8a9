package apiserver

import (
	"context"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"quell"
	"quell/internal/template"
)

// executeAnswer is the answer of POST /execute-job.
type executeAnswer struct {
	JobID  string       `json:"job_execution_id"`
	Status quell.Status `json:"status,omitempty" enum:"QUEUED,STARTING,IN_PROGRESS,ABORTING,RECOVERING,SUCCESS,WARNING,FAILURE,ABORTED,LOST" doc:"Of a job of a synchronous template alone: final, unless the wait was cut short."`
}

func (s *Server) executeJob(w http.ResponseWriter, r *http.Request) {
	spec, err := s.newSpec(w, r)
	if err == nil {
		_, err = s.create(r.Context(), spec, s.store.CreateJob)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer := executeAnswer{JobID: spec.ID}
	if spec.Template.Synchronous {
		answer.Status = s.awaitEnd(r.Context(), spec.ID)
	}
	s.tellRevision(w)
	s.answer(w, r, answer)
}

// awaitEnd waits until a job is final, the client has gone or the server
// stops, and says how the job is then; empty where that cannot be read.
func (s *Server) awaitEnd(ctx context.Context, id string) quell.Status {
	job := s.waitFinal(ctx, maxWait, []string{id})[id]
	// Whoever has seen the job end sees it so in lists, too.
	s.wrote(job.StateRevision)
	return job.State.Status
}

// create stores a job and returns a revision at which it is there.
func (s *Server) create(ctx context.Context, spec quell.Spec, store func(context.Context, quell.Spec) (int64, error)) (int64, error) {
	revision, err := write(ctx, s.opts.StoreTimeout, func(ctx context.Context) (int64, error) {
		return store(ctx, spec)
	})
	if err != nil {
		return 0, inDoubt(spec.ID, err)
	}
	s.log.Info("job accepted", keyJob, spec.ID, keyTemplate, spec.Template.FQName.String(), keyRequester, spec.Requester)
	s.wrote(revision)
	return revision, nil
}

// doubtError says of which job it is not known whether it was created.
type doubtError struct {
	err   error
	jobID string
}

func (e *doubtError) Error() string { return e.err.Error() }
func (e *doubtError) Unwrap() error { return e.err }

// inDoubt tells the client which job to look for where it is not known
// whether it was created: whoever repeats the request may start it twice.
func inDoubt(id string, err error) error {
	if quell.CodeOf(err) != quell.CodeUnknown {
		return err
	}
	return &doubtError{jobID: id, err: &quell.Error{
		Code: quell.CodeUnknown, Err: err,
		Message: quell.MessageOf(err) + "; GET /v1/jobs/" + id + " tells whether the job exists",
	}}
}

// newSpec checks the request whole and makes the job of it.
func (s *Server) newSpec(w http.ResponseWriter, r *http.Request) (quell.Spec, error) {
	query, err := parseExecuteQuery(r)
	if err != nil {
		return quell.Spec{}, err
	}
	from, err := whoOf(r)
	if err != nil {
		return quell.Spec{}, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return quell.Spec{}, err
	}
	req, err := parseExecute(body)
	if err != nil {
		return quell.Spec{}, err
	}
	stored, err := s.template(r.Context(), req)
	if err != nil {
		return quell.Spec{}, err
	}
	if err := template.CheckInput(stored.Template, req.input); err != nil {
		return quell.Spec{}, err
	}
	spec := quell.Spec{
		Template: stored.Template, TemplateRevision: stored.Revision, Input: req.input, Params: req.params,
		Timeout: query.timeout, PlaybookTimeout: query.playbook, QueueTimeout: query.queue, OnLock: query.onLock,
	}
	if err := s.stamp(&spec, from); err != nil {
		return quell.Spec{}, err
	}
	return spec, spec.Check()
}

// stamp makes the spec one of a new job that is requested now.
func (s *Server) stamp(spec *quell.Spec, from who) error {
	id, err := uuid.NewV7()
	if err != nil {
		return quell.Errorf(quell.CodeInternal, "no job_execution_id could be made: %w", err)
	}
	spec.Version, spec.ID = quell.FormatVersion, id.String()
	spec.Requester, spec.CreatedAt = from.requester, s.opts.Now().UTC()
	return nil
}

// template reads the template that the request names, by whichever name.
func (s *Server) template(ctx context.Context, req executeRequest) (quell.StoredTemplate, error) {
	if req.name != nil {
		return read(ctx, s.opts.StoreTimeout, func(ctx context.Context) (stored quell.StoredTemplate, err error) {
			stored.Template, stored.Revision, err = s.store.Template(ctx, req.name)
			stored.Template.UUID = templateID(stored.Template)
			return stored, err
		})
	}
	id, ok := canonicalID(req.templateID)
	if !ok {
		return quell.StoredTemplate{}, quell.Errorf(quell.CodeNotFound,
			"there is no job template with the job_template_id %q: that is a UUID; give it, or job_template_fq_name", excerpt(req.templateID))
	}
	all, err := read(ctx, s.opts.StoreTimeout, s.store.Templates)
	if err != nil {
		return quell.StoredTemplate{}, err
	}
	var found []quell.StoredTemplate
	var names []string
	for _, stored := range all {
		if stored.Template.UUID = templateID(stored.Template); strings.EqualFold(stored.Template.UUID, id) {
			found, names = append(found, stored), append(names, stored.Template.FQName.String())
		}
	}
	switch len(found) {
	case 0:
		return quell.StoredTemplate{}, quell.Errorf(quell.CodeNotFound,
			"there is no job template with the job_template_id %s: GET /v1/job-templates lists what there is", id)
	case 1:
		return found[0], nil
	}
	return quell.StoredTemplate{}, quell.Errorf(quell.CodeConflict,
		"%d job templates have the job_template_id %s (%s): give job_template_fq_name", len(found), id, excerpt(strings.Join(names, ", ")))
}

// templateID is the template's UUID. One that an earlier release stored has
// none; it has the one that its reader gives to a template of its name.
func templateID(t quell.Template) string {
	if t.UUID != "" {
		return t.UUID
	}
	return template.UUIDOf(t.FQName)
}
