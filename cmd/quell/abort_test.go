package main

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Abort mode × way × job state, end to end (design: What an abort does).

// ways are the ways to abort one job.
var ways = map[string]func(j *testJob, mode string){
	"api":          func(j *testJob, mode string) { j.abort(mode, "") },
	"etcdctl word": func(j *testJob, mode string) { j.etcdctl("put", "/jobs/"+j.id+"/abort", " "+strings.ToUpper(mode)+" ") },
	"etcdctl json": func(j *testJob, mode string) {
		j.etcdctl("put", "/jobs/"+j.id+"/abort", `{"mode":"`+mode+`","requested_by":"ops","reason":"drill"}`)
	},
}

// byEveryWay runs a test for each mode and each way.
func byEveryWay(t *testing.T, state string, test func(t *testing.T, mode string, abort func(*testJob))) {
	t.Helper()
	for way, abort := range ways {
		for _, mode := range []string{"graceful", "force"} {
			t.Run(state+"/"+mode+"/"+way, func(t *testing.T) {
				test(t, mode, func(j *testJob) { abort(j, mode) })
			})
		}
	}
}

func TestAbortByEveryWay(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	for way, abort := range ways {
		t.Run("force/"+way, func(t *testing.T) {
			j := c.in(t).start("three").running(0)
			j.finish(0)
			j.running(1)
			abort(j, "force")
			v := j.reach("ABORTED")
			require.Equal(t, []string{"SUCCESS", "INTERRUPTED", "SKIPPED"}, statuses(v.Playbooks))
			require.Equal(t, "KILL", v.Playbooks[1].Signal)
			require.Equal(t, "aborted", v.Abort.Outcome)
			require.NotEmpty(t, v.Abort.SeenAt)
			require.NotEmpty(t, v.Abort.SignalledAt)
			require.NotEmpty(t, v.Abort.DeadAt)
			j.nothingLeft()
		})
		t.Run("graceful/"+way, func(t *testing.T) {
			j := c.in(t).start("three").running(0)
			abort(j, "graceful")
			v := j.reach("ABORTING")
			require.Equal(t, "RUNNING", v.Playbooks[0].Status, "nothing that runs is killed")
			j.finish(0)
			v = j.reach("ABORTED")
			require.Equal(t, []string{"SUCCESS", "SKIPPED", "SKIPPED"}, statuses(v.Playbooks))
			require.False(t, j.exists("ran-1"), "no later playbook has started")
			j.nothingLeft()
		})
	}
}

