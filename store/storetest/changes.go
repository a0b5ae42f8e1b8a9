package storetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
	"quell/store"
)

// changeFeed is a FollowChanges under way, and what it was told.
type changeFeed struct {
	*feed[quell.Changes]
	hurry chan struct{}
	stop  func() error
}

func (k *kit) follow(s *store.Store) *changeFeed {
	f := &changeFeed{feed: newFeed[quell.Changes](k), hurry: make(chan struct{}, 1)}
	f.stop = k.background(func(ctx context.Context) error { return s.FollowChanges(ctx, f.hurry, f.tell) })
	return f
}

// all collects what is told up to a revision.
func (f *changeFeed) all(revision int64) quell.Changes {
	f.Helper()
	var all quell.Changes
	f.until(func(c quell.Changes) bool {
		all.Reset = all.Reset || c.Reset
		all.Jobs, all.Nodes = append(all.Jobs, c.Jobs...), append(all.Nodes, c.Nodes...)
		all.Revision = c.Revision
		if c.Fresh.After(all.Fresh) {
			all.Fresh = c.Fresh
		}
		return c.Revision >= revision
	})
	return all
}

func testFollowChanges(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	first := k.create()
	k.put("/jobs/"+first+"/abort", "graceful")
	k.put("/jobs/*/abort", "nonsense")
	k.put("/jobs/"+first+"/output", "{}")
	k.node("n1")
	revision := k.put("/locks/fabrics/f", first)
	f := k.follow(k.s)
	began := f.all(revision)
	require.True(t, began.Reset)
	require.Len(t, began.Jobs, 3, "spec, status and intent")
	require.False(t, began.Fresh.IsZero())
	require.Len(t, began.Nodes, 1)
	require.Equal(t, "http://n1", began.Nodes[0].Info.Address)
	for _, c := range began.Jobs {
		require.Equal(t, first, c.ID)
	}

	tr := k.running()
	require.NoError(t, k.s.PutProgress(k.ctx, tr.ID, tr.Token, quell.Progress{Percentage: 7}))
	k.finish(tr.ID)
	k.del("/nodes/n1/info")
	revision = k.put("/nodes/n1/info", "nonsense")
	next := f.all(revision)
	require.False(t, next.Reset)
	var parts []string
	last := int64(0)
	for _, c := range next.Jobs {
		require.GreaterOrEqual(t, c.Revision, last)
		last = c.Revision
		switch {
		case c.Spec != nil:
			parts = append(parts, "spec")
		case c.State != nil:
			parts = append(parts, string(c.State.Status))
		case c.Progress != nil:
			parts = append(parts, "progress")
		default:
			parts = append(parts, "no "+string(c.Gone))
		}
	}
	require.Equal(t, []string{"spec", "QUEUED", "STARTING", "IN_PROGRESS", "progress", "FAILURE", "no progress"}, parts)
	require.Nil(t, next.Nodes[len(next.Nodes)-1].Info, "what cannot be read is none")

	// A revision that touches nothing of this is reached by a proof.
	revision = k.put("/templates/x", "{}")
	asked := time.Now()
	f.hurry <- struct{}{}
	proof := f.until(func(c quell.Changes) bool { return c.Revision >= revision })
	require.Empty(t, proof.Jobs)
	require.WithinDuration(t, asked, proof.Fresh, patience)
	require.NoError(t, k.s.Healthy())
	require.ErrorIs(t, f.stop(), context.Canceled)
}

// testChangesCut has a watch that breaks go on from where it was.
func testChangesCut(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	k.create()
	p, s := k.proxied(time.Second)
	f := k.follow(s)
	require.True(t, f.all(1).Reset)
	f.until(func(c quell.Changes) bool { return s.Healthy() == nil })
	p.Cut()
	require.Eventually(t, func() bool { return s.Healthy() != nil }, patience, shortTick)
	ids := []string{k.create(), k.create()}
	revision := k.put("/nodes/n1/info", `{"node":"n1"}`)
	p.Resume()
	missed := f.all(revision)
	require.False(t, missed.Reset, "it goes on")
	require.Len(t, missed.Nodes, 1)
	var specs []string
	for _, c := range missed.Jobs {
		if c.Spec != nil {
			specs = append(specs, c.ID)
		}
	}
	require.Equal(t, ids, specs, "nothing is lost, nothing comes twice")
	f.until(func(c quell.Changes) bool { return !c.Fresh.IsZero() && s.Healthy() == nil })
}

