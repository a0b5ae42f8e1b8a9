package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// stopped is a job that was aborted in its second playbook.
func stopped(j *quell.Job) {
	j.Spec.Template.Playbooks = []quell.Playbook{{URI: "one.yml"}, {URI: "two.yml"}}
	j.Spec.TemplateRevision, j.Spec.OnLock, j.Spec.Timeout = 9, quell.OnLockFail, quell.Duration(time.Hour)
	j.Spec.Requester = "Bob"
	j.State = quell.NewState(j.Spec)
	j.State.Status = quell.StatusAborted
	j.State.Playbooks[0].Status, j.State.Playbooks[1].Status = quell.PlaybookSuccess, quell.PlaybookInterrupted
	j.Output = json.RawMessage(`{"one":1}`)
}

func TestResume(t *testing.T) {
	f := newFixture(t)
	f.store.add(job1, quell.StatusAborted, stopped, func(j *quell.Job) { j.Spec.RerunOf = job4 })
	w := f.do("POST", "/v1/jobs/"+job1+"/resume", "", headerRequester, "Ada")
	answer := requireJSON[map[string]string](t, w)
	require.Len(t, answer, 2)
	assert.Equal(t, job1, answer["resumed_from"])
	assert.Equal(t, fmt.Sprint(f.store.revision), w.Header().Get(headerRevision))

	id := answer["job_execution_id"]
	want := f.store.jobs[job1].Spec
	want.Version, want.ID, want.Requester, want.CreatedAt = quell.FormatVersion, id, "Ada (192.0.2.1)", now
	want.ResumedFrom, want.RerunOf, want.Params.TransactionID = job1, "", job1
	assert.Equal(t, want, f.store.created[0])
	list := requireJSON[jobList](t, f.do("GET", "/v1/jobs?transaction="+job1, "")).Jobs
	require.Len(t, list, 2, "a list after it has it, in the same transaction")
	assert.Equal(t, job1, *list[0].ResumedFrom)
	assert.Contains(t, f.log.String(), "job accepted")

	job := requireJSON[jobBody](t, f.do("GET", "/v1/jobs/"+id, ""))
	assert.Equal(t, job1, *job.ResumedFrom)
	assert.Equal(t, job1, *job.Playbooks[0].From)
	assert.JSONEq(t, `{"one":1}`, string(job.Output))
	assert.Equal(t, id, *requireJSON[jobBody](t, f.do("GET", "/v1/jobs/"+job1, "")).ResumedAs)

	requireProblem(t, f.do("POST", "/v1/jobs/"+job1+"/resume", ""), 409, quell.CodeConflict, id)
	assert.Len(t, f.store.created, 1)
}

func TestRerun(t *testing.T) {
	for name, c := range map[string]struct {
		status      quell.Status
		transaction string
		body        string
	}{
		"of one that ended":      {quell.StatusSuccess, "", "{}"},
		"of one that runs":       {quell.StatusInProgress, "", " "},
		"of one of transactions": {quell.StatusAborted, "t1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.store.add(job1, quell.StatusAborted, stopped, func(j *quell.Job) {
				j.State.Status, j.Spec.Params.TransactionID, j.Spec.ResumedFrom = c.status, c.transaction, job4
			})
			answer := requireJSON[map[string]string](t, f.do("POST", "/v1/jobs/"+job1+"/rerun", c.body))
			require.Len(t, answer, 2)
			assert.Equal(t, job1, answer["rerun_of"])
			id := answer["job_execution_id"]
			want := f.store.jobs[job1].Spec
			want.Version, want.ID, want.Requester, want.CreatedAt = quell.FormatVersion, id, "192.0.2.1", now
			want.ResumedFrom, want.RerunOf = "", job1
			assert.Equal(t, want, f.store.created[0])
			job := requireJSON[jobBody](t, f.do("GET", "/v1/jobs/"+id, ""))
			assert.Equal(t, job1, *job.RerunOf)
			assert.Equal(t, quell.PlaybookPending, job.Playbooks[0].Status, "all of it is done again")
			if c.transaction == "" {
				c.transaction = id
			}
			assert.Equal(t, c.transaction, job.TransactionID)
		})
	}
	t.Run("what is not taken any more", func(t *testing.T) {
		f := newFixture(t)
		f.store.add(job1, quell.StatusSuccess, func(j *quell.Job) { j.Spec.Params.DeviceList = []string{"d", "d"} })
		requireProblem(t, f.do("POST", "/v1/jobs/"+job1+"/rerun", ""), 400, quell.CodeInvalid, "twice")
		assert.Empty(t, f.store.created)
	})
}

func TestResumeAndRerunRefuse(t *testing.T) {
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress)
	f.store.add(job2, quell.StatusSuccess)
	f.store.add(job3, quell.StatusAborted, stopped)
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{job1 + "/resume", "", 409, "is not final"},
		{job2 + "/resume", "", 409, "rerun it"},
		{job4 + "/resume", "", 404, job4},
		{job4 + "/rerun", "", 404, job4},
		{"x/rerun", "", 404, "is a UUID"},
		{job3 + "/resume", `{"input":{}}`, 400, "takes no body"},
		{job3 + "/rerun", `x`, 400, "POST /execute-job"},
		{job3 + "/rerun?timeout=1h", "", 400, "parameter timeout: unknown"},
	} {
		code := map[int]quell.Code{400: quell.CodeInvalid, 404: quell.CodeNotFound, 409: quell.CodeConflict}[c.status]
		requireProblem(t, f.do("POST", "/v1/jobs/"+c.path, c.body), c.status, code, c.want)
	}
	requireProblem(t, f.do("POST", "/v1/jobs/"+job3+"/rerun", "", headerRequester, "a\x1b"), 400, quell.CodeInvalid, headerRequester)
	requireProblem(t, f.do("POST", "/v1/jobs/"+job3+"/rerun", "", "Origin", "http://evil.example"), 403, quell.CodeForbidden)
	assert.Empty(t, f.store.created)

	// Whoever repeats a request that may have been carried out has to know of which job.
	for path, call := range map[string]string{"/resume": "ResumeJob", "/rerun": "CreateJob"} {
		id := ""
		f.store.fail = func(ctx context.Context, name, of string) error {
			if name == call {
				id = of
			}
			return hanging(call)(ctx, name, of)
		}
		p := requireProblem(t, f.do("POST", "/v1/jobs/"+job3+path, ""), 504, quell.CodeUnknown, "GET /v1/jobs/")
		assert.NotEmpty(t, p.JobID)
		assert.Equal(t, id, p.JobID)
		f.store.fail = failing(call, quell.CodeUnavailable)
		w := f.do("POST", "/v1/jobs/"+job3+path, "")
		assert.Equal(t, "1", w.Header().Get("Retry-After"))
		assert.Empty(t, requireProblem(t, w, 503, quell.CodeUnavailable).JobID)
	}
}
