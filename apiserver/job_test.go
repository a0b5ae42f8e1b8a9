package apiserver

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// TestJobBody has every field of a job that was aborted.
func TestJobBody(t *testing.T) {
	east := time.FixedZone("", 2*60*60)
	at := func(seconds int) *time.Time {
		v := now.Truncate(time.Second).Add(time.Duration(seconds) * time.Second).In(east)
		return &v
	}
	exit := 3
	job := quell.Job{
		Spec: quell.Spec{
			ID:       job1,
			Template: quell.Template{FQName: quell.FQName{"a", "b"}, DisplayName: "A B", UUID: templateUUID}, TemplateRevision: 5,
			Input: json.RawMessage(`{"x":1}`), Params: quell.Params{DeviceList: []string{"d"}, TransactionID: "t", TransactionDescr: "T"},
			ResumedFrom: job2, RerunOf: job3,
			Requester: "Ada (::1)", CreatedAt: *at(0),
		},
		State: quell.State{
			Status: quell.StatusAborted, Reason: "why", Node: "n1", Percentage: 33.3,
			Playbooks: []quell.PlaybookState{
				{
					URI: "one.yml", Status: quell.PlaybookSuccess, ExitCode: &exit, StartedAt: at(1), EndedAt: at(2), BegunAt: at(1),
					From: job2, MultiDevice: true, Succeeded: 2, Failed: 1,
				},
				{
					URI: "two.yml", Status: quell.PlaybookInterrupted, Signal: "KILL", Error: "killed", Try: 2, Unabortable: true,
					Leftovers: []quell.Process{{PID: 7, Command: "sleep"}}, LeftoverCount: 2,
				},
			},
			Recovery: []quell.PlaybookState{{URI: "clean.yml", Status: quell.PlaybookSkipped}},
			Abort: &quell.AbortRecord{
				Mode: quell.Force, Source: quell.SourceCLI, RequestedBy: "Ada", Reason: "r", RequestedAt: at(3),
				NoRecovery: true, Override: true, SeenAt: at(4), EscalatedAt: at(5), SignalledAt: at(6), DeadAt: at(7),
				ForceAfter: quell.Duration(time.Minute), ForceAt: at(9),
				Survivors: []quell.Process{{PID: 8, Command: "dd", State: "D"}}, Outcome: quell.OutcomeAborted,
			},
			StartedAt: at(1), EndedAt: at(8), Warnings: []string{"w"}, Locks: &quell.LockScope{Level: quell.ConcurrencyDevice, Fabric: "f"},
			Devices: []quell.Device{{ID: "d", Status: quell.PlaybookFailure, Changed: true, Error: "e", Step: 1}, {ID: "e", Status: quell.PlaybookSkipped, Gone: true}},
		},
		Output: json.RawMessage(`{"y":2}`), ResumedAs: job4,
		Progress: &quell.Progress{Percentage: 99}, // left behind: a final job has none
	}
	text, err := json.Marshal(newJobBody(job))
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"job_execution_id":"`+job1+`","job_template_fq_name":["a","b"],"display_name":"A B","status":"ABORTED","reason":"why",
		"job_template_id":"`+templateUUID+`","job_template_revision":5,"warnings":["w"],"locks":{"level":"device","fabric":"f"},
		"node":"n1","unreachable_since":null,"percentage_completed":33.3,"requester":"Ada (::1)",
		"created_at":"2026-08-09T10:11:12Z","started_at":"2026-08-09T10:11:13Z","ended_at":"2026-08-09T10:11:20Z",
		"playbooks":[
			{"playbook_uri":"one.yml","status":"SUCCESS","exit_code":3,"signal":"","error":"","leftovers":[],"leftover_count":0,
			 "try":0,"multi_device":true,"unabortable":false,"devices_succeeded":2,"devices_failed":1,"devices_total":3,"from":"`+job2+`",
			 "started_at":"2026-08-09T10:11:13Z","ended_at":"2026-08-09T10:11:14Z"},
			{"playbook_uri":"two.yml","status":"INTERRUPTED","exit_code":null,"signal":"KILL","error":"killed",
			 "leftovers":[{"pid":7,"command":"sleep"}],"leftover_count":2,"started_at":null,"ended_at":null,
			 "try":2,"multi_device":false,"unabortable":true,"devices_succeeded":0,"devices_failed":0,"devices_total":null,"from":null}],
		"recovery":[{"playbook_uri":"clean.yml","status":"SKIPPED","exit_code":null,"signal":"","error":"","leftovers":[],
			"leftover_count":0,"started_at":null,"ended_at":null,
			"try":0,"multi_device":false,"unabortable":false,"devices_succeeded":0,"devices_failed":0,"devices_total":null,"from":null}],
		"devices":[{"device_id":"d","status":"FAILURE","changed":true,"error":"e"},{"device_id":"e","status":"SKIPPED","changed":false,"error":""}],
		"input":{"x":1},"params":{"device_list":["d"],"transaction_id":"t","transaction_descr":"T"},"output":{"y":2},
		"abort":{"mode":"force","source":"cli","requested_by":"Ada","reason":"r","requested_at":"2026-08-09T10:11:15Z",
			"force_after":"1m0s","force_at":"2026-08-09T10:11:21Z","recovery":false,"override":true,
			"seen_at":"2026-08-09T10:11:16Z","escalated_at":"2026-08-09T10:11:17Z","signalled_at":"2026-08-09T10:11:18Z",
			"dead_at":"2026-08-09T10:11:19Z","survivors":[{"pid":8,"command":"dd","state":"D"}],"outcome":"aborted","error":""},
		"fabric_fq_name":null,"transaction_id":"t","transaction_descr":"T",
		"resumed_from":"`+job2+`","resumed_as":"`+job4+`","rerun_of":"`+job3+`"}`, string(text))
}

// TestJobBodyOfLittle has null, and lists to iterate over, where there is
// nothing.
func TestJobBodyOfLittle(t *testing.T) {
	text, err := json.Marshal(newJobBody(quell.Job{Spec: quell.Spec{ID: job1}}))
	require.NoError(t, err)
	body := decodeText[map[string]any](t, string(text))
	for _, name := range []string{
		"job_template_id", "job_template_revision", "locks", "abort", "output", "transaction_descr", "resumed_from", "resumed_as", "rerun_of", "fabric_fq_name",
	} {
		value, there := body[name]
		assert.True(t, there, name)
		assert.Nil(t, value, name)
	}
	for _, name := range []string{"devices", "warnings", "playbooks", "recovery"} {
		assert.Equal(t, []any{}, body[name], name)
	}
	assert.Equal(t, job1, body["transaction_id"], "its own transaction")
	assert.NotContains(t, body, "params")
}

// TestJobBodyCountsDevices has a playbook that runs once for each device, as
// it goes on.
func TestJobBodyCountsDevices(t *testing.T) {
	for name, c := range map[string]struct {
		playbook          quell.PlaybookState
		succeeded, failed int
		total             int // -1: null
	}{
		"pending":      {quell.PlaybookState{Status: quell.PlaybookPending}, 0, 0, -1},
		"running":      {quell.PlaybookState{Status: quell.PlaybookRunning, Letters: "SsFR.PIK"}, 2, 1, 7},
		"ended well":   {quell.PlaybookState{Status: quell.PlaybookSuccess, Succeeded: 4, Failed: 1}, 4, 1, 5},
		"failed":       {quell.PlaybookState{Status: quell.PlaybookFailure, Failed: 3}, 0, 3, 3},
		"interrupted":  {quell.PlaybookState{Status: quell.PlaybookInterrupted, Succeeded: 2}, 2, 0, -1},
		"never had it": {quell.PlaybookState{Status: quell.PlaybookSkipped}, 0, 0, -1},
	} {
		c.playbook.MultiDevice = true
		b := playbookBodies([]quell.PlaybookState{c.playbook})[0]
		assert.Equal(t, c.succeeded, b.DevicesSucceeded, name)
		assert.Equal(t, c.failed, b.DevicesFailed, name)
		if c.total < 0 {
			assert.Nil(t, b.DevicesTotal, name)
		} else {
			require.NotNil(t, b.DevicesTotal, name)
			assert.Equal(t, c.total, *b.DevicesTotal, name)
		}
	}
	single := playbookBodies([]quell.PlaybookState{{Status: quell.PlaybookSuccess}})[0]
	assert.Nil(t, single.DevicesTotal)
}

// unabortable is a job whose playbook runs and must not be interrupted.
func unabortable(j *quell.Job) {
	j.State.Playbooks[0] = quell.PlaybookState{URI: "flash.yml", Status: quell.PlaybookRunning, BegunAt: &now, StartedAt: &now, Unabortable: true}
}

const waitsForFlash = "the abort waits for the end of playbook flash.yml, which must not be interrupted; override kills it all the same"

// TestJobSaysWhatItsAbortWaitsFor before its owner has seen the intent.
func TestJobSaysWhatItsAbortWaitsFor(t *testing.T) {
	override := func(j *quell.Job) { j.Intent.Intent.Override = true }
	noRecovery := func(j *quell.Job) { j.Intent.Intent.NoRecovery = true }
	recovering := func(j *quell.Job) {
		unabortable(j)
		j.State.Recovery, j.State.Playbooks = j.State.Playbooks, nil
	}
	for name, c := range map[string]struct {
		status quell.Status
		change []func(*quell.Job)
		want   string
	}{
		"force":              {quell.StatusInProgress, []func(*quell.Job){unabortable, withIntent(quell.Force)}, waitsForFlash},
		"after graceful":     {quell.StatusAborting, []func(*quell.Job){unabortable, withIntent(quell.Force), withRecord(quell.Graceful, "")}, waitsForFlash},
		"of an abort-all":    {quell.StatusAborting, []func(*quell.Job){unabortable, withRecord(quell.Force, "")}, waitsForFlash},
		"graceful":           {quell.StatusInProgress, []func(*quell.Job){unabortable, withIntent(quell.Graceful)}, "stored"},
		"nobody aborts":      {quell.StatusInProgress, []func(*quell.Job){unabortable}, "stored"},
		"of its recovery":    {quell.StatusRecovering, []func(*quell.Job){recovering, withIntent(quell.Force)}, "stored"},
		"without recovery":   {quell.StatusRecovering, []func(*quell.Job){recovering, withIntent(quell.Force), noRecovery}, waitsForFlash},
		"override":           {quell.StatusInProgress, []func(*quell.Job){unabortable, withIntent(quell.Force), override}, "stored"},
		"it may be killed":   {quell.StatusInProgress, []func(*quell.Job){withIntent(quell.Force)}, "stored"},
		"it is lost already": {quell.StatusLost, []func(*quell.Job){unabortable, withIntent(quell.Force)}, "stored"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.store.add(job1, c.status, append(c.change, func(j *quell.Job) { j.State.Reason = "stored" })...)
			assert.Equal(t, c.want, requireJSON[jobBody](t, f.do("GET", "/v1/jobs/"+job1, "")).Reason)
			assert.Equal(t, c.want, requireJSON[jobList](t, f.do("GET", "/v1/jobs", "")).Jobs[0].Reason, "lists and events say the same")
		})
	}
}

func TestJobBodyProgress(t *testing.T) {
	job := quell.Job{State: quell.State{Status: quell.StatusInProgress, Percentage: 40}}
	assert.InDelta(t, 40, newJobBody(job).Percentage, 0)
	job.Progress = &quell.Progress{Percentage: 55.5, Tasks: []string{"a task"}}
	assert.InDelta(t, 55.5, newJobBody(job).Percentage, 0)
	assert.Equal(t, []string{"a task"}, newJobBody(job).CurrentTasks)
	job.Progress.Percentage = 20
	assert.InDelta(t, 40, newJobBody(job).Percentage, 0, "a percentage never falls")
	assert.Nil(t, newJobBody(quell.Job{}).Abort)
}

// TestAbortRecordAndKey has the record of the owner beside the key that it
// may not have seen.
func TestAbortRecordAndKey(t *testing.T) {
	seen, asked := now.Add(-time.Minute), now
	record := func(mode quell.Mode, o quell.AbortOutcome) *quell.AbortRecord {
		return &quell.AbortRecord{Mode: mode, SeenAt: &seen, Outcome: o, RequestedBy: "Ada"}
	}
	key := func(mode quell.Mode) *quell.StoredIntent {
		return &quell.StoredIntent{Intent: quell.Intent{
			Mode: mode, Source: quell.SourceAPI, RequestedBy: "Bob", Reason: "r", RequestedAt: asked, NoRecovery: true,
		}}
	}
	wrong := &quell.StoredIntent{Err: quell.Errorf(quell.CodeInvalid, "no such word")}
	for name, c := range map[string]struct {
		status  quell.Status
		record  *quell.AbortRecord
		key     *quell.StoredIntent
		mode    quell.Mode
		by      string
		seen    bool
		outcome quell.AbortOutcome
		err     string
	}{
		"not seen yet":             {quell.StatusInProgress, nil, key(quell.Graceful), quell.Graceful, "Bob", false, "", ""},
		"seen":                     {quell.StatusAborting, record(quell.Force, ""), key(quell.Graceful), quell.Force, "Ada", true, "", ""},
		"escalation not seen yet":  {quell.StatusAborting, record(quell.Graceful, ""), key(quell.Force), quell.Force, "Bob", false, "", ""},
		"withdrawn, asked again":   {quell.StatusInProgress, record(quell.Graceful, quell.OutcomeWithdrawn), key(quell.Force), quell.Force, "Bob", false, "", ""},
		"withdrawn":                {quell.StatusInProgress, record(quell.Graceful, quell.OutcomeWithdrawn), nil, quell.Graceful, "Ada", true, quell.OutcomeWithdrawn, ""},
		"of an abort-all":          {quell.StatusAborting, record(quell.Force, ""), nil, quell.Force, "Ada", true, "", ""},
		"final, aborted":           {quell.StatusAborted, record(quell.Force, quell.OutcomeAborted), key(quell.Graceful), quell.Force, "Ada", true, quell.OutcomeAborted, ""},
		"final before":             {quell.StatusSuccess, nil, key(quell.Force), quell.Force, "Bob", false, quell.OutcomeAlreadyFinal, ""},
		"final, withdrawn, asked":  {quell.StatusSuccess, record(quell.Graceful, quell.OutcomeWithdrawn), key(quell.Force), quell.Force, "Bob", false, quell.OutcomeAlreadyFinal, ""},
		"final, then force":        {quell.StatusSuccess, record(quell.Graceful, quell.OutcomeFinishedFirst), key(quell.Force), quell.Graceful, "Ada", true, quell.OutcomeFinishedFirst, "a later abort (force) came when the job was final already"},
		"unreadable":               {quell.StatusInProgress, nil, wrong, "", "", false, "", "no such word"},
		"unreadable after another": {quell.StatusAborting, record(quell.Graceful, ""), wrong, quell.Graceful, "Ada", true, "", "no such word"},
		"unreadable, seen":         {quell.StatusInProgress, &quell.AbortRecord{Error: "seen"}, nil, "", "", false, "", "seen"},
		"unreadable, corrected":    {quell.StatusInProgress, &quell.AbortRecord{Error: "seen"}, key(quell.Force), quell.Force, "Bob", false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := newAbortRecord(quell.Job{State: quell.State{Status: c.status, Abort: c.record}, Intent: c.key})
			require.NotNil(t, got)
			assert.Equal(t, c.mode, got.Mode)
			assert.Equal(t, c.by, got.RequestedBy)
			assert.Equal(t, c.seen, got.SeenAt != nil, "seen_at")
			assert.Equal(t, c.outcome, got.Outcome)
			assert.Equal(t, c.err, got.Error)
			assert.NotNil(t, got.Survivors)
			assert.Equal(t, c.by != "Bob", got.Recovery)
			if c.by == "Bob" {
				assert.Equal(t, &asked, got.RequestedAt)
				assert.Equal(t, quell.SourceAPI, got.Source)
			}
		})
	}
}

func TestGetJob(t *testing.T) {
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress, withIntent(quell.Force))
	for _, id := range []string{job1, strings.ToUpper(job1)} {
		got := requireJSON[map[string]any](t, f.do("GET", "/v1/jobs/"+id, ""))
		assert.Equal(t, job1, got["job_execution_id"])
		assert.Equal(t, map[string]any{"x": 1.0}, got["input"])
		assert.Nil(t, got["abort"].(map[string]any)["seen_at"])
	}
	requireProblem(t, f.do("GET", "/v1/jobs/"+job2, ""), 404, quell.CodeNotFound, job2)
	requireProblem(t, f.do("GET", "/v1/jobs/nonsense", ""), 404, quell.CodeNotFound, "nonsense", "is a UUID")
	requireProblem(t, f.do("GET", "/v1/jobs/"+job1+"?x=1", ""), 400, quell.CodeInvalid, "parameter x: unknown")
	for _, fail := range []string{"refused", "hangs"} {
		f.store.fail = failing("Job", quell.CodeUnavailable)
		if fail == "hangs" {
			f.store.fail = hanging("Job")
		}
		w := f.do("GET", "/v1/jobs/"+job1, "")
		assert.Equal(t, "1", w.Header().Get("Retry-After"))
		requireProblem(t, w, 503, quell.CodeUnavailable)
	}
}

func TestListJobs(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{job1, job2, job3, job4} {
		f.store.add(id, quell.StatusQueued)
	}
	list := func(query string) ([]string, string) {
		got := requireJSON[jobList](t, f.do("GET", "/v1/jobs"+query, ""))
		var ids []string
		for _, j := range got.Jobs {
			ids = append(ids, j.ID)
		}
		return ids, got.NextCursor
	}
	ids, next := list("")
	assert.Equal(t, []string{job4, job3, job2, job1}, ids)
	assert.Empty(t, next)

	ids, next = list("?limit=2")
	assert.Equal(t, []string{job4, job3}, ids)
	require.NotEmpty(t, next)
	assert.NotContains(t, next, job3, "opaque")
	ids, next = list("?limit=2&cursor=" + next)
	assert.Equal(t, []string{job2, job1}, ids)
	assert.Empty(t, next, "the page is full, and it is the last")

	for query, want := range map[string]string{
		"?limit=0": "limit", "?limit=501": "number <= 500", "?limit=x": "limit", "?limit=": "limit", "?cursor=": "cursor",
		"?cursor=%25": "cursor", "?cursor=" + job1: "cursor", "?cursor=djI6eA": "cursor", "?page=2": "the query parameter page: unknown", "?limit=1&limit=2": "repeated", "?limit=%zz": "query cannot be read",
	} {
		requireProblem(t, f.do("GET", "/v1/jobs"+query, ""), 400, quell.CodeInvalid, want)
	}
	w := newFixture(t).do("GET", "/v1/jobs", "")
	assert.JSONEq(t, `{"jobs":[],"next_cursor":"","revision":100}`, w.Body.String())
	assert.Equal(t, "0.000", w.Header().Get("X-Quell-Cache-Age"))
}

const oneTemplate = "display_name: A B\nplaybooks: [{playbook_uri: one.yml, timeout: 30m}]\n"

func TestTemplates(t *testing.T) {
	f := newFixture(t)
	requireProblem(t, f.do("GET", "/v1/job-templates/a:b", ""), 404, quell.CodeNotFound, "a:b")
	id := templateID(quell.Template{FQName: quell.FQName{"a", "b c/d"}})
	stored := `{"fq_name":["a","b c/d"],"uuid":"` + id + `","display_name":"A B","playbooks":[{"playbook_uri":"one.yml","timeout":"30m0s"}]}`
	for name, body := range map[string]string{"YAML": oneTemplate, "with its name": "fq_name: [a, b c/d]\n" + oneTemplate, "JSON": stored} {
		w := f.do("PUT", "/v1/job-templates/a:b%20c%2Fd", body)
		require.Equal(t, 200, w.Code, name+w.Body.String())
		assert.JSONEq(t, stored, w.Body.String())
		assert.Equal(t, `"8"`, w.Header().Get("ETag"))
	}
	w := f.do("GET", "/v1/job-templates/a:b%20c%2Fd", "")
	assert.JSONEq(t, stored, w.Body.String())
	assert.Equal(t, `"7"`, w.Header().Get("ETag"))

	writes := f.store.writes
	requireProblem(t, f.do("PUT", "/v1/job-templates/a:b", "fq_name: [a, c]\n"+oneTemplate), 400, quell.CodeInvalid, "fq_name: it is not a:b")
	requireProblem(t, f.do("PUT", "/v1/job-templates/a:b", oneTemplate+"colour: red"), 400, quell.CodeInvalid, "the request body: document 1 (a:b): ")
	requireProblem(t, f.do("PUT", "/v1/job-templates/a:b", oneTemplate+"output_schema: 3"), 400, quell.CodeInvalid, "output_schema")
	requireProblem(t, f.do("PUT", "/v1/job-templates/a::b", oneTemplate), 400, quell.CodeInvalid, "part 2")
	requireProblem(t, f.do("PUT", "/v1/job-templates/a", ""), 400, quell.CodeInvalid, "request body is required")
	requireProblem(t, f.do("PUT", "/v1/job-templates/a?x=1", oneTemplate), 400, quell.CodeInvalid, "parameter x: unknown")
	requireProblem(t, f.do("PUT", "/v1/job-templates/a", strings.Repeat("#", 1<<20+1)), 413, quell.CodeTooLarge)
	assert.Equal(t, writes, f.store.writes)

	f.store.fail = hanging("PutTemplate")
	requireProblem(t, f.do("PUT", "/v1/job-templates/a", oneTemplate), 504, quell.CodeUnknown, "not known whether this was written")
	f.store.fail = hanging("Template")
	requireProblem(t, f.do("GET", "/v1/job-templates/a", ""), 503, quell.CodeUnavailable)
}
