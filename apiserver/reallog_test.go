package apiserver

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
	"quell/agent"
	"quell/internal/process"
	"quell/metrics"
)

// nodeLog is a server with a job on a node, whose agent serves what is on its
// disk.
type nodeLog struct {
	*fixture
	*testing.T
	dir  string
	base string
	path string
}

func newNodeLog(t *testing.T) *nodeLog {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	processes, err := process.New(process.Options{Root: agent.RunsDir(dir), NoCgroup: true, Logger: log})
	require.NoError(t, err)
	t.Cleanup(processes.Close)
	a, err := agent.New(agent.Options{
		Info: quell.NodeInfo{Node: "n1", Capacity: 1}, DataDir: dir, Processes: agent.Supervised(processes), Logger: log,
		Metrics: metrics.NewAgent(prometheus.NewRegistry()),
	})
	require.NoError(t, err)
	node := httptest.NewServer(a.Handler(http.NotFoundHandler()))
	t.Cleanup(node.Close)
	f := newFixture(t)
	f.store.nodes = []quell.Node{{Info: quell.NodeInfo{Node: "n1", Address: node.URL}}}
	f.store.add(job1, quell.StatusInProgress, func(j *quell.Job) { j.State.Node, j.State.StartedAt = "n1", &now })
	api := httptest.NewServer(f)
	t.Cleanup(func() {
		assert.NoError(t, f.Stop(context.Background()))
		http.DefaultClient.CloseIdleConnections()
		api.Close()
	})
	return &nodeLog{fixture: f, T: t, dir: dir, base: api.URL, path: "/v1/jobs/" + job1 + "/log"}
}

// write adds to the log of a run.
func (l *nodeLog) write(run, text string) {
	l.Helper()
	dir := filepath.Join(agent.RunsDir(l.dir), job1, run)
	require.NoError(l, os.MkdirAll(dir, 0o700))
	probe, err := process.New(process.Options{Root: agent.RunsDir(l.dir), NoCgroup: true})
	require.NoError(l, err)
	name := filepath.Base(probe.LogPath(job1, run))
	probe.Close()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(l, err)
	_, err = f.WriteString(text)
	require.NoError(l, err)
	require.NoError(l, f.Close())
}

