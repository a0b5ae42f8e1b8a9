package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"quell"
)

// What there is to know of a job in a fabric, of a transaction, resumed.
func TestJobFacts(t *testing.T) {
	quellTo := stub(t, map[string]http.HandlerFunc{"GET /v1/jobs/{id}": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"job_execution_id": "X", "job_template_fq_name": ["a", "b"], "job_template_revision": 12, "display_name": "AB",
			"status": "WARNING", "reason": "", "warnings": ["first\u001b", "second"], "fabric_fq_name": "default:f",
			"locks": {"level": "fabric", "fabric": "default:f"}, "transaction_id": "T", "transaction_descr": "why",
			"resumed_from": "R1", "resumed_as": null, "rerun_of": "R2", "input": {"a": 1}, "output": {"text": %q},
			"playbooks": [{"playbook_uri": "p", "status": "SUCCESS", "from": "R1", "try": 1, "multi_device": true, "devices_succeeded": 7, "devices_failed": 2, "devices_total": 9}]}`,
			strings.Repeat("y", 300))
	}})
	code, stdout, stderr := quellTo("job", "show", "X")
	require.Zero(t, code, stderr)
	for _, want := range []string{
		"Job:          X\n", "Template:     AB (a:b), revision 12\n", "Fabric:       default:f\n", "Transaction:  T (why)\n",
		"Resumed from: R1\n", "Rerun of:     R2\n", "Warning:      first\uFFFD\n", "Warning:      second\n", "Input:        {\"a\": 1}\n",
		"yyy… (--output json has all of it)\n", "1  p         SUCCESS  -     ended in job R1; try 2; 7 of 9 devices, 2 failed\n",
		"something to look at: first\uFFFD; second.",
	} {
		require.Contains(t, stdout, want)
	}
	require.NotContains(t, stdout, "Resumed as")
	require.NotContains(t, stdout, "Locks", "a final job holds none")
}

func TestLocksAndTransactionInWords(t *testing.T) {
	device := &quell.LockScope{Level: quell.ConcurrencyDevice, Fabric: "f"}
	fabric := &quell.LockScope{Level: quell.ConcurrencyFabric, Fabric: "f"}
	require.Equal(t, "wants its devices, in fabric f", locksFact(job{Status: quell.StatusQueued, Locks: device}))
	require.Equal(t, "holds fabric f", locksFact(job{Status: quell.StatusAborting, Locks: fabric}))
	require.Empty(t, locksFact(job{Status: quell.StatusAborted, Locks: fabric}))
	require.Empty(t, locksFact(job{Status: quell.StatusQueued}))
	require.Empty(t, transactionFact(job{ID: "X", Transaction: "X"}))
	require.Empty(t, transactionFact(job{ID: "X"}))
	require.Equal(t, "T", transactionFact(job{ID: "X", Transaction: "T"}))
	require.Equal(t, "why", transactionFact(job{ID: "X", Transaction: "X", TransactionDescr: "why"}))
}

func TestRunDetails(t *testing.T) {
	at, zero, seven := time.Now(), 0, 7
	for want, p := range map[string]playbook{
		"":                        {URI: "p", Status: quell.PlaybookSuccess, ExitCode: &zero, StartedAt: &at, Unabortable: true},
		"exit code 7; oh":         {URI: "p", ExitCode: &seven, Error: "oh", StartedAt: &at},
		"must not be interrupted": {URI: "p", Status: quell.PlaybookRunning, Unabortable: true, StartedAt: &at},
		// The API knows the total where the playbook was not cut short.
		"0 of 10 devices":                 {MultiDevice: true, Status: quell.PlaybookRunning, StartedAt: &at},
		"3 of 7 devices, 1 failed":        {MultiDevice: true, Status: quell.PlaybookRunning, StartedAt: &at, Succeeded: 3, Failed: 1, Total: &seven},
		"try 3; 7 of 7 devices":           {MultiDevice: true, Status: quell.PlaybookSuccess, Try: 2, Succeeded: 7, Total: &seven},
		"signal KILL; 2 leftovers killed": {Signal: "KILL", LeftoverCount: 2},
	} {
		require.Equal(t, want, strings.Join(runDetails(p, 10), "; "))
	}
	require.Empty(t, runDetails(playbook{MultiDevice: true, Status: quell.PlaybookPending}, 10))
}

// Of many devices those come first that need a look.
func TestManyDevices(t *testing.T) {
	devices := make([]string, 0, 120)
	for i := range 120 {
		status := "SUCCESS"
		switch {
		case i == 100:
			status = "FAILURE"
		case i == 90:
			status = "SKIPPED"
		case i > 110:
			status = "INTERRUPTED"
		}
		devices = append(devices, fmt.Sprintf(`{"device_id": "d%d", "status": %q, "changed": true}`, i, status))
	}
	shown := 51
	quellTo := stub(t, map[string]http.HandlerFunc{"GET /v1/jobs/{id}": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"job_execution_id": "X", "status": "FAILURE", "devices": [%s]}`, strings.Join(devices[:shown], ","))
	}})
	_, stdout, _ := quellTo("job", "show", "X")
	require.Contains(t, stdout, "and 1 more: 1 SUCCESS (--output json has all of them)\n")
	shown = 50
	_, stdout, _ = quellTo("job", "show", "X")
	require.NotContains(t, stdout, "(--output json has")
	require.Contains(t, stdout, "Devices changed: d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, 40 more\n")
	shown = 120
	_, stdout, _ = quellTo("job", "show", "X")
	_, table, _ := strings.Cut(stdout, "DEVICE")
	lines := strings.Split(table, "\n")
	require.Regexp(t, `^d100 +FAILURE`, lines[1])
	require.Regexp(t, `^d111 +INTERRUPTED`, lines[2])
	require.Regexp(t, `^d90 +SKIPPED`, lines[11])
	require.Regexp(t, `^d0 +SUCCESS`, lines[12])
	require.Equal(t, "and 70 more: 70 SUCCESS (--output json has all of them)", lines[51])
	require.Contains(t, stdout, "Failed on:       d100\n")
	require.Contains(t, stdout, "Interrupted on:  d111, d112, ")
	require.Contains(t, stdout, "Skipped on:      d90\n")
}

