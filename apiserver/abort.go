package apiserver

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"quell"
)

const (
	// abortsAtOnce bounds how many jobs of one request are written at once.
	abortsAtOnce = 32
	// jobsAtOnce bounds how many jobs one read of the store returns.
	jobsAtOnce = 500
	// jobsInLog bounds how many of a request's ids one log line names.
	jobsInLog = 20
)

// abortAnswer is the answer of POST /abort-job.
type abortAnswer struct {
	Results []result `json:"results"`
	DryRun  bool     `json:"dry_run,omitempty"`
}

func (s *Server) abortJob(w http.ResponseWriter, r *http.Request) {
	req, err := s.readAbort(w, r)
	all := len(req.ids) == 0
	switch {
	case err != nil:
	case all && s.opts.DenyAbortAll:
		err = quell.Errorf(quell.CodeForbidden,
			"to abort every job is refused here (--abort-all=deny): name the jobs in input.job_execution_ids")
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	var results []result
	switch {
	case req.dryRun && all:
		results, err = s.planAll(r.Context(), req.intent)
	case req.dryRun:
		results, err = s.planSome(r.Context(), req.ids, req.intent)
	case all:
		results, err = s.abortAll(r.Context(), req)
	default:
		results, err = s.abortSome(r.Context(), req)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if req.wait > 0 && !req.dryRun {
		s.awaitFinal(r.Context(), req.wait, results)
	}
	s.tellRevision(w)
	s.answer(w, r, abortAnswer{Results: results, DryRun: req.dryRun})
}

// planAll says what the request would do to every active job, and writes
// nothing.
func (s *Server) planAll(ctx context.Context, intent quell.Intent) ([]result, error) {
	active, _, err := s.activeJobs(ctx)
	if err != nil {
		return nil, err
	}
	results, err := s.planSome(ctx, idsOf(active), intent)
	return slices.DeleteFunc(results, func(r result) bool { return r.Outcome == notFound }), err
}

// planSome says what the request would do to these jobs, and writes nothing.
func (s *Server) planSome(ctx context.Context, ids []string, intent quell.Intent) ([]result, error) {
	jobs, err := s.jobs(ctx, ids)
	if err != nil {
		return nil, err
	}
	results := make([]result, 0, len(ids))
	for _, id := range ids {
		if job, ok := jobs[id]; ok {
			results = append(results, planned(job, intent))
		} else {
			results = append(results, missing(id))
		}
	}
	return results, nil
}

// abortAll writes an intent for every job that exists, and lists whom it hit.
func (s *Server) abortAll(ctx context.Context, req abortRequest) ([]result, error) {
	// A job that is aborted fast is no longer active when the list after the
	// write is read, so that it takes the one before, too.
	before, _, err := s.activeJobs(ctx)
	if err != nil {
		return nil, err
	}
	s.countAbort(req)
	bound, err := write(ctx, s.opts.StoreTimeout, func(ctx context.Context) (int64, error) {
		return s.store.PutAbortAll(ctx, req.intent)
	})
	if err != nil {
		s.log.Warn("abort-all failed", keyRequester, req.intent.RequestedBy, keyMode, req.intent.Mode,
			keyCount, len(before), keyError, err)
		if quell.CodeOf(err) == quell.CodeUnknown {
			return nil, &partialError{err: err, inDoubt: idsOf(before)}
		}
		return nil, err
	}
	s.wrote(bound)
	// The intent is stored: whatever happens now, the answer says so.
	results, err := s.sweep(context.WithoutCancel(ctx), req, before, bound)
	s.log.Warn("every active job is aborted", keyRequester, req.intent.RequestedBy, keyMode, req.intent.Mode,
		keySource, req.intent.Source, keyReason, req.intent.Reason, keyCount, max(len(results), len(before)))
	if err != nil {
		return nil, &quell.Error{
			Code:    quell.CodeUnknown,
			Message: "the abort of every job is stored and goes on, but the jobs cannot be listed now: GET /v1/jobs tells what becomes of them",
			Err:     err,
		}
	}
	return results, nil
}

// sweep lists the jobs that an abort-all hit: those that were active before
// it, and those that are active now and older than it.
func (s *Server) sweep(ctx context.Context, req abortRequest, before []quell.ActiveJob, bound int64) ([]result, error) {
	after, _, err := s.activeJobs(ctx)
	if err != nil {
		return nil, err
	}
	hit := map[string]bool{}
	for _, job := range before {
		hit[job.ID] = true
	}
	for _, job := range after {
		if job.SpecRevision < bound {
			hit[job.ID] = true
		}
	}
	ids := slices.Sorted(maps.Keys(hit)) // a UUIDv7 sorts by its job's age
	jobs, err := s.jobs(ctx, ids)
	if err != nil {
		return nil, err
	}
	results := make([]result, 0, len(ids))
	for _, id := range ids {
		if job, ok := jobs[id]; ok {
			results = append(results, swept(job, req.intent))
		}
	}
	return results, nil
}

// attempt is what became of one job's intent.
type attempt struct {
	tried  bool
	result result
	err    error
}

// abortSome writes the intent of each job that the request names.
func (s *Server) abortSome(ctx context.Context, req abortRequest) ([]result, error) {
	s.countAbort(req)
	attempts := make([]attempt, len(req.ids))
	// After a first error nothing new is begun: a store that is out of reach
	// would cost its deadline for every further job.
	var failed atomic.Bool
	var group errgroup.Group
	group.SetLimit(abortsAtOnce)
	for i, id := range req.ids {
		group.Go(func() error {
			if !failed.Load() {
				attempts[i] = s.abortOne(ctx, id, req.intent)
			}
			if attempts[i].err != nil {
				failed.Store(true)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in the attempts
	s.log.Info("jobs are aborted", keyRequester, req.intent.RequestedBy, keyMode, req.intent.Mode,
		keySource, req.intent.Source, keyReason, req.intent.Reason, keyCount, len(req.ids), keyJobs, req.ids[:min(len(req.ids), jobsInLog)])
	if failed.Load() {
		return nil, newPartialError(req.ids, attempts)
	}
	results := make([]result, len(attempts))
	for i, a := range attempts {
		results[i] = a.result
	}
	return results, nil
}

func (s *Server) abortOne(ctx context.Context, id string, intent quell.Intent) attempt {
	if _, ok := canonicalID(id); !ok {
		return attempt{tried: true, result: missing(id)}
	}
	wrote := false
	job, err := write(ctx, s.opts.StoreTimeout, func(ctx context.Context) (job quell.Job, err error) {
		job, wrote, err = s.store.PutIntent(ctx, id, intent)
		return job, err
	})
	switch {
	case quell.CodeOf(err) == quell.CodeNotFound:
		return attempt{tried: true, result: missing(id)}
	case err != nil:
		return attempt{tried: true, err: err}
	}
	if wrote && job.Intent != nil {
		s.wrote(job.Intent.Revision)
	}
	r := written(job, wrote, intent)
	r.JobID = id
	return attempt{tried: true, result: r}
}

// awaitFinal waits until the jobs are final or the time is up, and brings the
// results up to date. What goes wrong here takes nothing from the answer: the
// intents are stored.
func (s *Server) awaitFinal(ctx context.Context, limit time.Duration, results []result) {
	var ids []string
	for _, r := range results {
		if r.Outcome != notFound && !r.Final {
			ids = append(ids, r.JobID)
		}
	}
	if len(ids) == 0 {
		return
	}
	jobs := s.waitFinal(ctx, limit, ids)
	for i := range results {
		job, ok := jobs[results[i].JobID]
		if !ok {
			continue
		}
		now := newResult(results[i].JobID, results[i].Outcome, job)
		if now.Mode == "" { // only an abort-all asks for it, and its record is to come
			now.Mode, now.WaitsFor = results[i].Mode, results[i].WaitsFor
		}
		results[i] = now
	}
}

// waitFinal waits until the jobs are final, the time is up, the client has
// gone or the server stops, and returns the jobs as they are then; none where
// they cannot be read.
func (s *Server) waitFinal(ctx context.Context, limit time.Duration, ids []string) map[string]quell.Job {
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// A server that stops does not wait for jobs.
	defer context.AfterFunc(s.stopping, cancel)()
	if err := s.store.WaitFinal(waiting, ids); err != nil && waiting.Err() == nil {
		s.log.Warn("cannot wait for jobs", keyCount, len(ids), keyError, err)
	}
	jobs, err := s.jobs(ctx, ids)
	if err != nil {
		s.log.Warn("jobs cannot be read after the wait for them", keyCount, len(ids), keyError, err)
	}
	return jobs
}

func (s *Server) countAbort(req abortRequest) {
	s.opts.Metrics.Abort(string(req.intent.Mode), string(req.intent.Source))
}

// activeJobs lists the jobs that are not final, and the revision of that.
func (s *Server) activeJobs(ctx context.Context) ([]quell.ActiveJob, int64, error) {
	var revision int64
	active, err := read(ctx, s.opts.StoreTimeout, func(ctx context.Context) (active []quell.ActiveJob, err error) {
		active, revision, err = s.store.ActiveJobs(ctx)
		return active, err
	})
	return active, revision, err
}

// jobs reads those of the jobs that exist, a bounded number at a time. What
// is no id is left out.
func (s *Server) jobs(ctx context.Context, ids []string) (map[string]quell.Job, error) {
	known := make([]string, 0, len(ids))
	for _, id := range ids {
		if _, ok := canonicalID(id); ok {
			known = append(known, id)
		}
	}
	all := make(map[string]quell.Job, len(known))
	for some := range slices.Chunk(known, jobsAtOnce) {
		jobs, err := read(ctx, s.opts.StoreTimeout, func(ctx context.Context) (map[string]quell.Job, error) {
			return s.store.JobsByID(ctx, some)
		})
		if err != nil {
			return nil, err
		}
		maps.Copy(all, jobs)
	}
	return all, nil
}

func idsOf(active []quell.ActiveJob) []string {
	ids := make([]string, len(active))
	for i, job := range active {
		ids[i] = job.ID
	}
	return ids
}
