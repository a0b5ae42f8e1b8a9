package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An abort by a filter asks what that means, and then aborts by id: what
// matches a moment later is not hit.
func TestAbortByFilter(t *testing.T) {
	var asked []string
	results := ""
	record := func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		asked = append(asked, r.URL.String()+" "+body.String())
		fmt.Fprintf(w, `{"count": 2, "dry_run": true, "results": [%s]}`, results)
	}
	quellTo := stub(t, map[string]http.HandlerFunc{"POST /v1/aborts": record, "POST /abort-job": record})
	results = `{"job_execution_id": "A", "status": "QUEUED"}, {"job_execution_id": "B", "status": "SUCCESS", "final": true},
		{"job_execution_id": "C", "status": "IN_PROGRESS", "waits_for": "the end of\u001b flash.yml"}`

	code, stdout, stderr := quellTo("abort", "--yes", "--force", "--override", "--no-recovery", "--reason", "why?", "--wait=1s",
		"--status", "queued,in_progress", "--fabric", "f", "--template", "t", "--device", "d", "--node", "n", "--requester", "u",
		"--transaction", "x y", "--since", "2026-01-31T15:04:05Z", "--until", "2026-02-01T15:04:05Z")
	require.Equal(t, exitFailure, code, "two are not final after --wait: "+stderr)
	require.Len(t, asked, 2)
	path, body, _ := strings.Cut(asked[0], " ")
	require.Equal(t, "/v1/aborts?dry_run=true", path)
	require.JSONEq(t, `{"mode": "force", "reason": "why?", "recovery": false, "override": true, "filter": {
		"status": ["QUEUED", "IN_PROGRESS"], "fabric": "f", "template": "t", "device": "d", "node": "n", "requester": "u",
		"transaction": "x y", "since": "2026-01-31T15:04:05Z", "until": "2026-02-01T15:04:05Z"}}`, body)
	path, body, _ = strings.Cut(asked[1], " ")
	require.Equal(t, "/abort-job?"+url.Values{"reason": {"why?"}, "recovery": {"false"}, "override": {"true"}, "wait": {"1s"}}.Encode(), path)
	require.JSONEq(t, `{"input": {"job_execution_ids": ["A", "C"], "abort_mode": "force"}}`, body)
	require.Contains(t, stdout, "\nC waits: the end of\uFFFD flash.yml\n")

	// Nothing matches: no request that would be one for every job.
	asked, results = nil, `{"job_execution_id": "B", "status": "SUCCESS", "final": true}`
	code, stdout, stderr = quellTo("abort", "--yes", "--fabric", "f")
	require.Zero(t, code, stderr)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "there is no job to abort")
	require.Len(t, asked, 1)
}

// Whatever goes wrong before the jobs are known, nothing is aborted.
func TestAbortByFilterThatFails(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"refused":    problemOf(http.StatusBadRequest, "the filter is odd"),
		"not found":  http.NotFound,
		"cut off":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"unreadable": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"results": 7}`) },
	} {
		t.Run(name, func(t *testing.T) {
			quellTo := stub(t, map[string]http.HandlerFunc{
				"POST /v1/aborts": handler,
				"POST /abort-job": func(http.ResponseWriter, *http.Request) { t.Error("something is aborted") },
			})
			code, stdout, stderr := quellTo("abort", "--yes", "--fabric", "f", "--force")
			require.Equal(t, exitFailure, code)
			require.Empty(t, stdout)
			require.Contains(t, stderr, "; nothing was aborted\n")
			require.NotContains(t, stderr, "etcdctl")
			require.NotContains(t, stderr, "may have been carried out")
		})
	}
}

// The list of jobs is asked for what the plan does not say of them, page by
// page; where it does not tell, the ids do.
func TestAbortDryRunDescribesTheJobs(t *testing.T) {
	var asked []string
	broken := false
	quellTo := stub(t, map[string]http.HandlerFunc{
		"POST /v1/aborts": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"results": [{"job_execution_id": "A", "status": "QUEUED"}, {"job_execution_id": "B", "status": "ABORTING"}]}`)
		},
		"GET /v1/jobs": func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.URL.RawQuery)
			switch {
			case broken:
				problemOf(http.StatusServiceUnavailable, "etcd is out of reach")(w, r)
			case len(asked) == 1:
				fmt.Fprint(w, `{"jobs": [{"job_execution_id": "X"}, {"job_execution_id": "A", "job_template_fq_name": ["t", "a"], "fabric_fq_name": "f"}], "next_cursor": "2"}`)
			case len(asked) == 2:
				fmt.Fprint(w, `{"jobs": [{"job_execution_id": "B", "job_template_fq_name": ["t", "b"], "fabric_fq_name": null}], "next_cursor": "3"}`)
			default:
				t.Error("both jobs are known already")
			}
		},
	})
	code, stdout, stderr := quellTo("abort", "--fabric", "f", "--dry-run")
	require.Zero(t, code, stderr)
	require.Equal(t, "ID  STATUS    TEMPLATE  FABRIC\nA   QUEUED    t:a       f\nB   ABORTING  t:b       -\n2 jobs would be aborted gracefully\n", stdout)
	require.Equal(t, []string{
		"fabric=f&limit=500&status=QUEUED%2CSTARTING%2CIN_PROGRESS%2CABORTING%2CRECOVERING",
		"cursor=2&fabric=f&limit=500&status=QUEUED%2CSTARTING%2CIN_PROGRESS%2CABORTING%2CRECOVERING",
	}, asked)
	broken = true
	_, stdout, _ = quellTo("abort", "--fabric", "f", "--dry-run", "--force")
	require.Contains(t, stdout, "A   QUEUED    -         -\n")
	require.Contains(t, stdout, "2 jobs would be aborted by force")
}

// Every filter is one of the list's flags and of the abort's.
func TestFiltersArePaired(t *testing.T) {
	app := newApp(nil, nil, nil)
	for _, path := range [][]string{{"job", "list"}, {"abort"}, {"job", "abort"}} {
		var flags []string
		for _, f := range commandAt(t, app, path).Flags {
			flags = append(flags, f.Names()[0])
		}
		require.Subset(t, flags, filterNames, path)
	}
	require.Len(t, filterFlags("x"), len(filterNames))
}
