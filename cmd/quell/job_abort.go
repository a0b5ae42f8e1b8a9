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
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"quell"
)

func jobAbortCommand(signals <-chan os.Signal) *cli.Command {
	flags := append([]cli.Flag{
		&cli.BoolFlag{Name: "force", Usage: "kill what runs, at once; without it, the current playbook ends by itself"},
		&cli.StringFlag{Name: "reason", Usage: "put this `TEXT` on record"},
		&cli.StringFlag{Name: "force-after", Usage: "turn to force this `TIME` (5m) after the abort was first seen"},
		&cli.BoolFlag{Name: "no-recovery", Usage: "skip the recovery playbooks"},
		&cli.BoolFlag{Name: "override", Usage: "kill even a playbook that is not abortable"},
		&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be hit"},
		&cli.GenericFlag{Name: "wait", Value: new(waitTime), Usage: "wait until the jobs are final, for 30s or, by --wait=`TIME`, for longer (at most 1h)"},
		&cli.BoolFlag{Name: "all", Usage: "abort every job that there is now"},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask, with --all or a filter"},
	}, filterFlags("abort the jobs")...)
	return clientCommand(signals, "abort", "abort jobs, gracefully or by --force", args{usage: "[ID…]"}, flags, abortJobs)
}

func abortJobs(ctx context.Context, s *session) error {
	ids := s.c.Args().Slice()
	query, mode, err := abortRequestOf(s.c)
	if err != nil {
		return err
	}
	dryRun := s.c.Bool("dry-run")
	switch {
	case filtered(s.c):
		if ids, err = s.chooseByFilter(ctx, mode, query); err != nil || len(ids) == 0 {
			return err
		}
	case len(ids) == 0 && !dryRun:
		if goOn, err := s.confirmAll(ctx, mode, query); err != nil || !goOn {
			return err
		}
	}
	a, err := s.postAbort(ctx, ids, mode, query, dryRun)
	if err != nil {
		return s.abortFailed(err, ids, mode)
	}
	var result abortAnswer
	if err := a.into(&result); err != nil {
		return err
	}
	if s.json {
		err = s.verbatim(a.body)
	} else {
		err = s.printAborted(result.Results, dryRun)
	}
	if err != nil {
		return err
	}
	return abortVerdict(s.c, result.Results, dryRun)
}

// abortRequestOf reads the flags. What could be meant otherwise is refused: an
// abort is not to be guessed.
func abortRequestOf(c *cli.Context) (url.Values, quell.Mode, error) {
	ids, all, mode := c.Args().Slice(), c.Bool("all"), quell.Graceful
	if c.Bool("force") {
		mode = quell.Force
	}
	waiting, _ := c.Generic("wait").(*waitTime)
	switch {
	case len(ids) > 0 && all:
		return nil, "", usagef("there are both --all and the job %s: give one of them", ids[0])
	case len(ids) > 0 && filtered(c):
		return nil, "", usagef("there are both a filter and the job %s: give one of them", ids[0])
	case all && filtered(c):
		return nil, "", usagef("there are both --all and a filter: give one of them")
	case len(ids) == 0 && !all && !filtered(c):
		return nil, "", usagef("name the jobs to abort, by their ids or by a filter such as --fabric, or say --all: see %s --help", c.Command.HelpName)
	case mode == quell.Force && c.IsSet("force-after"):
		return nil, "", usagef("--force is at once, --force-after later: give one of them")
	}
	for _, id := range ids {
		if _, err := time.ParseDuration(id); err == nil && c.IsSet("wait") {
			return nil, "", usagef("%s stands where a job's id is expected: the time to wait is joined to its flag, --wait=%s", id, id)
		}
	}
	query := url.Values{}
	if c.IsSet("reason") {
		query.Set("reason", c.String("reason"))
	}
	if c.IsSet("force-after") {
		if _, err := quell.ParseForceAfter(c.String("force-after")); err != nil {
			return nil, "", usagef("--%s", strings.Replace(err.Error(), "force_after", "force-after", 1))
		}
		query.Set("force_after", c.String("force-after"))
	}
	if c.Bool("no-recovery") {
		query.Set("recovery", "false")
	}
	if c.Bool("override") {
		query.Set("override", "true")
	}
	if waiting != nil && *waiting > 0 {
		query.Set("wait", time.Duration(*waiting).String())
	}
	return query, mode, nil
}

func (s *session) postAbort(ctx context.Context, ids []string, mode quell.Mode, query url.Values, dryRun bool) (answer, error) {
	type input struct {
		IDs  []string   `json:"job_execution_ids,omitempty"` // none: every job
		Mode quell.Mode `json:"abort_mode"`
	}
	body, err := json.Marshal(struct {
		Input input `json:"input"`
	}{input{ids, mode}})
	if err != nil {
		return answer{}, fmt.Errorf("encode the request: %w", err)
	}
	wait, _ := time.ParseDuration(query.Get("wait"))
	r := request{method: http.MethodPost, path: []string{"abort-job"}, query: query, body: body, extra: wait}
	if dryRun {
		r.query = url.Values{}
		for name, values := range query {
			r.query[name] = values
		}
		r.query.Del("wait")
		r.query.Set("dry_run", "true")
	}
	return s.api.ask(ctx, r)
}

