package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A request for a job arrives as it was typed.
func TestRunRequest(t *testing.T) {
	var query string
	body := &bytes.Buffer{}
	quellTo := stub(t, map[string]http.HandlerFunc{
		"POST /execute-job": func(w http.ResponseWriter, r *http.Request) {
			query = r.URL.RawQuery
			body.Reset()
			_, _ = body.ReadFrom(r.Body)
			fmt.Fprint(w, `{"job_execution_id": "X"}`)
		},
		"GET /v1/job-templates": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"job_templates": [{"fq_name": ["a", "b"], "job_template_id": "AB"}, {"fq_name": ["a", "c"], "job_template_id": "AC"}]}`)
		},
	})
	for line, want := range map[string]struct{ query, body string }{
		"job run a:b": {"", `{"job_template_fq_name": ["a", "b"], "input": {}}`},
		"job run ac":  {"", `{"job_template_fq_name": ["a", "c"], "input": {}}`},
		"job run c":   {"", `{"job_template_fq_name": ["a", "c"], "input": {}}`},
		"job run a:b --on-lock fail --timeout 2h --playbook-timeout 90s --queue-timeout 1m": {
			"on_lock=fail&playbook_timeout=90s&queue_timeout=1m&timeout=2h", `{"job_template_fq_name": ["a", "b"], "input": {}}`,
		},
		"job run a:b --device d1 --device d,2 --transaction T --transaction-descr why": {
			"", `{"job_template_fq_name": ["a", "b"], "input": {}, "params": {"device_list": ["d1", "d,2"], "transaction_id": "T", "transaction_descr": "why"}}`,
		},
	} {
		code, stdout, stderr := quellTo(strings.Fields(line)...)
		require.Zero(t, code, stderr)
		require.Equal(t, "X\n", stdout)
		require.Equal(t, want.query, query, line)
		require.JSONEq(t, want.body, body.String(), line)
	}
}

// Of a synchronous template the end is told, also where the API server's own
// wait was cut short.
func TestRunOfASynchronousTemplate(t *testing.T) {
	status, asked := "FAILURE", 0
	quellTo := stub(t, map[string]http.HandlerFunc{
		"GET /v1/job-templates/{name}": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"synchronous": true}`) },
		"POST /execute-job": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"job_execution_id": "X", "status": %q}`, status)
		},
		"GET /v1/jobs/X": func(w http.ResponseWriter, _ *http.Request) {
			asked++
			if asked == 1 && status == "" {
				fmt.Fprint(w, `{"job_execution_id": "X", "status": "IN_PROGRESS"}`)
				return
			}
			fmt.Fprint(w, `{"job_execution_id": "X", "status": "FAILURE", "reason": "why"}`)
		},
	})
	for _, status = range []string{"FAILURE", "IN_PROGRESS", ""} {
		asked = 0
		code, stdout, stderr := quellTo("job", "run", "a:b")
		require.Equal(t, exitFailure, code)
		require.Equal(t, "X\n", stdout)
		require.Equal(t, "quell: job X: FAILURE: why\n", stderr)
	}
	code, stdout, _ := quellTo("job", "run", "a:b", "-o", "json")
	require.Equal(t, exitFailure, code)
	require.JSONEq(t, `{"job_execution_id": "X", "status": "FAILURE", "reason": "why"}`, stdout)
}

// A job that goes on with another, or repeats it.
func TestResumeAndRerun(t *testing.T) {
	quellTo := stub(t, map[string]http.HandlerFunc{
		"POST /v1/jobs/{id}/resume": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"job_execution_id": "NEW", "resumed_from": "OLD"}`)
		},
		"POST /v1/jobs/{id}/rerun": problemOf(http.StatusConflict, "no more"),
		"GET /v1/jobs/NEW": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"job_execution_id": "NEW", "status": "ABORTED"}`)
		},
	})
	code, stdout, stderr := quellTo("job", "resume", "OLD")
	require.Zero(t, code, stderr)
	require.Equal(t, "NEW\n", stdout)
	code, stdout, stderr = quellTo("job", "resume", "OLD", "--wait")
	require.Equal(t, exitAborted, code)
	require.Equal(t, "NEW\n", stdout)
	require.Equal(t, "quell: job NEW: ABORTED\n", stderr)
	_, stdout, _ = quellTo("job", "resume", "OLD", "-o", "json")
	require.JSONEq(t, `{"job_execution_id": "NEW", "resumed_from": "OLD"}`, stdout)
	code, stdout, stderr = quellTo("job", "rerun", "OLD")
	require.Equal(t, exitFailure, code)
	require.Empty(t, stdout)
	require.Equal(t, "quell: no more\n", stderr)
	code, _, stderr = quellTo("job", "rerun", "..")
	require.Equal(t, exitUsage, code, stderr)
}

// The log of one run, in each way to read it.
func TestLogOfARun(t *testing.T) {
	var query string
	quellTo := stub(t, map[string]http.HandlerFunc{
		"GET /v1/jobs/x": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status": "SUCCESS"}`) },
		"GET /v1/jobs/x/log": func(w http.ResponseWriter, r *http.Request) {
			query = r.URL.RawQuery
			if r.URL.Query().Has("search") {
				fmt.Fprint(w, `{}`)
			}
		},
	})
	for line, want := range map[string]string{
		"job logs x":                                     "",
		"job logs x --run playbook-0-device-2":           "run=playbook-0-device-2",
		"job logs x --run playbook-1 -f":                 "run=playbook-1",
		"job logs x --run recovery-0 --search something": "limit=1000&run=recovery-0&search=something",
	} {
		query = "none"
		code, _, stderr := quellTo(strings.Fields(line)...)
		require.Zero(t, code, stderr)
		require.Equal(t, want, query, line)
	}
}
