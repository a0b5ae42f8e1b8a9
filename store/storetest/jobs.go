package storetest

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"quell"
)

func testTemplates(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	name := quell.FQName{"default domain", "a/b", "100 %*"}
	_, _, err := k.s.Template(k.ctx, name)
	k.code(quell.CodeNotFound, err)
	_, err = k.s.PutTemplate(k.ctx, quell.Template{FQName: name, DisplayName: "one"})
	require.NoError(t, err)
	revision, err := k.s.PutTemplate(k.ctx, quell.Template{FQName: name, DisplayName: "two"})
	require.NoError(t, err)
	got, at, err := k.s.Template(k.ctx, name)
	require.NoError(t, err)
	require.Equal(t, revision, at)
	require.Equal(t, "two", got.DisplayName)
	require.Equal(t, []string{"/templates/default%20domain:a%2Fb:100%20%25%2A"}, k.keys("/templates/"))
}

func ids(jobs []quell.Job) []string {
	var ids []string
	for _, j := range jobs {
		ids = append(ids, j.Spec.ID)
	}
	return ids
}

func testJobs(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	empty, err := k.s.Jobs(k.ctx, 10, "")
	require.NoError(t, err)
	require.Empty(t, empty)
	var want []string
	for i := range 7 {
		id := k.create()
		if want = append(want, id); i%2 == 0 { // all of a job's keys
			require.NoError(t, k.s.PutProgress(k.ctx, id, k.load(id).Token, quell.Progress{}))
			k.put("/jobs/"+id+"/abort", "graceful")
			k.put("/jobs/"+id+"/output", "{}")
		}
	}
	slices.Reverse(want)
	for _, stray := range []string{
		"/jobs/foo/abort", "/jobs/*/abort", "/jobs/zz", "/jobs/0/abort", "/jobs/01", "/jobs/" + want[3],
		"/jobs/x/" + want[2] + "/abort", "/jobs/" + newSpec().ID + "/abort", "/jobs//abort",
	} {
		k.put(stray, "graceful")
	}
	for limit := 1; limit <= 8; limit++ {
		var got []string
		for before := ""; ; {
			page, err := k.s.Jobs(k.ctx, limit, before)
			require.NoError(t, err)
			got = append(got, ids(page)...)
			if len(got) == len(want) {
				break
			}
			require.Len(t, page, limit, "a page is full while there is more")
			before = page[limit-1].Spec.ID
		}
		require.Equal(t, want, got, "limit %d", limit)
	}
	last, err := k.s.Jobs(k.ctx, 5, want[6])
	require.NoError(t, err)
	require.Empty(t, last)
	none, err := k.s.Jobs(k.ctx, 0, "")
	require.NoError(t, err)
	require.Empty(t, none)

	some, err := k.s.JobsByID(k.ctx, []string{want[0], "foo", "*", newSpec().ID})
	require.NoError(t, err)
	require.Len(t, some, 1)
	require.Equal(t, want[0], some[want[0]].Spec.ID)
}

func testManyJobs(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	var want []string
	for range 60 { // more than one read takes
		want = append(want, k.create())
	}
	all, err := k.s.JobsByID(k.ctx, want)
	require.NoError(t, err)
	require.Len(t, all, len(want))
	active, revision, err := k.s.ActiveJobs(k.ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, revision, all[want[59]].SpecRevision)
	for i, a := range active {
		require.Equal(t, want[i], a.ID, "the oldest first")
		require.Equal(t, all[a.ID].SpecRevision, a.SpecRevision)
		require.Equal(t, all[a.ID].Token, a.Token)
	}
	slices.Reverse(want)
	page, err := k.s.Jobs(k.ctx, 100, "")
	require.NoError(t, err)
	require.Equal(t, want, ids(page))
}

func testOddNames(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	spec, node := newSpec(), "n%2F:ö*?"
	spec.ID = "a b/c%2Fd*"
	require.NoError(t, k.newJob(spec))
	require.Equal(t, []string{"/active/a%20b%2Fc%252Fd%2A"}, k.keys("/active/"))

	registered := newFeed[bool](k)
	k.background(func(ctx context.Context) error {
		return k.s.Register(ctx, quell.NodeInfo{Node: node, Instance: "i"}, registered.tell)
	})
	require.True(t, registered.next())
	nodes, err := k.s.Nodes(k.ctx)
	require.NoError(t, err)
	require.Len(t, nodes, 1)
	require.Equal(t, node, nodes[0].Info.Node)

	tr := k.load(spec.ID)
	tr.State.Assign(node)
	_, err = k.s.Assign(k.ctx, k.leader(), tr, nodes[0], 1, 0)
	require.NoError(t, err)
	mine := newFeed[map[string]int64](k)
	k.background(func(ctx context.Context) error { return k.s.FollowNodeJobs(ctx, node, mine.tell) })
	require.Contains(t, mine.next(), spec.ID)
	nodes, err = k.s.Nodes(k.ctx)
	require.NoError(t, err)
	require.Len(t, nodes, 1, "an index key is no node")

	_, _, err = k.s.PutIntent(k.ctx, spec.ID, quell.Intent{Mode: quell.Force})
	require.NoError(t, err)
	require.Equal(t, quell.Force, k.mode(spec.ID))
	jobs, err := k.s.Jobs(k.ctx, 5, "")
	require.NoError(t, err)
	require.Equal(t, []string{spec.ID}, ids(jobs))
	active, _, err := k.s.ActiveJobs(k.ctx)
	require.NoError(t, err)
	require.Equal(t, spec.ID, active[0].ID)
	require.Equal(t, node, active[0].Active.Node)
	k.finish(spec.ID)
	mine.until(func(m map[string]int64) bool { return len(m) == 0 })
	require.NoError(t, k.s.WaitFinal(k.ctx, []string{spec.ID}))
}

