package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"quell"
)

const (
	// A job is looked at every lookEvery; the API answers from its memory.
	lookEvery = 500 * time.Millisecond
	// patient is how long an API that is out of reach is waited for: a job
	// takes hours, and an API server may be restarted meanwhile.
	patient = 2 * time.Minute
)

func jobWaitCommand(signals <-chan os.Signal) *cli.Command {
	return clientCommand(signals, "wait",
		"wait for jobs to end: exit code 0 for SUCCESS and WARNING, 1 FAILURE, 3 ABORTED, 4 LOST; the worst of several",
		args{usage: "ID…", min: 1}, nil, waitJobs)
}

func waitJobs(ctx context.Context, s *session) error {
	ids := s.c.Args().Slice()
	// What is mistyped is told before hours have passed.
	for _, id := range ids {
		if _, _, err := s.api.job(ctx, id); err != nil {
			return s.leftRunning(err, ids...)
		}
	}
	worst := error(nil)
	for i, id := range ids {
		ended, err := s.waitFor(ctx, id)
		if err != nil {
			return s.leftRunning(err, ids[i:]...)
		}
		if s.json {
			err = s.verbatim(ended.body)
		} else {
			_, err = fmt.Fprintln(s.out, outcomeLine(ended.job))
		}
		if err != nil {
			return err
		}
		worst = worse(worst, exitOf(ended.job.Status))
	}
	return worst
}

// end is a job that is final, and the answer that said so.
type end struct {
	job  job
	body []byte
}

// waitFor waits until the job is final.
func (s *session) waitFor(ctx context.Context, id string) (end, error) {
	return s.watch(ctx, id, func(job) {})
}

// watch shows the job to look until it is final.
func (s *session) watch(ctx context.Context, id string, look func(job)) (end, error) {
	p := retries{session: s}
	for {
		j, body, err := s.api.job(ctx, id)
		switch {
		case err != nil:
			if err = p.with(ctx, err); err != nil {
				return end{}, err
			}
		case j.Status.Final():
			return end{j, body}, nil
		default:
			p.recovered()
			look(j)
		}
		if err := pause(ctx, lookEvery); err != nil {
			return end{}, err
		}
	}
}

// retries bears an API that is out of reach for a while.
type retries struct {
	session *session
	since   time.Time
}

// with returns the error where it is time to give up.
func (p *retries) with(ctx context.Context, err error) error {
	now := p.session.now()
	switch {
	case errors.Is(err, errInterrupted) || ctx.Err() != nil || !transient(err):
		return err
	case p.since.IsZero():
		p.since = now
		p.session.notef("%v; trying again for %s", err, patient)
	case now.Sub(p.since) > patient:
		return err
	}
	return nil
}

func (p *retries) recovered() {
	if !p.since.IsZero() {
		p.session.notef("the API answers again")
	}
	p.since = time.Time{}
}

// pause waits for d, or for the user's Ctrl-C.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// job asks for one job.
func (c *client) job(ctx context.Context, id string) (job, []byte, error) {
	var j job
	a, err := c.get(ctx, &j, "v1", "jobs", id)
	return j, a.body, err
}

// leftRunning adds to an interrupt that the jobs go on.
func (s *session) leftRunning(err error, ids ...string) error {
	if !errors.Is(err, errInterrupted) {
		return err
	}
	what := "the job goes on"
	if len(ids) > 1 {
		what = "the jobs go on"
	}
	list := strings.Join(ids, " ")
	return exitError{exitInterrupted, fmt.Errorf("interrupted; %s. To wait again: quell job wait %s; to end it: quell abort %s", what, list, list)}
}

// exitOf is the exit code that tells of a job's final status.
func exitOf(status quell.Status) error {
	switch status {
	case quell.StatusSuccess, quell.StatusWarning:
		return nil
	case quell.StatusAborted:
		return exitError{code: exitAborted}
	case quell.StatusLost:
		return exitError{code: exitLost}
	}
	return exitError{code: exitFailure}
}

// worse returns the worse of two ends: ABORTED was wanted by somebody, of LOST
// nobody knows what it left.
func worse(a, b error) error {
	rank := func(err error) int {
		var e exitError
		if !errors.As(err, &e) {
			return 0
		}
		return map[int]int{exitAborted: 1, exitFailure: 2, exitLost: 3}[e.code]
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// outcomeLine tells in one line how a job has ended.
func outcomeLine(j job) string {
	text := fmt.Sprintf("job %s: %s", j.ID, j.Status)
	if reason := strings.ReplaceAll(printable(j.Reason), "\n", " "); reason != "" {
		text += ": " + reason
	}
	return text
}
