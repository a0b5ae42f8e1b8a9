package apiserver

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"quell"
)

// bulkRequest asks for the abort of jobs that have something in common.
type bulkRequest struct {
	abortRequest // its ids are chosen when it is carried out
	matches      func(*summaryBody) bool
	check        func() error // asked once the cache is up to date; nil: nothing
	only         []string     // of those that match, these alone; nil: all
	expect       *int
}

// abortMatching answers POST /v1/aborts.
func (s *Server) abortMatching(w http.ResponseWriter, r *http.Request) {
	req, from, body, err := readBulk(w, r)
	if err == nil {
		err = s.parseBulk(&req, body, from)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.abortChosen(w, r, req)
}

// readBulk reads what all such requests have.
func readBulk(w http.ResponseWriter, r *http.Request) (bulkRequest, who, []byte, error) {
	var req bulkRequest
	values, err := checkQuery(r, "dry_run", "wait")
	if err == nil {
		req.dryRun, err = flagOf(values, "dry_run", false)
	}
	if err == nil {
		req.wait, err = waitOf(values)
	}
	if err != nil {
		return req, who{}, nil, err
	}
	from, err := whoOf(r)
	if err != nil {
		return req, who{}, nil, err
	}
	body, err := readBody(w, r)
	return req, from, body, err
}

// abortChosen carries the request out, and answers it.
func (s *Server) abortChosen(w http.ResponseWriter, r *http.Request, req bulkRequest) {
	err := s.choose(r.Context(), &req)
	var results []result
	switch {
	case err != nil:
	case req.dryRun:
		results, err = s.planSome(r.Context(), req.ids, req.intent)
	default:
		results, err = s.abortSome(r.Context(), req.abortRequest)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if req.wait > 0 && !req.dryRun {
		s.awaitFinal(r.Context(), req.wait, results)
	}
	s.tellRevision(w)
	s.answer(w, r, bulkAnswer{Count: len(req.ids), Results: results, DryRun: req.dryRun})
}

// choose finds the jobs, the oldest first. Which jobs are active the store
// says, so that the cache has all that were there when the request came,
// whichever server took them.
func (s *Server) choose(ctx context.Context, req *bulkRequest) error {
	active, revision, err := s.activeJobs(ctx)
	if err != nil {
		return err
	}
	if err := s.sync(ctx, revision); err != nil {
		return err
	}
	if req.check != nil {
		if err := req.check(); err != nil {
			return err
		}
	}
	ids := idsOf(active)
	slices.Sort(ids)
	req.ids = s.cache.choose(ids, req.matches)
	if req.only != nil {
		req.ids = slices.DeleteFunc(req.ids, func(id string) bool { return !slices.Contains(req.only, id) })
	}
	if req.expect != nil && *req.expect != len(req.ids) {
		return quell.Errorf(quell.CodeConflict,
			"%d jobs that are not final match the filter, and %d are expected: none is aborted; look at them with dry_run=true, and correct expect or the filter",
			len(req.ids), *req.expect)
	}
	return nil
}

// parseBulk reads the body of POST /v1/aborts, strictly.
func (s *Server) parseBulk(req *bulkRequest, body []byte, from who) error {
	members, err := quell.ParseObject(body)
	if err != nil {
		return invalid("the request body: %w", err)
	}
	var filter *quell.Member
	var rest []quell.Member
	for _, m := range members {
		switch m.Name {
		case "filter":
			filter = &m
		case "expect":
			if req.expect, err = number(m); err != nil {
				return err
			}
		case "job_execution_ids":
			if req.only, err = parseIDs(m, m.Name); err != nil {
				return err
			}
			if len(req.only) == 0 {
				return invalid("job_execution_ids is empty: leave it out for all that match")
			}
		default:
			rest = append(rest, m)
		}
	}
	const all = `; to abort every active job, POST /abort-job without ids`
	if filter == nil {
		return invalid(`filter is missing: say which jobs, such as "filter": {"fabric": "fab1"}` + all)
	}
	f, n, err := parseFilter(*filter)
	switch {
	case err != nil:
		return err
	case n == 0:
		return invalid(`filter is empty: give at least one of %s`+all, strings.Join(filterNames, ", "))
	}
	if s.opts.DenyAbortAll && f.broad() && req.only == nil {
		return quell.Errorf(quell.CodeForbidden,
			"an abort by %s alone can hit every job, which is refused here (--abort-all=deny): add a fabric, device, node, template, requester or transaction, or job_execution_ids",
			"status, since, until or text")
	}
	if req.matches, err = f.compile(s.opts.Now(), "filter."); err != nil {
		return err
	}
	req.intent, err = s.newIntent(rest, from, "filter", "job_execution_ids", "expect")
	return err
}

// broad says whether the filter names nothing that only some jobs have.
func (f *Filter) broad() bool {
	return f.Fabric == "" && f.Device == "" && f.Node == "" && f.Template == "" && f.Requester == "" && f.Transaction == ""
}

// parseFilter reads a filter and how many conditions it has. An empty text
// would be no condition, and choose more than was meant: it is refused.
func parseFilter(m quell.Member) (Filter, int, error) {
	var f Filter
	members, err := object(m, m.Name)
	if err != nil {
		return f, 0, err
	}
	into := map[string]*string{
		"fabric": &f.Fabric, "device": &f.Device, "node": &f.Node, "template": &f.Template, "requester": &f.Requester,
		"transaction": &f.Transaction, "since": &f.Since, "until": &f.Until, "text": &f.Text,
	}
	for _, inner := range members {
		path := m.Name + "." + excerpt(inner.Name)
		field, known := into[inner.Name]
		empty := false
		switch {
		case inner.Name == "status" && strings.HasPrefix(string(inner.Value), "["):
			f.Status, err = texts(inner.Value, path)
			empty = len(f.Status) == 0
		case inner.Name == "status":
			f.Status = make([]string, 1)
			f.Status[0], err = text(inner.Value, path)
			empty = f.Status[0] == ""
		case known:
			*field, err = text(inner.Value, path)
			empty = *field == ""
		default:
			err = invalid("the property %q is unknown: filter has %s", path, strings.Join(filterNames, ", "))
		}
		if err == nil && empty {
			err = invalid("%s is empty: leave it out", path)
		}
		if err != nil {
			return f, 0, err
		}
	}
	return f, len(members), nil
}

// number reads a value that has to be a count.
func number(m quell.Member) (*int, error) {
	var n *int
	if json.Unmarshal(m.Value, &n) != nil || n == nil || *n < 0 {
		return nil, invalid("%s is %s: give a number of jobs", m.Name, excerpt(string(m.Value)))
	}
	return n, nil
}
