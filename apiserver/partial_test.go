package apiserver

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"quell"
)

// TestAbortStoreFails says 503 when nothing can have been written, and 504
// with the ids when that is not known.
func TestAbortStoreFails(t *testing.T) {
	for name, c := range map[string]struct {
		target, body string
		fail         func(context.Context, string, string) error
		status       int
		code         quell.Code
		inDoubt      []string
	}{
		"refused":               {"/abort-job", abortOf("force", job1), failing("PutIntent", quell.CodeUnavailable), 503, quell.CodeUnavailable, nil},
		"full":                  {"/abort-job", abortOf("force", job1), failing("PutIntent", quell.CodeNoSpace), 507, quell.CodeNoSpace, nil},
		"unknown":               {"/abort-job", abortOf("force", job1), failing("PutIntent", quell.CodeUnknown), 504, quell.CodeUnknown, []string{job1}},
		"hangs":                 {"/abort-job", abortOf("force", job1), hanging("PutIntent"), 504, quell.CodeUnknown, []string{job1}},
		"a fault":               {"/abort-job", abortOf("force", job1), failing("PutIntent", quell.CodeInternal), 504, quell.CodeUnknown, []string{job1}},
		"all, list refused":     {"/abort-job", `{"input":{}}`, failing("ActiveJobs", quell.CodeUnavailable), 503, quell.CodeUnavailable, nil},
		"all, list hangs":       {"/abort-job", `{"input":{}}`, hanging("ActiveJobs"), 503, quell.CodeUnavailable, nil},
		"all, refused":          {"/abort-job", `{"input":{}}`, failing("PutAbortAll", quell.CodeUnavailable), 503, quell.CodeUnavailable, nil},
		"all, unknown":          {"/abort-job", `{"input":{}}`, failing("PutAbortAll", quell.CodeUnknown), 504, quell.CodeUnknown, []string{job1}},
		"all, hangs":            {"/abort-job", `{"input":{}}`, hanging("PutAbortAll"), 504, quell.CodeUnknown, []string{job1}},
		"dry run, refused":      {"/abort-job?dry_run=true", abortOf("force", job1), failing("JobsByID", quell.CodeUnavailable), 503, quell.CodeUnavailable, nil},
		"dry run of all, hangs": {"/abort-job?dry_run=true", `{"input":{}}`, hanging("ActiveJobs"), 503, quell.CodeUnavailable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.store.add(job1, quell.StatusInProgress)
			f.store.fail = c.fail
			w := f.do("POST", c.target, c.body)
			retry := map[bool]string{true: "1", false: ""}[c.status == 503]
			assert.Equal(t, retry, w.Header().Get("Retry-After"))
			p := requireProblem(t, w, c.status, c.code)
			assert.Equal(t, c.inDoubt, p.InDoubt)
			assert.Empty(t, p.Results)
		})
	}
}

// TestAbortInPart has the store go away between the jobs of one request.
func TestAbortInPart(t *testing.T) {
	ids := []string{job1, job2, "nonsense", job3, job4}
	for name, c := range map[string]struct {
		code  quell.Code
		doubt []string
	}{
		"in doubt":    {quell.CodeUnknown, []string{job3}},
		"not written": {quell.CodeUnavailable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			for _, id := range []string{job1, job2, job3, job4} {
				f.store.add(id, quell.StatusInProgress)
			}
			// The last two fail, once the two before them are written.
			var wrote, begun sync.WaitGroup
			wrote.Add(2)
			begun.Add(1)
			f.store.written = func(string) { wrote.Done() }
			f.store.fail = func(_ context.Context, call, id string) error {
				if call != "PutIntent" || id == job1 || id == job2 {
					return nil
				}
				wrote.Wait()
				if id == job3 {
					begun.Done()
					return quell.Errorf(c.code, "etcd went away")
				}
				begun.Wait()
				return quell.Errorf(quell.CodeUnavailable, "etcd went away")
			}
			w := f.do("POST", "/abort-job", abortOf("force", ids...))
			assert.Empty(t, w.Header().Get("Retry-After"), "it must not be repeated unseen")
			p := requireProblem(t, w, 504, quell.CodeUnknown, "in part", "etcd went away")
			assert.Equal(t, c.doubt, p.InDoubt)
			assert.Contains(t, p.NotWritten, job4)
			outcomes := map[string]outcome{}
			for _, r := range p.Results {
				outcomes[r.JobID] = r.Outcome
			}
			assert.Equal(t, accepted, outcomes[job1])
			assert.Equal(t, accepted, outcomes[job2])
			assert.Len(t, append(append(p.InDoubt, p.NotWritten...), slices.Collect(maps.Keys(outcomes))...), len(ids), "every id is somewhere, once")
		})
	}
}

// TestAbortInPartStopsTrying must not spend a deadline on each of many jobs.
func TestAbortInPartStopsTrying(t *testing.T) {
	f := newFixture(t)
	ids := make([]string, 0, 5000)
	for i := range 5000 {
		ids = append(ids, idOf(i))
	}
	calls := make(chan string, len(ids))
	f.store.fail = func(ctx context.Context, call, id string) error {
		if call == "PutIntent" {
			calls <- id
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	p := requireProblem(t, f.do("POST", "/abort-job", abortOf("force", ids...)), 504, quell.CodeUnknown)
	assert.LessOrEqual(t, len(calls), 2*abortsAtOnce)
	assert.Len(t, p.InDoubt, len(calls))
	assert.Len(t, p.NotWritten, len(ids)-len(calls))
}

// TestAbortAllStoredButNotListed must not look as if nothing had happened.
func TestAbortAllStoredButNotListed(t *testing.T) {
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress)
	lists := 0
	f.store.fail = func(_ context.Context, call, _ string) error {
		if call == "ActiveJobs" {
			if lists++; lists == 2 {
				return quell.Errorf(quell.CodeUnavailable, "etcd went away")
			}
		}
		return nil
	}
	w := f.do("POST", "/abort-job", `{"input":{}}`)
	assert.Empty(t, w.Header().Get("Retry-After"))
	requireProblem(t, w, 504, quell.CodeUnknown, "is stored and goes on", "GET /v1/jobs")
	assert.Len(t, f.store.abortAll, 1)
	assert.Contains(t, f.log.String(), "every active job is aborted")
}