func TestAbortInEachState(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	t.Run("last playbook, graceful: the job finished first", func(t *testing.T) {
		j := c.in(t).start("one").running(0)
		j.abort("graceful", "")
		j.reach("ABORTING")
		j.finish(0)
		require.Equal(t, "finished_first", j.reach("SUCCESS").Abort.Outcome)
		j.nothingLeft()
	})
	t.Run("last playbook fails under a graceful abort", func(t *testing.T) {
		j := c.in(t).start("one").running(0)
		j.abort("graceful", "")
		j.reach("ABORTING")
		j.touch("fail-0", "go-0")
		v := j.reach("FAILURE")
		require.Equal(t, "finished_first", v.Abort.Outcome)
		require.Contains(t, v.Reason, "step.yml")
	})
	t.Run("last playbook, force", func(t *testing.T) {
		j := c.in(t).start("one").running(0)
		result := j.abort("force", "?wait=30s&reason=drill")
		require.True(t, result.Final)
		require.Equal(t, "ABORTED", result.Status)
		require.Contains(t, j.get().Reason, "drill")
		j.nothingLeft()
	})
	t.Run("force after graceful escalates, graceful after force changes nothing", func(t *testing.T) {
		j := c.in(t).start("three").running(0)
		require.Equal(t, "accepted", j.abort("graceful", "").Outcome)
		j.reach("ABORTING")
		require.Equal(t, "already_aborting", j.abort("graceful", "").Outcome)
		require.Equal(t, "accepted", j.abort("force", "").Outcome)
		j.reach("ABORTED")
		require.Equal(t, "already_final", j.abort("graceful", "").Outcome)
		require.Equal(t, "force", j.get().Abort.Mode)
		j.nothingLeft()
	})
	t.Run("graceful turns to force by itself", func(t *testing.T) {
		j := c.in(t).start("three").running(0)
		j.abort("graceful", "?force_after=300ms")
		v := j.reach("ABORTED")
		require.Equal(t, "INTERRUPTED", v.Playbooks[0].Status)
		j.nothingLeft()
	})
	t.Run("a withdrawn graceful abort", func(t *testing.T) {
		j := c.in(t).start("one").running(0)
		j.abort("graceful", "")
		j.reach("ABORTING")
		j.etcdctl("del", "/jobs/"+j.id+"/abort")
		require.Equal(t, "withdrawn", j.reach("IN_PROGRESS").Abort.Outcome)
		j.finish(0)
		j.reach("SUCCESS")
	})
	t.Run("an unknown word shows at once and is not acted on", func(t *testing.T) {
		j := c.in(t).start("one").running(0)
		j.etcdctl("put", "/jobs/"+j.id+"/abort", "froce")
		eventually(t, "abort.error", func() bool {
			v := j.get()
			return v.Abort != nil && strings.Contains(v.Abort.Error, "froce")
		})
		require.Equal(t, "RUNNING", j.get().Playbooks[0].Status)
		j.etcdctl("put", "/jobs/"+j.id+"/abort", "force")
		j.reach("ABORTED")
		j.nothingLeft()
	})
	t.Run("a final job", func(t *testing.T) {
		j := c.in(t).start("one").running(0)
		j.finish(0)
		j.reach("SUCCESS")
		require.Equal(t, "already_final", j.abort("force", "").Outcome)
		j.etcdctl("put", "/jobs/"+j.id+"/abort", "force")
		v := j.get()
		require.Equal(t, "SUCCESS", v.Status)
		require.Equal(t, "already_final", v.Abort.Outcome)
	})
	t.Run("a time limit", func(t *testing.T) {
		j := c.in(t).start("limited").running(0)
		v := j.reach("FAILURE")
		require.Contains(t, v.Reason, "time limit")
		j.nothingLeft()
	})
	t.Run("a playbook that may not be interrupted", func(t *testing.T) {
		j := c.in(t).start("unabortable").running(0)
		j.abort("force", "")
		j.reach("ABORTING")
		j.finish(0)
		v := j.reach("ABORTED")
		require.Equal(t, []string{"SUCCESS", "SKIPPED"}, statuses(v.Playbooks))
		j = c.in(t).start("unabortable").running(0)
		j.abort("force", "?override=true")
		require.Equal(t, []string{"INTERRUPTED", "SKIPPED"}, statuses(j.reach("ABORTED").Playbooks))
		j.nothingLeft()
	})
	t.Run("a missing playbook", func(t *testing.T) {
		j := c.in(t).start("missing")
		require.Contains(t, j.reach("FAILURE").Reason, "nowhere.yml")
		j.nothingLeft()
	})
}

func TestAbortByEveryWayInOtherStates(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	byEveryWay(t, "last playbook", func(t *testing.T, mode string, abort func(*testJob)) {
		j := c.in(t).start("one").running(0)
		abort(j)
		want := "ABORTED"
		if mode == "graceful" {
			want = "SUCCESS"
			j.reach("ABORTING")
			j.finish(0)
		}
		require.Equal(t, mode, j.reach(want).Abort.Mode)
		j.nothingLeft()
	})
	byEveryWay(t, "in recovery", func(t *testing.T, mode string, abort func(*testJob)) {
		j := c.in(t).start("recovering").running(0)
		j.touch("hold-recovery", "fail-0", "go-0")
		j.reach("RECOVERING")
		eventually(t, "recovery runs", func() bool { return j.exists("recovering") })
		abort(j)
		eventually(t, "the abort is seen", func() bool { a := j.get().Abort; return a != nil && a.SeenAt != "" })
		require.NoError(t, os.Remove(j.file("hold-recovery")))
		v := j.reach("FAILURE")
		require.Equal(t, []string{"SUCCESS"}, statuses(v.Recovery))
		require.Equal(t, "finished_first", v.Abort.Outcome)
	})
	final := c.start("missing")
	final.reach("FAILURE")
	byEveryWay(t, "final", func(t *testing.T, _ string, abort func(*testJob)) {
		abort(final)
		require.Equal(t, "FAILURE", final.get().Status)
	})
}

