package storetest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"quell"
)

func testCreate(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	spec := newSpec()
	require.NoError(t, k.newJob(spec))
	require.NoError(t, k.newJob(spec), "the same again is one job")
	other := spec
	other.Requester = "somebody else"
	k.code(quell.CodeConflict, k.newJob(other))

	job, err := k.s.Job(k.ctx, spec.ID)
	require.NoError(t, err)
	require.Equal(t, quell.StatusQueued, job.State.Status)
	require.Equal(t, quell.FormatVersion, job.Spec.Version)
	require.JSONEq(t, string(spec.Input), string(job.Spec.Input))
	require.Equal(t, job.SpecRevision, job.Token)
	text, _ := k.value("/jobs/" + spec.ID + "/spec")
	require.Contains(t, text, "<a&b>", "a person can read it")
	require.ElementsMatch(t, []string{"/jobs/" + spec.ID + "/spec", "/jobs/" + spec.ID + "/status", "/active/" + spec.ID}, k.keys("/"))

	_, err = k.s.Job(k.ctx, newSpec().ID)
	k.code(quell.CodeNotFound, err)
	_, _, err = k.s.Load(k.ctx, newSpec().ID)
	k.code(quell.CodeNotFound, err)
}

func testSizes(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	spec := newSpec()
	spec.Input = []byte(`"` + strings.Repeat("x", quell.MaxSpecSize) + `"`)
	k.code(quell.CodeTooLarge, k.newJob(spec))
	spec.Input = []byte(`"` + strings.Repeat("x", quell.MaxSpecSize-1000) + `"`)
	require.NoError(t, k.newJob(spec), "what is allowed fits into etcd")

	spec = newSpec()
	for range 64 {
		spec.Template.Playbooks = append(spec.Template.Playbooks, quell.Playbook{URI: strings.Repeat("p", 1000)})
	}
	k.code(quell.CodeTooLarge, k.newJob(spec))

	tr := k.running()
	tr.State.Reason = strings.Repeat("x", quell.MaxStateSize)
	_, err := k.s.Commit(k.ctx, tr)
	k.code(quell.CodeTooLarge, err)
	p := quell.Progress{Tasks: []string{strings.Repeat("x", quell.MaxProgressSize)}}
	k.code(quell.CodeTooLarge, k.s.PutProgress(k.ctx, tr.ID, tr.Token, p))

	template := quell.Template{FQName: quell.FQName{"x"}, DisplayName: strings.Repeat("x", quell.MaxSpecSize/2)}
	_, err = k.s.PutTemplate(k.ctx, template)
	k.code(quell.CodeTooLarge, err)
}

// spoilers are what can happen between the reading of a job and its
// transition, and what the transition then fails with.
var spoilers = []struct {
	name  string
	spoil func(k *kit, id string)
	code  quell.Code
}{
	{"the status changed", func(k *kit, id string) {
		text, _ := k.value("/jobs/" + id + "/status")
		k.put("/jobs/"+id+"/status", text)
	}, quell.CodeStale},
	{"an intent came", func(k *kit, id string) { k.put("/jobs/"+id+"/abort", "graceful") }, quell.CodeStale},
	{"an intent that nobody can read came", func(k *kit, id string) { k.put("/jobs/"+id+"/abort", "now!") }, quell.CodeStale},
	{"an abort-all came", func(k *kit, _ string) { k.put("/aborts/x", "force") }, quell.CodeStale},
	{"the emergency key came", func(k *kit, _ string) { k.put("/jobs/*/abort", "force") }, quell.CodeStale},
	{"the token changed", func(k *kit, id string) { k.put("/active/"+id, `{"node":"n2","attempt":2}`) }, quell.CodeNotOwner},
	{"the job became final", func(k *kit, id string) { k.finish(id) }, quell.CodeNotOwner},
	{"the owner's key is gone", func(k *kit, id string) { k.del("/active/" + id) }, quell.CodeNotOwner},
}

// changers change an intent that was there when the job was read.
var changers = []struct {
	name   string
	change func(k *kit, id string)
}{
	{"the intent was changed", func(k *kit, id string) { k.put("/jobs/"+id+"/abort", "force") }},
	{"the intent was repeated", func(k *kit, id string) { k.put("/jobs/"+id+"/abort", "graceful") }},
	{"the intent was withdrawn", func(k *kit, id string) { k.del("/jobs/" + id + "/abort") }},
	{"the abort-all was changed", func(k *kit, _ string) { k.put("/aborts/x", "force") }},
	{"the emergency key was overwritten", func(k *kit, _ string) { k.put("/jobs/*/abort", "force") }},
	{"the emergency key was deleted", func(k *kit, _ string) { k.del("/jobs/*/abort") }},
}

