package metrics

import (
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOneRegistry has all parts in one registry, as in quell dev.
func TestOneRegistry(t *testing.T) {
	reg := NewRegistry("v1.2.3")
	api := NewAPI(reg)
	api.Request("/abort-job", "POST", 200, time.Millisecond)
	api.Cache(func() CacheStats { return CacheStats{Ready: true} })
	NewAgent(reg)
	NewScheduler(reg)

	families := gather(t, reg)
	for _, want := range []string{
		"go_goroutines", "process_open_fds", "quell_build_info",
		"quell_http_requests_total", "quell_http_request_duration_seconds", "quell_abort_requests_total",
		"quell_event_subscribers", "quell_event_subscribers_cut_total", "quell_jobs", "quell_cache_ready", "quell_cache_age_seconds",
		"quell_abort_unseen_intents", "quell_abort_unseen_oldest_seconds",
		"quell_jobs_running", "quell_jobs_finished_total", "quell_runs_total", "quell_abort_invalid_intents_total",
		"quell_abort_seen_seconds", "quell_abort_dead_seconds", "quell_abort_final_seconds", "quell_leftovers_total",
		"quell_scheduler_leader", "quell_jobs_queued", "quell_jobs_placed_total", "quell_queue_seconds",
	} {
		assert.Contains(t, families, want)
	}
	list := make([]*dto.MetricFamily, 0, len(families))
	for name, f := range families {
		assert.NotEmpty(t, f.GetHelp(), name)
		list = append(list, f)
	}
	problems, err := promlint.NewWithMetricFamilies(list).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems, "Prometheus conventions")

	info := families["quell_build_info"].GetMetric()
	require.Len(t, info, 1)
	assert.Equal(t, map[string]string{"version": "v1.2.3", "goversion": runtime.Version()}, labels(info[0]))
	assert.InDelta(t, 1, info[0].GetGauge().GetValue(), 0)
}

// TestRequestLabelsAreBounded has a client that invents methods.
func TestRequestLabelsAreBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewAPI(reg)
	for _, method := range []string{"GET", "BREW", "X1", "X2"} {
		m.Request("/v1/jobs", method, 405, time.Second)
	}
	counts := map[string]float64{}
	for _, series := range gather(t, reg)["quell_http_requests_total"].GetMetric() {
		assert.Equal(t, "/v1/jobs", labels(series)["route"])
		assert.Equal(t, "405", labels(series)["code"])
		counts[labels(series)["method"]] = series.GetCounter().GetValue()
	}
	assert.Equal(t, map[string]float64{"GET": 1, "other": 3}, counts)
}

// TestSeriesExistFromTheStart lets a rate over the first event be seen.
func TestSeriesExistFromTheStart(t *testing.T) {
	reg := prometheus.NewRegistry()
	api := NewAPI(reg)
	NewAgent(reg)
	api.Abort("force", "cli")

	families := gather(t, reg)
	assert.Len(t, families["quell_jobs_finished_total"].GetMetric(), 5)
	assert.Len(t, families["quell_runs_total"].GetMetric(), 4)
	assert.Len(t, families["quell_abort_dead_seconds"].GetMetric(), 2)
	aborts := families["quell_abort_requests_total"].GetMetric()
	assert.Len(t, aborts, 6)
	for _, series := range aborts {
		want := 0.0
		if l := labels(series); l["mode"] == "force" && l["source"] == "cli" {
			want = 1
		}
		assert.InDelta(t, want, series.GetCounter().GetValue(), 0, labels(series))
	}
}

func gather(t *testing.T, reg prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	list, err := reg.Gather()
	require.NoError(t, err)
	families := map[string]*dto.MetricFamily{}
	for _, f := range list {
		families[f.GetName()] = f
	}
	return families
}

func labels(series *dto.Metric) map[string]string {
	pairs := map[string]string{}
	for _, l := range series.GetLabel() {
		pairs[l.GetName()] = l.GetValue()
	}
	return pairs
}
