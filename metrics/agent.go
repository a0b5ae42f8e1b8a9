package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Agent are the metrics of an agent.
type Agent struct {
	JobsRunning    prometheus.Gauge
	JobsFinished   *prometheus.CounterVec // by status
	Runs           *prometheus.CounterVec // by result
	AbortsSeen     *prometheus.CounterVec // by mode and source
	InvalidIntents prometheus.Counter
	RunSeconds     *prometheus.HistogramVec // by result
	Leftovers      prometheus.Counter
	Survivors      prometheus.Gauge

	// The life of an abort, each by mode, in seconds.
	AbortSeen  *prometheus.HistogramVec // requested → seen
	AbortDead  *prometheus.HistogramVec // seen → dead
	AbortFinal *prometheus.HistogramVec // seen → final
}

// NewAgent builds the metrics of an agent and registers them.
func NewAgent(reg prometheus.Registerer) *Agent {
	auto := promauto.With(reg)
	abort := func(name, help string) *prometheus.HistogramVec {
		h := auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: abortBuckets,
		}, []string{labelMode})
		for _, mode := range abortModes {
			h.WithLabelValues(mode)
		}
		return h
	}
	m := &Agent{
		JobsRunning: auto.NewGauge(prometheus.GaugeOpts{
			Name: "quell_jobs_running",
			Help: "Jobs that this agent owns and that are not final.",
		}),
		JobsFinished: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "quell_jobs_finished_total",
			Help: "Jobs that this agent made final, by final status.",
		}, []string{labelStatus}),
		Runs: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "quell_runs_total",
			Help: "Playbook processes that ended, by the playbook's status.",
		}, []string{labelResult}),
		AbortsSeen: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "quell_aborts_seen_total",
			Help: "Aborts of jobs that the agent has seen and acts on, by whatever way they came, by abort mode and source.",
		}, []string{labelMode, labelSource}),
		InvalidIntents: auto.NewCounter(prometheus.CounterOpts{
			Name: "quell_abort_invalid_intents_total",
			Help: "Abort intents whose value could not be read and that were not acted on.",
		}),
		RunSeconds: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "quell_run_duration_seconds",
			Help:    "Time from the start of a playbook's process to its end, by the playbook's status.",
			Buckets: []float64{.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200},
		}, []string{labelResult}),
		Survivors: auto.NewGauge(prometheus.GaugeOpts{
			Name: "quell_survivors",
			Help: "Processes that a kill has not brought down yet; anything but 0 needs a look at the node.",
		}),
		Leftovers: auto.NewCounter(prometheus.CounterOpts{
			Name: "quell_leftovers_total",
			Help: "Processes that were still there when a run's main process had ended, and were killed.",
		}),
		AbortSeen: abort("quell_abort_seen_seconds",
			"Time from an abort's request to when the agent saw it, by abort mode. The two clocks may differ."),
		AbortDead: abort("quell_abort_dead_seconds",
			"Time from when the agent saw an abort to when nothing of the run was left, by abort mode."),
		AbortFinal: abort("quell_abort_final_seconds",
			"Time from when the agent saw an abort to the final status in the store, by abort mode."),
	}
	for _, mode := range abortModes {
		for _, source := range []string{"api", "cli", "web", "etcdctl", "local"} {
			m.AbortsSeen.WithLabelValues(mode, source)
		}
	}
	for _, status := range []string{"SUCCESS", "WARNING", "FAILURE", "ABORTED", "LOST"} {
		m.JobsFinished.WithLabelValues(status)
	}
	for _, result := range []string{"SUCCESS", "FAILURE", "INTERRUPTED", "SKIPPED"} {
		m.Runs.WithLabelValues(result)
	}
	return m
}
