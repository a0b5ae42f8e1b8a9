package apiserver

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
	"quell/metrics"
	"quell/store"
	"quell/store/storetest"
)

const patience = 20 * time.Second

// real is a server over an etcd, served over a connection.
type real struct {
	*testing.T
	*Server
	store *store.Store
	url   string
}

// newReal serves a store's jobs until the test ends.
func newReal(t *testing.T, s *store.Store) *real {
	t.Helper()
	reg := metrics.NewRegistry("test")
	server, err := New(Options{Store: s, Metrics: metrics.NewAPI(reg), Gatherer: reg, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	listener := listen(t)
	server.Start(listener)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		assert.NoError(t, server.Stop(ctx))
	})
	return &real{T: t, Server: server, store: s, url: "http://" + listener.Addr().String()}
}

// send sends a request and returns the answer, and its body.
func (r *real) send(method, path, body string, headers ...string) (answered, string) {
	r.Helper()
	request, err := http.NewRequestWithContext(r.Context(), method, r.url+path, strings.NewReader(body))
	require.NoError(r, err)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(r, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(r, err)
	return answered{response.StatusCode, response.Header, response.ContentLength}, string(text)
}

// answered is what is left of an answer when its body has been read.
type answered struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
}

// ready waits until the server says that it is.
func (r *real) ready() {
	r.Helper()
	require.Eventually(r, func() bool {
		response, _ := r.send("GET", "/readyz", "")
		return response.StatusCode == http.StatusOK
	}, patience, 5*time.Millisecond)
}

func newSpec() quell.Spec {
	return quell.Spec{
		ID: uuid.Must(uuid.NewV7()).String(), Input: []byte(`{"fabric_fq_name":["default-global-system-config","fab1"]}`),
		Template:  quell.Template{FQName: quell.FQName{"domain", "upgrade"}, Playbooks: []quell.Playbook{{URI: "a.yml"}, {URI: "b.yml"}}},
		Params:    quell.Params{DeviceList: []string{"d1", "d2"}},
		Requester: "Ada (10.0.0.1)", CreatedAt: time.Now().UTC(),
	}
}

// TestReadYourWrite has every list after a write have what was written, also
// from another server that is told the revision.
func TestReadYourWrite(t *testing.T) {
	endpoint, prefix := storetest.Etcd(t).Endpoint(), storetest.Prefix(t)
	r := newReal(t, storetest.Open(t, endpoint, prefix))
	other := newReal(t, storetest.Open(t, endpoint, prefix))
	r.ready()
	other.ready()
	response, text := r.send("PUT", "/v1/job-templates/a:b", "playbooks: [{playbook_uri: a.yml}]")
	require.Equal(t, 200, response.StatusCode, text)
	for range 20 {
		response, text := r.send("POST", "/execute-job", `{"job_template_fq_name":["a","b"],"input":{}}`)
		require.Equal(t, 200, response.StatusCode, text)
		answer := decodeText[executeAnswer](t, text)
		revision := response.Header.Get(headerRevision)
		require.NotEmpty(t, revision)
		_, text = r.send("GET", "/v1/jobs?limit=1", "")
		require.Equal(t, answer.JobID, decodeText[jobList](t, text).Jobs[0].ID)
		response, text = other.send("GET", "/v1/jobs?limit=1&min_revision="+revision, "")
		require.Equal(t, answer.JobID, decodeText[jobList](t, text).Jobs[0].ID)
		require.NotEmpty(t, response.Header.Get(headerCacheAge))

		response, text = r.send("PUT", "/v1/jobs/"+answer.JobID+"/abort", `{"mode":"graceful"}`)
		require.Equal(t, 200, response.StatusCode, text)
		_, text = r.send("GET", "/v1/jobs?limit=1", "")
		require.NotNil(t, decodeText[jobList](t, text).Jobs[0].Abort, text)
		response, text = r.send("DELETE", "/v1/jobs/"+answer.JobID+"/abort", "")
		require.Equal(t, 200, response.StatusCode, text)
		_, text = r.send("GET", "/v1/jobs?limit=1", "")
		require.Nil(t, decodeText[jobList](t, text).Jobs[0].Abort, text)
	}
	response, text = r.send("GET", "/v1/jobs?min_revision=999999999", "")
	require.Equal(t, 503, response.StatusCode)
	require.Contains(t, text, "has not reached 999999999")
}

