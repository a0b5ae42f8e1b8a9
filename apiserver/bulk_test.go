package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

func jsonOf(v any) ([]byte, error) { return json.Marshal(v) }

// bulkFixture has a job that is final and three that are not.
func bulkFixture(t *testing.T, options ...func(*Options)) *fixture {
	f := newFixture(t, options...)
	f.store.add(job1, quell.StatusInProgress, func(j *quell.Job) {
		j.State.Node, j.Spec.Input, j.Spec.Requester = "n1", json.RawMessage(`{"fabric_fq_name":["g","fab"]}`), "Ada (::1)"
	})
	f.store.add(job2, quell.StatusSuccess, func(j *quell.Job) { j.State.Node = "n1" })
	f.store.add(job3, quell.StatusAborting, withIntent(quell.Graceful), in("t"), func(j *quell.Job) {
		j.State.Node, j.Spec.Template.FQName = "n1", quell.FQName{"a", "c"}
	})
	f.store.add(job4, quell.StatusQueued, func(j *quell.Job) {
		j.Spec.CreatedAt = now.Add(-2 * time.Hour)
		j.State.Devices = []quell.Device{{ID: "d1", Status: quell.PlaybookPending}}
	})
	return f
}

// TestBulkFilters has each condition choose among the jobs that are not final.
func TestBulkFilters(t *testing.T) {
	for filter, want := range map[string][]string{
		`{"node":"n1"}`:                          {job1, job3},
		`{"node":"n1","fabric":"fab"}`:           {job1},
		`{"fabric":"g:fab"}`:                     {job1},
		`{"status":"queued"}`:                    {job4},
		`{"status":"QUEUED,ABORTING"}`:           {job3, job4},
		`{"status":["QUEUED","IN_PROGRESS"]}`:    {job1, job4},
		`{"status":["SUCCESS"]}`:                 {},
		`{"device":"d1"}`:                        {job4},
		`{"template":"c"}`:                       {job3},
		`{"template":"a:b"}`:                     {job1, job4},
		`{"requester":"Ada"}`:                    {job1},
		`{"transaction":"t"}`:                    {job3},
		`{"transaction":"` + job1 + `"}`:         {job1},
		`{"since":"1h"}`:                         {job1, job3},
		`{"until":"1h"}`:                         {job4},
		`{"text":"THE T"}`:                       {job3},
		`{"since":"9h","until":"0s","text":"0"}`: {job4},
		`{"node":"n9"}`:                          {},
	} {
		f := bulkFixture(t)
		for _, query := range []string{"?dry_run=true", ""} {
			answer := requireJSON[bulkAnswer](t, f.do("POST", "/v1/aborts"+query, fmt.Sprintf(`{"filter":%s,"mode":"force","expect":%d}`, filter, len(want))))
			got := []string{}
			for _, r := range answer.Results {
				got = append(got, r.JobID)
				assert.Equal(t, accepted, r.Outcome)
				assert.Equal(t, quell.Force, r.Mode)
			}
			assert.Equal(t, want, got, filter)
			assert.Equal(t, len(want), answer.Count)
			assert.Equal(t, query != "", answer.DryRun)
			if query != "" {
				assert.Zero(t, f.store.writes)
			}
		}
		assert.Equal(t, len(want), f.store.writes, filter)
		assert.Empty(t, f.store.abortAll, "never one for all")
	}
}

