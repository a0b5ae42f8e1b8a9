package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// CacheStats is what an API server's cache of jobs knows when it is scraped.
type CacheStats struct {
	Ready        bool
	AgeSeconds   float64
	Jobs         map[string]int // by status
	Unseen       int            // abort intents that nobody has acted on yet
	OldestUnseen float64        // seconds; 0: none
}

// cache collects what the cache knows. Every API server tells the same of the
// whole cluster: aggregate with max, not with sum.
type cache struct {
	source atomic.Pointer[func() CacheStats]

	ready, age, jobs, unseen, oldest *prometheus.Desc
}

func newCache() *cache {
	return &cache{
		ready:  prometheus.NewDesc("quell_cache_ready", "1 while the API server's cache of jobs is filled and fresh, else 0.", nil, nil),
		age:    prometheus.NewDesc("quell_cache_age_seconds", "Time since etcd last proved that the API server's cache of jobs is complete.", nil, nil),
		jobs:   prometheus.NewDesc("quell_jobs", "Jobs that are stored, in the whole cluster, by status.", []string{labelStatus}, nil),
		unseen: prometheus.NewDesc("quell_abort_unseen_intents", "Abort intents of single jobs that nobody has acted on yet, in the whole cluster.", nil, nil),
		oldest: prometheus.NewDesc("quell_abort_unseen_oldest_seconds", "Age of the oldest abort intent that nobody has acted on yet; 0 when there is none.", nil, nil),
	}
}

// Describe is for the registry.
func (c *cache) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.ready, c.age, c.jobs, c.unseen, c.oldest} {
		to <- d
	}
}

// Collect is for the registry.
func (c *cache) Collect(to chan<- prometheus.Metric) {
	source := c.source.Load()
	if source == nil {
		return
	}
	s := (*source)()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ready := 0.0
	if s.Ready {
		ready = 1
	}
	gauge(c.ready, ready)
	gauge(c.age, s.AgeSeconds)
	gauge(c.unseen, float64(s.Unseen))
	gauge(c.oldest, s.OldestUnseen)
	for _, status := range jobStatuses {
		gauge(c.jobs, float64(s.Jobs[status]), status)
	}
}

// jobStatuses are the values of the label status of quell_jobs.
var jobStatuses = []string{
	"QUEUED", "STARTING", "IN_PROGRESS", "ABORTING", "RECOVERING", "SUCCESS", "WARNING", "FAILURE", "ABORTED", "LOST",
}

// Cache has the metrics of the cache come from source.
func (m *API) Cache(source func() CacheStats) { m.cache.source.Store(&source) }
