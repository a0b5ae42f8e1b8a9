package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

func testPutIntent(t *testing.T, endpoint string) {
	graceful, force := quell.Intent{Mode: quell.Graceful}, quell.Intent{Mode: quell.Force}
	with := func(i quell.Intent, change func(*quell.Intent)) quell.Intent {
		change(&i)
		return i
	}
	for _, c := range []struct {
		name    string
		stored  string
		put     quell.Intent
		written bool
		want    quell.Intent
	}{
		{"the first", "", graceful, true, graceful},
		{"force after graceful", "graceful", force, true, force},
		{"graceful after force", "force", graceful, false, force},
		{"graceful again", "graceful", graceful, false, graceful},
		{"force again", "force", with(force, func(i *quell.Intent) { i.Reason = "hurry" }), false, force},
		{
			"recovery is given up", "force", with(force, func(i *quell.Intent) { i.NoRecovery = true }), true,
			with(force, func(i *quell.Intent) { i.NoRecovery = true }),
		},
		{
			"override is added", `{"mode":"force","recovery":false}`, with(force, func(i *quell.Intent) { i.Override = true }), true,
			with(force, func(i *quell.Intent) { i.NoRecovery, i.Override = true, true }),
		},
		{"recovery is not taken back", `{"mode":"force","recovery":false}`, force, false, with(force, func(i *quell.Intent) { i.NoRecovery = true })},
		{
			"an earlier force", `{"mode":"graceful","force_after":"5m"}`, with(graceful, func(i *quell.Intent) { i.ForceAfter = time.Minute }), true,
			with(graceful, func(i *quell.Intent) { i.ForceAfter = time.Minute }),
		},
		{"after what nobody can read", "at once!", graceful, true, graceful},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKit(t, endpoint)
			id := k.create()
			if c.stored != "" {
				k.put("/jobs/"+id+"/abort", c.stored)
			}
			before, _ := k.value("/jobs/" + id + "/abort")
			told, written, err := k.s.PutIntent(k.ctx, id, c.put)
			require.NoError(t, err)
			require.Equal(t, c.written, written)
			job, err := k.s.Job(k.ctx, id)
			require.NoError(t, err)
			require.NoError(t, job.Intent.Err)
			got := job.Intent.Intent
			require.Equal(t, got, told.Intent.Intent, "it returns what is stored then")
			require.Equal(t, job.Intent.Revision, told.Intent.Revision)
			require.Equal(t, c.want.Mode, got.Mode)
			require.Equal(t, c.want.NoRecovery, got.NoRecovery)
			require.Equal(t, c.want.Override, got.Override)
			require.Equal(t, c.want.ForceAfter, got.ForceAfter)
			if after, _ := k.value("/jobs/" + id + "/abort"); !c.written {
				require.Equal(t, before, after)
			}
		})
	}
}

func testPutIntentRefused(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	_, _, err := k.s.PutIntent(k.ctx, newSpec().ID, quell.Intent{Mode: quell.Force})
	k.code(quell.CodeNotFound, err)
	require.Empty(t, k.keys("/jobs/"), "no stray key")
	_, _, err = k.s.PutIntent(k.ctx, k.create(), quell.Intent{Mode: "now"})
	k.code(quell.CodeInvalid, err)
	_, err = k.s.PutAbortAll(k.ctx, quell.Intent{})
	k.code(quell.CodeInvalid, err)
	require.Empty(t, k.keys("/aborts/"))
}

func testPutIntentConcurrently(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	id := k.create()
	kinds := []quell.Intent{
		{Mode: quell.Graceful},
		{Mode: quell.Force},
		{Mode: quell.Graceful, ForceAfter: time.Minute},
		{Mode: quell.Force, NoRecovery: true},
		{Mode: quell.Force, Override: true},
	}
	var wrote atomic.Int64
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			_, written, err := k.s.PutIntent(k.ctx, id, kinds[i%len(kinds)])
			if assert.NoError(k, err); written {
				wrote.Add(1)
			}
		})
	}
	all.Wait()
	job, err := k.s.Job(k.ctx, id)
	require.NoError(t, err)
	got := job.Intent.Intent
	require.Equal(t, quell.Force, got.Mode)
	require.True(t, got.NoRecovery)
	require.True(t, got.Override)
	_, version := k.value("/jobs/" + id + "/abort")
	require.Equal(t, wrote.Load(), version, "what was told as written was written, once each")
	require.LessOrEqual(t, version, int64(len(kinds)), "a repetition writes nothing")
}

// mode is what holds for a job.
func (k *kit) mode(id string) quell.Mode {
	k.Helper()
	job, intents, err := k.s.Load(k.ctx, id)
	require.NoError(k, err)
	return intents.Effective(job.SpecRevision).Mode
}

func testAbortAllBound(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	older := []string{k.create(), k.running().ID}
	revision, err := k.s.PutAbortAll(k.ctx, quell.Intent{Mode: quell.Force})
	require.NoError(t, err)
	newer := k.create()
	for _, id := range older {
		require.Equal(t, quell.Force, k.mode(id))
		job, err := k.s.Job(k.ctx, id)
		require.NoError(t, err)
		require.Less(t, job.SpecRevision, revision)
	}
	require.Empty(t, k.mode(newer))

	// A key that is put again asks for the jobs that are there by then.
	k.put("/aborts/mine", "graceful")
	between := k.create()
	require.Empty(t, k.mode(between))
	k.put("/aborts/mine", "graceful")
	require.Equal(t, quell.Graceful, k.mode(between))
	require.Empty(t, k.mode(k.create()))

	// No name makes a key hit jobs that are not there yet.
	k.put("/aborts/star-999999999", "force")
	k.put("/aborts/star-x", "force")
	require.Empty(t, k.mode(k.create()))
}