// TestResumeForReal has the lists and the jobs after a resume, from a store.
func TestResumeForReal(t *testing.T) {
	endpoint, prefix := storetest.Etcd(t).Endpoint(), storetest.Prefix(t)
	r := newReal(t, storetest.Open(t, endpoint, prefix))
	r.ready()
	old := newSpec()
	old.Params.TransactionDescr = "Upgrade"
	_, err := r.store.CreateJob(t.Context(), old)
	require.NoError(t, err)
	response, text := r.send("POST", "/v1/jobs/"+old.ID+"/resume", "")
	require.Equal(t, 409, response.StatusCode, text)
	require.Contains(t, text, "is not final")
	response, text = r.send("POST", "/v1/jobs/"+old.ID+"/rerun", "")
	require.Equal(t, 200, response.StatusCode, text)
	again := decodeText[againAnswer](t, text)
	_, text = r.send("GET", "/v1/jobs/"+again.JobID, "")
	job := decodeText[jobBody](t, text)
	require.Equal(t, old.ID, *job.RerunOf)
	require.Equal(t, again.JobID, job.TransactionID)
	require.Len(t, job.Devices, 2)
	require.Equal(t, "Upgrade", *job.TransactionDescr)

	_, text = r.send("GET", "/v1/transactions", "")
	list := decodeText[transactionList](t, text).Transactions
	require.Len(t, list, 2)
	require.Equal(t, []string{again.JobID, old.ID}, []string{list[0].ID, list[1].ID})
	response, text = r.send("POST", "/v1/aborts", `{"filter":{"text":"upgrade","device":"d2"},"mode":"force","expect":2}`)
	require.Equal(t, 200, response.StatusCode, text)
	for _, result := range decodeText[bulkAnswer](t, text).Results {
		require.Equal(t, accepted, result.Outcome)
	}
	_, text = r.send("GET", "/v1/transactions/"+old.ID, "")
	require.Equal(t, quell.Force, decodeText[transactionDetail](t, text).Jobs[0].Abort.Mode, "a list after it has the intents")
}

// TestCacheStaleAndBack cuts the watch: the server says so, and has everything
// again when it is whole.
func TestCacheStaleAndBack(t *testing.T) {
	endpoint, prefix := storetest.Etcd(t).Endpoint(), storetest.Prefix(t)
	raw := storetest.Open(t, endpoint, prefix)
	spec := newSpec()
	_, err := raw.CreateJob(t.Context(), spec)
	require.NoError(t, err)
	proxy := storetest.NewProxy(t, endpoint)
	r := newReal(t, storetest.Open(t, proxy.Endpoint(), prefix))
	r.ready()
	_, text := r.send("GET", "/v1/jobs", "")
	before := decodeText[jobList](t, text)
	require.Len(t, before.Jobs, 1)

	proxy.Cut()
	require.Eventually(t, func() bool { return r.store.Healthy() != nil }, patience, 5*time.Millisecond)
	response, _ := r.send("GET", "/readyz", "")
	require.Equal(t, 503, response.StatusCode)
	response, text = r.send("GET", "/v1/jobs", "")
	require.Equal(t, 200, response.StatusCode, "an old list is better than none, and says how old it is")
	require.NotEmpty(t, response.Header.Get(headerCacheAge))
	require.Len(t, decodeText[jobList](t, text).Jobs, 1)
	missed := newSpec()
	revision, err := raw.CreateJob(t.Context(), missed)
	require.NoError(t, err)

	proxy.Resume()
	r.ready()
	_, text = r.send("GET", fmt.Sprintf("/v1/jobs?min_revision=%d", revision), "")
	require.Len(t, decodeText[jobList](t, text).Jobs, 2)
	// A client that saw the list from before gets what it missed, once.
	events := r.subscribe("?last_event_id=" + fmt.Sprint(before.Revision))
	got := events.next()
	require.Equal(t, kindJob, got.kind)
	require.Equal(t, missed.ID, decodeText[summaryBody](t, got.data).ID)
}

// TestListSpeed lists among many jobs. It bounds the time loosely.
func TestListSpeed(t *testing.T) {
	const n = 10_000
	f := newFixture(t)
	fill := quell.Changes{Reset: true, Revision: 1000, Fresh: now}
	for i := range n {
		spec, state := newSpec(), quell.NewState(quell.Spec{})
		spec.ID = fmt.Sprintf("0190b000-0000-7000-8000-%012d", i)
		fill.Jobs = append(fill.Jobs, quell.JobChange{ID: spec.ID, Revision: int64(i), Spec: &spec}, quell.JobChange{ID: spec.ID, Revision: int64(i), State: &state})
	}
	f.cache.take(fill)
	began := time.Now()
	const pages = 200
	var group sync.WaitGroup
	for range pages {
		group.Go(func() { assert.Equal(t, 200, f.do("GET", "/v1/jobs", "").Code) })
	}
	group.Wait()
	t.Logf("a page of 50 of %d jobs: %s", n, time.Since(began)/pages)
	assert.Less(t, time.Since(began), 20*time.Second)
	list := requireJSON[jobList](t, f.do("GET", "/v1/jobs?text=000000007777&status=queued,STARTING&status=LOST", ""))
	require.Len(t, list.Jobs, 1)
	assert.Empty(t, list.NextCursor)
}
