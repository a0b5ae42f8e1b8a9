package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"quell"
)

// What a real cluster does not do at a test's bidding is tested against a
// server that answers as told.

func stub(t *testing.T, handlers map[string]http.HandlerFunc) func(args ...string) (int, string, string) {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, handler := range handlers {
		mux.HandleFunc(pattern, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return func(args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"quell"}, append(args, "--api", server.URL)...), &stdout, &stderr)
		return code, stdout.String(), stderr.String()
	}
}

// jobsByStatus answers with a job whose id is its status.
func jobsByStatus(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, `{"job_execution_id": %q, "status": %q, "reason": "why"}`, r.PathValue("id"), r.PathValue("id"))
}

func problemOf(status int, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "detail": detail, "code": "x"})
	}
}

func TestWaitExitCodes(t *testing.T) {
	quellTo := stub(t, map[string]http.HandlerFunc{"GET /v1/jobs/{id}": jobsByStatus})
	for statuses, want := range map[string]int{
		"SUCCESS": 0, "WARNING": 0, "FAILURE": 1, "ABORTED": 3, "LOST": 4,
		"SUCCESS WARNING": 0, "ABORTED SUCCESS": 3, "ABORTED FAILURE": 1, "FAILURE LOST ABORTED": 4,
	} {
		code, stdout, stderr := quellTo(append([]string{"job", "wait"}, strings.Fields(statuses)...)...)
		require.Equal(t, want, code, statuses+stderr)
		require.Empty(t, stderr)
		require.Equal(t, len(strings.Fields(statuses)), strings.Count(stdout, "\n"), stdout)
		require.Contains(t, stdout, ": why")
	}
}

// An API server may be restarted while a job is waited for.
func TestWaitBearsAnAbsence(t *testing.T) {
	var asked atomic.Int32
	quellTo := stub(t, map[string]http.HandlerFunc{"GET /v1/jobs/{id}": func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 1:
			fmt.Fprint(w, `{"status": "IN_PROGRESS"}`)
		case 2:
			problemOf(http.StatusServiceUnavailable, "etcd is out of reach")(w, r)
		default:
			fmt.Fprint(w, `{"job_execution_id": "x", "status": "SUCCESS"}`)
		}
	}})
	code, _, stderr := quellTo("job", "wait", "x")
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, "etcd is out of reach; trying again for 2m")
}

// A log that is cut off goes on where it was.
func TestFollowGoesOnWhereItWas(t *testing.T) {
	const log = "one\ntwo\nthree\n"
	var asked atomic.Int32
	quellTo := stub(t, map[string]http.HandlerFunc{
		"GET /v1/jobs/{id}": func(w http.ResponseWriter, _ *http.Request) {
			status := "IN_PROGRESS"
			if asked.Load() > 1 {
				status = "ABORTED"
			}
			fmt.Fprintf(w, `{"job_execution_id": "x", "status": %q}`, status)
		},
		"GET /v1/jobs/{id}/log": func(w http.ResponseWriter, r *http.Request) {
			switch asked.Add(1) {
			case 1:
				fmt.Fprint(w, log[:6])
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case 2:
				if r.URL.RawQuery != "follow=true&offset=6" {
					t.Errorf("query %q", r.URL.RawQuery)
				}
				fmt.Fprint(w, log[6:])
			default: // once more when the job is final: nothing is to be missed
				if r.URL.RawQuery != "" || r.Header.Get("Range") != "bytes=14-" {
					t.Errorf("query %q, Range %q", r.URL.RawQuery, r.Header.Get("Range"))
				}
				problemOf(http.StatusRequestedRangeNotSatisfiable, "the log has 14 bytes")(w, r)
			}
		},
	})
	code, stdout, stderr := quellTo("job", "logs", "x", "-f")
	require.Zero(t, code, stderr)
	require.Equal(t, log, stdout)
	require.Contains(t, stderr, "trying again")
}