func TestAbortAndRecovery(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	t.Run("recovery runs after a force abort", func(t *testing.T) {
		j := c.in(t).start("recovering").running(0)
		j.abort("force", "")
		v := j.reach("ABORTED")
		require.Equal(t, []string{"SUCCESS"}, statuses(v.Recovery))
		require.True(t, j.exists("recovered"))
		j.nothingLeft()
	})
	t.Run("recovery runs after a graceful abort", func(t *testing.T) {
		j := c.in(t).start("recovering").running(0)
		j.abort("graceful", "")
		j.finish(0)
		require.Equal(t, []string{"SUCCESS"}, statuses(j.reach("ABORTED").Recovery))
	})
	t.Run("recovery=false skips it", func(t *testing.T) {
		j := c.in(t).start("recovering").running(0)
		j.abort("force", "?recovery=false")
		require.Equal(t, []string{"SKIPPED"}, statuses(j.reach("ABORTED").Recovery))
		require.False(t, j.exists("recovering"))
	})
	t.Run("a force abort in recovery lets it go on", func(t *testing.T) {
		j := c.in(t).start("recovering").running(0)
		j.touch("hold-recovery", "fail-0", "go-0")
		j.reach("RECOVERING")
		eventually(t, "recovery runs", func() bool { return j.exists("recovering") })
		j.abort("force", "")
		require.NoError(t, os.Remove(j.file("hold-recovery")))
		v := j.reach("FAILURE")
		require.Equal(t, []string{"SUCCESS"}, statuses(v.Recovery))
		require.Equal(t, "finished_first", v.Abort.Outcome)
	})
	t.Run("a force abort with recovery=false stops it", func(t *testing.T) {
		j := c.in(t).start("recovering").running(0)
		j.touch("hold-recovery", "fail-0", "go-0")
		j.reach("RECOVERING")
		eventually(t, "recovery runs", func() bool { return j.exists("recovering") })
		j.abort("force", "?recovery=false")
		v := j.reach("FAILURE")
		require.Equal(t, []string{"INTERRUPTED"}, statuses(v.Recovery))
		j.nothingLeft()
	})
}

func TestForceLeavesNothingAlive(t *testing.T) {
	for name, args := range map[string][]string{"cgroup": nil, "fallback": {"--no-cgroup"}} {
		t.Run(name, func(t *testing.T) {
			_, c := startDev(t, t.TempDir(), args...)
			t.Run("force", func(t *testing.T) {
				j := c.in(t).start("tree").running(0)
				require.NotEmpty(t, j.processes())
				j.abort("force", "")
				v := j.reach("ABORTED")
				require.Empty(t, j.processes(), "dead before ABORTED is written")
				require.Equal(t, "INTERRUPTED", v.Playbooks[0].Status)
				j.nothingLeft()
			})
			t.Run("what a playbook leaves behind when it ends", func(t *testing.T) {
				j := c.in(t).start("tree").running(0)
				j.finish(0)
				v := j.reach("SUCCESS")
				require.NotEmpty(t, v.Playbooks[0].Leftovers)
				j.nothingLeft()
			})
		})
	}
}

func TestAbortAll(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	for way, abort := range map[string]func(c *cluster){
		"api": func(c *cluster) {
			code, body := c.call("POST", "/abort-job", `{"input": {"abort_mode": "force"}}`)
			require.Equal(c.t, http.StatusOK, code, body)
			require.Equal(c.t, 2, strings.Count(body, `"accepted"`), body)
		},
		"emergency key": func(c *cluster) { c.etcdctl("put", "/jobs/*/abort", "force") },
	} {
		t.Run(way, func(t *testing.T) {
			one, two := c.in(t).start("one").running(0), c.in(t).start("three").running(0)
			abort(one.cluster)
			later := c.in(t).start("one")
			one.reach("ABORTED")
			two.reach("ABORTED")
			later.running(0).finish(0)
			later.reach("SUCCESS")
			one.nothingLeft()
			two.nothingLeft()
			eventually(t, "the intent is deleted", func() bool { return c.etcdctl("get", "--prefix", "/aborts/") == "" })
		})
	}
}

