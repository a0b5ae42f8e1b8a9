package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"quell"
	"quell/store"
)

// impatient is the time-out of the Stores behind a proxy.
const impatient = 300 * time.Millisecond

// loseAnswer runs a write behind the proxy whose answer is lost: arrived
// returns when it has been done. The write is told by a text in its value.
func (k *kit) loseAnswer(p *Proxy, s *store.Store, text string, write func(context.Context) error, arrived func()) error {
	k.Helper()
	require.NoError(k, s.Ping(k.ctx)) // there is a connection
	p.HoldAnswersTo(text)
	result := make(chan error, 1)
	go func() { result <- write(k.ctx) }()
	arrived()
	p.Cut()
	p.Resume()
	return <-result
}

func testLostAnswers(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	p, s := k.proxied(impatient)

	spec := newSpec()
	require.NoError(t, k.loseAnswer(p, s, "job_execution_id", func(ctx context.Context) error { _, err := s.CreateJob(ctx, spec); return err },
		func() { k.written("/jobs/"+spec.ID+"/spec", 1) }))
	_, version := k.value("/jobs/" + spec.ID + "/spec")
	require.EqualValues(t, 1, version)

	tr, leader, node := k.load(spec.ID), k.leader(), k.node("n1")
	status := "/jobs/" + spec.ID + "/status"
	tr.State.Assign("n1")
	var revision int64
	require.NoError(t, k.loseAnswer(p, s, "STARTING", func(ctx context.Context) (err error) {
		revision, err = s.Assign(ctx, leader, tr, node, 1, 0)
		return err
	}, func() { k.written(status, 2) }))
	tr = k.load(spec.ID)
	require.Equal(t, tr.Token, revision, "the revision of the try that arrived")
	require.Equal(t, tr.StateRevision, revision)

	var written bool
	require.NoError(t, k.loseAnswer(p, s, `"mode"`, func(ctx context.Context) (err error) {
		_, written, err = s.PutIntent(ctx, spec.ID, quell.Intent{Mode: quell.Force, RequestedAt: time.Now()})
		return err
	}, func() { k.written("/jobs/"+spec.ID+"/abort", 1) }))
	require.True(t, written)
	_, version = k.value("/jobs/" + spec.ID + "/abort")
	require.EqualValues(t, 1, version)

	tr = k.load(spec.ID)
	fail(&tr.State)
	require.NoError(t, k.loseAnswer(p, s, "FAILURE", func(ctx context.Context) (err error) {
		revision, err = s.Commit(ctx, tr)
		return err
	}, func() { k.written(status, 3) }))
	_, version = k.value(status)
	require.EqualValues(t, 3, version, "it was done once")
	require.Equal(t, k.load(spec.ID).StateRevision, revision)
	require.Empty(t, k.keys("/active/"))
}

func testLostAbortAll(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	p, s := k.proxied(impatient)
	f := k.followAborts()
	f.next()
	var revision int64
	require.NoError(t, k.loseAnswer(p, s, `"mode"`, func(ctx context.Context) (err error) {
		revision, err = s.PutAbortAll(ctx, quell.Intent{Mode: quell.Force})
		return err
	}, func() { f.next() }))
	require.Len(t, k.keys("/aborts/"), 1)
	require.Equal(t, revision, k.revision(k.keys("/aborts/")[0]))
}

