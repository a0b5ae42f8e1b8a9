package apiserver

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"quell"
	"quell/web"
)

// Attribute keys of this package's log lines.
const (
	keyMethod    = "method"
	keyPath      = "path"
	keyRoute     = "route"
	keyStatus    = "status"
	keyCode      = "code"
	keyError     = "error"
	keyBytes     = "bytes"
	keyDuration  = "duration"
	keyClient    = "client"
	keyRequester = "requester"
	keyCount     = "count"
	keyMode      = "mode"
	keySource    = "source"
	keyReason    = "reason"
	keyJob       = "job_execution_id"
	keyJobs      = "job_execution_ids"
	keyTemplate  = "job_template_fq_name"
	keyNode      = "node"
	keyStack     = "stack"
)

// noRoute is the metrics' name for every path that nothing is registered for.
const noRoute = "other"

func (s *Server) routes() (*http.ServeMux, error) {
	mux := http.NewServeMux()
	for pattern, handler := range map[string]http.HandlerFunc{
		"GET /{$}":          s.root,
		"POST /execute-job": s.executeJob,
		"POST /abort-job":   s.abortJob,

		"GET /v1":               s.discoveryV1,
		"GET /v1/jobs/{id}/log": s.getLog,
		"GET /v1/events":        s.getEvents,
		"POST /v1/aborts":       s.abortMatching,
		"GET /openapi.json":     s.getOpenAPI,

		"POST /v1/transactions/{id}/abort": s.abortTransaction,
		"GET /schemas/job-template.json":   s.getTemplateSchema,
		"GET /healthz":                     s.healthz,
		"GET /readyz":                      s.readyz,
	} {
		mux.Handle(pattern, counted(pattern, handler))
	}
	api := newAPI(router{mux})
	s.register(api)
	var err error
	if s.openAPI, err = document(api); err != nil {
		return nil, err
	}
	// Every method: the page says itself which it takes.
	mux.Handle(web.Base, counted(web.Base, web.Handler()))
	const scrape = "GET /metrics"
	mux.Handle(scrape, counted(scrape, promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelError),
	})))
	return mux, nil
}

// counted notes the route in the recorder. The pattern is the one label value
// that says where a request went: what the mux reports for a redirect is the
// client's path.
func counted(pattern string, handler http.Handler) http.Handler {
	_, route, _ := strings.Cut(pattern, " ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rec, ok := w.(*recorder); ok {
			rec.route = route
		}
		handler.ServeHTTP(w, r)
	})
}

// wrap puts around the routes what holds for every request. A browser is sent
// here by any page that its user looks at, and a body is taken whatever its
// content type: requests that change something and come from another site's
// page are refused.
func (s *Server) wrap(mux *http.ServeMux) http.Handler {
	crossSite := http.NewCrossOriginProtection()
	var routed http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := crossSite.Check(r); err != nil {
			s.fail(w, r, quell.Errorf(quell.CodeForbidden, "the request comes from a page of another site: %w", err))
			return
		}
		if handler, pattern := mux.Handler(r); pattern == "" {
			s.unrouted(w, r, handler)
			return
		}
		mux.ServeHTTP(w, r)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w, route: noRoute}
		defer func() { s.finish(rec, r, start, recover()) }()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		routed.ServeHTTP(rec, r)
	})
}

// finish ends a request: a panic becomes a 500, and the request is counted.
func (s *Server) finish(rec *recorder, r *http.Request, start time.Time, panicked any) {
	//nolint:errorlint // a panic's value is this very one, or it is a fault
	cutOff := panicked == http.ErrAbortHandler
	if panicked != nil && !cutOff {
		s.log.Error("a request handler panicked", keyMethod, r.Method, keyPath, r.URL.Path,
			keyError, fmt.Sprint(panicked), keyStack, string(debug.Stack()))
		if rec.status == 0 {
			s.fail(rec, r, quell.Errorf(quell.CodeInternal, "an internal error; the log of the API server has the details"))
		} else {
			cutOff = true // the answer is incomplete, and the client must see that
		}
	}
	took := time.Since(start)
	s.opts.Metrics.Request(rec.route, r.Method, rec.code(), took)
	s.log.Debug("request", keyMethod, r.Method, keyPath, r.URL.Path, keyRoute, rec.route, keyStatus, rec.code(),
		keyBytes, rec.bytes, keyDuration, took, keyClient, r.RemoteAddr)
	if cutOff {
		panic(http.ErrAbortHandler)
	}
}

// unrouted answers a request that no pattern matches. Which answer it is (not
// found, or a wrong method with the ones that are right) the mux decides.
func (s *Server) unrouted(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	probe := &probe{header: http.Header{}}
	handler.ServeHTTP(probe, r)
	err := quell.Errorf(quell.CodeNotFound, "there is nothing at %s: GET / lists what there is", excerpt(r.URL.Path))
	p := newProblem(err)
	if probe.status == http.StatusMethodNotAllowed {
		allow := probe.header.Get("Allow")
		w.Header().Set("Allow", allow)
		err = quell.Errorf(quell.CodeInvalid, "%s does not take %s: use %s", excerpt(r.URL.Path), excerpt(r.Method), allow)
		p = newProblem(err)
		p.Status, p.Title = probe.status, http.StatusText(probe.status)
	}
	s.failWith(w, r, err, p)
}

// probe takes an answer's status and header, and drops its body.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(status int)      { p.status = status }

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	route  string
	status int
	bytes  int64
}

// WriteHeader notes the status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) code() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

// excerpt shortens a text from outside for an error message.
func excerpt(text string) string {
	const longest = 100
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}
