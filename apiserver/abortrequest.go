package apiserver

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"quell"
)

// maxWait bounds ?wait=, and how long a synchronous job is waited for.
const maxWait = time.Hour

// abortBody is the body of POST /abort-job.
type abortBody struct {
	// ids are the jobs in the request's order, each once: canonical where
	// they are UUIDs, as they were typed where they are not. Empty: all.
	ids  []string
	mode quell.Mode
}

// parseAbort reads and checks the body of POST /abort-job.
//
// Contrail's published example spells the ids job_execution_id, which
// Contrail's own handler does not read, so that the example aborts every job.
// Here both spellings name jobs, and only a request that clearly names none
// is one for all of them.
func parseAbort(body []byte) (abortBody, error) {
	members, err := quell.ParseObject(body)
	if err != nil {
		return abortBody{}, invalid("the request body: %w", err)
	}
	var input *quell.Member
	for _, m := range members {
		if m.Name != "input" {
			return abortBody{}, invalid("the property %q is unknown: there is input alone", excerpt(m.Name))
		}
		input = &m
	}
	if input == nil {
		return abortBody{}, invalid(`input is missing: give "input": {"job_execution_ids": […], "abort_mode": "graceful"}`)
	}
	inner, err := object(*input, "input")
	if err != nil {
		return abortBody{}, err
	}
	req := abortBody{mode: quell.Graceful}
	spelling := ""
	for _, m := range inner {
		switch path := "input." + m.Name; m.Name {
		case "job_execution_ids", "job_execution_id":
			if spelling != "" {
				return abortBody{}, invalid("input has job_execution_ids and job_execution_id: give one of them")
			}
			spelling = m.Name
			req.ids, err = parseIDs(m, path)
		case "abort_mode":
			req.mode, err = parseAbortMode(m, path)
		default:
			err = invalid("the property %q is unknown: input has job_execution_ids and abort_mode", "input."+excerpt(m.Name))
		}
		if err != nil {
			return abortBody{}, err
		}
	}
	return req, nil
}

// parseIDs reads the list of jobs. The example's spelling may also be one
// string.
func parseIDs(m quell.Member, path string) ([]string, error) {
	var typed []string
	if m.Name == "job_execution_id" && strings.HasPrefix(string(m.Value), `"`) {
		id, err := text(m.Value, path)
		if err != nil {
			return nil, err
		}
		typed = []string{id}
	} else {
		list, err := texts(m.Value, path)
		if err != nil {
			return nil, err
		}
		typed = list
	}
	ids := make([]string, 0, len(typed))
	seen := make(map[string]bool, len(typed))
	for _, id := range typed {
		if canonical, ok := canonicalID(id); ok {
			id = canonical
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// parseAbortMode takes the modes as the published schema has them: a mistyped
// mode must not fall back to any.
func parseAbortMode(m quell.Member, path string) (quell.Mode, error) {
	word, err := text(m.Value, path)
	if err != nil {
		return "", err
	}
	switch mode := quell.Mode(word); mode {
	case quell.Graceful, quell.Force:
		return mode, nil
	}
	return "", invalid("%s %q is unknown: it is graceful or force", path, excerpt(word))
}

// abortQuery are the parameters of POST /abort-job beside its body.
type abortQuery struct {
	wait       time.Duration
	dryRun     bool
	reason     string
	forceAfter time.Duration
	noRecovery bool
	override   bool
}

func parseAbortQuery(r *http.Request) (abortQuery, error) {
	values, err := checkQuery(r, "wait", "dry_run", "reason", "force_after", "recovery", "override")
	if err != nil {
		return abortQuery{}, err
	}
	q := abortQuery{reason: cut(values.Get("reason"), maxReason)}
	recovery := false
	for _, f := range []struct {
		name    string
		into    *bool
		missing bool
	}{{"dry_run", &q.dryRun, false}, {"recovery", &recovery, true}, {"override", &q.override, false}} {
		if *f.into, err = flagOf(values, f.name, f.missing); err != nil {
			return abortQuery{}, err
		}
	}
	q.noRecovery = !recovery
	if q.wait, err = waitOf(values); err != nil {
		return abortQuery{}, err
	}
	if values.Has("force_after") {
		if q.forceAfter, err = quell.ParseForceAfter(values.Get("force_after")); err != nil {
			return abortQuery{}, invalid("the query parameter %w", err)
		}
	}
	return q, nil
}

// flagOf reads a parameter that is true or false.
func flagOf(values url.Values, name string, missing bool) (bool, error) {
	word := values.Get(name)
	switch {
	case !values.Has(name):
		return missing, nil
	case word != "true" && word != "false":
		return false, invalid("the query parameter %s=%q is neither true nor false", name, excerpt(word))
	}
	return word == "true", nil
}

// waitOf reads how long to wait for jobs.
func waitOf(values url.Values) (time.Duration, error) {
	if !values.Has("wait") {
		return 0, nil
	}
	wait, err := time.ParseDuration(values.Get("wait"))
	if err != nil || wait < 0 || wait > maxWait {
		return 0, invalid("the query parameter wait=%q is not a time such as 30s, up to %s", excerpt(values.Get("wait")), maxWait)
	}
	return wait, nil
}

// abortRequest is all that a request for an abort asks for.
type abortRequest struct {
	ids    []string // empty: every active job
	intent quell.Intent
	wait   time.Duration
	dryRun bool
}

// readAbort reads and checks the whole request.
func (s *Server) readAbort(w http.ResponseWriter, r *http.Request) (abortRequest, error) {
	query, err := parseAbortQuery(r)
	if err != nil {
		return abortRequest{}, err
	}
	from, err := whoOf(r)
	if err != nil {
		return abortRequest{}, err
	}
	data, err := readBody(w, r)
	if err != nil {
		return abortRequest{}, err
	}
	body, err := parseAbort(data)
	if err != nil {
		return abortRequest{}, err
	}
	req := abortRequest{
		ids: body.ids, wait: query.wait, dryRun: query.dryRun,
		intent: quell.Intent{
			Mode: body.mode, RequestedBy: from.requester, Source: from.source, Reason: query.reason,
			RequestedAt: s.opts.Now().UTC().Round(0), ForceAfter: query.forceAfter,
			NoRecovery: query.noRecovery, Override: query.override,
		},
	}
	if body.mode == quell.Force {
		req.intent.ForceAfter = 0 // force is at once already
	}
	return req, nil
}
