package apiserver

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// abortOf is the body that aborts the jobs.
func abortOf(mode string, ids ...string) string {
	input := map[string]any{"job_execution_ids": ids}
	if mode != "" {
		input["abort_mode"] = mode
	}
	text, err := json.Marshal(map[string]any{"input": input})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func withIntent(mode quell.Mode) func(*quell.Job) {
	return func(j *quell.Job) {
		j.Intent = &quell.StoredIntent{Intent: quell.Intent{Mode: mode, Source: quell.SourceEtcdctl}}
	}
}

func withRecord(mode quell.Mode, o quell.AbortOutcome) func(*quell.Job) {
	return func(j *quell.Job) {
		seen := now.Add(-time.Minute)
		j.State.Abort = &quell.AbortRecord{Mode: mode, SeenAt: &seen, Outcome: o}
	}
}

// TestAbortOutcomes has each outcome, in the request's order.
func TestAbortOutcomes(t *testing.T) {
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress)
	f.store.add(job2, quell.StatusSuccess)
	f.store.add(job3, quell.StatusAborting, withIntent(quell.Graceful), withRecord(quell.Graceful, ""))

	// The order is neither that of the ids nor that of the ages; an id that is
	// no UUID, and one in capitals that is a duplicate, are among them.
	w := f.do("POST", "/abort-job", abortOf("", job3, "nonsense", job2, strings.ToUpper(job1), job1, job4, "nonsense"))
	assert.JSONEq(t, `{"results":[
		{"job_execution_id":"`+job3+`","outcome":"already_aborting","status":"ABORTING","abort_mode":"graceful","final":false},
		{"job_execution_id":"nonsense","outcome":"not_found","status":"","abort_mode":"","final":false},
		{"job_execution_id":"`+job2+`","outcome":"already_final","status":"SUCCESS","abort_mode":"","final":true},
		{"job_execution_id":"`+job1+`","outcome":"accepted","status":"IN_PROGRESS","abort_mode":"graceful","final":false},
		{"job_execution_id":"`+job4+`","outcome":"not_found","status":"","abort_mode":"","final":false}
	]}`, w.Body.String())
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, 1, f.store.writes)
	assert.Empty(t, f.store.abortAll)
	assert.Equal(t, quell.Intent{
		Mode: quell.Graceful, RequestedBy: "192.0.2.1", Source: quell.SourceAPI, RequestedAt: now,
	}, f.store.jobs[job1].Intent.Intent)
}

