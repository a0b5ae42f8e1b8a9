package apiserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
	"quell/internal/template"
)

// TestDiscovery does with the answer what vnc_api does.
func TestDiscovery(t *testing.T) {
	f := newFixture(t)
	for _, host := range []string{"example.com", "10.1.2.3:8082", "[::1]:8082"} {
		for scheme, state := range map[string]*tls.ConnectionState{"http": nil, "https": {}} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Host, r.TLS = host, state
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			body := requireJSON[discoveryBody](t, w)
			assert.Equal(t, scheme+"://"+host, body.Href)
			paths := map[string]discoveryLink{}
			for _, item := range body.Links {
				path, ok := strings.CutPrefix(item.Link.Href, body.Href)
				require.True(t, ok, item.Link.Href)
				paths[path] = item.Link
			}
			assert.Equal(t, discoveryLink{"action", "abort-job", body.Href + "/abort-job", "POST"}, paths["/abort-job"])
			assert.Equal(t, discoveryLink{"action", "execute-job", body.Href + "/execute-job", "POST"}, paths["/execute-job"])
			assert.Equal(t, "v1", paths["/v1"].Name)
		}
	}
	v1 := requireJSON[discoveryBody](t, f.do("GET", "/v1", ""))
	assert.Equal(t, "http://example.com/v1", v1.Href)
	assert.Contains(t, v1.Links, discoveryItem{discoveryLink{"service", "jobs", "http://example.com/v1/jobs", "GET"}})
	// What is listed is there, and everything that the document has is listed.
	listed := map[string]bool{}
	for _, body := range []discoveryBody{v1, requireJSON[discoveryBody](t, f.do("GET", "/", ""))} {
		for _, item := range body.Links {
			path := strings.TrimPrefix(item.Link.Href, "http://example.com")
			listed[item.Link.Method+" "+path] = true
			if !strings.HasSuffix(path, "/events") {
				w := f.do(item.Link.Method, strings.NewReplacer("{id}", job1, "{fq_name}", "a:b").Replace(path), "")
				assert.NotContains(t, w.Body.String(), "there is nothing at", path)
				assert.NotEqual(t, 405, w.Code, path)
			}
		}
	}
	for route, item := range newContract(t, f).document["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			assert.True(t, listed[strings.ToUpper(method)+" "+route], "%s %s is not listed", method, route)
		}
	}
	w := f.do("GET", "/schemas/job-template.json", "")
	assert.Equal(t, "application/schema+json", w.Header().Get("Content-Type"))
	assert.Equal(t, string(template.Schema()), w.Body.String())
}

func TestUnrouted(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/nothing", "/v1/nothing", "/v1/jobs/a/b", "/abort-job/"} {
		requireProblem(t, f.do("GET", path, ""), 404, quell.CodeNotFound, path)
	}
	for _, c := range []struct{ method, path, allow string }{
		{"GET", "/abort-job", "POST"},
		{"POST", "/v1/jobs", "GET, HEAD"},
		{"POST", "/v1/job-templates/a", "DELETE, GET, HEAD, PUT"},
		{"PUT", "/", "GET, HEAD"},
	} {
		w := f.do(c.method, c.path, "")
		assert.Equal(t, c.allow, w.Header().Get("Allow"))
		requireProblem(t, w, 405, quell.CodeInvalid, c.path, c.method, c.allow)
	}
	for i := range 20 {
		f.do("GET", fmt.Sprintf("/nothing/%d", i), "")
		f.do("GET", fmt.Sprintf("//a%%20b%d", i), "") // the mux redirects: its pattern is the path then
	}
	text := f.do("GET", "/metrics", "").Body.String()
	assert.Equal(t, 1, strings.Count(text, "quell_http_request_duration_seconds_count{"), text)
	assert.Contains(t, text, `route="other"`)
}

func TestHealth(t *testing.T) {
	f := newFixture(t)
	assert.Equal(t, 200, f.do("GET", "/healthz", "").Code)
	assert.Equal(t, 200, f.do("GET", "/readyz", "").Code)

	f.store.unhealthy = quell.Errorf(quell.CodeUnavailable, "the watch of /active/ is behind")
	requireProblem(t, f.do("GET", "/readyz", ""), 503, quell.CodeUnavailable, "a watch is behind: the watch of /active/")
	f.store.unhealthy = errors.New("10.0.0.1: secret detail")
	p := requireProblem(t, f.do("GET", "/readyz", ""), 503, quell.CodeUnavailable)
	assert.NotContains(t, p.Detail, "secret detail")

	f.store.unhealthy = nil
	for _, code := range []quell.Code{quell.CodeUnavailable, quell.CodeInternal} {
		f.store.fail = failing("Ping", code)
		requireProblem(t, f.do("GET", "/readyz", ""), 503, quell.CodeUnavailable, "etcd is out of reach")
	}
	f.store.fail = func(ctx context.Context, _, _ string) error {
		deadline, ok := ctx.Deadline()
		assert.True(t, ok)
		assert.LessOrEqual(t, time.Until(deadline), pingTimeout)
		return nil
	}
	assert.Equal(t, 200, f.do("GET", "/readyz", "").Code)

	require.NoError(t, f.Stop(context.Background()))
	requireProblem(t, f.do("GET", "/readyz", ""), 503, quell.CodeUnavailable, "stopping")
	assert.Equal(t, 200, f.do("GET", "/healthz", "").Code)
}