// Who asks, and that an abort arrives as it was typed.
func TestAbortRequest(t *testing.T) {
	var header http.Header
	var target string
	body := &bytes.Buffer{}
	quellTo := stub(t, map[string]http.HandlerFunc{"POST /abort-job": func(w http.ResponseWriter, r *http.Request) {
		header, target = r.Header, r.URL.String()
		body.Reset()
		_, _ = body.ReadFrom(r.Body)
		fmt.Fprint(w, `{"results": []}`)
	}})
	for line, want := range map[string]struct{ target, body string }{
		"abort A B --force":                      {"/abort-job", `{"input":{"job_execution_ids":["A","B"],"abort_mode":"force"}}`},
		"abort A":                                {"/abort-job", `{"input":{"job_execution_ids":["A"],"abort_mode":"graceful"}}`},
		"job abort A --wait --no-recovery":       {"/abort-job?recovery=false&wait=30s", `{"input":{"job_execution_ids":["A"],"abort_mode":"graceful"}}`},
		"abort --wait=2m A --force-after 5m":     {"/abort-job?force_after=5m&wait=2m0s", `{"input":{"job_execution_ids":["A"],"abort_mode":"graceful"}}`},
		"abort A --dry-run --wait --reason why?": {"/abort-job?dry_run=true&reason=why%3F", `{"input":{"job_execution_ids":["A"],"abort_mode":"graceful"}}`},
		"abort A --force --override":             {"/abort-job?override=true", `{"input":{"job_execution_ids":["A"],"abort_mode":"force"}}`},
		"abort --all --yes --force":              {"/abort-job", `{"input":{"abort_mode":"force"}}`},
	} {
		code, _, stderr := quellTo(strings.Fields(line)...)
		require.Zero(t, code, stderr)
		require.Equal(t, want.target, target, line)
		require.JSONEq(t, want.body, body.String(), line)
		require.Equal(t, "cli", header.Get("X-Quell-Source"))
		require.Equal(t, requester(), header.Get("X-Quell-Requester"))
	}
}

// What an abort that was carried out in part says.
func TestAbortInPart(t *testing.T) {
	quellTo := stub(t, map[string]http.HandlerFunc{"POST /abort-job": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusGatewayTimeout)
		fmt.Fprint(w, `{"status": 504, "detail": "etcd has not answered", "code": "unknown",
			"results": [{"job_execution_id": "A", "outcome": "accepted", "status": "IN_PROGRESS", "abort_mode": "force"}],
			"job_execution_ids": ["B"], "not_written": ["C", "D"]}`)
	}})
	code, stdout, stderr := quellTo("abort", "A", "B", "C", "D", "--force")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stdout, "A   accepted  IN_PROGRESS  force")
	require.Contains(t, stderr, "quell: etcd has not answered")
	require.Contains(t, stderr, "harmless): B")
	require.Contains(t, stderr, "certainly not aborted: C D")
}

func TestErrorsOfTheAPI(t *testing.T) {
	quellTo := stub(t, map[string]http.HandlerFunc{
		"GET /v1/jobs/{id}":  problemOf(http.StatusNotFound, "there is no job \x1b[31mx"),
		"GET /v1/nodes":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"GET /v1/jobs":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) },
		"POST /execute-job":  problemOf(http.StatusBadRequest, "the input does not fit"),
		"GET /v1/jobs/x/log": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
	})
	for line, want := range map[string]string{
		"job show x":      "quell: there is no job \uFFFD[31mx\n",
		"node list":       "is that Quell?",
		"job list":        "answered 502 Bad Gateway, and not as Quell does",
		"job run a:b":     "quell: the input does not fit\n",
		"job logs x":      "is out of reach (EOF)",
		"job show ..":     `quell: ".." names nothing`,
		"job wait x":      "there is no job",
		"job show x -o -": "neither table nor json",
	} {
		code, stdout, stderr := quellTo(strings.Fields(line)...)
		require.NotZero(t, code, line)
		require.Contains(t, stderr, want, line)
		require.Empty(t, stdout, line)
	}
}