// TestAbortFillsTheIntent has every parameter.
func TestAbortFillsTheIntent(t *testing.T) {
	long := strings.Repeat("é", 600) // 1,200 bytes
	for query, want := range map[string]quell.Intent{
		"":                              {Mode: quell.Graceful},
		"?reason=a%20b":                 {Mode: quell.Graceful, Reason: "a b"},
		"?reason=" + long:               {Mode: quell.Graceful, Reason: strings.Repeat("é", 512)},
		"?force_after=5m":               {Mode: quell.Graceful, ForceAfter: 5 * time.Minute},
		"?recovery=false":               {Mode: quell.Graceful, NoRecovery: true},
		"?recovery=true":                {Mode: quell.Graceful},
		"?override=true":                {Mode: quell.Graceful, Override: true},
		"?override=false&dry_run=false": {Mode: quell.Graceful},
	} {
		f := newFixture(t)
		f.store.add(job1, quell.StatusInProgress)
		w := f.do("POST", "/abort-job"+query, abortOf("graceful", job1), headerRequester, "Ada", headerSource, "cli")
		requireJSON[abortAnswer](t, w)
		want.RequestedBy, want.Source, want.RequestedAt = "Ada (192.0.2.1)", quell.SourceCLI, now
		assert.Equal(t, want, f.store.jobs[job1].Intent.Intent, query)
		_, err := quell.ParseIntent(must(json.Marshal(want)))
		require.NoError(t, err, "agents read it")
	}
	t.Run("force has no force_after", func(t *testing.T) {
		f := newFixture(t)
		f.store.add(job1, quell.StatusInProgress)
		requireJSON[abortAnswer](t, f.do("POST", "/abort-job?force_after=5m", abortOf("force", job1)))
		assert.Zero(t, f.store.jobs[job1].Intent.Intent.ForceAfter)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestAbortSpellings has the published example's spelling.
func TestAbortSpellings(t *testing.T) {
	for _, body := range []string{
		`{"input":{"job_execution_id":"` + job1 + `"}}`,
		`{"input":{"job_execution_id":["` + job1 + `"],"abort_mode":"graceful"}}`,
		`{"input":{"job_execution_ids":["` + job1 + `"]}}`,
	} {
		f := newFixture(t)
		f.store.add(job1, quell.StatusInProgress)
		f.store.add(job2, quell.StatusInProgress)
		answer := requireJSON[abortAnswer](t, f.do("POST", "/abort-job", body, "Content-Type", "text/plain"))
		require.Len(t, answer.Results, 1, body)
		assert.Equal(t, job1, answer.Results[0].JobID)
		assert.Nil(t, f.store.jobs[job2].Intent)
		assert.Empty(t, f.store.abortAll)
	}
}

// TestAbortOfNonsenseIsNotAbortAll has ids that name nothing.
func TestAbortOfNonsenseIsNotAbortAll(t *testing.T) {
	for _, body := range []string{
		abortOf("force", ""), abortOf("force", "x", "y"), `{"input":{"job_execution_id":""}}`,
		abortOf("force", strings.ReplaceAll(job1, "-", "")), abortOf("force", "urn:uuid:"+job1), abortOf("force", "{"+job1+"}"),
	} {
		f := newFixture(t)
		f.store.add(job1, quell.StatusInProgress)
		answer := requireJSON[abortAnswer](t, f.do("POST", "/abort-job", body))
		for _, r := range answer.Results {
			assert.Equal(t, notFound, r.Outcome)
		}
		assert.NotEmpty(t, answer.Results)
		assert.Zero(t, f.store.writes, body)
	}
}

func TestAbortRefuses(t *testing.T) {
	id := `"` + job1 + `"`
	for name, c := range map[string]struct {
		body, query string
		status      int
		want        string
	}{
		"empty body":         {body: "", want: "the JSON text is empty"},
		"single quotes":      {body: `{'input': {'job_execution_ids': []}}`, want: "use double quotes"},
		"quoted whole":       {body: `'{"input":{}}'`, want: "use double quotes"},
		"no object":          {body: `[]`, want: "a JSON object is needed"},
		"trailing data":      {body: `{"input":{}} x`, want: "more text behind"},
		"no input":           {body: `{}`, want: "input is missing"},
		"input null":         {body: `{"input":null}`, want: "input is not an object"},
		"input a list":       {body: `{"input":[` + id + `]}`, want: "input is not an object"},
		"ids outside input":  {body: `{"job_execution_ids":[` + id + `]}`, want: `"job_execution_ids" is unknown`},
		"unknown property":   {body: `{"input":{"ids":[` + id + `]}}`, want: `"input.ids" is unknown`},
		"another case":       {body: `{"input":{"Job_execution_ids":[` + id + `]}}`, want: `"input.Job_execution_ids" is unknown`},
		"repeated property":  {body: `{"input":{"abort_mode":"force","abort_mode":"graceful"}}`, want: `"input.abort_mode" is repeated`},
		"repeated input":     {body: `{"input":{},"input":{}}`, want: `"input" is repeated`},
		"both spellings":     {body: `{"input":{"job_execution_ids":[` + id + `],"job_execution_id":` + id + `}}`, want: "give one of them"},
		"both, one empty":    {body: `{"input":{"job_execution_id":` + id + `,"job_execution_ids":[]}}`, want: "give one of them"},
		"ids null":           {body: `{"input":{"job_execution_ids":null}}`, want: "input.job_execution_ids is null"},
		"id null":            {body: `{"input":{"job_execution_id":null}}`, want: "input.job_execution_id is null"},
		"an id is null":      {body: `{"input":{"job_execution_ids":[null]}}`, want: "give a list of strings"},
		"ids as text":        {body: `{"input":{"job_execution_ids":` + id + `}}`, want: "give a list of strings"},
		"an id is a number":  {body: `{"input":{"job_execution_ids":[` + id + `,3]}}`, want: "give a list of strings"},
		"unknown mode":       {body: abortOf("gently", job1), want: `input.abort_mode "gently" is unknown: it is graceful or force`},
		"mode in capitals":   {body: abortOf("Force", job1), want: "is unknown"},
		"mode null":          {body: `{"input":{"abort_mode":null}}`, want: "input.abort_mode is null"},
		"mode a number":      {body: `{"input":{"abort_mode":1}}`, want: "input.abort_mode is 1"},
		"unknown parameter":  {query: "?dryrun=true", want: `"dryrun" is unknown: there are wait, dry_run`},
		"repeated parameter": {query: "?dry_run=true&dry_run=false", want: `"dry_run" is repeated`},
		"dry_run=1":          {query: "?dry_run=1", want: `dry_run="1" is neither true nor false`},
		"dry_run alone":      {query: "?dry_run", want: "neither true nor false"},
		"recovery=no":        {query: "?recovery=no", want: "recovery="},
		"override=yes":       {query: "?override=yes", want: "override="},
		"wait=30":            {query: "?wait=30", want: `wait="30" is not a time such as 30s`},
		"wait below zero":    {query: "?wait=-1s", want: "wait="},
		"wait too long":      {query: "?wait=61m", want: "up to 1h"},
		"force_after=soon":   {query: "?force_after=soon", want: "force_after"},
		"force_after=0s":     {query: "?force_after=0s", want: "force_after"},
		"a bad query":        {query: "?reason=%zz", want: "the query cannot be read"},
		"over 1 MiB":         {body: strings.Repeat(" ", 1<<20+1), status: 413, want: "larger than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.store.add(job1, quell.StatusInProgress)
			status, code := 400, quell.CodeInvalid
			if c.status != 0 {
				status, code = c.status, quell.CodeTooLarge
			}
			if c.query != "" {
				c.body = abortOf("force", job1)
			}
			requireProblem(t, f.do("POST", "/abort-job"+c.query, c.body), status, code, c.want)
			assert.Zero(t, f.store.writes)
		})
	}
}

// TestAbortAcrossSites has a page of another site in its user's browser.
func TestAbortAcrossSites(t *testing.T) {
	for name, headers := range map[string][]string{
		"Sec-Fetch-Site": {"Sec-Fetch-Site", "cross-site"},
		"same-site":      {"Sec-Fetch-Site", "same-site"},
		"Origin":         {"Origin", "http://evil.example"},
		"null Origin":    {"Origin", "null"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.store.add(job1, quell.StatusInProgress)
			requireProblem(t, f.do("POST", "/abort-job", `{"input":{}}`, headers...), 403, quell.CodeForbidden, "another site")
			requireProblem(t, f.do("PUT", "/v1/job-templates/a", "playbooks: []", headers...), 403, quell.CodeForbidden)
			assert.Zero(t, f.store.writes)
		})
	}
	f := newFixture(t)
	requireJSON[abortAnswer](t, f.do("POST", "/abort-job", `{"input":{}}`, "Sec-Fetch-Site", "same-origin", "Origin", "http://example.com"))
}

func TestAbortAll(t *testing.T) {
	for _, body := range []string{`{"input":{}}`, `{"input":{"job_execution_ids":[],"abort_mode":"graceful"}}`, `{"input":{"job_execution_id":[]}}`} {
		f := newFixture(t)
		f.store.add(job1, quell.StatusInProgress)
		f.store.add(job2, quell.StatusSuccess)
		f.store.add(job3, quell.StatusAborting, withIntent(quell.Force), withRecord(quell.Force, ""))
		f.store.add(job4, quell.StatusQueued)
		f.store.written = func(string) {
			// The agent is fast: when the jobs are listed, it has seen the intent
			// and made its record, and the queued one is final. A job that came
			// later is not hit.
			ours := f.store.abortAll[0].Intent
			at := ours.RequestedAt
			record := &quell.AbortRecord{Mode: ours.Mode, RequestedBy: ours.RequestedBy, RequestedAt: &at}
			f.store.set(job1, func(j *quell.Job) { j.State.Abort, j.State.Status = record, quell.StatusAborting })
			f.store.set(job4, func(j *quell.Job) { j.State.Abort, j.State.Status = record, quell.StatusAborted })
			f.store.add("0190a000-0000-7000-8000-00000000000e", quell.StatusQueued)
		}
		answer := requireJSON[abortAnswer](t, f.do("POST", "/abort-job", body))
		assert.Equal(t, []result{
			{job1, accepted, quell.StatusAborting, quell.Graceful, false, ""},
			{job3, alreadyAborting, quell.StatusAborting, quell.Force, false, ""},
			{job4, accepted, quell.StatusAborted, quell.Graceful, true, ""},
		}, answer.Results)
		require.Len(t, f.store.abortAll, 1)
		assert.Equal(t, quell.Intent{
			Mode: quell.Graceful, RequestedBy: "192.0.2.1", Source: quell.SourceAPI, RequestedAt: now,
		}, f.store.abortAll[0].Intent)
		assert.Equal(t, 1, f.store.writes, "one transaction, however many jobs")
		assert.Contains(t, f.log.String(), `msg="every active job is aborted" requester=192.0.2.1 mode=graceful source=api reason="" count=3`)
	}
	t.Run("of none", func(t *testing.T) {
		w := newFixture(t).do("POST", "/abort-job", `{"input":{}}`)
		assert.JSONEq(t, `{"results":[]}`, w.Body.String())
	})
}

func TestAbortAllDenied(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.DenyAbortAll = true })
	f.store.add(job1, quell.StatusInProgress)
	for _, target := range []string{"/abort-job", "/abort-job?dry_run=true"} {
		requireProblem(t, f.do("POST", target, `{"input":{}}`), 403, quell.CodeForbidden, "--abort-all=deny", "input.job_execution_ids")
	}
	assert.Zero(t, f.store.writes)
	requireJSON[abortAnswer](t, f.do("POST", "/abort-job", abortOf("", job1)))
	assert.Equal(t, 1, f.store.writes)
}