func testPrefixes(t *testing.T, endpoint string) {
	one, two := newKit(t, endpoint), newKit(t, endpoint)
	bare := Open(t, endpoint, "")
	a, b := one.create(), two.create()
	_, err := one.s.PutAbortAll(one.ctx, quell.Intent{Mode: quell.Force})
	require.NoError(t, err)
	one.put("/jobs/*/abort", "force")
	require.Equal(t, quell.Force, one.mode(a))
	require.Empty(t, two.mode(b))
	_, err = one.s.Job(one.ctx, b)
	one.code(quell.CodeNotFound, err)
	_, err = bare.Job(one.ctx, b)
	one.code(quell.CodeNotFound, err)
	jobs, err := two.s.Jobs(two.ctx, 10, "")
	require.NoError(t, err)
	require.Equal(t, []string{b}, ids(jobs))
	active, _, err := two.s.ActiveJobs(two.ctx)
	require.NoError(t, err)
	require.Len(t, active, 1)
}

func testNewerFormat(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	old, newer, broken := k.create(), k.create(), k.create()
	text, _ := k.value("/jobs/" + newer + "/status")
	var state map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &state))
	state["version"] = quell.FormatVersion + 1
	changed, err := json.Marshal(state)
	require.NoError(t, err)
	k.put("/jobs/"+newer+"/status", string(changed))
	k.put("/jobs/"+broken+"/status", "{")

	_, err = k.s.Job(k.ctx, newer)
	k.code(quell.CodeUnsupported, err)
	require.Contains(t, quell.MessageOf(err), "upgrade")
	_, _, err = k.s.Load(k.ctx, newer)
	k.code(quell.CodeUnsupported, err)
	_, err = k.s.Job(k.ctx, broken)
	k.code(quell.CodeInternal, err)

	jobs, err := k.s.Jobs(k.ctx, 10, "")
	require.NoError(t, err)
	require.Equal(t, []string{broken, newer, old}, ids(jobs))
	require.Empty(t, jobs[1].State.Status)
	require.Contains(t, jobs[1].State.Reason, "upgrade")
	require.NotZero(t, jobs[1].Token, "it is known to be active")
	require.Equal(t, quell.StatusQueued, jobs[2].State.Status)
	active, _, err := k.s.ActiveJobs(k.ctx)
	require.NoError(t, err)
	require.Len(t, active, 3)
}

func testWaitFinal(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	a, b, c := k.create(), k.create(), k.create()
	require.NoError(t, k.s.WaitFinal(k.ctx, nil))
	require.NoError(t, k.s.WaitFinal(k.ctx, []string{newSpec().ID}))
	k.finish(c)
	done := newFeed[error](k)
	for _, wait := range [][]string{{a}, {a, a}, {a, b, c}} {
		k.background(func(ctx context.Context) error { done.tell(k.s.WaitFinal(ctx, wait)); return nil })
	}
	k.finish(a)
	require.NoError(t, done.next())
	require.NoError(t, done.next())
	require.Empty(t, done.told)
	require.NoError(t, k.s.Healthy(), "who waits is no watch that is behind")
	k.finish(b)
	require.NoError(t, done.next())

	ctx, cancel := context.WithCancel(k.ctx)
	waiting := k.background(func(context.Context) error { return k.s.WaitFinal(ctx, []string{k.create()}) })
	cancel()
	require.ErrorIs(t, waiting(), context.Canceled)
}

func testFollowMaps(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	first := k.create()
	active, nodes := newFeed[map[string]quell.ActiveJob](k), newFeed[map[string]quell.Node](k)
	k.background(func(ctx context.Context) error { return k.s.FollowActive(ctx, active.tell) })
	k.background(func(ctx context.Context) error { return k.s.FollowNodes(ctx, nodes.tell) })
	require.Contains(t, active.next(), first)
	require.Empty(t, nodes.next())
	n1 := k.node("n1")
	require.Equal(t, n1, nodes.next()["n1"])
	require.Eventually(t, func() bool { return k.s.Healthy() == nil }, patience, shortTick)

	id := k.assign(k.create()).ID
	all := active.until(func(m map[string]quell.ActiveJob) bool { return m[id].Active.Node == "n1" })
	job, err := k.s.Job(k.ctx, id)
	require.NoError(t, err)
	require.Equal(t, quell.ActiveJob{
		ID: id, Active: quell.Active{Node: "n1", Attempt: 1}, SpecRevision: job.SpecRevision, Token: job.Token,
	}, all[id])
	k.put("/active/"+first, "{") // nobody can read it, and it is there
	active.until(func(m map[string]quell.ActiveJob) bool {
		return m[first].Token != 0 && m[first].Token != all[first].Token
	})
	k.finish(id)
	active.until(func(m map[string]quell.ActiveJob) bool { return len(m) == 1 })

	k.put("/nodes/n1/info", `{"version":99}`)
	nodes.until(func(m map[string]quell.Node) bool { return len(m) == 0 })
	k.node("n1")
	nodes.until(func(m map[string]quell.Node) bool { return len(m) == 1 })
	k.del("/nodes/n1/info")
	nodes.until(func(m map[string]quell.Node) bool { return len(m) == 0 })
}
