package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"quell"
)

const (
	// followPause is between two tries to reach the node of a log that is
	// followed, and followPatience bounds how long they go on.
	followPause    = 500 * time.Millisecond
	followPatience = 30 * time.Second
)

var errNoLogYet = quell.Errorf(quell.CodeUnavailable, "the job has no log yet")

// logFollower passes on a log as it grows, until the job is final and all of
// it has been sent. An agent that goes away and comes back is asked again,
// from where it was.
type logFollower struct {
	server *Server
	w      http.ResponseWriter
	id     string
	only   string // the run; empty: all of them
	offset int64
}

func (s *Server) followLog(ctx context.Context, w http.ResponseWriter, r *http.Request, q logRequest, job quell.Job) {
	// The cache tells when the job has a node, and when it is final.
	if err := s.sync(ctx, max(job.StateRevision, job.SpecRevision)); err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", textPlain)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must pass it on at once
	w.WriteHeader(http.StatusOK)
	if flush(http.NewResponseController(w)) != nil {
		return
	}
	f := &logFollower{server: s, w: w, id: job.Spec.ID, only: q.run, offset: q.offset}
	if err := f.run(ctx); err != nil {
		s.log.Debug("a log that was followed was cut off", keyJob, f.id, keyError, err)
		panic(http.ErrAbortHandler) // the only way to tell the client that there is more
	}
}

func (f *logFollower) run(ctx context.Context) error {
	lastGood := time.Now()
	for {
		// What is final now has its whole log on disk: one more read has all.
		job := f.server.cache.job(f.id)
		for job != nil && job.Node == "" && !job.Status.Final() {
			var err error
			if job, err = f.server.cache.waitJob(ctx, f.id, job); err != nil {
				return err
			}
		}
		if job == nil || job.Node == "" {
			return nil // its retention has passed, or it never began
		}
		sent, err := f.pass(ctx, job)
		if f.only != "" && errors.Is(err, errNoLogYet) {
			// It begins, or not, with a change of the job.
			if _, err := f.server.cache.waitJob(ctx, f.id, job); err != nil {
				return err
			}
			lastGood = time.Now()
			continue
		}
		if f.offset += sent; sent > 0 || err == nil {
			lastGood = time.Now()
		}
		var taking takeError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &taking):
			return err
		case err == nil && job.Status.Final():
			return nil
		case err == nil:
			continue // it has become final
		case quell.CodeOf(err) == quell.CodeNotFound && job.Status.Final():
			return nil
		case time.Since(lastGood) > followPatience:
			return err
		}
		select {
		case <-time.After(followPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pass sends what the agent has from the offset on: all of it and nothing
// more for a job that is final, else what comes until the job is.
func (f *logFollower) pass(ctx context.Context, job *summaryBody) (int64, error) {
	q := logRequest{run: f.only, follow: true, offset: f.offset}
	if final := job.Status.Final(); final {
		q = logRequest{run: f.only, ranges: fmt.Sprintf("bytes=%d-", f.offset)}
	}
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	if q.follow {
		go func() { // ends with following
			for seen := job; seen != nil && !seen.Status.Final(); {
				var err error
				if seen, err = f.server.cache.waitJob(following, f.id, seen); err != nil {
					return
				}
			}
			cancel()
		}()
	}
	asked := quell.Job{Spec: quell.Spec{ID: f.id}, State: quell.State{Status: job.Status, Node: job.Node, StartedAt: job.StartedAt}}
	response, err := f.server.fetchLog(following, asked, q)
	if err != nil {
		return 0, ended(ctx, following, err)
	}
	defer func() { _ = response.Body.Close() }()
	switch {
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return 0, nil // nothing has come since
	case response.StatusCode == http.StatusNotFound && job.Status.Final():
		return 0, quell.Errorf(quell.CodeNotFound, "the job never began")
	case response.StatusCode == http.StatusNotFound:
		return 0, errNoLogYet
	case !q.follow && response.StatusCode == http.StatusOK && f.offset > 0:
		return 0, quell.Errorf(quell.CodeUnavailable, "the agent did not answer with a range")
	}
	sent, err := stream(f.w, response.Body)
	if err == nil && q.follow {
		err = quell.Errorf(quell.CodeUnavailable, "the agent ended the log before the job was final")
	}
	return sent, ended(ctx, following, err)
}

// ended drops an error that only says that the job has become final.
func ended(ctx, following context.Context, err error) error {
	var taking takeError
	if err != nil && ctx.Err() == nil && following.Err() != nil && !errors.As(err, &taking) {
		return nil
	}
	return err
}