// unchanged demands that run changes nothing of a job.
func (k *kit) unchanged(id string, run func()) {
	k.Helper()
	read := func() map[string]string {
		all := map[string]string{}
		for _, key := range append(k.keys("/jobs/"+id+"/"), k.keys("/active/")...) {
			all[key], _ = k.value(key)
		}
		return all
	}
	before := read()
	run()
	require.Equal(k, before, read())
}

func testCommitCompares(t *testing.T, endpoint string) {
	for _, final := range []bool{false, true} {
		end := func(tr *quell.Transition) {
			if final {
				fail(&tr.State)
				return
			}
			tr.State.Percentage = 10
		}
		for _, c := range spoilers {
			t.Run(c.name, func(t *testing.T) {
				k := newKit(t, endpoint)
				tr := k.running()
				end(&tr)
				c.spoil(k, tr.ID)
				k.unchanged(tr.ID, func() {
					_, err := k.s.Commit(k.ctx, tr)
					k.code(c.code, err)
				})
			})
		}
		for _, c := range changers {
			t.Run(c.name, func(t *testing.T) {
				k := newKit(t, endpoint)
				id := k.running().ID
				k.put("/jobs/"+id+"/abort", "graceful")
				k.put("/aborts/x", "graceful")
				k.put("/jobs/*/abort", "graceful")
				tr := k.load(id)
				require.Len(t, tr.Intents.All, 2)
				end(&tr)
				c.change(k, id)
				k.unchanged(id, func() {
					_, err := k.s.Commit(k.ctx, tr)
					k.code(quell.CodeStale, err)
				})
				again := k.load(id)
				end(&again)
				_, err := k.s.Commit(k.ctx, again)
				require.NoError(t, err, "what is there when it is read is no obstacle")
			})
		}
	}
}

func testCommitWithoutIntents(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	tr := k.running()
	k.put("/jobs/"+tr.ID+"/abort", "force")
	k.put("/aborts/x", "force")
	tr.Intents = nil
	tr.State.Percentage = 5
	revision, err := k.s.Commit(k.ctx, tr)
	require.NoError(t, err, "a transition that relies on no intents compares none")
	require.Equal(t, revision, k.load(tr.ID).StateRevision)

	tr.StateRevision = revision
	fail(&tr.State)
	_, err = k.s.Commit(k.ctx, tr)
	k.code(quell.CodeInternal, err)
	tr.State.Status = quell.StatusInProgress
	tr.StateRevision = 0
	_, err = k.s.Commit(k.ctx, tr)
	k.code(quell.CodeInternal, err)
	tr.StateRevision, tr.State.Status = revision, ""
	_, err = k.s.Commit(k.ctx, tr)
	k.code(quell.CodeInternal, err)
}

