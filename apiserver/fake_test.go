package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"quell"
	"quell/metrics"
	"quell/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// Ids of jobs in tests, in the order of their age.
const (
	job1 = "0190a000-0000-7000-8000-00000000000a"
	job2 = "0190a000-0000-7000-8000-00000000000b"
	job3 = "0190a000-0000-7000-8000-00000000000c"
	job4 = "0190a000-0000-7000-8000-00000000000d"
)

var now = time.Date(2026, 8, 9, 10, 11, 12, 13, time.UTC)

// fakeStore keeps the store's contract in memory.
type fakeStore struct {
	mu        sync.Mutex
	revision  int64
	jobs      map[string]quell.Job
	templates map[string]quell.Template
	abortAll  []quell.StoredIntent
	nodes     []quell.Node
	created   []quell.Spec
	writes    int
	unhealthy error

	// feed is told what the cache is told; nil: nobody.
	feed func(quell.Changes)

	// fail is asked at the begin of every call.
	fail func(ctx context.Context, call, id string) error
	// written is told after every PutIntent (id) and PutAbortAll ("").
	written func(id string)
	// waited is closed when WaitFinal has begun.
	waited chan struct{}
	// final is closed when WaitFinal may return.
	final chan struct{}
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		revision: 100, jobs: map[string]quell.Job{}, templates: map[string]quell.Template{},
		fail:    func(context.Context, string, string) error { return nil },
		written: func(string) {}, waited: make(chan struct{}), final: make(chan struct{}),
	}
}

// add stores a job and returns it for changes.
func (f *fakeStore) add(id string, status quell.Status, change ...func(*quell.Job)) {
	f.revision++
	t := quell.Template{FQName: quell.FQName{"a", "b"}, DisplayName: "A B", Playbooks: []quell.Playbook{{URI: "one.yml"}}}
	job := quell.Job{
		Spec:         quell.Spec{ID: id, Template: t, Input: json.RawMessage(`{"x":1}`), CreatedAt: now},
		SpecRevision: f.revision, Token: f.revision,
	}
	job.State = quell.NewState(job.Spec)
	job.State.Status = status
	if status.Final() {
		job.Token = 0
	}
	for _, c := range change {
		c(&job)
	}
	f.jobs[id] = job
	f.tell(job)
}

// tell feeds the cache with a job as it is.
func (f *fakeStore) tell(job quell.Job) {
	if f.feed == nil {
		return
	}
	id := job.Spec.ID
	change := quell.Changes{Revision: f.revision, Jobs: []quell.JobChange{
		{ID: id, Revision: f.revision, Spec: &job.Spec}, {ID: id, Revision: f.revision, State: &job.State},
	}}
	if job.Intent != nil {
		change.Jobs = append(change.Jobs, quell.JobChange{ID: id, Revision: f.revision, Intent: job.Intent})
	} else {
		change.Jobs = append(change.Jobs, quell.JobChange{ID: id, Revision: f.revision, Gone: quell.PartIntent})
	}
	if job.Progress != nil {
		change.Jobs = append(change.Jobs, quell.JobChange{ID: id, Revision: f.revision, Progress: job.Progress})
	}
	f.feed(change)
}

func (f *fakeStore) begin(ctx context.Context, call, id string) error {
	f.mu.Lock()
	fail := f.fail
	f.mu.Unlock()
	return fail(ctx, call, id)
}

