package apiserver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// in puts a job into a transaction.
func in(transaction string) func(*quell.Job) {
	return func(j *quell.Job) {
		j.Spec.Params.TransactionID, j.Spec.Params.TransactionDescr = transaction, "the "+transaction
	}
}

// ran gives a job a begin and, where it is final, an end, in seconds.
func ran(from, to int) func(*quell.Job) {
	at := func(s int) *time.Time { v := now.Add(time.Duration(s) * time.Second); return &v }
	return func(j *quell.Job) {
		if j.State.StartedAt = at(from); j.State.Status.Final() {
			j.State.EndedAt = at(to)
		}
	}
}

// TestTransactionStatus has every way in which the jobs of one can be.
func TestTransactionStatus(t *testing.T) {
	const (
		queued, running, aborting    = quell.StatusQueued, quell.StatusInProgress, quell.StatusAborting
		success, failure, warning    = quell.StatusSuccess, quell.StatusFailure, quell.StatusWarning
		starting, recovering, killed = quell.StatusStarting, quell.StatusRecovering, quell.StatusAborted
	)
	for _, c := range []struct {
		jobs  []quell.Status
		want  quell.Status
		final bool
	}{
		{[]quell.Status{queued}, queued, false},
		{[]quell.Status{queued, queued}, queued, false},
		{[]quell.Status{starting}, running, false},
		{[]quell.Status{aborting}, running, false},
		{[]quell.Status{recovering, recovering}, running, false},
		{[]quell.Status{success, queued}, running, false},
		{[]quell.Status{queued, success}, running, false},
		{[]quell.Status{success, success}, success, true},
		{[]quell.Status{failure, failure}, failure, true},
		{[]quell.Status{killed, killed}, killed, true},
		{[]quell.Status{quell.StatusLost}, quell.StatusLost, true},
		{[]quell.Status{success, failure}, warning, true},
		{[]quell.Status{failure, success, failure}, warning, true},
		{[]quell.Status{success, killed}, warning, true},
		{[]quell.Status{warning, warning}, warning, true},
	} {
		f := newFixture(t)
		for i, status := range c.jobs {
			f.store.add(idOf(i), status, in("t"))
		}
		got := requireJSON[transactionDetail](t, f.do("GET", "/v1/transactions/t", ""))
		assert.Equal(t, c.want, got.Status, c.jobs)
		assert.Equal(t, c.final, got.Final, c.jobs)
	}
}

func TestTransactions(t *testing.T) {
	f := newFixture(t)
	early := func(j *quell.Job) { j.Spec.CreatedAt = now.Add(-time.Hour) }
	f.store.add(job1, quell.StatusSuccess, in("t"), early, ran(10, 20), func(j *quell.Job) { j.State.Percentage = 100 })
	f.store.add(job2, quell.StatusFailure, ran(1, 2), func(j *quell.Job) { j.Spec.Params.TransactionDescr = "alone" })
	f.store.add(job3, quell.StatusInProgress, in("t"), ran(5, 0), func(j *quell.Job) { j.State.Percentage = 33.3 })
	f.store.add(job4, quell.StatusQueued, in("u"), func(j *quell.Job) { j.Spec.Input = []byte(`{"fabric_fq_name":["g","fab"]}`) })

	w := f.do("GET", "/v1/transactions", "")
	assert.Equal(t, "0.000", w.Header().Get(headerCacheAge))
	list := requireJSON[transactionList](t, w)
	assert.Equal(t, f.store.revision, list.Revision)
	assert.Empty(t, list.NextCursor)
	require.Len(t, list.Transactions, 3)
	assert.JSONEq(t, `[{"transaction_id":"u","transaction_descr":"the u","status":"QUEUED","final":false,"job_count":1,"job_execution_ids":["`+job4+`"],
			"created_at":"2026-08-09T10:11:12.000000013Z","started_at":null,"ended_at":null,"percentage_completed":0},
		{"transaction_id":"`+job2+`","transaction_descr":"alone","status":"FAILURE","final":true,"job_count":1,"job_execution_ids":["`+job2+`"],
			"created_at":"2026-08-09T10:11:12.000000013Z","started_at":"2026-08-09T10:11:13.000000013Z","ended_at":"2026-08-09T10:11:14.000000013Z","percentage_completed":0},
		{"transaction_id":"t","transaction_descr":"the t","status":"IN_PROGRESS","final":false,"job_count":2,"job_execution_ids":["`+job1+`","`+job3+`"],
			"created_at":"2026-08-09T09:11:12.000000013Z","started_at":"2026-08-09T10:11:17.000000013Z","ended_at":null,"percentage_completed":66.6}]`,
		string(must(jsonOf(list.Transactions))), "the newest first job first; one starts with the first that started")

	f.store.set(job3, func(j *quell.Job) { j.State.Status = quell.StatusAborted; ran(5, 15)(j) })
	detail := requireJSON[transactionDetail](t, f.do("GET", "/v1/transactions/t", ""))
	assert.Equal(t, quell.StatusWarning, detail.Status)
	assert.Equal(t, now.Add(20*time.Second), *detail.EndedAt, "it ends with the last")
	require.Len(t, detail.Jobs, 2)
	assert.Equal(t, job1, detail.Jobs[0].ID)
	assert.Equal(t, "the t", *detail.Jobs[0].TransactionDescr)

	// A further job opens it again, and one whose retention has passed leaves it.
	later := idOf(1)
	f.store.add(later, quell.StatusQueued, in("t"))
	assert.False(t, requireJSON[transactionDetail](t, f.do("GET", "/v1/transactions/t", "")).Final)
	for _, gone := range []string{job1, job3, later} {
		assert.Contains(t, f.do("GET", "/v1/transactions/t", "").Body.String(), gone)
		f.store.revision++
		f.cache.take(quell.Changes{Revision: f.store.revision, Jobs: []quell.JobChange{
			{ID: gone, Revision: f.store.revision, Gone: quell.PartSpec}, {ID: gone, Revision: f.store.revision, Gone: quell.PartState},
		}})
	}
	requireProblem(t, f.do("GET", "/v1/transactions/t", ""), 404, quell.CodeNotFound, `no transaction "t"`)
	assert.NotContains(t, f.cache.index.transactions, "t")
}