func TestAbortDryRun(t *testing.T) {
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress)
	f.store.add(job2, quell.StatusSuccess)
	f.store.add(job3, quell.StatusAborting, withRecord(quell.Graceful, ""))
	answer := requireJSON[abortAnswer](t, f.do("POST", "/abort-job?dry_run=true", abortOf("force", job2, job1, job3, job4)))
	assert.True(t, answer.DryRun)
	assert.Equal(t, []result{
		{job2, alreadyFinal, quell.StatusSuccess, "", true, ""},
		{job1, accepted, quell.StatusInProgress, quell.Force, false, ""},
		{job3, accepted, quell.StatusAborting, quell.Force, false, ""},
		{job4, notFound, "", "", false, ""},
	}, answer.Results)

	answer = requireJSON[abortAnswer](t, f.do("POST", "/abort-job?dry_run=true&wait=1h", `{"input":{}}`))
	slices.SortFunc(answer.Results, func(a, b result) int { return strings.Compare(a.JobID, b.JobID) })
	assert.Equal(t, []result{
		{job1, accepted, quell.StatusInProgress, quell.Graceful, false, ""},
		{job3, alreadyAborting, quell.StatusAborting, quell.Graceful, false, ""},
	}, answer.Results)
	assert.Zero(t, f.store.writes)
}