// What job show proposes.
func TestWhatNext(t *testing.T) {
	const other = "0199aaaa-0000-7000-8000-00000000000a"
	step := func(status quell.PlaybookStatus) []playbook { return []playbook{{URI: "p", Status: status}} }
	locks, at := &quell.LockScope{Level: quell.ConcurrencyFabric, Fabric: "f"}, time.Now()
	for name, tt := range map[string]struct {
		job      job
		want     []string
		unwanted string
	}{
		"aborted":      {job{Status: quell.StatusAborted, Playbooks: step("SKIPPED")}, []string{"quell job resume X", "quell job rerun X"}, ""},
		"failed":       {job{Status: quell.StatusFailure, Playbooks: step("FAILURE")}, []string{"quell job resume X", "quell job rerun X"}, ""},
		"nothing left": {job{Status: quell.StatusFailure, Playbooks: step("SUCCESS")}, []string{"do all of it again: quell job rerun X"}, "resume"},
		"resumed":      {job{Status: quell.StatusAborted, Playbooks: step("SKIPPED"), ResumedAs: "Y"}, []string{"It was resumed: quell job show Y"}, "quell job resume"},
		"ended well":   {job{Status: quell.StatusSuccess, Playbooks: step("SUCCESS")}, nil, "quell job re"},
		"lost":         {job{Status: quell.StatusLost, Node: "n", Playbooks: step("RUNNING")}, []string{"See on the node n", "quell job rerun X"}, "resume"},
		"for a lock":   {job{Status: quell.StatusQueued, Reason: "waits for fabric f, which job " + other + " has", Locks: locks}, []string{"the end of job " + other, "quell job show " + other, "quell abort X"}, "node with room"},
		"unabortable": {
			job{Status: quell.StatusAborting, Abort: &abortRecord{Mode: quell.Force, SeenAt: &at}, Playbooks: []playbook{{URI: "flash.yml", Status: "RUNNING", Unabortable: true}}},
			[]string{"waits for the end of flash.yml, which must not be", "all the same: quell abort X --force --override"},
			"",
		},
		"for a node": {job{Status: quell.StatusQueued, Reason: "waits for a node", Locks: locks}, []string{"a node with room"}, "quell job show"},
		"some devices failed": {
			job{Status: quell.StatusWarning, Warnings: []string{"hot"}, Playbooks: []playbook{{URI: "p", Status: "SUCCESS"}, {URI: "q", Status: "SUCCESS", Failed: 1}}, Devices: []device{{ID: "a", Status: "SUCCESS"}, {ID: "b", Status: "FAILURE"}}},
			[]string{"to look at: hot; it failed on b.", "Failed on:       b\n", "quell job logs X --run playbook-1-device-2\n", "quell job rerun X"},
			"resume",
		},
		"which failed is not clear": {
			job{Status: quell.StatusFailure, Playbooks: []playbook{{URI: "p", Status: "SUCCESS", Failed: 1}, {URI: "q", Status: "FAILURE", Failed: 1}}, Devices: []device{{ID: "a", Status: "FAILURE"}, {ID: "b", Status: "FAILURE"}}},
			[]string{"Failed on:       a, b\n", "quell job logs X\n"},
			"--run",
		},
	} {
		var text strings.Builder
		tt.job.ID = "X"
		for _, s := range tell(tt.job) {
			text.WriteString(s.heading + "\n" + strings.Join(s.lines, "\n") + "\n")
		}
		for _, want := range tt.want {
			require.Contains(t, text.String(), want, name)
		}
		if tt.unwanted != "" {
			require.NotContains(t, text.String(), tt.unwanted, name)
		}
	}
}

