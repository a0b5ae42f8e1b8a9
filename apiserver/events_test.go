package apiserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

func decodeText[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}

// received is one event as a client has it.
type received struct{ kind, id, data string }

// events is a client of the event stream.
type events struct {
	*testing.T
	lines    *bufio.Scanner
	comments chan string
	close    func()
}

func (r *real) subscribe(query string, headers ...string) *events {
	r.Helper()
	return subscribeTo(r.T, r.url, query, headers...)
}

func subscribeTo(t *testing.T, base, query string, headers ...string) *events {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/events"+query, http.NoBody)
	require.NoError(t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	end := func() { cancel(); _ = response.Body.Close() }
	t.Cleanup(end)
	return &events{T: t, lines: bufio.NewScanner(response.Body), comments: make(chan string, 100), close: end}
}

// next returns the next event.
func (e *events) next() received {
	e.Helper()
	var got received
	for e.lines.Scan() {
		name, value, _ := strings.Cut(e.lines.Text(), ": ")
		switch name {
		case "event":
			got.kind = value
		case "id":
			got.id = value
		case "data":
			got.data = value
		case "":
			if value != "" {
				e.comments <- value
			}
			if got.kind != "" {
				return got
			}
		}
	}
	require.NoError(e, e.lines.Err())
	return received{kind: "end"}
}

// stream is a server over a fake store, over a connection.
func streamFixture(t *testing.T) (*fixture, string) {
	t.Helper()
	f := newFixture(t)
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		assert.NoError(t, f.Stop(context.Background()))
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	return f, server.URL
}

func TestEventsResume(t *testing.T) {
	f, base := streamFixture(t)
	began := f.store.revision
	f.store.add(job1, quell.StatusQueued)
	f.store.add(job2, quell.StatusQueued)
	e := subscribeTo(t, base, fmt.Sprintf("?last_event_id=%d", began))
	var ids []string
	for _, want := range []string{job1, job2} {
		got := e.next()
		assert.Equal(t, kindJob, got.kind)
		assert.Equal(t, want, decodeText[summaryBody](t, got.data).ID)
		ids = append(ids, got.id)
	}
	f.store.set(job1, func(j *quell.Job) { j.State.Status = quell.StatusInProgress })
	assert.Equal(t, quell.StatusInProgress, decodeText[summaryBody](t, e.next().data).Status)
	e.close()

	// From each event on exactly the later ones come, by header and parameter.
	f.store.set(job2, func(j *quell.Job) { j.State.Status = quell.StatusStarting })
	for _, resumed := range []*events{subscribeTo(t, base, "", "Last-Event-ID", ids[0]), subscribeTo(t, base, "?last_event_id="+ids[0])} {
		var got []string
		for range 3 {
			job := decodeText[summaryBody](t, resumed.next().data)
			got = append(got, job.ID+" "+string(job.Status))
		}
		assert.Equal(t, []string{job2 + " QUEUED", job1 + " IN_PROGRESS", job2 + " STARTING"}, got)
	}
	// Without an id only what comes from now on.
	live := subscribeTo(t, base, "")
	f.store.add(job3, quell.StatusQueued)
	assert.Equal(t, job3, decodeText[summaryBody](t, live.next().data).ID)
}

func TestEventsReset(t *testing.T) {
	f, base := streamFixture(t)
	e := subscribeTo(t, base, "?last_event_id=7")
	got := e.next()
	assert.Equal(t, received{kindReset, fmt.Sprint(f.store.revision), fmt.Sprintf(`{"revision":%d}`, f.store.revision)}, got)

	f.cache.take(quell.Changes{Reset: true, Revision: 5000, Fresh: now})
	assert.Equal(t, received{kindReset, "5000", `{"revision":5000}`}, e.next(), "a full read may have missed what came before")
	f.store.revision = 5000
	f.store.add(job1, quell.StatusQueued)
	assert.Equal(t, "5001.0", e.next().id)

	for _, query := range []string{"?last_event_id=x", "?last_event_id=-1", "?last_event_id=1.x", "?page=1", "?status=x", "?node=a&node=b", "?since=x"} {
		requireProblem(t, f.do("GET", "/v1/events"+query, ""), 400, quell.CodeInvalid)
	}
}

func TestEventsFilter(t *testing.T) {
	f, base := streamFixture(t)
	running := subscribeTo(t, base, "?status=IN_PROGRESS")
	onNode := subscribeTo(t, base, "?node=n1")
	f.store.add(job1, quell.StatusQueued)
	f.store.set(job1, func(j *quell.Job) { j.State.Status, j.State.Node = quell.StatusInProgress, "n1" })
	f.cache.take(quell.Changes{Revision: 400, Nodes: []quell.NodeChange{
		{Name: "n2", Revision: 399, Info: &quell.NodeInfo{Capacity: 3}}, {Name: "n1", Revision: 400, Info: &quell.NodeInfo{Capacity: 3}},
	}})
	f.store.revision = 400
	f.store.set(job1, func(j *quell.Job) { j.State.Status = quell.StatusSuccess })
	var got []string
	for range 4 {
		e := running.next()
		got = append(got, e.kind+" "+e.id)
	}
	assert.Equal(t, []string{"job 102.0", "node 399.0", "node 400.0", "job 401.0"}, got, "the end of what matched is told of")
	assert.Equal(t, kindJob, onNode.next().kind)
	assert.Equal(t, 3, decodeText[nodeBody](t, onNode.next().data).Capacity)

	f.cache.take(quell.Changes{Revision: 402, Jobs: []quell.JobChange{{ID: job1, Revision: 402, Gone: quell.PartSpec}, {ID: job1, Revision: 402, Gone: quell.PartState}}})
	assert.Equal(t, kindJob, onNode.next().kind)
	assert.True(t, decodeText[summaryBody](t, onNode.next().data).Deleted)
}

func TestEventsOfATransaction(t *testing.T) {
	f, base := streamFixture(t)
	e := subscribeTo(t, base, "?transaction=t")
	f.store.add(job1, quell.StatusQueued)
	f.store.add(job2, quell.StatusQueued, in("t"))
	got := decodeText[summaryBody](t, e.next().data)
	assert.Equal(t, job2, got.ID)
	assert.Equal(t, "t", got.TransactionID)
	assert.Equal(t, "the t", *got.TransactionDescr)
}

func TestEventsHeartbeatAndStop(t *testing.T) {
	f, base := streamFixture(t)
	f.heartbeat = time.Millisecond
	e := subscribeTo(t, base, "")
	done := make(chan received)
	go func() { done <- e.next() }()
	assert.Equal(t, "heartbeat", <-e.comments)
	require.NoError(t, f.Stop(context.Background()))
	assert.Equal(t, "end", (<-done).kind, "the stream ends cleanly")
}

// TestRing has readers that are slower than the ring is long.
func TestRing(t *testing.T) {
	r := newRing(4)
	r.reset(10)
	for i := range 6 {
		r.add([]event{{at: position{11 + int64(i), 0}}})
	}
	_, tooOld := r.place(position{10, wholeRevision})
	assert.True(t, tooOld)
	_, tooOld = r.place(position{11, 0})
	assert.True(t, tooOld, "12 is gone")
	place, tooOld := r.place(position{12, 0})
	assert.False(t, tooOld)
	got, lost, _ := r.read(place, 2)
	assert.False(t, lost)
	require.Len(t, got, 2)
	assert.Equal(t, position{13, 0}, got[0].at)
	_, lost, _ = r.read(place-1, 2)
	assert.True(t, lost)
	r.reset(20)
	_, lost, _ = r.read(place+4, 2)
	assert.True(t, lost, "also one that had seen everything")
	place, tooOld = r.place(position{99, 0})
	assert.False(t, tooOld, "another server may be ahead")
	now, _ := r.now()
	assert.Equal(t, now, place)
}

// TestEventsCutOff has a client that takes nothing any more.
func TestEventsCutOff(t *testing.T) {
	f := newFixture(t)
	w := discard{header: http.Header{}}
	f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/events", nil))
	assert.Contains(t, f.do("GET", "/metrics", "").Body.String(), "quell_event_subscribers_cut_total 1")
}
