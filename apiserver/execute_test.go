package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
	"quell/internal/template"
)

const execute = `{"job_template_fq_name":["a","b"],"input":{"n":1}}`

const templateUUID = "0190c000-0000-4000-8000-0000000000ab"

func executeFixture(t *testing.T) *fixture {
	f := newFixture(t)
	f.store.templates["a:b"] = quell.Template{
		FQName: quell.FQName{"a", "b"}, UUID: templateUUID, Playbooks: []quell.Playbook{{URI: "one.yml"}},
		InputSchema: json.RawMessage(`{"properties":{"n":{"type":"integer"},"m":{"type":"integer"}}}`),
	}
	f.store.templates["a:d"] = quell.Template{
		FQName: quell.FQName{"a", "d"}, Concurrency: quell.ConcurrencyDevice, Playbooks: []quell.Playbook{{URI: "each.yml", MultiDevice: true}},
	}
	return f
}

func manyDevices(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("device-%d", i)
	}
	return string(must(json.Marshal(list)))
}

func TestExecuteJob(t *testing.T) {
	f := executeFixture(t)
	// curl -d labels JSON as a form.
	w := f.do("POST", "/execute-job", `{"job_template_fq_name":["a","b"],"input":{"n":1},"params":{"device_list":["d1","d2","d1"]}}`,
		"Content-Type", "application/x-www-form-urlencoded", "X-Quell-Requester", "Ada", "X-AUTH-TOKEN", "s3cret")
	answer := requireJSON[map[string]string](t, w)
	require.Len(t, answer, 1)
	id, err := uuid.Parse(answer["job_execution_id"])
	require.NoError(t, err)
	assert.Equal(t, uuid.Version(7), id.Version())

	require.Len(t, f.store.created, 1)
	assert.Equal(t, quell.Spec{
		Version: quell.FormatVersion, ID: answer["job_execution_id"], Template: f.store.templates["a:b"],
		TemplateRevision: 7, Input: json.RawMessage(`{"n":1}`), Params: quell.Params{DeviceList: []string{"d1", "d2"}},
		Requester: "Ada (192.0.2.1)", CreatedAt: now,
	}, f.store.created[0])
	assert.Contains(t, f.log.String(), "job accepted")
	assert.NotContains(t, f.log.String(), "s3cret")

	requireJSON[map[string]string](t, f.do("POST", "/execute-job", execute))
	assert.Equal(t, "192.0.2.1", f.store.created[1].Requester)
}

func TestExecuteJobRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"empty body":            {"", 400, "the JSON text is empty"},
		"single quotes":         {`{'job_template_fq_name':['a']}`, 400, "use double quotes"},
		"no object":             {`["a"]`, 400, "a JSON object is needed"},
		"trailing data":         {execute + `{}`, 400, "more text behind"},
		"unknown property":      {`{"job_template_fq_name":["a","b"],"input":{},"colour":1}`, 400, `"colour" is unknown`},
		"another case":          {`{"Job_template_fq_name":["a","b"],"input":{}}`, 400, `"Job_template_fq_name" is unknown`},
		"repeated property":     {`{"job_template_fq_name":["a","b"],"input":{},"input":{}}`, 400, `"input" is repeated`},
		"repeated in the input": {`{"job_template_fq_name":["a","b"],"input":{"a":{"b":1,"b":2}}}`, 400, `"input.a.b" is repeated`},
		"name as text":          {`{"job_template_fq_name":"a:b","input":{}}`, 400, "job_template_fq_name is \"a:b\": give a list of strings"},
		"name null":             {`{"job_template_fq_name":null,"input":{}}`, 400, "job_template_fq_name is null"},
		"name with null":        {`{"job_template_fq_name":["a",null],"input":{}}`, 400, "give a list of strings"},
		"name with a number":    {`{"job_template_fq_name":["a",1],"input":{}}`, 400, "give a list of strings"},
		"name empty":            {`{"job_template_fq_name":[],"input":{}}`, 400, "fq_name is empty"},
		"name with a colon":     {`{"job_template_fq_name":["a:b"],"input":{}}`, 400, "holds a ':'"},
		"neither name nor id":   {`{"input":{}}`, 400, "one of job_template_fq_name and job_template_id"},
		"both name and id":      {`{"job_template_fq_name":["a","b"],"job_template_id":"x","input":{}}`, 400, "one of"},
		"id as a number":        {`{"job_template_id":3,"input":{}}`, 400, "job_template_id is 3"},
		"id unknown":            {`{"job_template_id":"` + job1 + `","input":{}}`, 404, job1},
		"id in another form":    {`{"job_template_id":"{` + templateUUID + `}","input":{}}`, 404, "that is a UUID"},
		"id empty":              {`{"job_template_id":"","input":{}}`, 404, "job_template_fq_name"},
		"name unknown":          {`{"job_template_fq_name":["x"],"input":{}}`, 404, "no job template x"},
		"no input":              {`{"job_template_fq_name":["a","b"]}`, 400, "input is missing"},
		"input null":            {`{"job_template_fq_name":["a","b"],"input":null}`, 400, "input is not an object"},
		"input a list":          {`{"job_template_fq_name":["a","b"],"input":[]}`, 400, "input is not an object"},
		"params null":           {`{"job_template_fq_name":["a","b"],"input":{},"params":null}`, 400, "params is not an object"},
		"params unknown":        {`{"job_template_fq_name":["a","b"],"input":{},"params":{"x":1}}`, 400, `"params.x" is unknown: params has device_list, transaction_id`},
		"transaction_id 3":      {`{"job_template_fq_name":["a","b"],"input":{},"params":{"transaction_id":3}}`, 400, "params.transaction_id is 3"},
		"transaction_descr [ ]": {`{"job_template_fq_name":["a","b"],"input":{},"params":{"transaction_descr":[]}}`, 400, "params.transaction_descr is []"},
		"transaction_id long":   {`{"job_template_fq_name":["a","b"],"input":{},"params":{"transaction_id":"` + strings.Repeat("x", 1025) + `"}}`, 400, "transaction_id"},
		"device_list with \"\"": {`{"job_template_fq_name":["a","b"],"input":{},"params":{"device_list":["d",""]}}`, 400, "device 2 of the list"},
		"fabric too long":       {`{"job_template_fq_name":["a","d"],"input":{"fabric_fq_name":"` + strings.Repeat("x", 300) + `"},"params":{"device_list":["d"]}}`, 400, "fabric_fq_name"},
		"no devices":            {`{"job_template_fq_name":["a","d"],"input":{}}`, 400, "give params.device_list"},
		"too many devices":      {`{"job_template_fq_name":["a","d"],"input":{},"params":{"device_list":` + manyDevices(6000) + `}}`, 413, "6000 devices"},
		"device_list as text":   {`{"job_template_fq_name":["a","b"],"input":{},"params":{"device_list":"d"}}`, 400, "params.device_list"},
		"device_list null":      {`{"job_template_fq_name":["a","b"],"input":{},"params":{"device_list":null}}`, 400, "params.device_list"},
		"device_list of ints":   {`{"job_template_fq_name":["a","b"],"input":{},"params":{"device_list":[1]}}`, 400, "params.device_list"},
		"input does not fit":    {`{"job_template_fq_name":["a","b"],"input":{"n":"x","m":"y"}}`, 400, "#/n: "},
		"over 1 MiB":            {`{"input":"` + strings.Repeat("x", 1<<20), 413, "larger than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			f := executeFixture(t)
			code := map[int]quell.Code{400: quell.CodeInvalid, 404: quell.CodeNotFound, 413: quell.CodeTooLarge}[c.status]
			requireProblem(t, f.do("POST", "/execute-job", c.body), c.status, code, c.want)
			assert.Zero(t, f.store.writes)
		})
	}
	t.Run("every mismatch of the input", func(t *testing.T) {
		w := executeFixture(t).do("POST", "/execute-job", `{"job_template_fq_name":["a","b"],"input":{"n":"x","m":"y"}}`)
		requireProblem(t, w, 400, quell.CodeInvalid, "#/n: ", "#/m: ")
	})
	for query, want := range map[string]string{
		"dry_run=true": `"dry_run" is unknown: there are on_lock, timeout`, "on_lock=block": `on_lock="block" is unknown: it is wait or fail`, "on_lock=": "on_lock",
		"timeout=0s": `timeout="0s" is not a time above zero`, "playbook_timeout=-1m": "playbook_timeout", "queue_timeout=5": "queue_timeout",
		"timeout=1h&timeout=2h": `"timeout" is repeated`, "timeout=": "timeout",
	} {
		f := executeFixture(t)
		requireProblem(t, f.do("POST", "/execute-job?"+query, execute), 400, quell.CodeInvalid, want)
		assert.Zero(t, f.store.writes, query)
	}
	t.Run("a body of just 1 MiB", func(t *testing.T) {
		body := execute[:len(execute)-1] + strings.Repeat(" ", 1<<20-len(execute)) + "}"
		require.Len(t, body, 1<<20)
		requireJSON[executeAnswer](t, executeFixture(t).do("POST", "/execute-job", body))
	})
}