func TestBulkRefuses(t *testing.T) {
	for body, want := range map[string]string{
		``:                                      "the JSON text is empty",
		`[]`:                                    "a JSON object is needed",
		`{"mode":"force"}`:                      "filter is missing",
		`{"filter":{},"mode":"force"}`:          "filter is empty: give at least one of status, fabric, device, node, template, requester, transaction, since, until, text; to abort every active job, POST /abort-job without ids",
		`{"filter":null,"mode":"force"}`:        "filter is not an object",
		`{"filter":[],"mode":"force"}`:          "filter is not an object",
		`{"filter":{"node":""},"mode":"force"}`: "filter.node is empty: leave it out",
		`{"filter":{"node":null},"mode":"force"}`:                     "filter.node is null: give a string",
		`{"filter":{"node":3},"mode":"force"}`:                        "filter.node is 3: give a string",
		`{"filter":{"status":""},"mode":"force"}`:                     "filter.status is empty",
		`{"filter":{"status":[]},"mode":"force"}`:                     "filter.status is empty",
		`{"filter":{"status":[1]},"mode":"force"}`:                    "filter.status is [1]",
		`{"filter":{"status":3},"mode":"force"}`:                      "filter.status is 3",
		`{"filter":{"status":"DONE"},"mode":"force"}`:                 `filter.status="DONE" is none of`,
		`{"filter":{"since":"soon"},"mode":"force"}`:                  `filter.since="soon" is neither`,
		`{"filter":{"until":"-1h"},"mode":"force"}`:                   `filter.until="-1h"`,
		`{"filter":{"Node":"n1"},"mode":"force"}`:                     `"filter.Node" is unknown: filter has status, fabric`,
		`{"filter":{"node":"n1","node":"n2"},"mode":"force"}`:         `"filter.node" is repeated`,
		`{"filter":{"node":"n1"}}`:                                    "mode is missing",
		`{"filter":{"node":"n1"},"mode":"Force"}`:                     `mode "Force" is unknown`,
		`{"filter":{"node":"n1"},"mode":"force","ids":[]}`:            `"ids" is unknown: there are mode, reason, force_after, recovery, override, filter, job_execution_ids, expect`,
		`{"filter":{"node":"n1"},"mode":"force","expect":"2"}`:        `expect is "2": give a number`,
		`{"filter":{"node":"n1"},"mode":"force","expect":-1}`:         "expect is -1",
		`{"filter":{"node":"n1"},"mode":"force","expect":1.5}`:        "expect is 1.5",
		`{"filter":{"node":"n1"},"mode":"force","expect":null}`:       "expect is null",
		`{"filter":{"node":"n1"},"mode":"force","recovery":"no"}`:     "recovery is",
		`{"filter":{"node":"n1"},"mode":"graceful","force_after":""}`: "force_after",
	} {
		f := bulkFixture(t)
		requireProblem(t, f.do("POST", "/v1/aborts", body), 400, quell.CodeInvalid, want)
		assert.Zero(t, f.store.writes, body)
	}
	const good = `{"filter":{"node":"n1"},"mode":"force"}`
	for query, want := range map[string]string{"?dry_run=1": "dry_run", "?wait=2h": "wait", "?reason=x": `"reason" is unknown`, "?dry_run=true&dry_run=false": "repeated"} {
		f := bulkFixture(t)
		requireProblem(t, f.do("POST", "/v1/aborts"+query, good), 400, quell.CodeInvalid, want)
		assert.Zero(t, f.store.writes, query)
	}
	f := bulkFixture(t)
	requireProblem(t, f.do("POST", "/v1/aborts", good, "Origin", "http://evil.example"), 403, quell.CodeForbidden)
	for _, query := range []string{"", "?dry_run=true"} {
		requireProblem(t, f.do("POST", "/v1/aborts"+query, `{"filter":{"node":"n1"},"mode":"force","expect":3}`), 409, quell.CodeConflict, "2 jobs", "3 are expected")
		requireProblem(t, f.do("POST", "/v1/aborts"+query, `{"filter":{"node":"n1"},"mode":"force","expect":0}`), 409, quell.CodeConflict, "2 jobs", "0 are expected")
	}
	assert.Zero(t, f.store.writes)
	assert.NotContains(t, f.do("GET", "/metrics", "").Body.String(), `quell_abort_requests_total{mode="force",source="api"} 1`)
}

// TestBulkOfTheseAlone hits those that match and were seen.
func TestBulkOfTheseAlone(t *testing.T) {
	f := bulkFixture(t)
	body := `{"filter":{"node":"n1"},"mode":"force","job_execution_ids":["` + job3 + `","` + job4 + `"],"expect":1}`
	answer := requireJSON[bulkAnswer](t, f.do("POST", "/v1/aborts", body))
	require.Len(t, answer.Results, 1)
	assert.Equal(t, job3, answer.Results[0].JobID, "job4 does not match, job1 was not named")
	requireProblem(t, f.do("POST", "/v1/aborts", `{"filter":{"node":"n1"},"mode":"force","job_execution_ids":[]}`), 400, quell.CodeInvalid, "job_execution_ids is empty")
}