// testChangesCompacted has etcd forget what came while the watch was broken.
func testChangesCompacted(t *testing.T, _ string) {
	k := newKit(t, NewEtcd(t).Endpoint()) // others need its history
	k.create()
	p, s := k.proxied(time.Second)
	f := k.follow(s)
	require.True(t, f.all(1).Reset)
	p.Cut()
	k.create()
	revision := k.put("/nodes/n1/info", `{"node":"n1"}`)
	_, err := k.raw.Compact(k.ctx, revision)
	require.NoError(t, err)
	p.Resume()
	again := f.all(revision)
	require.True(t, again.Reset)
	require.Len(t, again.Jobs, 4)
}

// testChangesPages has more than one page, of very different sizes.
func testChangesPages(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	const n = 300
	var group sync.WaitGroup
	for range n {
		group.Go(func() { assert.NoError(t, k.newJob(newSpec())) })
	}
	group.Wait()
	f := k.follow(k.s)
	seen := map[string]bool{}
	resets := 0
	f.until(func(c quell.Changes) bool {
		if c.Reset {
			resets++
		}
		for _, j := range c.Jobs {
			if j.Spec != nil {
				require.False(t, seen[j.ID])
				seen[j.ID] = true
			}
		}
		return c.Revision > 0
	})
	require.Len(t, seen, n)
	require.Equal(t, 1, resets)
}

func testWithdraw(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	withdraw := func(id string) error {
		_, _, err := k.s.WithdrawIntent(k.ctx, id)
		return err
	}
	k.code(quell.CodeNotFound, withdraw("0190a000-0000-7000-8000-00000000000a"))
	tr := k.running()
	k.code(quell.CodeNotFound, withdraw(tr.ID))

	_, _, err := k.s.PutIntent(k.ctx, tr.ID, quell.Intent{Mode: quell.Graceful, Source: quell.SourceAPI})
	require.NoError(t, err)
	job, revision, err := k.s.WithdrawIntent(k.ctx, tr.ID)
	require.NoError(t, err)
	require.Nil(t, job.Intent)
	require.Positive(t, revision)
	require.False(t, k.has("/jobs/"+tr.ID+"/abort"))

	k.put("/jobs/"+tr.ID+"/abort", "junk")
	require.NoError(t, withdraw(tr.ID), "what cannot be read is in nobody's way")
	k.put("/jobs/"+tr.ID+"/abort", "force")
	k.code(quell.CodeConflict, withdraw(tr.ID))
	require.True(t, k.has("/jobs/"+tr.ID+"/abort"))

	// One that has taken effect.
	k.put("/jobs/"+tr.ID+"/abort", "graceful")
	tr = k.load(tr.ID)
	tr.State.Playbooks[1].Status = quell.PlaybookSkipped
	_, err = k.s.Commit(k.ctx, tr)
	require.NoError(t, err)
	k.code(quell.CodeConflict, withdraw(tr.ID))
	k.finish(tr.ID)
	k.code(quell.CodeConflict, withdraw(tr.ID))
}

func testTemplateList(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	list, err := k.s.Templates(k.ctx)
	require.NoError(t, err)
	require.Empty(t, list)
	names := []quell.FQName{{"a", "b"}, {"a", "c"}}
	for _, name := range names {
		_, err := k.s.PutTemplate(k.ctx, quell.Template{FQName: name, Playbooks: []quell.Playbook{{URI: "a.yml"}}})
		require.NoError(t, err)
	}
	k.put("/templates/junk", "junk")
	list, err = k.s.Templates(k.ctx)
	require.NoError(t, err)
	require.Len(t, list, 2, "what cannot be read hides nothing")
	require.Equal(t, names[0], list[0].Template.FQName)
	require.Positive(t, list[0].Revision)

	revision, err := k.s.DeleteTemplate(k.ctx, names[0])
	require.NoError(t, err)
	require.Greater(t, revision, list[1].Revision)
	_, err = k.s.DeleteTemplate(k.ctx, names[0])
	k.code(quell.CodeNotFound, err)
	_, _, err = k.s.Template(k.ctx, names[0])
	k.code(quell.CodeNotFound, err)
}
