package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"quell"
)

func jobListCommand(signals <-chan os.Signal) *cli.Command {
	flags := []cli.Flag{
		&cli.StringSliceFlag{Name: "status", Usage: "only jobs of this `STATUS`; several separated by commas"},
		&cli.StringFlag{Name: "fabric", Usage: "only jobs of this `FABRIC`"},
		&cli.StringFlag{Name: "device", Usage: "only jobs of this `DEVICE`"},
		&cli.StringFlag{Name: "node", Usage: "only jobs on this `NODE`"},
		&cli.StringFlag{Name: "template", Usage: "only jobs of this `TEMPLATE`"},
		&cli.StringFlag{Name: "requester", Usage: "only jobs that this `USER` started"},
		&cli.StringFlag{Name: "since", Usage: "only jobs created at this `TIME` or later: 2026-01-31, 2026-01-31 15:04, RFC 3339, or so long ago: 90m, 7d"},
		&cli.StringFlag{Name: "until", Usage: "only jobs created before this `TIME`"},
		&cli.StringFlag{Name: "text", Usage: "only jobs with this `TEXT` in what the list says of them"},
		&cli.IntFlag{Name: "limit", Usage: "show at most `N` jobs (a page)", DefaultText: "50"},
		&cli.StringFlag{Name: "cursor", Usage: "the page after the one that gave this `CURSOR`"},
		&cli.BoolFlag{Name: "all", Usage: "all pages (with --output json: a document each)"},
	}
	return clientCommand(signals, "list", "list jobs, the newest first", noArgs, flags, listJobs)
}

func listJobs(ctx context.Context, s *session) error {
	query, err := listQuery(s.c, s.now())
	if err != nil {
		return err
	}
	t := newTable(s.paint, "ID", "STATUS", "DONE", "TEMPLATE", "NODE", "CREATED", "TOOK")
	for {
		a, err := s.api.ask(ctx, request{method: http.MethodGet, path: []string{"v1", "jobs"}, query: query})
		if err != nil {
			return err
		}
		var page jobList
		if err := a.into(&page); err != nil {
			return err
		}
		if s.json {
			if err := s.verbatim(a.body); err != nil {
				return err
			}
		}
		for _, j := range page.Jobs {
			s.addJob(t, j)
		}
		if page.NextCursor != "" && s.c.Bool("all") {
			query.Set("cursor", page.NextCursor)
			continue
		}
		if s.json {
			return nil
		}
		if err := t.print(s.out); err != nil {
			return err
		}
		if page.NextCursor != "" {
			s.notef("there are more: --all, or --cursor %s for the next page", page.NextCursor)
		}
		return nil
	}
}

func (s *session) addJob(t *table, j job) {
	where := cell{text: j.Node}
	if j.UnreachableSince != nil {
		where = cell{j.Node + " (out of reach)", red}
	}
	t.add(j.ID, statusCell(j.Status), percent(j.Percentage), lastPart(j.Template), where,
		clock(&j.CreatedAt), took(j.StartedAt, j.EndedAt, s.now()))
}

func lastPart(name quell.FQName) string {
	if len(name) == 0 {
		return ""
	}
	return name[len(name)-1]
}

// listQuery makes the API's filters of the flags.
func listQuery(c *cli.Context, now time.Time) (url.Values, error) {
	query := url.Values{}
	for _, name := range []string{"fabric", "device", "node", "template", "requester", "text", "cursor"} {
		if c.IsSet(name) {
			// A filter that is empty (an unset variable?) would be none.
			if c.String(name) == "" {
				return nil, usagef("--%s is empty", name)
			}
			query.Set(name, c.String(name))
		}
	}
	if c.IsSet("status") {
		statuses, err := readStatuses(c.StringSlice("status"))
		if err != nil {
			return nil, err
		}
		query.Set("status", strings.Join(statuses, ","))
	}
	for _, name := range []string{"since", "until"} {
		if !c.IsSet(name) {
			continue
		}
		at, err := readTime(c.String(name), now)
		if err != nil {
			return nil, usagef("--%s %w", name, err)
		}
		query.Set(name, at.UTC().Format(time.RFC3339Nano))
	}
	if c.IsSet("limit") {
		if c.Int("limit") < 1 {
			return nil, usagef("--limit %d is not above zero", c.Int("limit"))
		}
		query.Set("limit", strconv.Itoa(c.Int("limit")))
	}
	return query, nil
}

func readStatuses(given []string) ([]string, error) {
	statuses := make([]string, len(given))
	for i, word := range given {
		status := quell.Status(strings.ToUpper(strings.TrimSpace(word)))
		if !slices.Contains(quell.Statuses, status) {
			return nil, usagef("--status %q is none of %v", word, quell.Statuses)
		}
		statuses[i] = string(status)
	}
	return statuses, nil
}

// readTime reads a time as people write it.
func readTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time such as 2026-01-31, 2026-01-31 15:04, 2026-01-31T15:04:05Z or, so long ago, 90m or 7d", text)
}
