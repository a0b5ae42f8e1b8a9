package apiserver

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/google/uuid"

	"quell"
	"quell/internal/template"
)

// executeRequest is the body of POST /execute-job.
type executeRequest struct {
	name       quell.FQName    // empty where templateID is given
	templateID string          // a template's UUID
	input      json.RawMessage // an object
	params     quell.Params
}

// parseExecute reads and checks the body of POST /execute-job.
func parseExecute(body []byte) (executeRequest, error) {
	members, err := quell.ParseObject(body)
	if err != nil {
		return executeRequest{}, invalid("the request body: %w", err)
	}
	var req executeRequest
	var hasName, hasID bool
	for _, m := range members {
		switch m.Name {
		case "job_template_fq_name":
			hasName = true
			var parts []string
			if parts, err = texts(m.Value, m.Name); err == nil {
				req.name = parts
				err = req.name.Check()
			}
		case "job_template_id":
			hasID = true
			req.templateID, err = text(m.Value, m.Name)
		case "input":
			req.input = m.Value
			_, err = object(m, m.Name)
		case "params":
			req.params, err = parseParams(m)
		default:
			err = invalid("the property %q is unknown: there are job_template_fq_name, job_template_id, input, params", excerpt(m.Name))
		}
		if err != nil {
			return executeRequest{}, err
		}
	}
	switch {
	case hasName == hasID:
		return executeRequest{}, invalid("one of job_template_fq_name and job_template_id is required, and only one")
	case req.input == nil:
		return executeRequest{}, invalid(`input is missing: give at least "input": {}`)
	}
	return req, nil
}

func parseParams(m quell.Member) (quell.Params, error) {
	var params quell.Params
	members, err := object(m, m.Name)
	if err != nil {
		return params, err
	}
	for _, inner := range members {
		if inner.Name != "device_list" {
			return params, invalid("the property %q is unknown: params has device_list alone", "params."+excerpt(inner.Name))
		}
		if params.DeviceList, err = texts(inner.Value, "params.device_list"); err != nil {
			return params, err
		}
	}
	return params, nil
}

// executeAnswer is the answer of POST /execute-job.
type executeAnswer struct {
	JobID string `json:"job_execution_id"`
}

func (s *Server) executeJob(w http.ResponseWriter, r *http.Request) {
	spec, err := s.newSpec(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	revision, err := write(r.Context(), s.opts.StoreTimeout, func(ctx context.Context) (int64, error) {
		return s.store.CreateJob(ctx, spec)
	})
	if err != nil {
		p := newProblem(err)
		if p.Status == http.StatusGatewayTimeout {
			p.JobID = spec.ID // whoever repeats this may start it twice: here is what to look for
			p.Detail += "; GET /v1/jobs/" + spec.ID + " tells whether the job exists"
		}
		s.failWith(w, r, err, p)
		return
	}
	s.log.Info("job accepted", keyJob, spec.ID, keyTemplate, spec.Template.FQName.String(), keyRequester, spec.Requester)
	s.wrote(revision)
	s.tellRevision(w)
	s.answer(w, r, executeAnswer{JobID: spec.ID})
}

// newSpec checks the request whole and makes the job of it.
func (s *Server) newSpec(w http.ResponseWriter, r *http.Request) (quell.Spec, error) {
	if _, err := checkQuery(r); err != nil {
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
	if req.templateID != "" || req.name == nil {
		return quell.Spec{}, quell.Errorf(quell.CodeNotFound,
			"there is no job template with the job_template_id %q: this version finds them by job_template_fq_name", excerpt(req.templateID))
	}
	t, err := s.template(r.Context(), req.name)
	if err != nil {
		return quell.Spec{}, err
	}
	if err := template.CheckInput(t, req.input); err != nil {
		return quell.Spec{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return quell.Spec{}, quell.Errorf(quell.CodeInternal, "no job_execution_id could be made: %w", err)
	}
	return quell.Spec{
		Version: quell.FormatVersion, ID: id.String(), Template: t, Input: req.input, Params: req.params,
		Requester: from.requester, CreatedAt: s.opts.Now().UTC(),
	}, nil
}

func (s *Server) template(ctx context.Context, name quell.FQName) (quell.Template, error) {
	return read(ctx, s.opts.StoreTimeout, func(ctx context.Context) (quell.Template, error) {
		t, _, err := s.store.Template(ctx, name)
		return t, err
	})
}