// testLostRequests loses the request itself, which is sent again, and an
// answer after which the job was taken away.
func testLostRequests(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	p, s := k.proxied(impatient)
	tr := k.running()
	status := "/jobs/" + tr.ID + "/status"
	_, before := k.value(status)
	require.NoError(t, s.Ping(k.ctx))
	p.Pause()
	result := make(chan error, 1)
	commit := func() {
		_, err := s.Commit(k.ctx, tr)
		result <- err
	}
	go commit()
	p.Cut()
	p.Resume()
	require.NoError(t, <-result)
	_, now := k.value(status)
	require.Equal(t, before+1, now)

	tr = k.load(tr.ID)
	require.NoError(t, s.Ping(k.ctx))
	p.HoldAnswers()
	tr.State.Percentage = 50
	go commit()
	k.written(status, now+1)
	k.put(status, `{"version":1,"status":"LOST"}`)
	k.del("/active/" + tr.ID)
	p.Cut()
	p.Resume()
	k.code(quell.CodeNotOwner, <-result)

	// The same value written by somebody else is no success.
	tr = k.running()
	text, _ := k.value("/jobs/" + tr.ID + "/status")
	k.put("/jobs/"+tr.ID+"/status", text)
	_, err := s.Commit(k.ctx, tr)
	k.code(quell.CodeStale, err)
}

func testUnreachable(t *testing.T, endpoint string) {
	for _, c := range []struct {
		name  string
		spoil func(*Proxy)
	}{{"cut", (*Proxy).Cut}, {"paused", (*Proxy).Pause}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := newKit(t, endpoint)
			p, s := k.proxied(impatient)
			tr := k.running()
			require.NoError(t, s.Ping(k.ctx))
			c.spoil(p)
			for name, read := range map[string]func() error{
				"Ping":     func() error { return s.Ping(k.ctx) },
				"Job":      func() error { _, err := s.Job(k.ctx, tr.ID); return err },
				"Load":     func() error { _, _, err := s.Load(k.ctx, tr.ID); return err },
				"Jobs":     func() error { _, err := s.Jobs(k.ctx, 5, ""); return err },
				"JobsByID": func() error { _, err := s.JobsByID(k.ctx, []string{tr.ID}); return err },
				"Active":   func() error { _, _, err := s.ActiveJobs(k.ctx); return err },
				"Nodes":    func() error { _, err := s.Nodes(k.ctx); return err },
				"Template": func() error { _, _, err := s.Template(k.ctx, quell.FQName{"x"}); return err },
				// It reads first: nothing can have been written.
				"PutIntent": func() error {
					_, _, err := s.PutIntent(k.ctx, tr.ID, quell.Intent{Mode: quell.Force})
					return err
				},
			} {
				began := time.Now()
				k.code(quell.CodeUnavailable, read())
				require.Less(t, time.Since(began), impatient+2*time.Second, name)
			}
			for name, write := range map[string]func(context.Context) error{
				"Commit":    func(ctx context.Context) error { _, err := s.Commit(ctx, tr); return err },
				"CreateJob": func(ctx context.Context) error { _, err := s.CreateJob(ctx, newSpec()); return err },
				"PutAbortAll": func(ctx context.Context) error {
					_, err := s.PutAbortAll(ctx, quell.Intent{Mode: quell.Force})
					return err
				},
				"PutTemplate": func(ctx context.Context) error {
					_, err := s.PutTemplate(ctx, quell.Template{FQName: quell.FQName{"x"}})
					return err
				},
				"PutProgress": func(ctx context.Context) error { return s.PutProgress(ctx, tr.ID, tr.Token, quell.Progress{}) },
			} {
				ctx, cancel := context.WithTimeout(k.ctx, 2*impatient)
				began := time.Now()
				require.Equal(t, quell.CodeUnknown, quell.CodeOf(write(ctx)), name)
				require.Less(t, time.Since(began), 2*impatient+2*time.Second, name)
				cancel()
			}
			over, cancel := context.WithCancel(k.ctx)
			cancel()
			_, err := s.Commit(over, tr)
			require.Contains(t, []quell.Code{quell.CodeUnavailable, quell.CodeUnknown}, quell.CodeOf(err))
			p.Resume()
			require.Eventually(t, func() bool { return s.Ping(k.ctx) == nil }, patience, shortTick)
		})
	}
}

