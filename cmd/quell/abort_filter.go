package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"quell"
)

// An abort by a filter hits exactly the jobs that were shown, by their ids: a
// job that matches a moment later is not aborted unseen.

// filtered says whether jobs are chosen by a filter.
func filtered(c *cli.Context) bool { return slices.ContainsFunc(filterNames, c.IsSet) }

// chooseByFilter asks the API which jobs the filter means, shows them and
// returns the ids of those that are to be aborted: none where that was only to
// be seen, or where there are none.
func (s *session) chooseByFilter(ctx context.Context, mode quell.Mode, query url.Values) ([]string, error) {
	filter, err := readFilters(s.c, s.now())
	if err != nil {
		return nil, err
	}
	var t *os.File
	dryRun := s.c.Bool("dry-run")
	if !dryRun && !s.c.Bool("yes") {
		if t, err = openTerminal(s.in); err != nil {
			return nil, usagef("the jobs that a filter means are shown before they are aborted, and nobody can be asked here: add --yes, or --dry-run to see them")
		}
		defer t.Close()
	}
	a, planned, err := s.planByFilter(ctx, filter, mode, query)
	switch {
	case errors.Is(err, errInterrupted):
		return nil, exitError{exitInterrupted, errors.New("interrupted; nothing was aborted")}
	case err != nil:
		return nil, fmt.Errorf("%w; nothing was aborted", err)
	case dryRun && s.json:
		return nil, s.verbatim(a.body)
	case len(planned) == 0:
		if s.json {
			return nil, s.verbatim(a.body)
		}
		s.notef("there is no job to abort")
		return nil, nil
	case dryRun:
		if err := s.showPlanned(ctx, s.out, s.paint, planned, filter); err != nil {
			return nil, err
		}
		_, err := fmt.Fprintf(s.out, "%s would be aborted %s\n", count(len(planned), "job"), inWords(mode))
		return nil, err
	case t != nil:
		if err := s.showPlanned(ctx, t, painter(colourful(t)), planned, filter); err != nil {
			return nil, err
		}
		if yes, err := confirm(ctx, t, fmt.Sprintf("Abort %s %s?", count(len(planned), "job"), inWords(mode))); err != nil || !yes {
			return nil, err
		}
		if planned, err = s.stillPlanned(ctx, planned, filter, mode, query); err != nil {
			return nil, err
		}
	}
	ids := make([]string, len(planned))
	for i, r := range planned {
		ids[i] = r.ID
	}
	return ids, nil
}

// stillPlanned leaves those of the jobs that the filter still means: while
// somebody thought about it, one that was to be aborted while it is queued may
// have begun.
func (s *session) stillPlanned(ctx context.Context, shown []abortedJob, filter url.Values, mode quell.Mode, query url.Values) ([]abortedJob, error) {
	_, now, err := s.planByFilter(ctx, filter, mode, query)
	if err != nil {
		return nil, fmt.Errorf("%w; nothing was aborted", err)
	}
	left := slices.DeleteFunc(slices.Clone(shown), func(r abortedJob) bool {
		return !slices.ContainsFunc(now, func(n abortedJob) bool { return n.ID == r.ID })
	})
	if gone := len(shown) - len(left); gone > 0 {
		s.notef("%s of them no longer match and are left alone", count(gone, "job"))
	}
	return left, nil
}

// planByFilter asks what an abort by the filter would hit, and leaves out what
// is final.
func (s *session) planByFilter(ctx context.Context, filter url.Values, mode quell.Mode, query url.Values) (answer, []abortedJob, error) {
	// The API takes the statuses as a list, and the rest as it stands.
	chosen := map[string]any{}
	for name := range filter {
		chosen[name] = filter.Get(name)
	}
	if list := filter.Get("status"); list != "" {
		chosen["status"] = strings.Split(list, ",")
	}
	body := map[string]any{"filter": chosen, "mode": mode}
	for _, name := range []string{"reason", "force_after"} {
		if text := query.Get(name); text != "" {
			body[name] = text
		}
	}
	for _, name := range []string{"recovery", "override"} {
		if text := query.Get(name); text != "" {
			body[name] = text == "true"
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return answer{}, nil, fmt.Errorf("encode the request: %w", err)
	}
	a, err := s.api.ask(ctx, request{
		method: http.MethodPost, path: []string{"v1", "aborts"}, query: url.Values{"dry_run": {"true"}}, body: text,
	})
	if err != nil {
		var reach *reachError
		if errors.As(err, &reach) {
			reach.maybe = false // it was only a question
		}
		return a, nil, err
	}
	var planned abortAnswer
	err = a.into(&planned)
	return a, slices.DeleteFunc(planned.Results, func(r abortedJob) bool { return r.Final }), err
}

// showPlanned prints the jobs that are to be aborted.
func (s *session) showPlanned(ctx context.Context, w io.Writer, p painter, planned []abortedJob, filter url.Values) error {
	known := s.describe(ctx, planned, filter)
	t := newTable(p, "ID", "STATUS", "TEMPLATE", "FABRIC")
	for _, r := range planned {
		j := known[r.ID]
		t.add(r.ID, statusCell(r.Status), j.Template.String(), j.Fabric)
	}
	if err := t.print(w); err != nil {
		return err
	}
	return tellWaits(w, planned)
}

// describe looks up in the list of jobs what the plan does not say of them.
// Where that fails, the ids have to do.
func (s *session) describe(ctx context.Context, planned []abortedJob, filter url.Values) map[string]job {
	query := url.Values{"limit": {"500"}}
	for name, values := range filter {
		query[name] = values
	}
	if query.Get("status") == "" {
		var active []string
		for _, status := range quell.Statuses {
			if !status.Final() {
				active = append(active, string(status))
			}
		}
		query.Set("status", strings.Join(active, ","))
	}
	known := map[string]job{}
	for slices.ContainsFunc(planned, func(r abortedJob) bool { return known[r.ID].ID == "" }) {
		a, err := s.api.ask(ctx, request{method: http.MethodGet, path: []string{"v1", "jobs"}, query: query})
		var page jobList
		if err != nil || a.into(&page) != nil {
			return known
		}
		for _, j := range page.Jobs {
			known[j.ID] = j
		}
		if page.NextCursor == "" {
			return known
		}
		query.Set("cursor", page.NextCursor)
	}
	return known
}
