package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Etcd are the metrics of one process' connection to etcd.
type Etcd struct {
	duration *prometheus.HistogramVec
	errors   *prometheus.CounterVec
}

// NewEtcd builds the metrics of a connection to etcd and registers them.
// behind is asked at every scrape how many watches are being made good.
func NewEtcd(reg prometheus.Registerer, behind func() int) *Etcd {
	auto := promauto.With(reg)
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "quell_watches_behind",
		Help: "Watches of etcd that broke and have not been made good by a full read yet; 0 when all is well.",
	}, func() float64 { return float64(behind()) })
	return &Etcd{
		duration: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "quell_etcd_request_duration_seconds",
			Help:    "Time that a request to etcd took, failed ones included, by gRPC method.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{labelMethod}),
		errors: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "quell_etcd_request_errors_total",
			Help: "Requests to etcd that failed, by gRPC method and gRPC code.",
		}, []string{labelMethod, labelCode}),
	}
}

// Request counts one request to etcd. code is empty when it went well. Both
// labels are bounded by etcd's API.
func (m *Etcd) Request(method, code string, took time.Duration) {
	m.duration.WithLabelValues(method).Observe(took.Seconds())
	if code != "" {
		m.errors.WithLabelValues(method, code).Inc()
	}
}