// healthy waits until a Store says so, or does not any more.
func (k *kit) healthy(s *store.Store, want bool) {
	k.Helper()
	require.Eventually(k, func() bool { return (s.Healthy() == nil) == want }, patience, shortTick)
	if !want {
		k.code(quell.CodeUnavailable, s.Healthy())
	}
}

func testCutWatches(t *testing.T, _ string) {
	k := newKit(t, NewEtcd(t).Endpoint()) // it compacts
	for _, compact := range []bool{false, true} {
		p, s := k.proxied(impatient)
		id := k.create()
		own, aborts, active := newFeed[*quell.StoredIntent](k), newFeed[quell.AbortAll](k), newFeed[map[string]quell.ActiveJob](k)
		stop := k.background(func(ctx context.Context) error { return s.FollowIntent(ctx, id, own.tell) })
		k.background(func(ctx context.Context) error { return s.FollowAborts(ctx, aborts.tell) })
		k.background(func(ctx context.Context) error { return s.FollowActive(ctx, active.tell) })
		require.Nil(t, own.next())
		aborts.next()
		require.Contains(t, active.next(), id)
		k.healthy(s, true)

		p.Cut()
		k.healthy(s, false)
		k.put("/jobs/"+id+"/abort", "force")
		revision := k.put("/jobs/"+id+"/abort", "graceful")
		all := k.put("/aborts/"+id, "force")
		other := k.create()
		k.finish(id)
		if compact {
			r, err := k.raw.Get(k.ctx, "x")
			require.NoError(t, err)
			_, err = k.raw.Compact(k.ctx, r.Header.Revision)
			require.NoError(t, err)
		}
		require.Error(t, s.Healthy())
		p.Resume()
		if !compact { // else it is gone from etcd
			require.Equal(t, quell.Force, own.next().Intent.Mode)
		}
		require.Equal(t, revision, own.next().Revision)
		aborts.until(func(a quell.AbortAll) bool { return a.Revision >= all && len(a.Intents) > 0 })
		active.until(func(m map[string]quell.ActiveJob) bool { return m[id].ID == "" && m[other].ID != "" })
		k.healthy(s, true)

		// It watches again, and what has ended is not waited for.
		last := k.put("/jobs/"+id+"/abort", "force")
		require.Equal(t, last, own.next().Revision)
		require.ErrorIs(t, stop(), context.Canceled)
		k.healthy(s, true)
	}
}

// testPausedWatch holds events back without breaking the connection.
func testPausedWatch(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	p, s := k.proxied(impatient)
	id := k.create()
	own := newFeed[*quell.StoredIntent](k)
	k.background(func(ctx context.Context) error { return s.FollowIntent(ctx, id, own.tell) })
	require.Nil(t, own.next())
	k.put("/jobs/"+id+"/abort", "graceful")
	require.NotNil(t, own.next())
	p.Pause()
	k.code(quell.CodeUnavailable, s.Ping(k.ctx))
	revision := k.put("/jobs/"+id+"/abort", "force")
	require.Empty(t, own.told)
	p.Resume()
	require.Equal(t, revision, own.until(func(i *quell.StoredIntent) bool { return i.Intent.Mode == quell.Force }).Revision)
}

// testNeverReached starts while etcd is out of reach.
func testNeverReached(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	id := k.create()
	p := NewProxy(t, endpoint)
	p.Cut()
	s := open(t, store.Options{Endpoints: []string{p.Endpoint()}, Prefix: k.prefix, Timeout: impatient})
	active, told := newFeed[map[string]quell.ActiveJob](k), newFeed[bool](k)
	k.background(func(ctx context.Context) error { return s.FollowActive(ctx, active.tell) })
	k.background(func(ctx context.Context) error {
		return s.Register(ctx, quell.NodeInfo{Node: "n", Instance: "i"}, told.tell)
	})
	k.healthy(s, false)
	require.False(t, told.next())
	p.Resume()
	require.Contains(t, active.next(), id)
	told.until(func(now bool) bool { return now })
	k.healthy(s, true)
}