// followAborts gives what FollowAborts tells.
func (k *kit) followAborts() *feed[quell.AbortAll] {
	f := newFeed[quell.AbortAll](k)
	k.background(func(ctx context.Context) error { return k.s.FollowAborts(ctx, f.tell) })
	return f
}

func testFollowAborts(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	id := k.running().ID
	k.put("/aborts/a", "graceful")
	f := k.followAborts()
	first := f.next()
	require.Len(t, first.Intents, 1)
	require.Zero(t, first.Star)

	revision := k.put("/aborts/b", "force")
	all := f.until(func(a quell.AbortAll) bool { return len(a.Intents) == 2 })
	require.Equal(t, revision, all.Revision)

	// What is told is enough for a transition, and nothing less is.
	tr := k.load(id)
	all.Into(tr.Intents)
	_, err := k.s.Commit(k.ctx, tr)
	require.NoError(t, err)
	tr = k.load(id)
	first.Into(tr.Intents)
	_, err = k.s.Commit(k.ctx, tr)
	k.code(quell.CodeStale, err)

	k.del("/aborts/a")
	f.until(func(a quell.AbortAll) bool { return len(a.Intents) == 1 })
	k.put("/aborts/b", "nonsense")
	bad := f.until(func(a quell.AbortAll) bool { return a.Intents[0].Err != nil })
	require.Equal(t, quell.CodeInvalid, quell.CodeOf(bad.Intents[0].Err))
}

func testStar(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	older := k.create()
	followers := []*feed[quell.AbortAll]{k.followAborts(), k.followAborts(), k.followAborts()}
	for _, f := range followers {
		f.next()
	}
	first := k.put("/jobs/*/abort", "force")
	newer := k.create()
	second := k.put("/jobs/*/abort", "graceful")
	newest := k.create()
	copies := []string{k.starCopy(first), k.starCopy(second)}
	for _, f := range followers {
		all := f.until(func(a quell.AbortAll) bool { return len(a.Intents) == 3 && a.Star == second })
		for id, want := range map[string]quell.Mode{older: quell.Force, newer: quell.Graceful, newest: ""} {
			job, err := k.s.Job(k.ctx, id)
			require.NoError(t, err)
			require.Equal(t, want, quell.EffectiveIntent(nil, all.Intents, job.SpecRevision).Mode)
			require.Equal(t, want, k.mode(id))
		}
	}
	require.Equal(t, copies, k.keys("/aborts/"))
	for _, key := range copies {
		_, version := k.value(key)
		require.EqualValues(t, 1, version, "it was copied once")
	}
	k.del("/jobs/*/abort")
	followers[0].until(func(a quell.AbortAll) bool { return a.Star == 0 })
	require.Equal(t, quell.Force, k.mode(older), "the copy stays")

	// The key is the leader's to leave alone, its copies are to delete.
	k.starCopy(k.put("/jobs/*/abort", "force"))
	k.finish(older)
	require.NoError(t, k.s.DeleteAborts(k.ctx, k.leader(), k.load(newer).Intents.All))
	require.True(t, k.has("/jobs/*/abort"))
	require.Empty(t, k.keys("/aborts/"))
}

// starCopy waits for the copy of the emergency key's value of a revision.
func (k *kit) starCopy(revision int64) string {
	k.Helper()
	key := copyOf(revision)
	k.written(key, 1)
	return key
}

func testStarUnseen(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	old := k.put("/jobs/*/abort", "force") // older than every job
	id := k.create()
	first := k.put("/jobs/*/abort", "force")
	k.put("/jobs/*/abort", "what?")
	second := k.put("/jobs/*/abort", "graceful")
	require.Equal(t, quell.Graceful, k.mode(id))

	k.followAborts() // the first who looks
	k.starCopy(first)
	k.starCopy(second)
	require.Equal(t, quell.Force, k.mode(id), "a value that was overwritten unseen counts")
	require.False(t, k.has(copyOf(old)), "what hits nobody is not copied")
	require.Len(t, k.keys("/aborts/"), 2)
}

func testFollowIntent(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	id := k.create()
	key := "/jobs/" + id + "/abort"
	follow := func() *feed[*quell.StoredIntent] {
		f := newFeed[*quell.StoredIntent](k)
		k.background(func(ctx context.Context) error { return k.s.FollowIntent(ctx, id, f.tell) })
		return f
	}
	f := follow()
	require.Nil(t, f.next())
	for _, value := range []string{"graceful", " 'FORCE'\n", "bogus", `{"mode":"graceful","reason":"r"}`} {
		k.put(key, value)
	}
	k.del(key)
	k.put(key, "force")
	k.put(key, "graceful")
	expect := func(f *feed[*quell.StoredIntent], modes ...quell.Mode) {
		t.Helper()
		revision := int64(0)
		for _, mode := range modes {
			i := f.next()
			require.NotNil(t, i)
			require.Equal(t, mode, i.Intent.Mode)
			require.Equal(t, mode == "", i.Err != nil)
			require.Greater(t, i.Revision, revision)
			revision = i.Revision
		}
	}
	expect(f, quell.Graceful, quell.Force, "", quell.Graceful)
	require.Nil(t, f.next())
	expect(f, quell.Force, quell.Graceful)
	expect(follow(), quell.Force, quell.Graceful) // what was withdrawn stays so
}
