package apiserver

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"quell"
)

const (
	defaultLimit = 50
	maxLimit     = 500
	cursorPrefix = "v1:" // so that a later release can tell its cursors apart
)

// jobList is the answer of GET /v1/jobs.
type jobList struct {
	Jobs       []jobBody `json:"jobs"`
	NextCursor string    `json:"next_cursor"` // "": that was all
}

func (s *Server) listJobs(w http.ResponseWriter, r *http.Request) {
	limit, before, err := parsePage(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// One more than is shown tells whether there is a next page.
	jobs, err := read(r.Context(), s.opts.StoreTimeout, func(ctx context.Context) ([]quell.Job, error) {
		return s.store.Jobs(ctx, limit+1, before)
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	list := jobList{Jobs: make([]jobBody, 0, min(limit, len(jobs)))}
	if len(jobs) > limit {
		jobs = jobs[:limit]
		list.NextCursor = newCursor(jobs[limit-1].Spec.ID)
	}
	for _, job := range jobs {
		list.Jobs = append(list.Jobs, newJobSummary(job))
	}
	s.answer(w, r, list)
}

// parsePage reads limit and cursor.
func parsePage(r *http.Request) (limit int, before string, err error) {
	values, err := checkQuery(r, "limit", "cursor")
	if err != nil {
		return 0, "", err
	}
	limit = defaultLimit
	if values.Has("limit") {
		limit, err = strconv.Atoi(values.Get("limit"))
		if err != nil || limit < 1 || limit > maxLimit {
			return 0, "", invalid("the query parameter limit=%q is not a number from 1 to %d", excerpt(values.Get("limit")), maxLimit)
		}
	}
	if values.Has("cursor") {
		if before, err = parseCursor(values.Get("cursor")); err != nil {
			return 0, "", err
		}
	}
	return limit, before, nil
}

func newCursor(id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorPrefix + id))
}

func parseCursor(cursor string) (string, error) {
	decoded, err := base64.RawURLEncoding.DecodeString(cursor)
	id, ok := strings.CutPrefix(string(decoded), cursorPrefix)
	if err == nil && ok {
		id, ok = canonicalID(id)
	}
	if err != nil || !ok {
		return "", invalid("the query parameter cursor=%q is none: give the next_cursor of the page before, or leave it out", excerpt(cursor))
	}
	return id, nil
}

func (s *Server) getJob(w http.ResponseWriter, r *http.Request) {
	job, err := s.jobOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.answer(w, r, newJobBody(job))
}

// jobOf reads the job that the path names.
func (s *Server) jobOf(r *http.Request) (quell.Job, error) {
	if _, err := checkQuery(r); err != nil {
		return quell.Job{}, err
	}
	id, ok := canonicalID(r.PathValue("id"))
	if !ok {
		return quell.Job{}, quell.Errorf(quell.CodeNotFound, "there is no job %q: a job_execution_id is a UUID", excerpt(r.PathValue("id")))
	}
	return read(r.Context(), s.opts.StoreTimeout, func(ctx context.Context) (quell.Job, error) {
		return s.store.Job(ctx, id)
	})
}
