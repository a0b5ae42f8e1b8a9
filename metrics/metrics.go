// Package metrics holds Quell's Prometheus metrics, one struct for each part:
// the API server, the agent and the scheduler.
//
// Every metric is built from an injected Registerer, so that the parts can
// share one registry (quell dev) or have one each; nothing registers itself
// globally. All labels are bounded: no job, no user and no path is ever a
// label value. The package imports nothing else of Quell; label values that
// the domain defines are listed here once more, so that every series exists,
// at zero, from the start.
package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Label names.
const (
	labelMode   = "mode"
	labelSource = "source"
	labelStatus = "status"
	labelResult = "result"
	labelRoute  = "route"
	labelMethod = "method"
	labelCode   = "code"
)

// abortModes are the values of the label mode.
var abortModes = []string{"graceful", "force"}

// abortBuckets span a kill of a few milliseconds (docs: the floor of an abort
// is about 2 ms) and a graceful abort that waits for a long playbook.
var abortBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}

// NewRegistry returns a registry with the metrics of the Go runtime and of
// the process, and with quell_build_info.
func NewRegistry(release string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	promauto.With(reg).NewGaugeVec(prometheus.GaugeOpts{
		Name: "quell_build_info",
		Help: "Always 1; the labels tell the release of Quell and the Go version that built it.",
	}, []string{"version", "goversion"}).WithLabelValues(release, runtime.Version()).Set(1)
	return reg
}