// Transactions, and their pages.
func TestTransactionTables(t *testing.T) {
	var query string
	quellTo := stub(t, map[string]http.HandlerFunc{
		"GET /v1/transactions": func(w http.ResponseWriter, r *http.Request) {
			if query = r.URL.RawQuery; r.URL.Query().Get("cursor") == "" {
				fmt.Fprint(w, `{"transactions": [{"transaction_id": "T 1", "transaction_descr": "why", "status": "IN_PROGRESS", "job_count": 3, "percentage_completed": 40}], "next_cursor": "n"}`)
				return
			}
			fmt.Fprint(w, `{"transactions": [{"transaction_id": "T2", "transaction_descr": null, "status": "WARNING", "job_count": 1, "percentage_completed": 100}], "next_cursor": ""}`)
		},
		"GET /v1/transactions/{id}": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"transaction_id": %q, "status": "IN_PROGRESS", "job_count": 2, "jobs": [{"job_execution_id": "A", "status": "QUEUED"}]}`, r.PathValue("id"))
		},
	})
	_, stdout, stderr := quellTo("transaction", "list", "--status", "warning", "--fabric", "f", "--text", "w", "--limit", "7", "--transaction", "T", "--since", "2026-01-31T15:04:05Z")
	require.Equal(t, "ID   STATUS       DONE  JOBS  DESCRIPTION  CREATED  TOOK\nT 1  IN_PROGRESS  40%   3     why          -        -\n", stdout)
	require.Contains(t, stderr, "--cursor n for the next page")
	require.Equal(t, "fabric=f&limit=7&since=2026-01-31T15%3A04%3A05Z&status=WARNING&text=w&transaction=T", query)
	_, stdout, stderr = quellTo("transaction", "list", "--all")
	require.Contains(t, stdout, "T2   WARNING      100%  1     -            -        -\n")
	require.Empty(t, stderr)
	_, stdout, stderr = quellTo("transaction", "show", "a/b's")
	require.Contains(t, stdout, "Transaction: a/b's\n")
	require.Contains(t, stdout, "A   QUEUED  0%")
	require.Contains(t, stdout, `To end what is left of it: quell abort --transaction 'a/b'\''s'`+"\n")
	require.Contains(t, stderr, "there are more: quell job list --all --transaction")
}