func TestAbortWait(t *testing.T) {
	t.Run("until they are final", func(t *testing.T) {
		f := newFixture(t)
		f.store.add(job1, quell.StatusInProgress)
		f.store.add(job2, quell.StatusSuccess)
		var waitedFor string
		f.store.fail = func(_ context.Context, call, ids string) error {
			if call == "WaitFinal" {
				waitedFor = ids
			}
			return nil
		}
		go func() {
			<-f.store.waited
			f.store.set(job1, func(j *quell.Job) {
				j.State.Status = quell.StatusAborted
				withRecord(quell.Force, quell.OutcomeAborted)(j)
			})
			close(f.store.final)
		}()
		answer := requireJSON[abortAnswer](t, f.do("POST", "/abort-job?wait=1m", abortOf("force", job1, job2, "x")))
		assert.Equal(t, job1, waitedFor, "what is final already is not waited for")
		assert.Equal(t, []result{
			{job1, accepted, quell.StatusAborted, quell.Force, true, ""},
			{job2, alreadyFinal, quell.StatusSuccess, "", true, ""},
			{"x", notFound, "", "", false, ""},
		}, answer.Results)
	})
	t.Run("until the time is up", func(t *testing.T) {
		f := newFixture(t)
		f.store.add(job1, quell.StatusInProgress)
		answer := requireJSON[abortAnswer](t, f.do("POST", "/abort-job?wait=5ms", `{"input":{}}`))
		assert.Equal(t, []result{{job1, accepted, quell.StatusInProgress, quell.Graceful, false, ""}}, answer.Results)
	})
	t.Run("until the server stops", func(t *testing.T) {
		f := newFixture(t)
		f.store.add(job1, quell.StatusInProgress)
		go func() {
			<-f.store.waited
			assert.NoError(t, f.Stop(context.Background()))
		}()
		answer := requireJSON[abortAnswer](t, f.do("POST", "/abort-job?wait=1h", abortOf("", job1)))
		assert.False(t, answer.Results[0].Final)
	})
	t.Run("the store fails meanwhile", func(t *testing.T) {
		for _, call := range []string{"WaitFinal", "JobsByID"} {
			f := newFixture(t)
			f.store.add(job1, quell.StatusInProgress)
			close(f.store.final)
			f.store.fail = failing(call, quell.CodeUnavailable)
			answer := requireJSON[abortAnswer](t, f.do("POST", "/abort-job?wait=1h", abortOf("", job1)))
			assert.Equal(t, []result{{job1, accepted, quell.StatusInProgress, quell.Graceful, false, ""}}, answer.Results)
		}
	})
}