// confirmAll asks whether every job is to be aborted, naming their number.
func (s *session) confirmAll(ctx context.Context, mode quell.Mode, query url.Values) (bool, error) {
	if s.c.Bool("yes") {
		return true, nil
	}
	t, err := openTerminal(s.in)
	if err != nil {
		return false, usagef("--all aborts every job, and nobody can be asked here whether that is meant: add --yes, or --dry-run to see what it would hit")
	}
	defer t.Close()
	a, err := s.postAbort(ctx, nil, mode, query, true)
	if err != nil {
		return false, s.abortFailed(err, nil, mode)
	}
	var planned abortAnswer
	if err := a.into(&planned); err != nil {
		return false, err
	}
	hit := 0
	for _, r := range planned.Results {
		if !r.Final {
			hit++
		}
	}
	if hit == 0 {
		s.notef("there is no job to abort")
		return false, nil
	}
	return confirm(ctx, t, fmt.Sprintf("Abort %s %s, and what is started before you answer?", count(hit, "job"), inWords(mode)))
}

// confirm asks; without a yes it is an error.
func confirm(ctx context.Context, t io.ReadWriter, question string) (bool, error) {
	yes, err := ask(ctx, t, question+" [y/N] ")
	if err == nil && !yes {
		err = exitError{exitFailure, errors.New("nothing was aborted")}
	}
	return yes, err
}

func inWords(mode quell.Mode) string {
	if mode == quell.Force {
		return "by force"
	}
	return "gracefully"
}

// abortFailed says which jobs were hit all the same, and how to abort without
// the API.
func (s *session) abortFailed(err error, ids []string, mode quell.Mode) error {
	var p *problemError
	if errors.As(err, &p) {
		if s.json && len(p.body) > 0 {
			if err := s.verbatim(p.body); err != nil {
				return err
			}
		} else if len(p.Results) > 0 {
			if err := s.printAborted(p.Results, false); err != nil {
				return err
			}
		}
		text := err.Error()
		for _, list := range []struct {
			what string
			ids  []string
		}{{"perhaps aborted, perhaps not (repeat it, that is harmless)", p.InDoubt}, {"certainly not aborted", p.NotWritten}} {
			if len(list.ids) > 0 {
				text += fmt.Sprintf("\n  %s: %s", list.what, printable(strings.Join(list.ids, " ")))
			}
		}
		return errors.New(text)
	}
	var reach *reachError
	switch {
	case errors.Is(err, errInterrupted):
		return exitError{exitInterrupted, errors.New("interrupted; the abort may have been accepted, and then goes on: quell job list tells")}
	case errors.As(err, &reach):
		key := "/jobs/*/abort"
		if len(ids) > 0 {
			key = "/jobs/" + ids[0] + "/abort"
		}
		return fmt.Errorf("%w. Without any API server: etcdctl put '%s' %s", err, key, mode)
	}
	return err
}

func (s *session) printAborted(results []abortedJob, dryRun bool) error {
	if len(results) == 0 {
		s.notef("there is no job to abort")
		return nil
	}
	t := newTable(s.paint, "ID", "OUTCOME", "STATUS", "MODE")
	for _, r := range results {
		outcome := cell{text: r.Outcome}
		if dryRun && r.Outcome == "accepted" {
			outcome.text = "would be aborted"
		}
		if r.Outcome == abortNotFound {
			outcome.colour = red
		}
		t.add(r.ID, outcome, statusCell(r.Status), string(r.Mode))
	}
	if err := t.print(s.out); err != nil {
		return err
	}
	return tellWaits(s.out, results)
}

// tellWaits says what force aborts wait for.
func tellWaits(w io.Writer, results []abortedJob) error {
	for _, r := range results {
		if r.WaitsFor == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s waits: %s\n", printable(r.ID), printable(r.WaitsFor)); err != nil {
			return err
		}
	}
	return nil
}

// abortVerdict is the exit code: all that were named exist and, where that was
// waited for, are final.
func abortVerdict(c *cli.Context, results []abortedJob, dryRun bool) error {
	unknown, pending := 0, []string{}
	for _, r := range results {
		switch {
		case r.Outcome == abortNotFound:
			unknown++
		case !r.Final:
			pending = append(pending, r.ID)
		}
	}
	switch {
	case unknown > 0:
		return fmt.Errorf("%s not found", count(unknown, "job"))
	case c.IsSet("wait") && !dryRun && len(pending) > 0:
		return fmt.Errorf("not final after the time to wait: %s. The abort goes on: quell job wait %s",
			count(len(pending), "job"), strings.Join(pending, " "))
	}
	return nil
}
