package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/urfave/cli/v2"

	"quell"
)

// What the commands that start a job have in common.

// longestAnswer is how long an API server waits at most for the end of a job
// of a synchronous template before it answers.
const longestAnswer = time.Hour

// watchFlags are those of a command that starts a job.
func watchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "wait", Usage: "wait for the job's end; the exit code is that of quell job wait"},
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "like --wait, and show the log as it comes"},
	}
}

func checkWatch(s *session) error {
	if s.c.Bool("follow") && s.json {
		return usagef("--follow shows the log, and --output json a document: give one of them")
	}
	return nil
}

// answersAfter is what the answer to a request for a job of the template may
// take beyond the usual: where the template is synchronous, it comes at the
// job's end. What is wrong with the template is told by that request.
func (s *session) answersAfter(ctx context.Context, name quell.FQName) time.Duration {
	a, err := s.askTemplate(ctx, http.MethodGet, name, nil)
	if err != nil {
		return 0
	}
	var t struct {
		Synchronous bool `json:"synchronous"`
	}
	if a.into(&t) != nil || !t.Synchronous {
		return 0
	}
	return longestAnswer
}

// startedJob is the answer to a request that starts a job.
type startedJob struct {
	ID string `json:"job_execution_id"`
	// Status is there where the template is synchronous.
	Status quell.Status `json:"status"`
}

// startAndWatch makes a request that starts a job, prints the job's id and
// watches the job as the flags want it. A job of a synchronous template, which
// the API has waited for already, is watched to its end in any case.
func (s *session) startAndWatch(ctx context.Context, r request) error {
	a, err := s.api.ask(ctx, r)
	if err != nil {
		var reach *reachError
		if errors.Is(err, errInterrupted) || errors.As(err, &reach) && reach.maybe {
			err = fmt.Errorf("%w; the job may have been started all the same: quell job list tells", err)
		}
		return err
	}
	var started startedJob
	if err := a.into(&started); err != nil {
		return err
	}
	follow, wait := s.c.Bool("follow"), s.c.Bool("wait") || started.Status != "" || r.extra > 0
	switch {
	case !s.json:
		fmt.Fprintln(s.out, started.ID)
	case !wait:
		return s.verbatim(a.body)
	}
	var ended end
	switch {
	case follow:
		ended, err = s.follow(ctx, started.ID)
	case wait:
		ended, err = s.waitFor(ctx, started.ID)
	default:
		return nil
	}
	if err != nil {
		return s.leftRunning(err, started.ID)
	}
	if s.json {
		if err := s.verbatim(ended.body); err != nil {
			return err
		}
	} else {
		s.notef("%s", outcomeLine(ended.job))
	}
	return exitOf(ended.job.Status)
}

// again starts a job out of an earlier one: how is resume or rerun.
func again(ctx context.Context, s *session, how string) error {
	if err := checkWatch(s); err != nil {
		return err
	}
	return s.startAndWatch(ctx, request{method: http.MethodPost, path: []string{"v1", "jobs", s.c.Args().First(), how}})
}