// TestAbortMany writes many intents, a bounded number at once.
func TestAbortMany(t *testing.T) {
	f := newFixture(t)
	ids := make([]string, 300)
	for i := range ids {
		ids[i] = idOf(len(ids) - i)
		f.store.add(ids[i], quell.StatusInProgress)
	}
	var now, most atomic.Int64
	f.store.fail = func(_ context.Context, call, _ string) error {
		if n := now.Add(1); call == "PutIntent" && n > most.Load() {
			most.Store(n)
		}
		now.Add(-1)
		return nil
	}
	answer := requireJSON[abortAnswer](t, f.do("POST", "/abort-job", abortOf("force", ids...)))
	require.Len(t, answer.Results, len(ids))
	for i, r := range answer.Results {
		assert.Equal(t, ids[i], r.JobID)
		assert.Equal(t, accepted, r.Outcome)
	}
	assert.LessOrEqual(t, most.Load(), int64(abortsAtOnce))
}

func TestAbortIsCounted(t *testing.T) {
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress)
	f.do("POST", "/abort-job", abortOf("force", job1), headerSource, "web")
	f.do("POST", "/abort-job?dry_run=true", abortOf("force", job1))
	f.do("POST", "/abort-job", `{`)
	text := f.do("GET", "/metrics", "").Body.String()
	assert.Contains(t, text, `quell_abort_requests_total{mode="force",source="web"} 1`)
	assert.Contains(t, text, `quell_abort_requests_total{mode="force",source="api"} 0`)
	assert.Contains(t, text, `quell_http_requests_total{code="200",method="POST",route="/abort-job"} 2`)
	assert.Contains(t, text, `quell_http_requests_total{code="400",method="POST",route="/abort-job"} 1`)
}

