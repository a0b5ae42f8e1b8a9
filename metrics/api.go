package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// API are the metrics of an API server.
type API struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	aborts   *prometheus.CounterVec
	cache    *cache

	Subscribers    prometheus.Gauge   // clients of the event stream now
	SubscribersCut prometheus.Counter // those that were too slow
}

// methods are the HTTP methods that may be a label value; whatever else a
// client invents is counted as "other".
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
	http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// NewAPI builds the metrics of an API server and registers them.
func NewAPI(reg prometheus.Registerer) *API {
	auto := promauto.With(reg)
	m := &API{
		cache: newCache(),
		requests: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "quell_http_requests_total",
			Help: "HTTP requests answered, by route pattern, method and status code.",
		}, []string{labelRoute, labelMethod, labelCode}),
		duration: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "quell_http_request_duration_seconds",
			Help:    "Time from a request's arrival to the end of its answer, by route pattern.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{labelRoute}),
		aborts: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "quell_abort_requests_total",
			Help: "Abort requests that were acted on (no dry runs, no refused ones), by abort mode and source.",
		}, []string{labelMode, labelSource}),
		Subscribers: auto.NewGauge(prometheus.GaugeOpts{
			Name: "quell_event_subscribers",
			Help: "Clients that follow the event stream now.",
		}),
		SubscribersCut: auto.NewCounter(prometheus.CounterOpts{
			Name: "quell_event_subscribers_cut_total",
			Help: "Clients of the event stream that were cut off because they did not take what was sent.",
		}),
	}
	reg.MustRegister(m.cache)
	for _, mode := range abortModes {
		for _, source := range []string{"api", "cli", "web"} {
			m.aborts.WithLabelValues(mode, source)
		}
	}
	return m
}

// Request counts one answered request. route is the pattern that matched, not
// the path.
func (m *API) Request(route, method string, code int, took time.Duration) {
	if !slices.Contains(methods, method) {
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(code)).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}

// Abort counts one abort request.
func (m *API) Abort(mode, source string) { m.aborts.WithLabelValues(mode, source).Inc() }
