package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"quell"
)

// lockSpec is a job that wants its devices, or without any its fabric, for
// itself alone.
func lockSpec(devices ...string) quell.Spec {
	spec := newSpec()
	spec.Input = json.RawMessage(`{"fabric_fq_name":["default","f/1"]}`)
	spec.Template.Concurrency, spec.Params.DeviceList = quell.ConcurrencyDevice, devices
	if len(devices) == 0 {
		spec.Template.Concurrency = quell.ConcurrencyFabric
	}
	return spec
}

// deviceIDs makes n ids.
func deviceIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("leaf-%04d", i)
	}
	return ids
}

// assignLocked tries to assign a job as of the present, where revision says up
// to which locks are known; 0: now.
func (k *kit) assignLocked(spec quell.Spec, revision int64) (quell.Transition, error) {
	k.Helper()
	require.NoError(k, k.newJob(spec))
	tr := k.load(spec.ID)
	if revision == 0 {
		revision = tr.Intents.AllRevision
	}
	tr.State.Assign("n1")
	_, err := k.s.Assign(k.ctx, k.leader(), tr, k.node("n1"), 1, revision)
	return tr, err
}

// Locks are taken all or none when a job is assigned, and released when it is
// final: one, some that are compared one by one, and a thousand.
func testLocks(t *testing.T, endpoint string) {
	for _, n := range []int{0, 1, 32, 33, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			k := newKit(t, endpoint)
			ids := deviceIDs(n)
			first := lockSpec(ids...)
			_, err := k.assignLocked(first, 0)
			require.NoError(t, err)
			held := k.keys("/locks/")
			require.Len(t, held, max(1, n))
			for _, key := range held {
				holder, _ := k.value(key)
				require.Equal(t, first.ID, holder)
			}

			rival := lockSpec()
			if n > 0 {
				rival = lockSpec("another", ids[n-1])
			}
			_, err = k.assignLocked(rival, 0)
			k.code(quell.CodeStale, err)
			require.Len(t, k.keys("/locks/"), max(1, n), "all or none")
			require.Empty(t, k.keys("/nodes/n1/jobs/"+rival.ID))

			k.finish(first.ID)
			require.Empty(t, k.keys("/locks/"))
			tr := k.load(rival.ID)
			tr.State.Assign("n1")
			_, err = k.s.Assign(k.ctx, k.leader(), tr, k.node("n1"), 1, tr.Intents.AllRevision)
			require.NoError(t, err)
		})
	}
	t.Run("many, as of a revision before another took one", func(t *testing.T) {
		k := newKit(t, endpoint)
		old := k.load(k.create()).Intents.AllRevision
		_, err := k.assignLocked(lockSpec("leaf-0007"), 0)
		require.NoError(t, err)
		_, err = k.assignLocked(lockSpec(deviceIDs(100)...), old)
		k.code(quell.CodeStale, err)
		require.Len(t, k.keys("/locks/"), 1)
	})
	t.Run("of others", func(t *testing.T) {
		k := newKit(t, endpoint)
		spec := lockSpec("a", "b")
		tr, err := k.assignLocked(spec, 0)
		require.NoError(t, err)
		// As where b turned up in the middle and was somebody else's.
		k.put("/locks/devices/default:f%2F1/b", "another")
		require.Equal(t, []quell.Lock{{Fabric: "default:f/1", Device: "a"}, {Fabric: "default:f/1", Device: "b"}}, tr.State.WantedLocks())
		k.finish(spec.ID)
		require.Equal(t, []string{"/locks/devices/default:f%2F1/b"}, k.keys("/locks/"), "only one's own are released")
	})
}

// Whatever a spec's check lets through can be assigned, aborted and ended.
func testLocksFit(t *testing.T, endpoint string) {
	for name, spec := range map[string]quell.Spec{
		"most":    lockSpec(deviceIDs(2300)...),
		"longest": lockSpec(deviceIDs(500)...),
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, endpoint)
			if name == "longest" {
				spec.Input = json.RawMessage(`{"fabric_fq_name":"` + strings.Repeat("f", 250) + `"}`)
			}
			require.NoError(t, spec.Check())
			_, err := k.assignLocked(spec, 0)
			require.NoError(t, err)
			tr := k.load(spec.ID)
			fail(&tr.State)
			tr.Output = json.RawMessage(`"` + strings.Repeat("x", quell.MaxOutputSize-100) + `"`)
			_, err = k.s.Commit(k.ctx, tr)
			require.NoError(t, err)
			require.Empty(t, k.keys("/locks/"))
		})
	}
}