// TestAbortReasonIsNotAHeader keeps the unreadable out of the log's lines.
func TestAbortReasonIsNotAHeader(t *testing.T) {
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress)
	f.do("POST", "/abort-job?reason="+url.QueryEscape("a\nlevel=ERROR forged"), abortOf("", job1), "X-AUTH-TOKEN", "s3cret")
	assert.NotContains(t, f.log.String(), "\nlevel=ERROR")
	assert.NotContains(t, f.log.String(), "s3cret")
	assert.Equal(t, http.StatusOK, f.do("GET", "/healthz", "").Code)
}

// TestAbortSaysWhatItWaitsFor has a playbook that must not be interrupted.
func TestAbortSaysWhatItWaitsFor(t *testing.T) {
	for name, c := range map[string]struct {
		method, target, body string
		want                 string
	}{
		"POST":           {"POST", "/abort-job", abortOf("force", job1), waitsForFlash},
		"POST dry run":   {"POST", "/abort-job?dry_run=true", abortOf("force", job1), waitsForFlash},
		"POST all":       {"POST", "/abort-job", `{"input":{"abort_mode":"force"}}`, waitsForFlash},
		"POST and wait":  {"POST", "/abort-job?wait=1ms", abortOf("force", job1), waitsForFlash},
		"all and wait":   {"POST", "/abort-job?wait=1ms", `{"input":{"abort_mode":"force"}}`, waitsForFlash},
		"PUT":            {"PUT", "/v1/jobs/" + job1 + "/abort", `{"mode":"force"}`, waitsForFlash},
		"PUT dry run":    {"PUT", "/v1/jobs/" + job1 + "/abort?dry_run=true", `{"mode":"force"}`, waitsForFlash},
		"many":           {"POST", "/v1/aborts", `{"filter":{"template":"b"},"mode":"force"}`, waitsForFlash},
		"graceful":       {"POST", "/abort-job", abortOf("graceful", job1), ""},
		"with override":  {"POST", "/abort-job?override=true", abortOf("force", job1), ""},
		"PUT, overrides": {"PUT", "/v1/jobs/" + job1 + "/abort", `{"mode":"force","override":true}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.store.add(job1, quell.StatusInProgress, unabortable)
			w := f.do(c.method, c.target, c.body)
			require.Equal(t, 200, w.Code, w.Body)
			got := decodeText[struct {
				WaitsFor *string `json:"waits_for"`
				Results  []struct {
					WaitsFor *string `json:"waits_for"`
				}
			}](t, w.Body.String())
			if len(got.Results) > 0 {
				got.WaitsFor = got.Results[0].WaitsFor
			}
			if c.want == "" {
				assert.Nil(t, got.WaitsFor)
				return
			}
			require.NotNil(t, got.WaitsFor)
			assert.Equal(t, c.want, *got.WaitsFor)
		})
	}
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress, unabortable, withIntent(quell.Force))
	answer := requireJSON[abortAnswer](t, f.do("POST", "/abort-job", abortOf("graceful", job1)))
	assert.Equal(t, waitsForFlash, answer.Results[0].WaitsFor, "what holds is the force of before")
}