// TestBulkOfNearlyAll is refused where an abort of all is.
func TestBulkOfNearlyAll(t *testing.T) {
	for _, filter := range []string{`{"since":"9999h"}`, `{"text":"-"}`, `{"status":["IN_PROGRESS"],"until":"0s"}`} {
		f := bulkFixture(t, func(o *Options) { o.DenyAbortAll = true })
		requireProblem(t, f.do("POST", "/v1/aborts", `{"filter":`+filter+`,"mode":"force"}`), 403, quell.CodeForbidden, "--abort-all=deny")
		assert.Zero(t, f.store.writes)
		requireJSON[bulkAnswer](t, f.do("POST", "/v1/aborts", `{"filter":`+filter+`,"mode":"force","job_execution_ids":["`+job1+`"]}`))
	}
}

// TestBulkIsAnAbort has what every abort has.
func TestBulkIsAnAbort(t *testing.T) {
	f := bulkFixture(t, func(o *Options) { o.DenyAbortAll = true })
	go func() {
		<-f.store.waited
		f.store.set(job1, func(j *quell.Job) {
			j.State.Status = quell.StatusAborted
			withRecord(quell.Force, quell.OutcomeAborted)(j)
		})
		close(f.store.final)
	}()
	w := f.do("POST", "/v1/aborts?wait=1m", `{"filter":{"fabric":"fab"},"mode":"force","reason":"r","override":true,"force_after":"5m"}`,
		headerSource, "cli", headerRequester, "Ada")
	assert.Equal(t, bulkAnswer{Count: 1, Results: []result{{job1, accepted, quell.StatusAborted, quell.Force, true, ""}}}, requireJSON[bulkAnswer](t, w))
	assert.NotEmpty(t, w.Header().Get(headerRevision))
	assert.Equal(t, quell.Intent{
		Mode: quell.Force, Reason: "r", Override: true, RequestedBy: "Ada (192.0.2.1)", Source: quell.SourceCLI, RequestedAt: now,
	}, f.store.jobs[job1].Intent.Intent)
	assert.Contains(t, f.do("GET", "/metrics", "").Body.String(), `quell_abort_requests_total{mode="force",source="cli"} 1`)
	assert.Contains(t, f.log.String(), "jobs are aborted")
}

// TestBulkSeesWhatIsActiveNow has a job of which the cache has not been told.
func TestBulkSeesWhatIsActiveNow(t *testing.T) {
	synctest.Test(t, bulkSeesWhatIsActiveNow)
}

func bulkSeesWhatIsActiveNow(t *testing.T) {
	f := bulkFixture(t)
	f.store.feed = nil
	f.store.add(idOf(1), quell.StatusInProgress, func(j *quell.Job) { j.State.Node = "n1" })
	late := f.store.jobs[idOf(1)]
	go func() {
		synctest.Wait() // for the request to wait for the cache
		f.store.mu.Lock()
		defer f.store.mu.Unlock()
		f.store.feed = f.cache.take
		f.store.tell(late)
	}()
	answer := requireJSON[bulkAnswer](t, f.do("POST", "/v1/aborts", `{"filter":{"node":"n1"},"mode":"force"}`))
	assert.Equal(t, 3, answer.Count, "it is waited for")

	f.store.revision++ // of which nothing comes
	w := f.do("POST", "/v1/aborts", `{"filter":{"node":"n1"},"mode":"force"}`)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	requireProblem(t, w, 503, quell.CodeUnavailable, "has not reached")
}

// TestBulkStoreFails says what was written, as for single jobs.
func TestBulkStoreFails(t *testing.T) {
	const body = `{"filter":{"node":"n1"},"mode":"force"}`
	for call, target := range map[string]string{"ActiveJobs": "/v1/aborts", "JobsByID": "/v1/aborts?dry_run=true"} {
		f := bulkFixture(t)
		f.store.fail = hanging(call)
		requireProblem(t, f.do("POST", target, body), 503, quell.CodeUnavailable)
		assert.Zero(t, f.store.writes)
	}
	f := bulkFixture(t)
	wrote := make(chan struct{})
	f.store.written = func(string) { close(wrote) }
	f.store.fail = func(_ context.Context, call, id string) error {
		if call != "PutIntent" || id == job1 {
			return nil
		}
		<-wrote
		return quell.Errorf(quell.CodeUnknown, "etcd went away")
	}
	p := requireProblem(t, f.do("POST", "/v1/aborts", body), 504, quell.CodeUnknown, "in part")
	assert.Equal(t, []string{job3}, p.InDoubt)
	require.Len(t, p.Results, 1)
	assert.Equal(t, job1, p.Results[0].JobID)
}