// TestRequesterHeaders has what does not belong into logs and records.
func TestRequesterHeaders(t *testing.T) {
	for name, value := range map[string]string{
		"too long": strings.Repeat("x", 129), "a line break": "a\nb", "an escape": "a\x1b[31m", "no UTF-8": "a\xff",
	} {
		t.Run(name, func(t *testing.T) {
			f := executeFixture(t)
			requireProblem(t, f.do("POST", "/execute-job", execute, headerRequester, value), 400, quell.CodeInvalid, headerRequester)
		})
	}
	f := executeFixture(t)
	requireProblem(t, f.do("POST", "/execute-job", execute, headerSource, "etcdctl"), 400, quell.CodeInvalid, headerSource)
	assert.Zero(t, f.store.writes)
}

// TestExecuteJobStoreFails has every way in which the store can fail.
func TestExecuteJobStoreFails(t *testing.T) {
	t.Run("nothing was written", func(t *testing.T) {
		for call, fails := range map[string]func(context.Context, string, string) error{
			"reading is refused": failing("Template", quell.CodeUnavailable),
			"reading hangs":      hanging("Template"),
			"writing is refused": failing("CreateJob", quell.CodeUnavailable),
		} {
			t.Run(call, func(t *testing.T) {
				f := executeFixture(t)
				f.store.fail = fails
				w := f.do("POST", "/execute-job", execute)
				assert.Equal(t, "1", w.Header().Get("Retry-After"))
				p := requireProblem(t, w, 503, quell.CodeUnavailable)
				assert.Empty(t, p.JobID)
			})
		}
	})
	t.Run("it may have been written", func(t *testing.T) {
		for call, fails := range map[string]func(context.Context, string, string) error{
			"the store does not know": failing("CreateJob", quell.CodeUnknown),
			"writing hangs":           hanging("CreateJob"),
		} {
			t.Run(call, func(t *testing.T) {
				f := executeFixture(t)
				id := ""
				f.store.fail = func(ctx context.Context, call, of string) error {
					if call == "CreateJob" {
						id = of
					}
					return fails(ctx, call, of)
				}
				w := f.do("POST", "/execute-job", execute)
				assert.Empty(t, w.Header().Get("Retry-After"))
				p := requireProblem(t, w, 504, quell.CodeUnknown, "GET /v1/jobs/")
				assert.NotEmpty(t, p.JobID)
				assert.Equal(t, id, p.JobID)
			})
		}
	})
	for code, status := range map[quell.Code]int{quell.CodeTooLarge: 413, quell.CodeNoSpace: 507, quell.CodeConflict: 409} {
		f := executeFixture(t)
		f.store.fail = failing("CreateJob", code)
		requireProblem(t, f.do("POST", "/execute-job", execute), status, code)
	}
}

// TestExecuteJobGoesOnWithoutClient has a client that has gone away.
func TestExecuteJobGoesOnWithoutClient(t *testing.T) {
	f := executeFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	f.store.fail = func(inner context.Context, call, _ string) error {
		if call == "CreateJob" {
			cancel()
			return inner.Err()
		}
		return nil
	}
	r := newRequest(ctx, "POST", "/execute-job", execute)
	f.ServeHTTP(discard{http.Header{}}, r)
	assert.Len(t, f.store.created, 1)
}

// TestExecuteJobFillsTheSpec has what the request says beside the input.
func TestExecuteJobFillsTheSpec(t *testing.T) {
	f := executeFixture(t)
	const params = `"params":{"device_list":["d","e","d"],"transaction_id":"t 1","transaction_descr":"Fabric é"}`
	answer := requireJSON[executeAnswer](t, f.do("POST", "/execute-job?on_lock=fail&timeout=2h&playbook_timeout=30m&queue_timeout=90s",
		`{"job_template_fq_name":["a","d"],"input":{"fabric_fq_name":["g","fab"]},`+params+`}`))
	assert.Empty(t, answer.Status, "it is not waited for")
	spec := f.store.created[0]
	assert.Equal(t, quell.Params{DeviceList: []string{"d", "e"}, TransactionID: "t 1", TransactionDescr: "Fabric é"}, spec.Params)
	assert.Equal(t, quell.OnLockFail, spec.OnLock)
	assert.Equal(t, []quell.Duration{quell.Duration(2 * time.Hour), quell.Duration(30 * time.Minute), quell.Duration(90 * time.Second)},
		[]quell.Duration{spec.Timeout, spec.PlaybookTimeout, spec.QueueTimeout})
	job := requireJSON[jobBody](t, f.do("GET", "/v1/jobs/"+answer.JobID, ""))
	assert.Equal(t, &locksBody{quell.ConcurrencyDevice, "g:fab"}, job.Locks)
	assert.Equal(t, "t 1", job.TransactionID)
}