func TestTransactionFilters(t *testing.T) {
	f := newFixture(t)
	early := func(j *quell.Job) { j.Spec.CreatedAt = now.Add(-time.Hour) }
	fabric := func(j *quell.Job) { j.Spec.Input = []byte(`{"fabric_fq_name":["g","fab"]}`) }
	f.store.add(job1, quell.StatusSuccess, in("a/b?c"), early)
	f.store.add(job2, quell.StatusFailure, in("a/b?c"), fabric)
	f.store.add(job3, quell.StatusQueued)
	f.store.add(job4, quell.StatusInProgress, in("z"), func(j *quell.Job) { j.State.Node = "n7" })
	for query, want := range map[string][]string{
		"":                                     {"z", job3, "a/b?c"},
		"?status=WARNING":                      {"a/b?c"},
		"?status=queued,IN_PROGRESS":           {"z", job3},
		"?status=SUCCESS":                      {},
		"?fabric=fab":                          {"a/b?c"},
		"?fabric=g:fab":                        {"a/b?c"},
		"?since=30m":                           {"z", job3},
		"?until=30m":                           {"a/b?c"},
		"?since=2h&until=2026-08-09T10:11:13Z": {"z", job3, "a/b?c"},
		"?text=THE%20Z":                        {"z"},
		"?text=N7":                             {"z"},
		"?transaction=a%2Fb%3Fc":               {"a/b?c"},
		"?transaction=a":                       {},
	} {
		got := []string{}
		for _, tr := range requireJSON[transactionList](t, f.do("GET", "/v1/transactions"+query, "")).Transactions {
			got = append(got, tr.ID)
		}
		assert.Equal(t, want, got, query)
	}
	assert.Equal(t, "a/b?c", requireJSON[transactionDetail](t, f.do("GET", "/v1/transactions/a%2Fb%3Fc", "")).ID)
	for query, detail := range map[string]string{
		"?status=STARTING": "STARTING", "?status=x": "none of [QUEUED IN_PROGRESS", "?since=x": "since", "?until=-1h": "until", "?node=n": "parameter node: unknown",
		"?cursor=x": "cursor", "?limit=0": "limit", "?transaction=": "empty",
	} {
		requireProblem(t, f.do("GET", "/v1/transactions"+query, ""), 400, quell.CodeInvalid, detail)
	}
	// The jobs and the events know them, too.
	jobs := requireJSON[jobList](t, f.do("GET", "/v1/jobs?transaction=a%2Fb%3Fc", "")).Jobs
	require.Len(t, jobs, 2)
	assert.Equal(t, "a/b?c", jobs[0].TransactionID)
	assert.Len(t, requireJSON[jobList](t, f.do("GET", "/v1/jobs?transaction="+job3, "")).Jobs, 1)
	assert.Len(t, requireJSON[jobList](t, f.do("GET", "/v1/jobs?text=the+z", "")).Jobs, 1)
}