func (f *fakeStore) Template(ctx context.Context, name quell.FQName) (quell.Template, int64, error) {
	if err := f.begin(ctx, "Template", name.String()); err != nil {
		return quell.Template{}, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.templates[name.String()]
	if !ok {
		return t, 0, quell.Errorf(quell.CodeNotFound, "there is no job template %s", name)
	}
	return t, 7, nil
}

func (f *fakeStore) PutTemplate(ctx context.Context, t quell.Template) (int64, error) {
	if err := f.begin(ctx, "PutTemplate", t.FQName.String()); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	f.templates[t.FQName.String()] = t
	return 8, nil
}

func (f *fakeStore) Templates(ctx context.Context) ([]quell.StoredTemplate, error) {
	if err := f.begin(ctx, "Templates", ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []quell.StoredTemplate
	for _, name := range slices.Sorted(maps.Keys(f.templates)) {
		list = append(list, quell.StoredTemplate{Template: f.templates[name], Revision: 7})
	}
	return list, nil
}

func (f *fakeStore) DeleteTemplate(ctx context.Context, name quell.FQName) (int64, error) {
	if err := f.begin(ctx, "DeleteTemplate", name.String()); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.templates[name.String()]; !ok {
		return 0, quell.Errorf(quell.CodeNotFound, "there is no job template %s", name)
	}
	f.writes++
	delete(f.templates, name.String())
	return 9, nil
}

func (f *fakeStore) CreateJob(ctx context.Context, spec quell.Spec) (int64, error) {
	if err := f.begin(ctx, "CreateJob", spec.ID); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.create(spec, quell.NewState(spec), nil), nil
}

// create stores a new job.
func (f *fakeStore) create(spec quell.Spec, state quell.State, output json.RawMessage) int64 {
	f.writes++
	f.revision++
	f.created = append(f.created, spec)
	job := quell.Job{Spec: spec, State: state, Output: output, SpecRevision: f.revision, StateRevision: f.revision, Token: f.revision}
	f.jobs[spec.ID] = job
	f.tell(job)
	return f.revision
}

func (f *fakeStore) ResumeJob(ctx context.Context, spec quell.Spec, from quell.Job) (int64, error) {
	if err := f.begin(ctx, "ResumeJob", spec.ID); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.jobs[from.Spec.ID]
	if old.ResumedAs != "" {
		return 0, quell.Errorf(quell.CodeConflict, "job %s was resumed already, as job %s", from.Spec.ID, old.ResumedAs)
	}
	state, err := quell.ResumedState(spec, from)
	if err != nil {
		return 0, err
	}
	old.ResumedAs = spec.ID
	f.jobs[from.Spec.ID] = old
	return f.create(spec, state, from.Output), nil
}

func (f *fakeStore) Job(ctx context.Context, id string) (quell.Job, error) {
	if err := f.begin(ctx, "Job", id); err != nil {
		return quell.Job{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	job, ok := f.jobs[id]
	if !ok {
		return job, quell.Errorf(quell.CodeNotFound, "there is no job %s", id)
	}
	return job, nil
}

func (f *fakeStore) JobsByID(ctx context.Context, ids []string) (map[string]quell.Job, error) {
	if err := f.begin(ctx, "JobsByID", strings.Join(ids, ",")); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	found := map[string]quell.Job{}
	for _, id := range ids {
		if job, ok := f.jobs[id]; ok {
			found[id] = job
		}
	}
	return found, nil
}

func (f *fakeStore) ActiveJobs(ctx context.Context) ([]quell.ActiveJob, int64, error) {
	if err := f.begin(ctx, "ActiveJobs", ""); err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var active []quell.ActiveJob
	for id, job := range f.jobs {
		if !job.State.Status.Final() {
			active = append(active, quell.ActiveJob{ID: id, SpecRevision: job.SpecRevision, Token: job.Token})
		}
	}
	return active, f.revision, nil
}

func (f *fakeStore) PutIntent(ctx context.Context, id string, intent quell.Intent) (quell.Job, bool, error) {
	if err := f.begin(ctx, "PutIntent", id); err != nil {
		return quell.Job{}, false, err
	}
	job, wrote, err := f.putIntent(id, intent)
	if wrote {
		f.written(id)
	}
	return job, wrote, err
}

func (f *fakeStore) putIntent(id string, intent quell.Intent) (quell.Job, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	job, ok := f.jobs[id]
	switch {
	case !ok:
		return job, false, quell.Errorf(quell.CodeNotFound, "there is no job %s", id)
	case job.State.Status.Final():
		return job, false, nil
	case job.Intent != nil && job.Intent.Err == nil && !job.Intent.Intent.Adds(intent):
		return job, false, nil
	}
	merged := intent
	if job.Intent != nil {
		merged = job.Intent.Intent.Merge(intent)
	}
	f.revision++
	f.writes++
	job.Intent = &quell.StoredIntent{Key: "/jobs/" + id + "/abort", Revision: f.revision, Intent: merged}
	f.jobs[id] = job
	f.tell(job)
	return job, true, nil
}

func (f *fakeStore) WithdrawIntent(ctx context.Context, id string) (quell.Job, int64, error) {
	if err := f.begin(ctx, "WithdrawIntent", id); err != nil {
		return quell.Job{}, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	job, ok := f.jobs[id]
	if !ok || job.Intent == nil {
		return job, 0, quell.Errorf(quell.CodeNotFound, "job %s has no abort intent of its own", id)
	}
	f.revision++
	f.writes++
	job.Intent = nil
	f.jobs[id] = job
	f.tell(job)
	return job, f.revision, nil
}

func (f *fakeStore) FollowChanges(ctx context.Context, _ <-chan struct{}, _ func(quell.Changes)) error {
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeStore) PutAbortAll(ctx context.Context, intent quell.Intent) (int64, error) {
	if err := f.begin(ctx, "PutAbortAll", ""); err != nil {
		return 0, err
	}
	f.mu.Lock()
	f.revision++
	f.writes++
	bound := f.revision
	if f.feed != nil {
		f.feed(quell.Changes{Revision: f.revision})
	}
	f.abortAll = append(f.abortAll, quell.StoredIntent{Revision: bound, Before: bound, Intent: intent})
	f.mu.Unlock()
	f.written("")
	return bound, nil
}

func (f *fakeStore) WaitFinal(ctx context.Context, ids []string) error {
	if err := f.begin(ctx, "WaitFinal", strings.Join(ids, ",")); err != nil {
		return err
	}
	close(f.waited)
	select {
	case <-f.final:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeStore) Nodes(ctx context.Context) ([]quell.Node, error) {
	return f.nodes, f.begin(ctx, "Nodes", "")
}

func (f *fakeStore) Ping(ctx context.Context) error { return f.begin(ctx, "Ping", "") }

func (f *fakeStore) Healthy() error { return f.unhealthy }

// set changes a job as its owner would.
func (f *fakeStore) set(id string, change func(*quell.Job)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	job := f.jobs[id]
	change(&job)
	f.jobs[id] = job
	f.revision++
	f.tell(job)
}

// failing makes the calls of that name fail.
func failing(call string, code quell.Code) func(context.Context, string, string) error {
	return func(_ context.Context, name, _ string) error {
		if name == call {
			return quell.Errorf(code, "the store says %s", code)
		}
		return nil
	}
}

// hanging makes the calls of that name hang until their deadline.
func hanging(call string) func(context.Context, string, string) error {
	return func(ctx context.Context, name, _ string) error {
		if name != call {
			return nil
		}
		if _, ok := ctx.Deadline(); !ok {
			return fmt.Errorf("%s has no deadline", call)
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

// fixture is a server over a fake store.
type fixture struct {
	*Server
	store *fakeStore
	reg   *prometheus.Registry
	log   *bytes.Buffer
}

func newFixture(t *testing.T, options ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{store: newFakeStore(), reg: metrics.NewRegistry("test"), log: &bytes.Buffer{}}
	opts := Options{
		Store: f.store, Metrics: metrics.NewAPI(f.reg), Gatherer: f.reg,
		Logger:       slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:          func() time.Time { return now },
		StoreTimeout: 50 * time.Millisecond,
	}
	for _, o := range options {
		o(&opts)
	}
	var err error
	f.Server, err = New(opts)
	require.NoError(t, err)
	f.cache.take(quell.Changes{Reset: true, Revision: f.store.revision, Fresh: now})
	f.store.feed = f.cache.take
	return f
}

// do sends a request and returns its answer.
func (f *fixture) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// requireProblem checks that the answer is a problem document.
func requireProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code quell.Code, detail ...string) problem {
	t.Helper()
	text, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	require.Equal(t, status, w.Code, string(text))
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	var p problem
	require.NoError(t, json.Unmarshal(text, &p))
	require.Equal(t, "about:blank", p.Type)
	require.Equal(t, http.StatusText(status), p.Title)
	require.Equal(t, status, p.Status)
	require.Equal(t, code, p.Code)
	for _, d := range detail {
		require.Contains(t, p.Detail, d)
	}
	return p
}

// requireJSON checks that the answer is 200 and decodes it.
func requireJSON[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var v T
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}

func newRequest(ctx context.Context, method, target, body string) *http.Request {
	return httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
}

// discard is a client that has gone away.
type discard struct{ header http.Header }

func (d discard) Header() http.Header     { return d.header }
func (discard) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
func (discard) WriteHeader(int)           {}

// idOf is the id of a job that nobody has.
func idOf(i int) string { return fmt.Sprintf("0190b000-0000-7000-8000-%012d", i) }
