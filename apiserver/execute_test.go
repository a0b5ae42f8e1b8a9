package apiserver

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

const execute = `{"job_template_fq_name":["a","b"],"input":{"n":1}}`

func executeFixture(t *testing.T) *fixture {
	f := newFixture(t)
	f.store.templates["a:b"] = quell.Template{
		FQName: quell.FQName{"a", "b"}, Playbooks: []quell.Playbook{{URI: "one.yml"}},
		InputSchema: json.RawMessage(`{"properties":{"n":{"type":"integer"},"m":{"type":"integer"}}}`),
	}
	return f
}

func TestExecuteJob(t *testing.T) {
	f := executeFixture(t)
	// curl -d labels JSON as a form.
	w := f.do("POST", "/execute-job", `{"job_template_fq_name":["a","b"],"input":{"n":1},"params":{"device_list":["d1","d2"]}}`,
		"Content-Type", "application/x-www-form-urlencoded", "X-Quell-Requester", "Ada", "X-AUTH-TOKEN", "s3cret")
	answer := requireJSON[map[string]string](t, w)
	require.Len(t, answer, 1)
	id, err := uuid.Parse(answer["job_execution_id"])
	require.NoError(t, err)
	assert.Equal(t, uuid.Version(7), id.Version())

	require.Len(t, f.store.created, 1)
	assert.Equal(t, quell.Spec{
		Version: quell.FormatVersion, ID: answer["job_execution_id"], Template: f.store.templates["a:b"],
		Input: json.RawMessage(`{"n":1}`), Params: quell.Params{DeviceList: []string{"d1", "d2"}},
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
		"id empty":              {`{"job_template_id":"","input":{}}`, 404, "job_template_fq_name"},
		"name unknown":          {`{"job_template_fq_name":["x"],"input":{}}`, 404, "no job template x"},
		"no input":              {`{"job_template_fq_name":["a","b"]}`, 400, "input is missing"},
		"input null":            {`{"job_template_fq_name":["a","b"],"input":null}`, 400, "input is not an object"},
		"input a list":          {`{"job_template_fq_name":["a","b"],"input":[]}`, 400, "input is not an object"},
		"params null":           {`{"job_template_fq_name":["a","b"],"input":{},"params":null}`, 400, "params is not an object"},
		"params unknown":        {`{"job_template_fq_name":["a","b"],"input":{},"params":{"x":1}}`, 400, `"params.x" is unknown`},
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
	t.Run("a query", func(t *testing.T) {
		requireProblem(t, executeFixture(t).do("POST", "/execute-job?dry_run=true", execute), 400, quell.CodeInvalid, `"dry_run" is unknown`)
	})
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
