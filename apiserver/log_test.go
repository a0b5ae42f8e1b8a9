package apiserver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// logFixture is a server with a job on a node whose agent is handler, served
// over a real connection.
func logFixture(t *testing.T, handler http.HandlerFunc, job ...func(*quell.Job)) (*fixture, func() fetched) {
	t.Helper()
	agent := httptest.NewServer(handler)
	t.Cleanup(agent.Close)
	transport := &http.Transport{ResponseHeaderTimeout: 100 * time.Millisecond}
	f := newFixture(t, func(o *Options) { o.AgentTransport = transport })
	f.store.nodes = []quell.Node{{Info: quell.NodeInfo{Node: "n0", Address: "http://127.0.0.1:1"}}, {Info: quell.NodeInfo{Node: "n1", Address: agent.URL}}}
	f.store.add(job1, quell.StatusInProgress, append([]func(*quell.Job){func(j *quell.Job) {
		j.State.Node, j.State.StartedAt = "n1", &now
	}}, job...)...)
	api := httptest.NewServer(f)
	t.Cleanup(func() {
		api.Close()
		assert.NoError(t, f.Stop(context.Background()))
	})
	return f, func() fetched {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL+"/v1/jobs/"+job1+"/log", http.NoBody)
		require.NoError(t, err)
		response, err := api.Client().Do(r)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		return fetched{response.StatusCode, response.Header, string(body), err}
	}
}

// fetched is a log as it arrived, and how its arrival ended.
type fetched struct {
	status int
	header http.Header
	body   string
	err    error
}

func TestLog(t *testing.T) {
	_, fetch := logFixture(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/v1/jobs/"+job1+"/log", r.URL.Path)
		w.Header().Set("Content-Type", "text/html") // a log is never a page
		w.Header().Set("Set-Cookie", "a=b")
		_, _ = io.WriteString(w, "<b>PLAY</b>\n")
	})
	got := fetch()
	require.NoError(t, got.err)
	assert.Equal(t, 200, got.status)
	assert.Equal(t, "<b>PLAY</b>\n", got.body)
	assert.Equal(t, textPlain, got.header.Get("Content-Type"))
	assert.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
	assert.Empty(t, got.header.Get("Set-Cookie"))
}

// TestLogOfARun passes the run on, with all else.
func TestLogOfARun(t *testing.T) {
	var asked []string
	f, _ := logFixture(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery+r.Header.Get("Range"))
		switch r.URL.Query().Get("run") {
		case "playbook-0-device-3":
			_, _ = io.WriteString(w, "{}")
		default:
			http.NotFound(w, r)
		}
	}, func(j *quell.Job) { j.State.Recovery = []quell.PlaybookState{{URI: "clean.yml"}} })
	path := "/v1/jobs/" + job1 + "/log?run="
	for _, query := range []string{"playbook-0-device-3", "playbook-0-device-3&search=x&limit=5", "playbook-0-try-1", "recovery-0-device-12-try-2"} {
		w := f.do("GET", path+query, "", "Range", "bytes=1-2")
		assert.Equal(t, 200, w.Code, "what has not begun yet is empty: "+w.Body.String())
	}
	assert.Equal(t, []string{
		"run=playbook-0-device-3bytes=1-2", "limit=5&run=playbook-0-device-3&search=xbytes=1-2", "run=playbook-0-try-1bytes=1-2", "run=recovery-0-device-12-try-2bytes=1-2",
	}, asked)
	for _, run := range []string{"", "x", "playbook", "playbook-", "playbook--1", "playbook-0-device-0", "playbook-0-device-x", "playbook-0-try-0", "playbook-0%2F..", "Playbook-0", "playbook-0-try-1-device-1", "playbook-99999"} {
		requireProblem(t, f.do("GET", path+run, ""), 400, quell.CodeInvalid, "is no run")
	}
	requireProblem(t, f.do("GET", path+"playbook-1", ""), 404, quell.CodeNotFound, "no run playbook-1: it has 1 playbooks, counted from 0")
	requireProblem(t, f.do("GET", path+"recovery-1", ""), 404, quell.CodeNotFound, "1 recovery playbooks")
	assert.Len(t, asked, 4)
	f.store.set(job1, func(j *quell.Job) { j.State.Status = quell.StatusSuccess })
	requireProblem(t, f.do("GET", path+"recovery-0", ""), 404, quell.CodeNotFound, "has no log of the run recovery-0 of the job "+job1)
}

// TestLogOfARunFollowed begins before the run does, and ends with the job.
func TestLogOfARunFollowed(t *testing.T) {
	asked := make(chan string, 10)
	begun := make(chan struct{})
	f, _ := logFixture(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.RawQuery + r.Header.Get("Range")
		select {
		case <-begun:
		default:
			http.NotFound(w, r)
			return
		}
		if r.URL.Query().Get("follow") == "" {
			w.Header().Set("Content-Range", "bytes 4-7/8")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, "last")
			return
		}
		_, _ = io.WriteString(w, "text")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	first := make(chan struct{})
	w := &pieces{header: http.Header{}, wrote: func() { close(first) }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/jobs/"+job1+"/log?follow=true&run=playbook-0", nil))
	}()
	assert.Equal(t, "follow=true&offset=0&run=playbook-0", <-asked)
	close(begun)
	f.store.set(job1, func(j *quell.Job) { j.State.Playbooks[0].Status = quell.PlaybookRunning })
	assert.Equal(t, "follow=true&offset=0&run=playbook-0", <-asked)
	<-first
	f.store.set(job1, func(j *quell.Job) { j.State.Status = quell.StatusSuccess })
	assert.Equal(t, "run=playbook-0bytes=4-", <-asked)
	<-done
	assert.Equal(t, "textlast", w.text)
}