func testAssignCompares(t *testing.T, endpoint string) {
	type setting struct {
		*kit
		tr     quell.Transition
		leader quell.Leader
		node   quell.Node
	}
	prepare := func(t *testing.T) *setting {
		k := newKit(t, endpoint)
		s := &setting{kit: k, tr: k.load(k.create()), leader: k.leader(), node: k.node("n1")}
		s.tr.State.Assign("n1")
		return s
	}
	refused := func(s *setting, code quell.Code) {
		s.unchanged(s.tr.ID, func() {
			_, err := s.s.Assign(s.ctx, s.leader, s.tr, s.node, 1, 0)
			s.code(code, err)
		})
		require.Empty(s, s.keys("/nodes/n1/jobs/"))
	}
	for _, c := range spoilers {
		t.Run(c.name, func(t *testing.T) {
			s := prepare(t)
			c.spoil(s.kit, s.tr.ID)
			refused(s, c.code)
		})
	}
	for name, c := range map[string]struct {
		spoil func(s *setting)
		code  quell.Code
	}{
		"the leader's key is gone":    {func(s *setting) { s.del("/scheduler/leader/test") }, quell.CodeNotOwner},
		"another leads":               {func(s *setting) { s.del("/scheduler/leader/test"); s.kit.leader() }, quell.CodeNotOwner},
		"nobody led":                  {func(s *setting) { s.leader = quell.Leader{} }, quell.CodeNotOwner},
		"the node is gone":            {func(s *setting) { s.del("/nodes/n1/info") }, quell.CodeStale},
		"the node came back":          {func(s *setting) { s.del("/nodes/n1/info"); s.kit.node("n1") }, quell.CodeStale},
		"the node was never there":    {func(s *setting) { s.del("/nodes/n1/info"); s.node.Revision = 0 }, quell.CodeStale},
		"the intents were not looked": {func(s *setting) { s.tr.Intents = nil }, quell.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			s := prepare(t)
			c.spoil(s)
			refused(s, c.code)
		})
	}
	s := prepare(t)
	s.put("/nodes/n1/info", `{"node":"n1","instance":"n1"}`) // the agent started again
	revision, err := s.s.Assign(s.ctx, s.leader, s.tr, s.node, 3, 0)
	require.NoError(t, err)
	job, err := s.s.Job(s.ctx, s.tr.ID)
	require.NoError(t, err)
	require.Equal(t, revision, job.Token, "the new token")
	require.Equal(t, revision, job.StateRevision)
	require.Equal(t, "n1", job.ActiveNode)
	require.Equal(t, 3, job.Attempt)
	require.Equal(t, quell.StatusStarting, job.State.Status)
	require.Equal(t, []string{"/nodes/n1/jobs/" + s.tr.ID}, s.keys("/nodes/n1/jobs/"))
}

func testQueuedByDeposed(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	tr, leader := k.load(k.create()), k.leader()
	tr.State.Reason = "no node"
	_, err := k.s.CommitQueued(k.ctx, leader, tr)
	require.NoError(t, err)
	tr = k.load(tr.ID)
	k.del("/scheduler/leader/test")
	fail(&tr.State)
	k.unchanged(tr.ID, func() {
		_, err = k.s.CommitQueued(k.ctx, leader, tr)
		k.code(quell.CodeNotOwner, err)
	})
	k.put("/aborts/x", "force")
	stored := k.load(tr.ID).Intents.All
	k.code(quell.CodeNotOwner, k.s.DeleteAborts(k.ctx, leader, stored))
	require.True(t, k.has("/aborts/x"))
	require.NoError(t, k.s.DeleteAborts(k.ctx, k.leader(), stored))
	require.False(t, k.has("/aborts/x"))
}

func testFinal(t *testing.T, endpoint string) {
	for _, told := range []bool{true, false} {
		k := newKit(t, endpoint)
		tr := k.running()
		require.NoError(t, k.s.PutProgress(k.ctx, tr.ID, tr.Token, quell.Progress{Percentage: 40}))
		job, err := k.s.Job(k.ctx, tr.ID)
		require.NoError(t, err)
		require.InDelta(t, 40, job.Progress.Percentage, 0)
		if !told {
			tr.Node = "" // the state knows it, too
		}
		fail(&tr.State)
		_, err = k.s.Commit(k.ctx, tr)
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"/jobs/" + tr.ID + "/spec", "/jobs/" + tr.ID + "/status"}, k.keys("/jobs/"))
		require.Empty(t, k.keys("/active/"))
		require.Empty(t, k.keys("/nodes/n1/jobs/"))

		k.unchanged(tr.ID, func() {
			final := k.load(tr.ID)
			require.Zero(t, final.Token)
			require.True(t, final.State.Status.Final())
			_, err := k.s.Commit(k.ctx, final)
			k.code(quell.CodeNotOwner, err) // though all that it compares is as it was read
			_, err = k.s.CommitQueued(k.ctx, k.leader(), final)
			k.code(quell.CodeNotOwner, err)
			_, err = k.s.Assign(k.ctx, k.leader(), final, k.node("n1"), 2, 0)
			k.code(quell.CodeNotOwner, err)
			k.code(quell.CodeNotOwner, k.s.PutProgress(k.ctx, tr.ID, tr.Token, quell.Progress{}))
			k.code(quell.CodeNotOwner, k.s.PutProgress(k.ctx, tr.ID, 0, quell.Progress{}))
			job, written, err := k.s.PutIntent(k.ctx, tr.ID, quell.Intent{Mode: quell.Force})
			require.NoError(t, err)
			require.False(t, written)
			require.True(t, job.State.Status.Final())
		})
	}
}
