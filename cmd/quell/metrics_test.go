package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What an abort leaves in the metrics, on a real cluster in one process.
func TestMetricsTellOfAnAbort(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	j := c.start("one").running(0)
	j.etcdctl("put", "/jobs/"+j.id+"/abort", "nonsense")
	eventually(t, "abort.error", func() bool { v := j.get(); return v.Abort != nil && v.Abort.Error != "" })
	j.abort("force", "?wait=30s")
	j.reach("ABORTED")
	var text string
	eventually(t, "the cache has the final job", func() bool {
		code, body := c.call("GET", "/metrics", "")
		require.Equal(t, http.StatusOK, code)
		text = body
		return hasLine(text, `quell_jobs{status="ABORTED"} 1`)
	})
	for _, line := range []string{
		`quell_abort_requests_total{mode="force",source="api"} 1`,
		`quell_aborts_seen_total{mode="force",source="api"} 1`,
		`quell_abort_invalid_intents_total 1`,
		`quell_abort_seen_seconds_count{mode="force"} 1`,
		`quell_abort_dead_seconds_count{mode="force"} 1`,
		`quell_abort_final_seconds_count{mode="force"} 1`,
		`quell_abort_unseen_intents 0`,
		`quell_abort_unseen_oldest_seconds 0`,
		`quell_jobs_finished_total{status="ABORTED"} 1`,
		`quell_runs_total{result="INTERRUPTED"} 1`,
		`quell_run_duration_seconds_count{result="INTERRUPTED"} 1`,
		`quell_survivors 0`,
		`quell_queue_seconds_count 1`,
		`quell_scheduler_leader 1`,
		`quell_watches_behind 0`,
	} {
		require.True(t, hasLine(text, line), "%s is missing in\n%s", line, text)
	}
	for _, name := range []string{
		`quell_etcd_request_duration_seconds_count{method="Txn"}`, `quell_http_requests_total{code="200",method="POST",route="/abort-job"}`,
		"quell_build_info{", "quell_leftovers_total", "go_goroutines", "process_resident_memory_bytes",
	} {
		require.Contains(t, text, "\n"+name)
	}
}

func hasLine(text, line string) bool { return strings.Contains(text, "\n"+line+"\n") }