func TestNodeTable(t *testing.T) {
	quellTo := stub(t, map[string]http.HandlerFunc{"GET /v1/nodes": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"nodes": [{"node": "a", "address": "http://a", "release": "v1", "capacity": 16, "jobs_running": 3, "labels": {"z": "1", "b": "2"}},
			{"node": "bb", "jobs_running": 1, "unreachable": true}]}`)
	}})
	_, stdout, _ := quellTo("node", "list")
	require.Equal(t, `NODE  STATE         JOBS  RELEASE  ADDRESS   LABELS
a     ready         3/16  v1       http://a  b=2,z=1
bb    out of reach  1     -        -         -
`, stdout)
}

func TestReadTime(t *testing.T) {
	now := time.Date(2026, 2, 3, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"90m": now.Add(-90 * time.Minute), "7d": now.AddDate(0, 0, -7),
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31 15:04":     time.Date(2026, 1, 31, 15, 4, 0, 0, time.Local),
		"2026-01-31T15:04:05Z": time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC),
	} {
		got, err := readTime(text, now)
		require.NoError(t, err)
		require.True(t, want.Equal(got), text)
	}
	for _, text := range []string{"", "yesterday", "-5m", "31.1.2026"} {
		_, err := readTime(text, now)
		require.Error(t, err, text)
	}
}

func TestProgressBar(t *testing.T) {
	var out bytes.Buffer
	bar := &progressBar{to: &out, width: func() int { return 60 }}
	bar.show(job{Status: quell.StatusInProgress, Percentage: 50, CurrentTasks: []string{"a task\x1b"}})
	_, _ = bar.Write([]byte("one\ntw"))
	_, _ = bar.Write([]byte("o\nlast"))
	bar.close()
	const drawn = "[##########----------]  50% IN_PROGRESS  a task\uFFFD"
	require.Equal(t, "\r\x1b[K"+drawn+"\r\x1b[Kone\n"+drawn+"\r\x1b[Ktwo\n"+drawn+"\r\x1b[Klast\n", out.String())
	long := drawBar(job{Status: quell.StatusInProgress, Reason: strings.Repeat("x", 100)}, false, 60)
	require.Len(t, []rune(long), 59)
	require.True(t, strings.HasSuffix(long, "…"))
}

// What job show tells of jobs that a test cluster does not get into.
func TestTell(t *testing.T) {
	at := time.Now()
	for name, tt := range map[string]struct {
		job  job
		want []string
	}{
		"survivors": {
			job{Status: quell.StatusAborting, Node: "n", Abort: &abortRecord{
				Mode: quell.Force, SeenAt: &at, Survivors: []quell.Process{{PID: 7, Command: "cp", State: "D"}},
			}},
			[]string{"cannot be killed yet", "cp (pid 7, state D)", "See on the node n"},
		},
		"not seen":         {job{Status: quell.StatusInProgress, Abort: &abortRecord{Mode: quell.Force}}, []string{"has not seen it yet"}},
		"unreadable":       {job{Status: quell.StatusInProgress, Abort: &abortRecord{Error: "froce"}}, []string{"Not acted on: froce.", "End it: quell abort"}},
		"lost":             {job{Status: quell.StatusLost, Node: "n", Playbooks: []playbook{{URI: "a", Status: "RUNNING"}}}, []string{"declared gone", "Not known:       a (1 of 1)", "See on the node n"}},
		"finished first":   {job{Status: quell.StatusSuccess, Abort: &abortRecord{Mode: quell.Graceful, Outcome: quell.OutcomeFinishedFirst}}, []string{"ended by itself (SUCCESS) before", "Never started:   no playbook"}},
		"withdrawn":        {job{Status: quell.StatusInProgress, Abort: &abortRecord{Mode: quell.Graceful, Outcome: quell.OutcomeWithdrawn}}, []string{"taken back", "Watch it"}},
		"came too late":    {job{Status: quell.StatusSuccess, Abort: &abortRecord{Mode: quell.Force, Outcome: quell.OutcomeAlreadyFinal}}, []string{"it changed nothing"}},
		"recovery stopped": {job{Status: quell.StatusFailure, Recovery: []playbook{{URI: "r", Status: "INTERRUPTED"}}, Abort: &abortRecord{Mode: quell.Force, Outcome: quell.OutcomeRecoveryStopped}}, []string{"kept its recovery playbooks", "r (1 of 1) was interrupted", "did not do all of its work"}},
		"out of reach":     {job{Status: quell.StatusInProgress, Node: "n", UnreachableSince: &at}, []string{"Its node n is out of reach since"}},
		"devices": {
			job{
				Status: quell.StatusAborted, Devices: []device{{ID: "d1", Changed: true}, {ID: "d2"}}, Abort: &abortRecord{Mode: quell.Force, Outcome: quell.OutcomeAborted},
				Playbooks: []playbook{{URI: "a", Status: "INTERRUPTED", LeftoverCount: 3, Leftovers: []quell.Process{{PID: 1, Command: "sh"}}}},
			},
			[]string{"Devices changed: d1", "sh (pid 1), 2 more: left behind by a playbook, and killed"},
		},
		"queued": {job{Status: quell.StatusQueued}, []string{"waits for a node", "quell node list"}},
	} {
		var text strings.Builder
		for _, s := range tell(tt.job) {
			text.WriteString(s.heading + "\n" + strings.Join(s.lines, "\n") + "\n")
		}
		for _, want := range tt.want {
			require.Contains(t, text.String(), want, name)
		}
	}
}
