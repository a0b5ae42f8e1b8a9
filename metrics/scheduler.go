package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Scheduler are the metrics of a scheduler, leader or not.
type Scheduler struct {
	Leader     prometheus.Gauge // 1 or 0
	JobsQueued prometheus.Gauge
	JobsPlaced prometheus.Counter
	Queue      prometheus.Histogram // created → placed, in seconds
}

// NewScheduler builds the metrics of a scheduler and registers them.
func NewScheduler(reg prometheus.Registerer) *Scheduler {
	auto := promauto.With(reg)
	return &Scheduler{
		Leader: auto.NewGauge(prometheus.GaugeOpts{
			Name: "quell_scheduler_leader",
			Help: "1 while this process leads the scheduler, else 0.",
		}),
		JobsQueued: auto.NewGauge(prometheus.GaugeOpts{
			Name: "quell_jobs_queued",
			Help: "Jobs that wait for a node, as the leader sees it; 0 elsewhere.",
		}),
		JobsPlaced: auto.NewCounter(prometheus.CounterOpts{
			Name: "quell_jobs_placed_total",
			Help: "Jobs that this scheduler gave to a node.",
		}),
		Queue: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "quell_queue_seconds",
			Help:    "Time from a job's creation to its placement on a node.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200},
		}),
	}
}
