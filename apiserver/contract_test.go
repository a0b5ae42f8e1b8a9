package apiserver

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// contract checks answers against the document that the server itself serves.
type contract struct {
	*testing.T
	compiler *jsonschema.Compiler
	document map[string]any
}

func newContract(t *testing.T, f *fixture) *contract {
	t.Helper()
	w := f.do("GET", "/openapi.json", "")
	require.Equal(t, 200, w.Code)
	text := w.Body.Bytes()
	offline, err := OpenAPI()
	require.NoError(t, err)
	require.Equal(t, string(offline), string(text), "quell openapi prints what a server serves")
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource("http://quell/openapi.json", document))
	return &contract{T: t, compiler: compiler, document: document.(map[string]any)}
}

// check demands that an answer is one that the document has for the route.
func (c *contract) check(method, route string, w *httptest.ResponseRecorder) {
	c.Helper()
	operation := c.document["paths"].(map[string]any)[route].(map[string]any)[strings.ToLower(method)].(map[string]any)
	responses, status := operation["responses"].(map[string]any), strconv.Itoa(w.Code)
	if responses[status] == nil {
		require.GreaterOrEqual(c, w.Code, 400, "%s %s: %d is not in the document", method, route, w.Code)
		status = "default"
	}
	content, _ := responses[status].(map[string]any)["content"].(map[string]any)
	kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	if content == nil {
		assert.Empty(c, w.Body.String())
		return
	}
	require.Contains(c, content, kind, "%s %s %d", method, route, w.Code)
	if !strings.HasSuffix(kind, "json") {
		return
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace
	schema, err := c.compiler.Compile("http://quell/openapi.json#/paths/" + escape(route) + "/" + strings.ToLower(method) +
		"/responses/" + status + "/content/" + escape(kind) + "/schema")
	require.NoError(c, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
	require.NoError(c, err)
	require.NoError(c, schema.Validate(value), "%s %s %d: %s", method, route, w.Code, w.Body)
}

// contractFixture has jobs in many states.
func contractFixture(t *testing.T) *fixture {
	f := newFixture(t)
	f.store.templates["a:b"] = quell.Template{
		FQName: quell.FQName{"a", "b"}, DisplayName: "A B", Playbooks: []quell.Playbook{{URI: "one.yml", Timeout: quell.Duration(1e9)}},
		UUID: templateUUID, InputSchema: json.RawMessage(`{"type":"object"}`), NodeLabels: map[string]string{"site": "west"},
	}
	code := 0
	f.store.add(job1, quell.StatusQueued, withIntent(quell.Graceful), func(j *quell.Job) {
		j.Spec.Params = quell.Params{DeviceList: []string{"d1"}, TransactionID: "t/1", TransactionDescr: "T"}
		j.Spec.Input, j.Spec.Template.Concurrency = json.RawMessage(`{"fabric_fq_name":"g:fab"}`), quell.ConcurrencyDevice
		j.State = quell.NewState(j.Spec)
	})
	f.store.add(job2, quell.StatusInProgress, func(j *quell.Job) {
		j.State.Node, j.State.StartedAt = "n1", &now
		j.Progress = &quell.Progress{Percentage: 3, Tasks: []string{"one"}}
		j.State.Playbooks[0] = quell.PlaybookState{
			URI: "one.yml", Status: quell.PlaybookRunning, BegunAt: &now, StartedAt: &now, MultiDevice: true, Unabortable: true, Letters: "SFR.", Try: 1,
			Runs: []quell.DeviceRun{{Device: 3, BegunAt: now, Started: true}},
		}
		j.State.Devices = []quell.Device{{ID: "d3", Status: quell.PlaybookSuccess, Changed: true}, {ID: "d2", Status: quell.PlaybookFailure, Error: "x"}}
	})
	f.store.add(job3, quell.StatusAborted, withRecord(quell.Force, quell.OutcomeAborted), func(j *quell.Job) {
		j.State.EndedAt, j.Output, j.Spec.ResumedFrom, j.Spec.RerunOf, j.Spec.TemplateRevision = &now, json.RawMessage(`{"a":1}`), idOf(1), idOf(2), 7
		j.State.Warnings = []string{"w"}
		j.State.Playbooks[0] = quell.PlaybookState{
			URI: "one.yml", Status: quell.PlaybookInterrupted, Signal: "KILL", ExitCode: &code, Leftovers: []quell.Process{{PID: 1, Command: "x"}}, LeftoverCount: 1,
		}
	})
	f.store.add(job4, quell.StatusSuccess)
	f.cache.take(quell.Changes{Revision: f.store.revision, Nodes: []quell.NodeChange{{Name: "n2", Info: &quell.NodeInfo{Address: "http://x", Capacity: 4}}}})
	return f
}

// contractRequests ask every operation, in this order.
var contractRequests = []struct {
	method, route, target, body string
	status                      int
}{
	{"GET", "/v1/jobs", "/v1/jobs", "", 200},
	{"GET", "/v1/jobs", "/v1/jobs?limit=1&status=QUEUED,IN_PROGRESS&status=ABORTED", "", 200},
	{"GET", "/v1/jobs", "/v1/jobs?device=d1&fabric=fab&template=b&since=2h&until=2030-01-01T00:00:00Z&text=0190", "", 200},
	{"GET", "/v1/jobs", "/v1/jobs?limit=9999", "", 400},
	{"GET", "/v1/jobs", "/v1/jobs?status=x", "", 400},
	{"GET", "/v1/jobs", "/v1/jobs?status=", "", 400},
	{"GET", "/v1/jobs/{id}", "/v1/jobs/" + job1, "", 200},
	{"GET", "/v1/jobs/{id}", "/v1/jobs/" + job2, "", 200},
	{"GET", "/v1/jobs/{id}", "/v1/jobs/" + job3, "", 200},
	{"GET", "/v1/jobs/{id}", "/v1/jobs/nonsense", "", 404},
	{"GET", "/v1/jobs/{id}/abort", "/v1/jobs/" + job1 + "/abort", "", 200},
	{"GET", "/v1/jobs/{id}/abort", "/v1/jobs/" + job3 + "/abort", "", 200},
	{"GET", "/v1/jobs/{id}/abort", "/v1/jobs/" + job4 + "/abort", "", 200},
	{"PUT", "/v1/jobs/{id}/abort", "/v1/jobs/" + job2 + "/abort?dry_run=true", `{"mode":"graceful"}`, 200},
	{"PUT", "/v1/jobs/{id}/abort", "/v1/jobs/" + job2 + "/abort", `{"mode":"graceful","reason":"x","force_after":"5m","recovery":false,"override":true}`, 200},
	{"PUT", "/v1/jobs/{id}/abort", "/v1/jobs/" + job2 + "/abort", `{"mode":"graceful"}`, 200},
	{"PUT", "/v1/jobs/{id}/abort", "/v1/jobs/" + job4 + "/abort", `{"mode":"force"}`, 200},
	{"PUT", "/v1/jobs/{id}/abort", "/v1/jobs/" + job2 + "/abort", `{"mode":"Force"}`, 400},
	{"PUT", "/v1/jobs/{id}/abort", "/v1/jobs/" + job2 + "/abort", `{"mode":"force","MODE":"force"}`, 400},
	{"PUT", "/v1/jobs/{id}/abort", "/v1/jobs/" + job2 + "/abort", `{"mode":"force","recovery":"no"}`, 400},
	{"PUT", "/v1/jobs/{id}/abort", "/v1/jobs/" + job2 + "/abort", ``, 400},
	{"PUT", "/v1/jobs/{id}/abort", "/v1/jobs/" + idOf(1) + "/abort", `{"mode":"force"}`, 404},
	{"PUT", "/v1/jobs/{id}/abort", "/v1/jobs/" + job2 + "/abort?dry_run=true", `{"mode":"force"}`, 200},
	{"DELETE", "/v1/jobs/{id}/abort", "/v1/jobs/" + job2 + "/abort", "", 200},
	{"DELETE", "/v1/jobs/{id}/abort", "/v1/jobs/" + job2 + "/abort", "", 404},
	{"GET", "/v1/jobs/{id}/log", "/v1/jobs/" + job1 + "/log", "", 200},
	{"GET", "/v1/jobs/{id}/log", "/v1/jobs/" + job1 + "/log?search=x", "", 200},
	{"GET", "/v1/jobs/{id}/log", "/v1/jobs/" + job1 + "/log?search=x&follow=true", "", 400},
	{"GET", "/v1/jobs/{id}/log", "/v1/jobs/" + job2 + "/log", "", 503},
	{"GET", "/v1/jobs/{id}/log", "/v1/jobs/" + job1 + "/log?run=playbook-0-device-1&search=x", "", 200},
	{"GET", "/v1/jobs/{id}/log", "/v1/jobs/" + job1 + "/log?run=x", "", 400},
	{"GET", "/v1/jobs/{id}/log", "/v1/jobs/" + job1 + "/log?run=recovery-0", "", 404},
	{"GET", "/v1/jobs", "/v1/jobs?transaction=t%2F1", "", 200},
	{"GET", "/v1/transactions", "/v1/transactions", "", 200},
	{"GET", "/v1/transactions", "/v1/transactions?limit=1&status=QUEUED&status=IN_PROGRESS,ABORTED&fabric=fab&since=2h&text=0&transaction=t%2F1", "", 200},
	{"GET", "/v1/transactions", "/v1/transactions?status=STARTING", "", 400},
	{"GET", "/v1/transactions/{id}", "/v1/transactions/t%2F1", "", 200},
	{"GET", "/v1/transactions/{id}", "/v1/transactions/" + job3, "", 200},
	{"GET", "/v1/transactions/{id}", "/v1/transactions/none", "", 404},
	{"POST", "/v1/transactions/{id}/abort", "/v1/transactions/t%2F1/abort?dry_run=true", `{"mode":"force"}`, 200},
	{"POST", "/v1/transactions/{id}/abort", "/v1/transactions/t%2F1/abort", `{"mode":"graceful","reason":"x"}`, 200},
	{"POST", "/v1/transactions/{id}/abort", "/v1/transactions/t%2F1/abort", `{}`, 400},
	{"POST", "/v1/transactions/{id}/abort", "/v1/transactions/none/abort", `{"mode":"force"}`, 404},
	{"POST", "/v1/aborts", "/v1/aborts?dry_run=true", `{"filter":{"device":"d2"},"mode":"force","expect":1}`, 200},
	{"POST", "/v1/aborts", "/v1/aborts", `{"filter":{"status":["QUEUED"]},"mode":"graceful"}`, 200},
	{"POST", "/v1/aborts", "/v1/aborts", `{"filter":{"status":"QUEUED"},"mode":"graceful","expect":9}`, 409},
	{"POST", "/v1/aborts", "/v1/aborts", `{"filter":{},"mode":"graceful"}`, 400},
	{"POST", "/v1/jobs/{id}/resume", "/v1/jobs/" + job3 + "/resume", "", 200},
	{"POST", "/v1/jobs/{id}/resume", "/v1/jobs/" + job3 + "/resume", "", 409},
	{"GET", "/v1/jobs/{id}", "/v1/jobs/" + job3, "", 200},
	{"POST", "/v1/jobs/{id}/resume", "/v1/jobs/" + idOf(9) + "/resume", "", 404},
	{"POST", "/v1/jobs/{id}/rerun", "/v1/jobs/" + job3 + "/rerun", "{}", 200},
	{"POST", "/v1/jobs/{id}/rerun", "/v1/jobs/" + job3 + "/rerun", "[]", 400},
	{"GET", "/v1/events", "/v1/events?page=1", "", 400},
	{"GET", "/v1/nodes", "/v1/nodes", "", 200},
	{"GET", "/v1/nodes", "/v1/nodes?x=1", "", 400},
	{"GET", "/schemas/job-template.json", "/schemas/job-template.json", "", 200},
	{"GET", "/v1/job-templates", "/v1/job-templates", "", 200},
	{"GET", "/v1/job-templates/{fq_name}", "/v1/job-templates/a:b", "", 200},
	{"GET", "/v1/job-templates/{fq_name}", "/v1/job-templates/a:c", "", 404},
	{"PUT", "/v1/job-templates/{fq_name}", "/v1/job-templates/a:c?dry_run=true", oneTemplate, 200},
	{"PUT", "/v1/job-templates/{fq_name}", "/v1/job-templates/a:c", oneTemplate, 200},
	{"PUT", "/v1/job-templates/{fq_name}", "/v1/job-templates/a:c", "nonsense", 400},
	{"DELETE", "/v1/job-templates/{fq_name}", "/v1/job-templates/a:c", "", 204},
	{"DELETE", "/v1/job-templates/{fq_name}", "/v1/job-templates/a:c", "", 404},
	{"POST", "/execute-job", "/execute-job", `{"job_template_fq_name":["a","b"],"input":{}}`, 200},
	{"POST", "/execute-job", "/execute-job?on_lock=fail&timeout=1h", `{"job_template_id":"` + templateUUID + `","input":{},"params":{"transaction_id":"t"}}`, 200},
	{"POST", "/execute-job", "/execute-job", `{}`, 400},
	{"POST", "/abort-job", "/abort-job", abortOf("graceful", job1, job4, "x"), 200},
	{"POST", "/abort-job", "/abort-job?dry_run=true", `{"input":{"abort_mode":"force"}}`, 200},
	{"POST", "/abort-job", "/abort-job", `{}`, 400},
}

// TestContract has every operation of the document answer as it says there.
func TestContract(t *testing.T) {
	f := contractFixture(t)
	c := newContract(t, f)
	used := map[string]bool{}
	for _, request := range contractRequests {
		w := f.do(request.method, request.target, request.body)
		require.Equal(t, request.status, w.Code, "%s %s: %s", request.method, request.target, w.Body)
		c.check(request.method, request.route, w)
		used[request.method+" "+request.route] = true
	}
	for route, item := range c.document["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			assert.True(t, used[strings.ToUpper(method)+" "+route], "%s %s is not asked here", method, route)
		}
	}
}

// TestDocument has the document name what the domain has, and load nothing
// from elsewhere.
func TestDocument(t *testing.T) {
	c := newContract(t, newFixture(t))
	schemas := c.document["components"].(map[string]any)["schemas"].(map[string]any)
	enum := func(schema, property string) []string {
		var words []string
		for _, v := range schemas[schema].(map[string]any)["properties"].(map[string]any)[property].(map[string]any)["enum"].([]any) {
			words = append(words, v.(string))
		}
		return words
	}
	for _, schema := range []string{"Job", "JobSummary"} {
		var all []string
		for _, status := range quell.Statuses {
			all = append(all, string(status))
		}
		assert.Equal(t, all, enum(schema, "status"))
	}
	for _, source := range quell.Sources {
		assert.True(t, slices.Contains(enum("AbortRecord", "source"), string(source)), source)
	}
	for _, status := range transactionStatuses {
		assert.Contains(t, enum("Transaction", "status"), string(status))
	}
	for name := range schemas["Transaction"].(map[string]any)["properties"].(map[string]any) {
		assert.Contains(t, schemas["TransactionDetail"].(map[string]any)["properties"], name)
	}
	assert.Equal(t, "3.1.0", c.document["openapi"])
	f := newFixture(t)
	requireProblem(t, f.do("GET", "/docs", ""), 404, quell.CodeNotFound)
}

func TestListFilters(t *testing.T) {
	f := contractFixture(t)
	for query, want := range map[string][]string{
		"?status=QUEUED":                      {job1},
		"?status=queued,ABORTED":              {job3, job1},
		"?status=QUEUED&status=SUCCESS":       {job4, job1},
		"?fabric=fab":                         {job1},
		"?fabric=g:fab":                       {job1},
		"?fabric=g":                           {},
		"?device=d1":                          {job1},
		"?device=d":                           {},
		"?node=n1":                            {job2},
		"?template=a:b&limit=1":               {job4},
		"?template=b&status=SUCCESS":          {job4},
		"?template=a":                         {},
		"?requester=nobody":                   {},
		"?since=1h":                           {job4, job3, job2, job1},
		"?until=1h":                           {},
		"?since=2026-08-09T10:11:13Z":         {},
		"?until=2026-08-09T10:11:13Z&node=n1": {job2},
		"?text=FAB":                           {job1},
		"?text=00000000000c":                  {job3},
		"?text=A%20b&status=ABORTED":          {job3},
		"?transaction=t%2F1":                  {job1},
		"?transaction=" + job2:                {job2},
		"?device=d2":                          {job2},
		"?text=T/1":                           {job1},
	} {
		got := []string{}
		for _, job := range requireJSON[jobList](t, f.do("GET", "/v1/jobs"+query, "")).Jobs {
			got = append(got, job.ID)
		}
		assert.Equal(t, want, got, query)
	}
	for query, detail := range map[string]string{
		"?since=yesterday": "since", "?until=-5m": "until", "?status=DONE": "DONE", "?node=": "empty", "?node=a&node=b": "repeated",
	} {
		requireProblem(t, f.do("GET", "/v1/jobs"+query, ""), 400, quell.CodeInvalid, detail)
	}
	text := f.do("GET", "/metrics", "").Body.String()
	for _, want := range []string{`quell_jobs{status="QUEUED"} 1`, "quell_abort_unseen_intents 1", "quell_cache_ready 1"} {
		assert.Contains(t, text, want)
	}
}

func TestNodes(t *testing.T) {
	f := contractFixture(t)
	list := requireJSON[nodeList](t, f.do("GET", "/v1/nodes", "")).Nodes
	require.Len(t, list, 2)
	assert.Equal(t, "n1", list[0].Node)
	assert.True(t, list[0].Unreachable, "it has a job and is not registered")
	assert.NotNil(t, list[0].UnreachableSince)
	assert.Equal(t, 1, list[0].JobsRunning)
	assert.Equal(t, nodeBody{Node: "n2", Address: "http://x", Capacity: 4, Labels: map[string]string{}}, list[1])
	job := requireJSON[jobList](t, f.do("GET", "/v1/jobs?node=n1", "")).Jobs[0]
	assert.Equal(t, now, *job.UnreachableSince)

	revision := f.store.revision
	f.cache.take(quell.Changes{Revision: revision, Nodes: []quell.NodeChange{{Name: "n1", Info: &quell.NodeInfo{Capacity: 2}}}})
	assert.Nil(t, requireJSON[jobBody](t, f.do("GET", "/v1/jobs/"+job2, "")).UnreachableSince)
	f.cache.take(quell.Changes{Revision: revision, Nodes: []quell.NodeChange{{Name: "n1"}, {Name: "n2"}}})
	list = requireJSON[nodeList](t, f.do("GET", "/v1/nodes", "")).Nodes
	require.Len(t, list, 1, "a node without jobs is no loss")
	assert.Equal(t, 2, list[0].Capacity, "as it was last")
	f.store.set(job2, func(j *quell.Job) { j.State.Status = quell.StatusLost })
	assert.Empty(t, requireJSON[nodeList](t, f.do("GET", "/v1/nodes", "")).Nodes)
}

// TestSummaryIsSmall has a job with the largest texts that it may have.
func TestSummaryIsSmall(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("x", 2000)
	f.store.add(job1, quell.StatusAborting, withIntent(quell.Force), func(j *quell.Job) {
		j.Spec.Template.DisplayName, j.Spec.Requester, j.Spec.Params.TransactionDescr = long, long, long
		j.Spec.Input = json.RawMessage(`{"fabric_fq_name":"` + long + `","more":"` + long + `"}`)
		for i := range 1000 {
			j.Spec.Params.DeviceList = append(j.Spec.Params.DeviceList, idOf(i))
		}
		j.State.Reason = long
		j.Progress = &quell.Progress{Tasks: []string{long, long, long, long, long}}
	})
	text := f.do("GET", "/v1/jobs?device="+idOf(999), "").Body.String()
	assert.Contains(t, text, job1, "found by a device that is not shown")
	assert.Less(t, len(text), 3600, text)
}