func TestSeparateProcesses(t *testing.T) {
	whole := t // agents that are started in a subtest outlive it
	etcd := startEtcd(t)
	c := startAPIServer(t, etcd)
	dataDir := t.TempDir()

	var queued []*testJob
	waiting := c.start("one")
	byEveryWay(t, "queued", func(t *testing.T, mode string, abort func(*testJob)) {
		j := c.start("one")
		eventually(t, "a reason", func() bool { return strings.Contains(j.get().Reason, "start an agent") })
		abort(j)
		v := j.reach("ABORTED")
		require.Equal(t, mode, v.Abort.Mode)
		require.Equal(t, []string{"SKIPPED"}, statuses(v.Playbooks))
		queued = append(queued, j)
	})

	agent := spawnAgent(t, etcd, "node-1", dataDir)
	agent.up()
	waiting.running(0).finish(0)
	waiting.reach("SUCCESS")
	for _, j := range queued {
		require.False(t, j.exists("ran-0"), "a queued job that was aborted never starts")
	}

	byEveryWay(t, "being assigned", func(t *testing.T, _ string, abort func(*testJob)) {
		agent.signal(syscall.SIGSTOP)
		j := c.in(t).start("one")
		j.reach("STARTING")
		abort(j)
		agent.signal(syscall.SIGCONT)
		require.Equal(t, []string{"SKIPPED"}, statuses(j.reach("ABORTED").Playbooks))
		require.False(t, j.exists("ran-0"))
	})
	byEveryWay(t, "between playbooks", func(t *testing.T, _ string, abort func(*testJob)) {
		j := c.in(t).start("three").running(0)
		agent.signal(syscall.SIGSTOP)
		j.finish(0)
		eventually(t, "the playbook has ended", func() bool { return len(j.processes()) == 0 })
		abort(j)
		agent.signal(syscall.SIGCONT)
		require.Equal(t, []string{"SUCCESS", "SKIPPED", "SKIPPED"}, statuses(j.reach("ABORTED").Playbooks))
		require.False(t, j.exists("ran-1"))
	})
	t.Run("an agent that crashes is followed by one that takes over", func(t *testing.T) {
		goesOn, aborted := c.in(t).start("three").running(0), c.in(t).start("three").running(0)
		agent.kill()
		goesOn.finish(0)
		aborted.abort("force", "")
		agent = spawnAgent(whole, etcd, "node-1", dataDir)
		agent.up()
		aborted.reach("ABORTED")
		aborted.nothingLeft()
		goesOn.running(1).finish(1)
		goesOn.running(2).finish(2)
		require.Equal(t, []string{"SUCCESS", "SUCCESS", "SUCCESS"}, statuses(goesOn.reach("SUCCESS").Playbooks))
		require.False(t, goesOn.exists("ran-3"), "nothing runs twice")
		goesOn.nothingLeft()
	})
	t.Run("an agent that stops leaves its playbooks running", func(t *testing.T) {
		j := c.in(t).start("one").running(0)
		require.Zero(t, agent.stop())
		require.NotEmpty(t, j.processes())
		require.Contains(t, agent.log.String(), "taken over at its next start\" part=agent jobs=1")
		agent = spawnAgent(whole, etcd, "node-1", dataDir)
		agent.up()
		j.abort("force", "?wait=30s")
		j.reach("ABORTED")
		j.nothingLeft()
	})
	t.Run("a second agent of the same name is refused", func(t *testing.T) {
		second := spawnAgent(t, etcd, "node-1", t.TempDir())
		require.NotZero(t, second.wait())
		require.Contains(t, second.log.String(), "another agent is registered as node node-1")
	})
	t.Run("a data folder in use is refused", func(t *testing.T) {
		second := spawnAgent(t, etcd, "node-2", dataDir)
		require.NotZero(t, second.wait())
		require.Contains(t, second.log.String(), "another agent uses the data folder")
	})
}

func TestDevStopsAndStartsAgain(t *testing.T) {
	dataDir := t.TempDir()
	d, c := startDev(t, dataDir)
	j := c.start("tree").running(0)
	require.Zero(t, d.stop())
	require.Contains(t, d.log.String(), "Force-aborting 1 job")
	require.NotContains(t, d.log.String(), "playbooks that run go on")
	require.Empty(t, j.processes())

	d, c = startDev(t, dataDir)
	j.cluster = c.in(t)
	require.Equal(t, "ABORTED", j.get().Status)
	j = c.start("one").running(0)
	d.kill()
	require.NotEmpty(t, j.processes(), "a crash kills nothing that runs")

	_, c = startDev(t, dataDir)
	j.cluster = c
	candidates := c.etcdctl("get", "--prefix", "--keys-only", "/scheduler/leader/")
	require.Equal(t, 1, strings.Count(candidates, "/scheduler/leader/"), "the crashed process' lead need not run out first")
	j.finish(0)
	j.reach("SUCCESS")
	j.nothingLeft()
}

func TestSecretsStayOutOfSight(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	j := c.start("one").running(0)
	for _, line := range j.processes() {
		require.NotContains(t, line, "pssst")
	}
	j.finish(0)
	j.reach("SUCCESS")
	require.NotContains(t, j.etcdctl("get", "/jobs/"+j.id+"/status"), "pssst")
	j.nothingLeft()
}

func statuses(steps []step) []string {
	var list []string
	for _, s := range steps {
		list = append(list, s.Status)
	}
	return list
}

// in is the cluster as seen by a subtest.
func (c *cluster) in(t *testing.T) *cluster {
	inner := *c
	inner.t = t
	return &inner
}