// TestLogFollowedOfWhatNeverBegan ends at once: nothing comes any more.
func TestLogFollowedOfWhatNeverBegan(t *testing.T) {
	for _, query := range []string{"", "&run=playbook-0"} {
		f, _ := logFixture(t, http.NotFound, func(j *quell.Job) { j.State.Status, j.State.StartedAt = quell.StatusAborted, nil })
		began := time.Now()
		w := f.do("GET", "/v1/jobs/"+job1+"/log?follow=true"+query, "")
		assert.Equal(t, 200, w.Code)
		assert.Empty(t, w.Body.String())
		assert.Less(t, time.Since(began), followPatience/2)
	}
}

// TestLogStreams has an agent that ends its answer only when the first part
// of it has reached the client.
func TestLogStreams(t *testing.T) {
	arrived := make(chan struct{})
	f, _ := logFixture(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-arrived:
			_, _ = io.WriteString(w, "second")
		case <-r.Context().Done():
		}
	})
	w := &pieces{header: http.Header{}, wrote: func() { close(arrived) }}
	f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/jobs/"+job1+"/log", nil))
	assert.Equal(t, "firstsecond", w.text)
}

// pieces is a client that tells when its first piece has come.
type pieces struct {
	header http.Header
	wrote  func()
	text   string
}

func (p *pieces) Header() http.Header { return p.header }
func (p *pieces) WriteHeader(int)     {}
func (p *pieces) Write(b []byte) (int, error) {
	if p.text == "" {
		p.wrote()
	}
	p.text += string(b)
	return len(b), nil
}

// TestLogCutOff must not look like the whole log.
func TestLogCutOff(t *testing.T) {
	_, fetch := logFixture(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "some")
	})
	require.Error(t, fetch().err)
}

func TestLogMissing(t *testing.T) {
	t.Run("no node yet", func(t *testing.T) {
		f := newFixture(t)
		f.store.add(job1, quell.StatusQueued)
		w := f.do("GET", "/v1/jobs/"+job1+"/log", "")
		assert.Equal(t, 200, w.Code)
		assert.Equal(t, textPlain, w.Header().Get("Content-Type"))
		assert.Empty(t, w.Body.String())
		requireProblem(t, f.do("GET", "/v1/jobs/"+job2+"/log", ""), 404, quell.CodeNotFound, job2)
	})
	t.Run("has not begun", func(t *testing.T) {
		_, fetch := logFixture(t, http.NotFound, func(j *quell.Job) { j.State.StartedAt = nil })
		got := fetch()
		require.NoError(t, got.err)
		assert.Equal(t, 200, got.status)
		assert.Empty(t, got.body)
	})
	t.Run("is gone", func(t *testing.T) {
		f, _ := logFixture(t, http.NotFound)
		requireProblem(t, f.do("GET", "/v1/jobs/"+job1+"/log", ""), 404, quell.CodeNotFound, "node n1 has no log")
	})
}

func TestLogOutOfReach(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	reached := func(w http.ResponseWriter, _ *http.Request) { t.Error("the redirect was followed") }
	other := httptest.NewServer(http.HandlerFunc(reached))
	defer other.Close()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		change  func(*fixture)
	}{
		"an error":          {handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }},
		"a redirect":        {handler: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }},
		"no first byte":     {handler: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"nobody listens":    {change: func(f *fixture) { f.store.nodes[1].Info.Address = "http://127.0.0.1:1" }},
		"no address":        {change: func(f *fixture) { f.store.nodes[1].Info.Address = "" }},
		"no URL":            {change: func(f *fixture) { f.store.nodes[1].Info.Address = "127.0.0.1:80" }},
		"another scheme":    {change: func(f *fixture) { f.store.nodes[1].Info.Address = "file:///etc/passwd" }},
		"not registered":    {change: func(f *fixture) { f.store.nodes = f.store.nodes[:1] }},
		"connection resets": {handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		t.Run(name, func(t *testing.T) {
			if c.handler == nil {
				c.handler = http.NotFound
			}
			f, _ := logFixture(t, c.handler)
			if c.change != nil {
				c.change(f)
			}
			w := f.do("GET", "/v1/jobs/"+job1+"/log", "")
			assert.Equal(t, "1", w.Header().Get("Retry-After"))
			p := requireProblem(t, w, 503, quell.CodeUnavailable, "the node n1")
			assert.NotContains(t, p.Detail, "127.0.0.1", "the cause is for the log")
		})
	}
	t.Run("the store", func(t *testing.T) {
		f, _ := logFixture(t, http.NotFound)
		f.store.fail = hanging("Nodes")
		requireProblem(t, f.do("GET", "/v1/jobs/"+job1+"/log", ""), 503, quell.CodeUnavailable, "etcd did not answer")
	})
}

// TestLogEndsWithTheServer has a log that never ends.
func TestLogEndsWithTheServer(t *testing.T) {
	f, _ := logFixture(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	w := &pieces{header: http.Header{}, wrote: func() { assert.NoError(t, f.Stop(context.Background())) }}
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/jobs/"+job1+"/log", nil))
	})
	assert.Equal(t, "first", w.text)
}

// TestAgentClient has the transport of a server that was given none.
func TestAgentClient(t *testing.T) {
	transport, ok := agentClient(nil).Transport.(*http.Transport)
	require.True(t, ok)
	assert.Nil(t, transport.Proxy)
	assert.NotZero(t, transport.ResponseHeaderTimeout)
	require.ErrorIs(t, agentClient(nil).CheckRedirect(nil, nil), http.ErrUseLastResponse)
}