func (l *nodeLog) get(query string, headers ...string) (answered, string) {
	l.Helper()
	request, err := http.NewRequestWithContext(l.Context(), http.MethodGet, l.base+l.path+query, http.NoBody)
	require.NoError(l, err)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(l, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(l, err)
	return answered{response.StatusCode, response.Header, response.ContentLength}, string(text)
}

func TestNodeLogRanges(t *testing.T) {
	l := newNodeLog(t)
	l.write("playbook-0", "zero\n")
	l.write("playbook-2", "two without an end")
	l.write("playbook-10", "ten\n")
	l.write("recovery-0", "again\n")
	const whole = "==> playbook-0 <==\nzero\n==> playbook-2 <==\ntwo without an end\n==> playbook-10 <==\nten\n==> recovery-0 <==\nagain\n"
	response, text := l.get("")
	assert.Equal(t, whole, text)
	assert.Equal(t, "bytes", response.Header.Get("Accept-Ranges"))
	assert.Equal(t, fmt.Sprint(len(whole)), response.Header.Get(headerLogSize))
	assert.EqualValues(t, len(whole), response.ContentLength)
	for from := range len(whole) {
		to := min(from+30, len(whole)-1)
		response, text := l.get("", "Range", fmt.Sprintf("bytes=%d-%d", from, to))
		require.Equal(t, 206, response.StatusCode)
		require.Equal(t, whole[from:to+1], text)
		require.Equal(t, fmt.Sprintf("bytes %d-%d/%d", from, to, len(whole)), response.Header.Get("Content-Range"))
	}
	_, text = l.get("", "Range", "bytes=-6")
	assert.Equal(t, "again\n", text)
	response, text = l.get("", "Range", fmt.Sprintf("bytes=%d-", len(whole)))
	assert.Equal(t, 416, response.StatusCode)
	assert.Equal(t, fmt.Sprintf("bytes */%d", len(whole)), response.Header.Get("Content-Range"))
	assert.Contains(t, text, `"code":"invalid"`)
	response, text = l.get("", "Range", "bytes=0-1,4-5")
	assert.Equal(t, 200, response.StatusCode)
	assert.Equal(t, whole, text, "several ranges are answered with all")

	l.write("recovery-0", "more\n")
	_, text = l.get("", "Range", fmt.Sprintf("bytes=%d-", len(whole)))
	assert.Equal(t, "more\n", text, "an offset stays valid")
	for _, query := range []string{"?follow=x", "?offset=1", "?follow=true&offset=-1", "?search=", "?search=x&limit=0", "?limit=5", "?search=x&follow=true", "?x=1"} {
		response, _ := l.get(query)
		assert.Equal(t, 400, response.StatusCode, query)
	}
}

// TestNodeLogOfARun has one run's text, with offsets of its own.
func TestNodeLogOfARun(t *testing.T) {
	l := newNodeLog(t)
	l.store.set(job1, func(j *quell.Job) { j.State.Playbooks = make([]quell.PlaybookState, 3) })
	l.write("playbook-0", "zero\n")
	l.write("playbook-1-device-1", "one\n")
	l.write("playbook-1-device-2", "two needles\n")
	_, text := l.get("?run=playbook-1-device-2")
	assert.Contains(t, text, "two needles\n")
	assert.NotContains(t, text, "zero")
	assert.NotContains(t, text, "one\n")
	response, rest := l.get("?run=playbook-1-device-2", "Range", "bytes=-8")
	assert.Equal(t, 206, response.StatusCode)
	assert.Equal(t, "needles\n", rest)
	_, found := l.get("?run=playbook-1-device-2&search=NEEDLE")
	require.Len(t, decodeText[logMatches](t, found).Matches, 1)
	_, found = l.get("?run=playbook-0&search=needle")
	assert.Empty(t, decodeText[logMatches](t, found).Matches)
	response, text = l.get("?run=playbook-2")
	assert.Equal(t, 200, response.StatusCode, "it has not begun")
	assert.Empty(t, text)
	response, _ = l.get("?run=playbook-3")
	assert.Equal(t, 404, response.StatusCode, "there is none")
}

func TestNodeLogSearch(t *testing.T) {
	l := newNodeLog(t)
	long := strings.Repeat("x", 64<<10-3) + "NEEDLE" + strings.Repeat("y", 1000)
	l.write("playbook-0", "a needle here\nnothing\n"+long+"\nneedle needle\n")
	l.write("playbook-1", "no such thing\nthe Needle")
	_, whole := l.get("")
	response, text := l.get("?search=needle")
	assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
	found := decodeText[logMatches](t, text)
	assert.False(t, found.Truncated)
	assert.EqualValues(t, len(whole), found.Size)
	lines := []int64{}
	for _, m := range found.Matches {
		lines = append(lines, m.Line)
		assert.Contains(t, strings.ToLower(m.Text), "needle")
		assert.LessOrEqual(t, len(m.Text), 512)
		line, _, _ := strings.Cut(whole[m.Offset:], "\n")
		assert.Contains(t, strings.ToLower(line), "needle")
		assert.Equal(t, m.Line, int64(strings.Count(whole[:m.Offset], "\n")+1))
	}
	assert.Equal(t, []int64{2, 4, 5, 8}, lines)
	_, text = l.get("?search=needle&limit=2")
	found = decodeText[logMatches](t, text)
	assert.True(t, found.Truncated)
	assert.Len(t, found.Matches, 2)
}

// TestNodeLogFollow has output come piece by piece, a run after another, and
// the end when the job is final.
func TestNodeLogFollow(t *testing.T) {
	l := newNodeLog(t)
	l.write("playbook-0", "one\n")
	const skipped = len("==> playbook-0 <==\n")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+l.path+"?follow=true&offset="+fmt.Sprint(skipped), http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		_, err := io.ReadFull(response.Body, got)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	expect("one\n")
	l.write("playbook-0", "more")
	expect("more")
	l.write("playbook-1", "two\n")
	expect("\n==> playbook-1 <==\ntwo\n")
	l.write("playbook-1", "last\n")
	l.store.set(job1, func(j *quell.Job) { j.State.Status = quell.StatusSuccess })
	rest, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "last\n", string(rest), "nothing is lost at the end, and nothing comes twice")
}

// TestNodeLogFollowFromTheQueue begins before the job has a node.
func TestNodeLogFollowFromTheQueue(t *testing.T) {
	l := newNodeLog(t)
	l.store.add(job2, quell.StatusQueued)
	done := make(chan string)
	go func() {
		w := httptest.NewRecorder()
		l.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/jobs/"+job2+"/log?follow=true", nil))
		done <- w.Body.String()
	}()
	l.store.set(job2, func(j *quell.Job) { j.State.Status = quell.StatusAborted })
	select {
	case text := <-done:
		assert.Empty(t, text)
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

// TestNodeLogFollowEndsWithTheServer leaves nobody waiting.
func TestNodeLogFollowEndsWithTheServer(t *testing.T) {
	l := newNodeLog(t)
	l.write("playbook-0", "one\n")
	w := &pieces{header: http.Header{}, wrote: func() { assert.NoError(t, l.Stop(context.Background())) }}
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
		l.ServeHTTP(w, httptest.NewRequest(http.MethodGet, l.path+"?follow=true", nil))
	})
	assert.Contains(t, w.text, "one\n")
}