// TestExecuteJobByID finds templates by their UUID.
func TestExecuteJobByID(t *testing.T) {
	f := executeFixture(t)
	byID := func(id string) string {
		return `{"job_template_id":"` + id + `","input":{},"params":{"device_list":["d"]}}`
	}
	// One that an earlier release stored has the UUID that its reader would
	// give it now.
	named := must(template.ReadNamed("", []byte("playbooks: [{playbook_uri: x.yml}]"), quell.FQName{"a", "d"}))
	for id, want := range map[string]string{templateUUID: "a:b", strings.ToUpper(templateUUID): "a:b", named.UUID: "a:d"} {
		answer := requireJSON[executeAnswer](t, f.do("POST", "/execute-job", byID(id)))
		job := f.store.jobs[answer.JobID]
		assert.Equal(t, want, job.Spec.Template.FQName.String())
		assert.Equal(t, strings.ToLower(id), job.Spec.Template.UUID)
		assert.EqualValues(t, 7, job.Spec.TemplateRevision)
	}
	f.store.templates["a:c"] = quell.Template{FQName: quell.FQName{"a", "c"}, UUID: strings.ToUpper(templateUUID), Playbooks: []quell.Playbook{{URI: "x.yml"}}}
	writes := f.store.writes
	requireProblem(t, f.do("POST", "/execute-job", byID(templateUUID)), 409, quell.CodeConflict, "a:b, a:c", "give job_template_fq_name")
	f.store.fail = hanging("Templates")
	requireProblem(t, f.do("POST", "/execute-job", byID(templateUUID)), 503, quell.CodeUnavailable)
	assert.Equal(t, writes, f.store.writes)
}

// TestExecuteSynchronous has the answer wait for the job's end.
func TestExecuteSynchronous(t *testing.T) {
	fixtureOf := func(t *testing.T) *fixture {
		f := executeFixture(t)
		sync := f.store.templates["a:b"]
		sync.Synchronous = true
		f.store.templates["a:b"] = sync
		return f
	}
	t.Run("until it is final", func(t *testing.T) {
		f := fixtureOf(t)
		go func() {
			<-f.store.waited
			f.store.set(f.store.created[0].ID, func(j *quell.Job) {
				j.State.Status, j.StateRevision = quell.StatusSuccess, f.store.revision+1
			})
			close(f.store.final)
		}()
		w := f.do("POST", "/execute-job", execute)
		answer := requireJSON[executeAnswer](t, w)
		assert.Equal(t, executeAnswer{JobID: f.store.created[0].ID, Status: quell.StatusSuccess}, answer)
		assert.Equal(t, fmt.Sprint(f.store.revision), w.Header().Get(headerRevision), "a list after it has the end")
	})
	t.Run("until the server stops", func(t *testing.T) {
		f := fixtureOf(t)
		go func() {
			<-f.store.waited
			assert.NoError(t, f.Stop(context.Background()))
		}()
		assert.Equal(t, quell.StatusQueued, requireJSON[executeAnswer](t, f.do("POST", "/execute-job", execute)).Status)
	})
	t.Run("until the client has gone", func(t *testing.T) {
		f := fixtureOf(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-f.store.waited
			cancel()
		}()
		f.ServeHTTP(discard{http.Header{}}, newRequest(ctx, "POST", "/execute-job", execute))
		assert.Len(t, f.store.created, 1)
	})
	t.Run("the store fails meanwhile", func(t *testing.T) {
		f := fixtureOf(t)
		f.store.fail = func(_ context.Context, call, _ string) error {
			if call == "WaitFinal" || call == "JobsByID" {
				return quell.Errorf(quell.CodeUnavailable, "etcd went away")
			}
			return nil
		}
		w := f.do("POST", "/execute-job", execute)
		assert.JSONEq(t, `{"job_execution_id":"`+f.store.created[0].ID+`"}`, w.Body.String(), "the job is there: it must not look otherwise")
		assert.Equal(t, 200, w.Code)
	})
}