// TakeLocks is for devices that turn up in the middle of a job.
func testTakeLocks(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	tr := k.assign(k.create())
	k.put("/locks/devices/f/leaf-0003", "another")
	var locks []quell.Lock
	for _, id := range deviceIDs(100) {
		locks = append(locks, quell.Lock{Fabric: "f", Device: id})
	}
	for range 2 { // it may be repeated
		holders, err := k.s.TakeLocks(k.ctx, tr.ID, tr.Token, locks)
		require.NoError(t, err)
		require.Equal(t, map[string]string{"leaf-0003": "another"}, holders)
	}
	require.Len(t, k.keys("/locks/"), 100)
	held, err := k.s.Holders(k.ctx, append(locks, quell.Lock{Fabric: "free"}))
	require.NoError(t, err)
	require.Len(t, held, 100)
	require.Equal(t, "another", held[quell.Lock{Fabric: "f", Device: "leaf-0003"}])
	require.Equal(t, tr.ID, held[quell.Lock{Fabric: "f", Device: "leaf-0099"}])
	for _, token := range []int64{0, tr.Token - 1} {
		_, err := k.s.TakeLocks(k.ctx, tr.ID, token, []quell.Lock{{Fabric: "f", Device: "new"}})
		k.code(quell.CodeNotOwner, err)
	}
	require.False(t, k.has("/locks/devices/f/new"))
}

func testFollowLocks(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	k.put("/locks/devices/f%2F1/a:b", "one")
	k.put("/locks/strange", "x")
	feed := newFeed[quell.LockChanges](k)
	k.background(func(ctx context.Context) error { return k.s.FollowLocks(ctx, feed.tell) })
	device, fabric := quell.Lock{Fabric: "f/1", Device: "a:b"}, quell.Lock{Fabric: "g"}
	first := feed.next()
	require.True(t, first.Reset)
	require.Equal(t, map[quell.Lock]string{device: "one"}, first.Held)
	put := k.put("/locks/fabrics/g", "two")
	require.Equal(t, quell.LockChanges{Held: map[quell.Lock]string{fabric: "two"}, Revision: put},
		feed.until(func(c quell.LockChanges) bool { return len(c.Held) > 0 }))
	k.del("/locks/devices/f%2F1/a:b")
	require.Equal(t, []quell.Lock{device}, feed.until(func(c quell.LockChanges) bool { return len(c.Freed) > 0 }).Freed)
}

// A resumed job has the output so far, both name each other, and it is made
// once.
func testResume(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	tr := k.running()
	old, err := k.s.Job(k.ctx, tr.ID)
	require.NoError(t, err)
	resume := func() (quell.Spec, error) {
		spec := newSpec()
		spec.ResumedFrom = tr.ID
		_, err := k.s.ResumeJob(k.ctx, spec, old)
		return spec, err
	}
	_, err = resume()
	k.code(quell.CodeConflict, err) // it is not final

	tr.State.Ended(quell.RunRef{}, quell.RunResult{StartedAt: time.Now(), EndedAt: time.Now()})
	tr.State.Begin([]quell.RunRef{{Index: 1}}, time.Now())
	tr.Output = json.RawMessage(`{"image":"x<y"}`)
	tr.Intents = nil
	_, err = k.s.Commit(k.ctx, tr)
	require.NoError(t, err)
	tr = k.load(tr.ID)
	tr.State.Ended(quell.RunRef{Index: 1}, quell.RunResult{ExitCode: 2, StartedAt: time.Now(), EndedAt: time.Now()})
	tr.State.Finish(time.Now())
	_, err = k.s.Commit(k.ctx, tr)
	require.NoError(t, err)
	stale := old
	old, err = k.s.Job(k.ctx, tr.ID)
	require.NoError(t, err)
	require.JSONEq(t, `{"image":"x<y"}`, string(old.Output))
	stale.State = old.State
	_, err = k.s.ResumeJob(k.ctx, func() quell.Spec { s := newSpec(); s.ResumedFrom = tr.ID; return s }(), stale)
	k.code(quell.CodeConflict, err)

	spec, err := resume()
	require.NoError(t, err)
	_, err = k.s.ResumeJob(k.ctx, spec, old)
	require.NoError(t, err, "the same again is one job")
	fresh, err := k.s.Job(k.ctx, spec.ID)
	require.NoError(t, err)
	require.JSONEq(t, `{"image":"x<y"}`, string(fresh.Output))
	require.Equal(t, quell.PlaybookSuccess, fresh.State.Playbooks[0].Status)
	require.Equal(t, tr.ID, fresh.State.Playbooks[0].From)
	require.Equal(t, quell.PlaybookPending, fresh.State.Playbooks[1].Status)
	again, err := k.s.Job(k.ctx, tr.ID)
	require.NoError(t, err)
	require.Equal(t, spec.ID, again.ResumedAs)
	_, err = resume()
	k.code(quell.CodeConflict, err)
	require.ErrorContains(t, err, spec.ID)
}