func TestMetrics(t *testing.T) {
	f := newFixture(t)
	f.do("GET", "/v1/jobs/"+job1, "")
	text := f.do("GET", "/metrics", "").Body.String()
	for _, want := range []string{
		"go_goroutines ", "process_resident_memory_bytes ", `quell_build_info{`,
		`quell_http_requests_total{code="404",method="GET",route="/v1/jobs/{id}"} 1`,
		`quell_http_request_duration_seconds_count{route="/v1/jobs/{id}"} 1`,
	} {
		assert.Contains(t, text, want)
	}
}

// TestStatuses has the whole table, and every code of the domain in it.
func TestStatuses(t *testing.T) {
	for code, status := range map[quell.Code]int{
		quell.CodeInvalid: 400, quell.CodeUnsupported: 400, quell.CodeForbidden: 403, quell.CodeNotFound: 404,
		quell.CodeConflict: 409, quell.CodeStale: 409, quell.CodeNotOwner: 409, quell.CodeAlready: 409,
		quell.CodeTooLarge: 413, quell.CodeUnavailable: 503, quell.CodeUnknown: 504, quell.CodeNoSpace: 507,
		quell.CodeInternal: 500, "one of a later release": 500,
	} {
		assert.Equal(t, status, newProblem(quell.Errorf(code, "x")).Status, code)
	}
	assert.Len(t, statuses, 13)
}

// TestInternalsAreLogged and not returned.
func TestInternalsAreLogged(t *testing.T) {
	f := newFixture(t)
	f.store.fail = func(context.Context, string, string) error { return errors.New("etcd at 10.0.0.1 said: secret") }
	p := requireProblem(t, f.do("GET", "/v1/jobs/"+job1, "", "X-AUTH-TOKEN", "t0ken"), 500, quell.CodeInternal)
	assert.NotContains(t, p.Detail, "secret")
	assert.Contains(t, f.log.String(), "secret")
	assert.NotContains(t, f.log.String(), "t0ken")
}

func TestPanic(t *testing.T) {
	f := newFixture(t)
	f.store.fail = func(context.Context, string, string) error { panic("a fault") }
	requireProblem(t, f.do("GET", "/v1/jobs/"+job1, ""), 500, quell.CodeInternal)
	assert.Contains(t, f.log.String(), "a fault")
	assert.Contains(t, f.log.String(), "stack=")
	assert.Contains(t, f.do("GET", "/metrics", "").Body.String(), `code="500",method="GET",route="/v1/jobs/{id}"} 1`)

	t.Run("after the answer has begun", func(t *testing.T) {
		mux := http.NewServeMux() // of one route of the test's own
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic("a fault")
		})
		half := f.wrap(mux)
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
			half.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		})
	})
}

func TestNewRefuses(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*Options){
		"Store":    func(o *Options) { o.Store = nil },
		"Logger":   func(o *Options) { o.Logger = nil },
		"Metrics":  func(o *Options) { o.Metrics = nil },
		"Gatherer": func(o *Options) { o.Gatherer = nil },
	} {
		opts := f.opts
		change(&opts)
		_, err := New(opts)
		require.ErrorContains(t, err, name)
	}
	s, err := New(Options{Store: f.store, Logger: f.opts.Logger, Metrics: f.opts.Metrics, Gatherer: f.reg})
	require.NoError(t, err)
	assert.Equal(t, 5*time.Second, s.opts.StoreTimeout)
	assert.NotNil(t, s.opts.Now)
	assert.NotZero(t, s.http.ReadHeaderTimeout)
	assert.NotZero(t, s.http.IdleTimeout)
	assert.NotZero(t, s.http.MaxHeaderBytes)
}

// TestLife serves a listener, with a request under way when it stops.
func TestLife(t *testing.T) {
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress)
	listener := listen(t)
	f.Start(listener)

	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	body := abortOf("graceful", job1)
	_, err = fmt.Fprintf(conn, "POST /abort-job?wait=1h HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	require.NoError(t, err)
	<-f.store.waited
	select {
	case <-f.Done():
		t.Fatal("it has ended")
	default:
		require.NoError(t, f.Err())
	}

	require.NoError(t, f.Stop(context.Background()))
	<-f.Done()
	require.NoError(t, f.Err())
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var answer abortAnswer
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	assert.Equal(t, accepted, answer.Results[0].Outcome)
	require.NoError(t, f.Stop(context.Background()), "a further Stop changes nothing")
}

// TestStopCutsOff has a request that does not end in time.
func TestStopCutsOff(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.StoreTimeout = time.Hour })
	began, release := make(chan struct{}), make(chan struct{})
	f.store.fail = func(context.Context, string, string) error {
		close(began)
		<-release
		return nil
	}
	listener := listen(t)
	f.Start(listener)
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /v1/job-templates HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	<-began
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorContains(t, f.Stop(ctx), "cut off")
	close(release)
}

// TestServeFails has a listener that ends by itself.
func TestServeFails(t *testing.T) {
	f := newFixture(t)
	listener := listen(t)
	f.Start(listener)
	require.NoError(t, listener.Close())
	<-f.Done()
	require.Error(t, f.Err())
	require.NoError(t, f.Stop(context.Background()))
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}