func TestTransactionPages(t *testing.T) {
	f := newFixture(t)
	for i := range 10 { // of two jobs each, the second ones apart from the first
		f.store.add(idOf(i), quell.StatusQueued, in(fmt.Sprint(i)))
	}
	for i := range 10 {
		f.store.add(idOf(100-i), quell.StatusQueued, in(fmt.Sprint(i)))
	}
	var got []string
	cursor := ""
	for range 4 {
		list := requireJSON[transactionList](t, f.do("GET", "/v1/transactions?limit=3"+cursor, ""))
		for _, tr := range list.Transactions {
			assert.Equal(t, 2, tr.JobCount)
			got = append(got, tr.ID)
		}
		cursor = "&cursor=" + list.NextCursor
	}
	assert.Equal(t, "9 8 7 6 5 4 3 2 1 0", strings.Join(got, " "))
	assert.Equal(t, "&cursor=", cursor)
}

// TestTransactionOfMany bounds what it lists, and the time loosely.
func TestTransactionOfMany(t *testing.T) {
	const n = 10_000
	f := newFixture(t)
	fill := quell.Changes{Reset: true, Revision: 1000, Fresh: now}
	for i := range n {
		spec := newSpec()
		spec.ID, spec.Params.TransactionID = idOf(i), fmt.Sprint("t", i%2*i) // half of them in one
		state := quell.NewState(spec)
		fill.Jobs = append(fill.Jobs, quell.JobChange{ID: spec.ID, Spec: &spec}, quell.JobChange{ID: spec.ID, State: &state})
	}
	f.cache.take(fill)
	began := time.Now()
	list := requireJSON[transactionList](t, f.do("GET", "/v1/transactions?limit=500", ""))
	assert.Len(t, list.Transactions, 500)
	list = requireJSON[transactionList](t, f.do("GET", "/v1/transactions?until=2100-01-01T00:00:00Z&text=nothing+has+this", ""))
	assert.Empty(t, list.Transactions)
	detail := requireJSON[transactionDetail](t, f.do("GET", "/v1/transactions/t0", ""))
	assert.Less(t, time.Since(began), 5*time.Second)
	assert.Equal(t, n/2, detail.JobCount)
	require.Len(t, detail.JobIDs, transactionIDs)
	assert.Equal(t, idOf(0), detail.JobIDs[0])
	assert.Len(t, detail.Jobs, transactionJobs)
}

func TestAbortTransaction(t *testing.T) {
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress, in("t"))
	f.store.add(job2, quell.StatusSuccess, in("t"))
	f.store.add(job3, quell.StatusInProgress)
	f.store.add(job4, quell.StatusQueued, in("t"), withIntent(quell.Force))
	requireProblem(t, f.do("POST", "/v1/transactions/u/abort", `{"mode":"force"}`), 404, quell.CodeNotFound, `"u"`)
	for body, want := range map[string]string{
		`{}`: "mode is missing", ``: "empty", `{"mode":"soft"}`: "soft", `{"mode":"force","filter":{"node":"n"}}`: `"filter" is unknown`, `{"mode":"force","expect":1}`: `"expect" is unknown`,
	} {
		requireProblem(t, f.do("POST", "/v1/transactions/t/abort", body), 400, quell.CodeInvalid, want)
	}
	requireProblem(t, f.do("POST", "/v1/transactions/t/abort?dryrun=true", `{"mode":"force"}`), 400, quell.CodeInvalid, "dryrun")
	plan := requireJSON[bulkAnswer](t, f.do("POST", "/v1/transactions/t/abort?dry_run=true", `{"mode":"force"}`))
	assert.True(t, plan.DryRun)
	assert.Equal(t, 2, plan.Count)
	assert.Zero(t, f.store.writes)

	answer := requireJSON[bulkAnswer](t, f.do("POST", "/v1/transactions/t/abort", `{"mode":"graceful","reason":"r","force_after":"5m","recovery":false}`, headerSource, "web"))
	assert.Equal(t, bulkAnswer{Count: 2, Results: []result{
		{job1, accepted, quell.StatusInProgress, quell.Graceful, false, ""},
		{job4, alreadyAborting, quell.StatusQueued, quell.Force, false, ""},
	}}, answer)
	assert.Equal(t, quell.Intent{
		Mode: quell.Graceful, Reason: "r", ForceAfter: 5 * time.Minute, NoRecovery: true,
		RequestedBy: "192.0.2.1", Source: quell.SourceWeb, RequestedAt: now,
	}, f.store.jobs[job1].Intent.Intent)
	assert.Nil(t, f.store.jobs[job3].Intent)

	f.store.set(job1, func(j *quell.Job) { j.State.Status = quell.StatusAborted })
	f.store.set(job4, func(j *quell.Job) { j.State.Status = quell.StatusAborted })
	answer = requireJSON[bulkAnswer](t, f.do("POST", "/v1/transactions/t/abort", `{"mode":"force"}`))
	assert.Equal(t, bulkAnswer{Results: []result{}}, answer, "one that is final has nothing to abort")
	assert.Equal(t, 1, f.store.writes)
}
