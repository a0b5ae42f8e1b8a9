package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whole workflows, end to end: playbooks that run once for each device, locks,
// outputs, time limits, recovery, resumed jobs; and every abort in each state
// that these bring along.

// drill is one way to abort a job.
type drill struct {
	mode string
	way  string // api or etcdctl
	with string // such as recovery=false; empty: nothing more
}

// drills are each mode in each way, and force in each way with each of more.
func drills(more ...string) []drill {
	var list []drill
	for _, way := range []string{"api", "etcdctl"} {
		list = append(list, drill{"graceful", way, ""}, drill{"force", way, ""})
		for _, with := range more {
			list = append(list, drill{"force", way, with})
		}
	}
	return list
}

// abort aborts the job. The result is the API's.
func (d drill) abort(j *testJob) abortResult {
	j.t.Helper()
	name, value, _ := strings.Cut(d.with, "=")
	switch {
	case d.way == "api":
		return j.abort(d.mode, "?"+d.with)
	case d.with == "":
		j.etcdctl("put", "/jobs/"+j.id+"/abort", d.mode)
	default:
		j.etcdctl("put", "/jobs/"+j.id+"/abort", fmt.Sprintf(`{"mode": %q, %q: %s}`, d.mode, name, value))
	}
	return abortResult{}
}

// state is a state of a job that is to be aborted in it.
type state struct {
	name   string
	order  order                 // of a fabric of its own where it names none
	ready  func(j *testJob)      // waits until the job is in the state
	test   func(*testJob, drill) // aborts it, and looks at what comes of it
	drills []drill
}

// try starts a job for each drill, all at once, and tests one after the other.
func (s state) try(t *testing.T, c *cluster) {
	t.Helper()
	jobs := make([]*testJob, len(s.drills))
	for i := range s.drills {
		o := s.order
		if o.fabric == "" {
			o.fabric = fmt.Sprintf("%s %d", s.name, i)
		}
		jobs[i] = c.in(t).order(o)
	}
	for i, d := range s.drills {
		t.Run(strings.TrimSuffix(fmt.Sprintf("%s/%s/%s/%s", s.name, d.mode, d.way, d.with), "/"), func(t *testing.T) {
			j := jobs[i]
			j.cluster = c.in(t)
			s.ready(j)
			s.test(j, d)
			j.nothingLeft()
		})
	}
}

func TestWorkflowAborts(t *testing.T) {
	_, c := startDev(t, t.TempDir(), "--max-devices", "2")

	holder := c.order(order{template: "fabric", fabric: "taken"}).running(0)
	state{
		name: "waiting for a lock", drills: drills(), order: order{template: "fabric", fabric: "taken"},
		ready: func(j *testJob) {
			eventually(j.t, "it waits", func() bool { return strings.Contains(j.get().Reason, "waits for the end of job") })
		},
		test: func(j *testJob, d drill) {
			d.abort(j)
			v := j.reach("ABORTED")
			require.Equal(j.t, d.mode, v.Abort.Mode)
			require.Equal(j.t, []string{"SKIPPED"}, statuses(v.Playbooks))
			require.False(j.t, j.exists("ran-0"))
		},
	}.try(t, c)
	require.Contains(t, c.locks(), holder.id, "the lock is its holder's still")
	holder.finish(0)
	holder.reach("SUCCESS")
	holder.nothingLeft()

	state{
		name: "half of the devices done", drills: drills(),
		order: order{
			template: "recovering-devices", devices: []string{"leaf-1", "leaf-2", "leaf-3", "leaf-4"}, look: true,
			files: map[string]string{"go-leaf-1": ""},
		},
		ready: func(j *testJob) {
			j.onDevices("leaf-1", "leaf-2", "leaf-3")
			require.Equal(j.t, 4, strings.Count(j.locks(), j.id))
		},
		test: func(j *testJob, d drill) {
			d.abort(j)
			devices, failed := []string{"SUCCESS", "INTERRUPTED", "INTERRUPTED", "SKIPPED"}, []any{"leaf-2", "leaf-3"}
			if d.mode == "graceful" {
				devices[1], devices[2], failed = "SUCCESS", "SUCCESS", []any{}
				j.reach("ABORTING")
				require.NotEmpty(j.t, j.processes(), "nothing that runs is killed")
				j.touch("go-leaf-2", "go-leaf-3")
			}
			v := j.reach("ABORTED")
			require.Equal(j.t, devices, v.deviceStatuses())
			require.Equal(j.t, []string{"INTERRUPTED", "SKIPPED"}, statuses(v.Playbooks))
			require.Equal(j.t, []string{"SUCCESS"}, statuses(v.Recovery))
			require.False(j.t, j.exists("ran-leaf-4"))
			saw := j.saw("saw-recovery")
			require.Equal(j.t, "ABORTED", saw["job_outcome"])
			require.Equal(j.t, "device.yml", saw["failed_playbook"])
			require.Equal(j.t, failed, saw["failed_devices"])
			require.Equal(j.t, d.mode, saw["abort_mode"])
		},
	}.try(t, c)

	inRecovery := func(j *testJob) {
		j.reach("RECOVERING")
		eventually(j.t, "recovery runs", func() bool { return j.exists("recovering") })
		require.Contains(j.t, j.locks(), j.id, "the recovery has the lock, too")
	}
	// failing ends a job that fails for a reason while an abort comes, and says
	// what becomes of the run that the reason has ended.
	failing := func(reason, run string) func(*testJob, drill) {
		return func(j *testJob, d drill) {
			d.abort(j)
			outcome, recovery := "recovery_stopped", "INTERRUPTED"
			if d.with == "" {
				outcome, recovery = "finished_first", "SUCCESS"
				eventually(j.t, "the abort is seen", func() bool { a := j.get().Abort; return a != nil && a.SeenAt != "" })
				require.NoError(j.t, os.Remove(j.file("hold-recovery")))
			}
			v := j.reach("FAILURE")
			require.Contains(j.t, v.Reason, reason)
			require.Equal(j.t, outcome, v.Abort.Outcome)
			require.Equal(j.t, []string{recovery}, statuses(v.Recovery))
			require.Equal(j.t, []string{run, "SKIPPED"}, statuses(v.Playbooks))
			require.Equal(j.t, []string{run}, v.deviceStatuses())
		}
	}
	state{
		name: "in recovery", drills: drills("recovery=false"),
		order: order{template: "recovering-devices", devices: []string{"leaf-1"}, files: map[string]string{"fail-leaf-1": "", "go-leaf-1": "", "hold-recovery": ""}},
		ready: inRecovery, test: failing("device.yml", "FAILURE"),
	}.try(t, c)
	state{
		name: "past the playbook's time limit", drills: drills(),
		order: order{
			template: "recovering-devices", devices: []string{"leaf-1"}, query: "?playbook_timeout=3s",
			files: map[string]string{"hold-recovery": ""},
		},
		ready: inRecovery, test: failing("time limit of 3s", "FAILURE"),
	}.try(t, c)
	state{
		name: "past the job's time limit", drills: drills(),
		order: order{
			template: "recovering-devices", devices: []string{"leaf-1"}, query: "?timeout=3s",
			files: map[string]string{"hold-recovery": ""},
		},
		ready: inRecovery, test: failing("the job's time limit of 3s has passed", "INTERRUPTED"),
	}.try(t, c)

	holder = c.order(order{template: "fabric", fabric: "taken for long"}).running(0)
	state{
		name: "past the queue's time limit", drills: drills(), order: order{template: "fabric", fabric: "taken for long", query: "?queue_timeout=500ms"},
		ready: func(j *testJob) {
			require.Contains(j.t, j.reach("FAILURE").Reason, "waited in the queue for longer than its limit of 500ms")
		},
		test: func(j *testJob, d drill) {
			d.abort(j)
			v := j.get()
			require.Equal(j.t, "FAILURE", v.Status)
			require.Equal(j.t, []string{"SKIPPED"}, statuses(v.Playbooks))
			if d.way == "etcdctl" { // the API writes no intent for it
				require.Equal(j.t, "already_final", v.Abort.Outcome)
			}
		},
	}.try(t, c)
	holder.finish(0)
	holder.reach("SUCCESS")

	state{
		name: "in a retry", drills: drills(),
		order: order{template: "retry", devices: []string{"leaf-1"}, files: map[string]string{"output-leaf-1": `{"retry_devices": ["leaf-1"]}`, "go-leaf-1": ""}},
		ready: func(j *testJob) { j.onDevices("leaf-1.2") },
		test: func(j *testJob, d drill) {
			d.abort(j)
			want := "INTERRUPTED"
			if d.mode == "graceful" {
				want = "SUCCESS"
				j.reach("ABORTING")
				j.touch("go-leaf-1.2")
			}
			v := j.reach("ABORTED")
			require.Equal(j.t, []string{want}, v.deviceStatuses())
			require.Equal(j.t, []string{want, "SKIPPED"}, statuses(v.Playbooks))
			require.Equal(j.t, 1, v.Playbooks[0].Try)
			require.False(j.t, j.exists("ran-leaf-1.3"))
		},
	}.try(t, c)

	state{
		name: "in a playbook that may not be interrupted", drills: drills("override=true"),
		order: order{template: "flash", devices: []string{"leaf-1"}},
		ready: func(j *testJob) { j.onDevices("leaf-1") },
		test: func(j *testJob, d drill) {
			result := d.abort(j)
			want, waits := "SUCCESS", ""
			switch {
			case d.with != "":
				want = "INTERRUPTED"
			case d.mode == "force":
				waits = "which must not be interrupted; override kills it all the same"
				require.Contains(j.t, j.get().Reason, waits, "it is told at once")
			}
			if d.way == "api" {
				require.Contains(j.t, result.WaitsFor, waits)
				require.Equal(j.t, waits == "", result.WaitsFor == "")
			}
			if d.with == "" {
				require.Contains(j.t, j.reach("ABORTING").Reason, waits)
				require.NotEmpty(j.t, j.processes(), "nothing is killed")
				j.touch("go-leaf-1")
			}
			v := j.reach("ABORTED")
			require.Equal(j.t, []string{want}, v.deviceStatuses())
			require.Equal(j.t, []string{want, "SKIPPED"}, statuses(v.Playbooks))
		},
	}.try(t, c)
}

func TestWorkflows(t *testing.T) {
	_, c := startDev(t, t.TempDir(), "--max-devices", "2")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"from discovery to the end", testWholeWorkflow},
		{"outputs", testOutputs},
		{"locks", testLocks},
		{"time limits", testTimeLimits},
		{"recovery", testRecoveryAfterFailure},
		{"resume and rerun", testResume},
		{"transactions and filters", testTransactions},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, c.in(t)) })
	}
}

// A playbook finds devices out, another works on each of them, of which one
// fails, and a last one goes on with the others.
func testWholeWorkflow(t *testing.T, c *cluster) {
	j := c.order(order{template: "found-devices", fabric: "whole", look: true, files: map[string]string{
		"output-0": `{"image": "junos-9", "device_json": {
				"leaf-1": {"device_management_ip": "10.0.0.1", "device_vendor": "Juniper", "device_username": "root", "device_password": "hidden-1"},
				"leaf-2": {"device_management_ip": "10.0.0.2", "device_password": "hidden-2"},
				"leaf-3": {"device_management_ip": "10.0.0.3"}}}`,
		"output-leaf-1": `{"count": 1, "results": {"version": 9}}`,
		"fail-leaf-2":   "", "changed-leaf-3": "",
	}}).running(0)
	require.Empty(t, j.get().Devices)
	j.finish(0)

	j.onDevices("leaf-1", "leaf-2")
	saw := j.saw("saw-leaf-1")
	for name, want := range map[string]any{
		"device_id": "leaf-1", "device_management_ip": "10.0.0.1", "vendor": "Juniper", "device_username": "root",
		"device_password": "hidden-1", "job_execution_id": j.id, "job_transaction_id": j.id, "fabric_fq_name": "whole",
		"job_template_fqname": []any{"test", "found-devices"}, "playbook_job_percentage": 80.0,
		"device_list": []any{"leaf-1", "leaf-2", "leaf-3"},
	} {
		require.Equal(t, want, saw[name], name)
	}
	require.Contains(t, saw, "job_device_json")
	input, _ := saw["input"].(map[string]any)
	require.Equal(t, "junos-9", input["image"], "outputs are input")
	require.NotContains(t, input, "device_json")
	require.NotContains(t, fmt.Sprint(j.processes()), "hidden-")
	j.touch("go-leaf-1", "go-leaf-2")

	j.onDevices("leaf-3")
	var v view
	eventually(t, "progress of two devices in three", func() bool { v = j.get(); return v.Percentage >= 63.3 })
	require.Less(t, v.Percentage, 90.0)
	eventually(t, "the devices' statuses", func() bool {
		v = j.get()
		return strings.Join(v.deviceStatuses(), " ") == "SUCCESS FAILURE RUNNING"
	})
	j.touch("go-leaf-3")

	saw = j.running(1).saw("saw")
	require.Equal(t, []any{"leaf-1", "leaf-3"}, saw["device_list"], "without the one that failed")
	input, _ = saw["input"].(map[string]any)
	require.Equal(t, map[string]any{"leaf-1": map[string]any{"version": 9.0}}, input["results"])
	require.NotContains(t, saw, "device_id")
	j.finish(1)
	v = j.reach("WARNING")
	require.Contains(t, v.Reason, "1 of 3 devices failed (leaf-2: ")
	require.Equal(t, []string{"SUCCESS", "FAILURE", "SUCCESS"}, v.deviceStatuses())
	require.Equal(t, []bool{false, true}, []bool{v.Devices[0].Changed, v.Devices[2].Changed})
	require.NotEmpty(t, v.Devices[1].Error)
	require.Equal(t, []string{"SUCCESS", "SUCCESS", "SUCCESS"}, statuses(v.Playbooks))
	require.InDelta(t, 100, v.Percentage, 0)
	require.JSONEq(t, `{"image": "junos-9", "count": 1, "results": {"leaf-1": {"version": 9}}, "device_json": {
		"leaf-1": {"device_management_ip": "10.0.0.1", "device_vendor": "Juniper", "device_username": "root"},
		"leaf-2": {"device_management_ip": "10.0.0.2"}, "leaf-3": {"device_management_ip": "10.0.0.3"}}}`, string(v.Output))
	j.nothingLeft()

	require.NotContains(t, c.etcdctl("get", "--prefix", "/"), "hidden-")
	require.NotContains(t, j.log(""), "hidden-")
	log := j.log("?run=playbook-1-device-2")
	require.Contains(t, log, "Work on leaf-2")
	require.Equal(t, 1, strings.Count(log, "PLAY RECAP"))
	require.Equal(t, 5, strings.Count(j.log(""), "PLAY RECAP"), "the job's log has them all")
}

// log reads the job's log.
func (j *testJob) log(query string) string {
	j.t.Helper()
	code, body := j.call("GET", "/v1/jobs/"+j.id+"/log"+query, "")
	require.Equal(j.t, http.StatusOK, code, body)
	return body
}

func testOutputs(t *testing.T, c *cluster) {
	type values = map[string]any
	cases := []struct {
		name      string
		input     values
		status    string
		reason    string
		playbooks string
		output    string // "": not looked at
	}{
		{
			"stats over the fact",
			values{"fact": values{"a": 1, "b": 1}, "stats": values{"b": 2, "c": 3}},
			"SUCCESS", "", "SUCCESS SUCCESS", `{"a": 1, "b": 2, "c": 3}`,
		},
		{"an early exit", values{"stats": values{"early_exit": true}}, "SUCCESS", "", "SUCCESS SKIPPED", ""},
		{"a failure", values{"fact": values{"status": "failure", "message": "no room"}}, "FAILURE", "no room", "FAILURE SKIPPED", "null"},
		{"a warning", values{"fact": values{"status": "warning", "message": "an old licence"}}, "WARNING", "an old licence", "SUCCESS SUCCESS", ""},
		{"no fit for the schema", values{"fact": values{"count": "many"}}, "WARNING", "count", "SUCCESS SUCCESS", `{"count": "many"}`},
		{"too large", values{"large": 1_100_000}, "FAILURE", "at most 1048576 are kept", "FAILURE SKIPPED", "null"},
	}
	jobs := make([]*testJob, len(cases))
	for i, test := range cases {
		jobs[i] = c.order(order{template: "give", input: test.input})
	}
	again := `{"retry_devices": ["leaf-1"]}`
	insatiable := c.order(order{
		template: "retry", fabric: "outputs", devices: []string{"leaf-1"},
		files: map[string]string{"go": "", "output-leaf-1": again, "output-leaf-1.2": again, "output-leaf-1.3": again},
	})
	for i, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			j := jobs[i]
			j.cluster = c.in(t)
			v := j.reach(test.status)
			require.Contains(t, v.Reason, test.reason)
			require.Equal(t, test.playbooks, strings.Join(statuses(v.Playbooks), " "))
			if test.output != "" {
				require.JSONEq(t, test.output, string(v.Output))
			}
			j.nothingLeft()
		})
	}
	t.Run("a repetition too many", func(t *testing.T) {
		insatiable.cluster = c.in(t)
		v := insatiable.reach("FAILURE")
		require.Contains(t, v.Reason, "retry_devices")
		require.True(t, insatiable.exists("ran-leaf-1.2"))
		require.False(t, insatiable.exists("ran-leaf-1.3"))
		insatiable.nothingLeft()
	})
}

func testLocks(t *testing.T, c *cluster) {
	fabric := order{template: "fabric", fabric: "locks"}
	waitsFor := func(j, before *testJob) {
		eventually(t, "it waits for "+before.id, func() bool {
			v := j.get()
			return v.Status == "QUEUED" && strings.Contains(v.Reason, "waits for the end of job "+before.id)
		})
	}
	t.Run("one job after the other", func(t *testing.T) {
		first := c.in(t).order(fabric).running(0)
		require.Equal(t, "fabric", first.get().Locks.Level)
		second, third := c.in(t).order(fabric), c.in(t).order(fabric)
		waitsFor(second, first)
		waitsFor(third, second)
		second.abort("force", "?wait=30s")
		waitsFor(third, first)
		require.False(t, third.exists("ran-0"))
		first.finish(0)
		first.reach("SUCCESS")
		third.running(0).finish(0)
		third.reach("SUCCESS")
		third.nothingLeft()
	})
	t.Run("on_lock=fail", func(t *testing.T) {
		first := c.in(t).order(fabric).running(0)
		failing := fabric
		failing.query = "?on_lock=fail"
		second := c.in(t).order(failing)
		v := second.reach("FAILURE")
		require.Contains(t, v.Reason, first.id)
		require.Equal(t, []string{"SKIPPED"}, statuses(v.Playbooks))
		second.nothingLeft()
		first.finish(0)
		first.reach("SUCCESS")
		other := c.in(t).order(failing)
		other.running(0).finish(0)
		other.reach("SUCCESS")
	})
	t.Run("a device in the middle of a job", func(t *testing.T) {
		holder := c.in(t).order(order{template: "locked-devices", fabric: "locks", devices: []string{"leaf-2"}}).onDevices("leaf-2")
		j := c.in(t).order(order{template: "found-devices", fabric: "locks", look: true, files: map[string]string{"go": "", "output-0": `{"device_json": ["leaf-1", "leaf-2"]}`}})
		v := j.reach("WARNING")
		require.Equal(t, []string{"SUCCESS", "FAILURE"}, v.deviceStatuses())
		require.Equal(t, "it is locked by job "+holder.id, v.Devices[1].Error)
		require.False(t, j.exists("ran-leaf-2"))
		require.Equal(t, []any{"leaf-1"}, j.saw("saw")["device_list"])
		j.nothingLeft()
		require.Contains(t, c.locks(), holder.id)
		holder.touch("go")
		holder.reach("SUCCESS")
		holder.nothingLeft()
	})
}

// Limits that the request or the template says. What comes of a limit that
// strikes is looked at in TestWorkflowAborts, too.
func testTimeLimits(t *testing.T, c *cluster) {
	// A run is started well inside these limits, also on a machine that is busy.
	templates := c.order(order{template: "job-limit", fabric: "limits 1"})
	long := c.order(order{template: "job-limit", fabric: "limits 2", query: "?timeout=1h"}).running(0)
	steps := c.order(order{template: "three", query: "?playbook_timeout=3s"})
	queued := c.order(order{template: "fabric", fabric: "limits 2", query: "?queue_timeout=1s"})
	v := templates.reach("FAILURE")
	require.Contains(t, v.Reason, "the job's time limit of 3s has passed")
	require.Equal(t, []string{"INTERRUPTED"}, statuses(v.Playbooks))
	require.Equal(t, "KILL", v.Playbooks[0].Signal)
	require.Equal(t, []string{"SUCCESS"}, statuses(v.Recovery))
	require.Nil(t, v.Abort)
	templates.nothingLeft()
	v = steps.reach("FAILURE")
	require.Contains(t, v.Reason, "step.yml failed: killed after its time limit of 3s")
	require.Equal(t, []string{"FAILURE", "SKIPPED", "SKIPPED"}, statuses(v.Playbooks))
	steps.nothingLeft()
	require.Contains(t, queued.reach("FAILURE").Reason, "limit of 1s: waits for the end of job "+long.id)
	queued.nothingLeft()
	require.Equal(t, "IN_PROGRESS", long.get().Status, "the request wins over the template")
	long.finish(0)
	long.reach("SUCCESS")
}

// A recovery playbook after a failure knows what has failed.
func testRecoveryAfterFailure(t *testing.T, c *cluster) {
	j := c.order(order{
		template: "recovering-devices", fabric: "recovery", look: true, devices: []string{"leaf-1", "leaf-2"},
		files: map[string]string{"go": "", "fail-leaf-1": "", "fail-0": ""},
	})
	v := j.reach("FAILURE")
	require.Contains(t, v.Reason, "step.yml")
	require.Equal(t, []string{"SUCCESS", "FAILURE"}, statuses(v.Playbooks))
	require.Equal(t, []string{"FAILURE", "SUCCESS"}, v.deviceStatuses())
	saw := j.saw("saw-recovery")
	require.Equal(t, "FAILURE", saw["job_outcome"])
	require.Equal(t, "step.yml", saw["failed_playbook"])
	require.Equal(t, []any{"leaf-1"}, saw["failed_devices"])
	require.Empty(t, saw["abort_mode"])
	require.Contains(t, saw["job_reason"], "step.yml")
	j.nothingLeft()
}

func testResume(t *testing.T, c *cluster) {
	j := c.order(order{
		template: "found-devices", fabric: "resume", look: true, devices: []string{"leaf-1", "leaf-2", "leaf-3", "leaf-4"},
		files: map[string]string{
			"output-0": `{"image": "junos-9"}`, "go-0": "",
			"output-leaf-1": `{"results": {"version": 9}}`, "go-leaf-1": "",
		},
	})
	j.onDevices("leaf-1", "leaf-2", "leaf-3")
	code, body := j.call("POST", "/v1/jobs/"+j.id+"/resume", "")
	require.Equal(t, http.StatusConflict, code, body)
	j.abort("force", "?wait=30s")
	v := j.reach("ABORTED")
	require.Equal(t, []string{"SUCCESS", "INTERRUPTED", "INTERRUPTED", "SKIPPED"}, v.deviceStatuses())
	require.JSONEq(t, `{"image": "junos-9", "results": {"leaf-1": {"version": 9}}}`, string(v.Output))
	j.nothingLeft()

	resumed := j.again("resume")
	v = resumed.onDevices("leaf-2.2", "leaf-3.2").get()
	require.Equal(t, j.id, v.ResumedFrom)
	require.Equal(t, j.id, v.Playbooks[0].From)
	require.Equal(t, []string{"SUCCESS", "RUNNING", "PENDING"}, statuses(v.Playbooks))
	require.Equal(t, resumed.id, j.get().ResumedAs)
	require.Equal(t, 4, strings.Count(c.locks(), resumed.id))
	input, _ := resumed.saw("saw-leaf-2")["input"].(map[string]any)
	require.Equal(t, "junos-9", input["image"], "the outputs so far are input")
	require.Equal(t, map[string]any{"leaf-1": map[string]any{"version": 9.0}}, input["results"])
	code, body = j.call("POST", "/v1/jobs/"+j.id+"/resume", "")
	require.Equal(t, http.StatusConflict, code, body)
	require.Contains(t, body, resumed.id)

	write(t, resumed.dir, map[string]string{"output-leaf-4": `{"results": {"version": 8}}`})
	resumed.touch("go-leaf-2.2", "go-leaf-3.2", "go-leaf-4")
	saw := resumed.running(1).saw("saw")
	require.Equal(t, []any{"leaf-1", "leaf-2", "leaf-3", "leaf-4"}, saw["device_list"], "what comes later runs for all")
	resumed.finish(1)
	v = resumed.reach("SUCCESS")
	require.Equal(t, []string{"SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS"}, v.deviceStatuses())
	require.JSONEq(t, `{"image": "junos-9", "results": {"leaf-1": {"version": 9}, "leaf-4": {"version": 8}}}`, string(v.Output))
	for _, name := range []string{"ran-leaf-1.2", "ran-leaf-4.2", "ran-2"} {
		require.False(t, resumed.exists(name), name)
	}
	resumed.nothingLeft()
	code, body = j.call("POST", "/v1/jobs/"+resumed.id+"/resume", "")
	require.Equal(t, http.StatusConflict, code, body)

	rerun := j.again("rerun").running(2)
	v = rerun.get()
	require.Equal(t, j.id, v.RerunOf)
	require.Equal(t, []string{"PENDING", "PENDING", "PENDING", "PENDING"}, v.deviceStatuses())
	input, _ = rerun.saw("saw")["input"].(map[string]any)
	require.NotContains(t, input, "image")
	rerun.abort("force", "?wait=30s")
	rerun.nothingLeft()
}

// again resumes or reruns the job. The new one works in the same folder.
func (j *testJob) again(how string) *testJob {
	j.t.Helper()
	code, body := j.call("POST", "/v1/jobs/"+j.id+"/"+how, "")
	require.Equal(j.t, http.StatusOK, code, body)
	next := &testJob{cluster: j.cluster, dir: j.dir, id: newJobID(j.t, body)}
	j.t.Cleanup(next.sweep)
	return next
}

func testTransactions(t *testing.T, c *cluster) {
	change := map[string]any{"transaction_id": "change 7", "transaction_descr": "New image"}
	one := c.order(order{template: "one", fabric: "filtered", params: change}).running(0)
	two := c.order(order{template: "three", fabric: "filtered", params: change}).running(0)
	alone := c.order(order{template: "one", fabric: "filtered"}).running(0)
	require.Equal(t, "change 7", one.get().Transaction)
	require.Equal(t, alone.id, alone.get().Transaction)

	type transaction struct {
		ID       string   `json:"transaction_id"`
		Descr    string   `json:"transaction_descr"`
		Status   string   `json:"status"`
		JobCount int      `json:"job_count"`
		Jobs     []string `json:"job_execution_ids"`
	}
	ask := func(path string, into any) {
		code, body := c.call("GET", path, "")
		require.Equal(t, http.StatusOK, code, body)
		require.NoError(t, json.Unmarshal([]byte(body), into), body)
	}
	want := transaction{"change 7", "New image", "IN_PROGRESS", 2, []string{one.id, two.id}}
	var list struct {
		Transactions []transaction `json:"transactions"`
	}
	eventually(t, "the transaction is in the list", func() bool {
		ask("/v1/transactions?transaction="+url.QueryEscape("change 7"), &list)
		return len(list.Transactions) == 1 && list.Transactions[0].Status == "IN_PROGRESS"
	})
	require.Equal(t, want, list.Transactions[0])

	type answer struct {
		Count   int           `json:"count"`
		Results []abortResult `json:"results"`
	}
	abort := func(path, body string) answer {
		code, text := c.call("POST", path, body)
		require.Equal(t, http.StatusOK, code, text)
		var a answer
		require.NoError(t, json.Unmarshal([]byte(text), &a), text)
		require.Len(t, a.Results, a.Count)
		return a
	}
	require.Equal(t, 3, abort("/v1/aborts?dry_run=true", `{"filter": {"fabric": "filtered"}, "mode": "force"}`).Count)
	require.Equal(t, 1, abort("/v1/aborts?dry_run=true", `{"filter": {"fabric": "filtered", "template": "three"}, "mode": "force"}`).Count)
	code, body := c.call("POST", "/v1/aborts", `{"filter": {"fabric": "filtered"}, "mode": "force", "expect": 2}`)
	require.Equal(t, http.StatusConflict, code, body)
	for _, j := range []*testJob{one, two, alone} {
		require.Equal(t, "IN_PROGRESS", j.get().Status, "nothing was aborted yet")
		require.Empty(t, j.etcdctl("get", "/jobs/"+j.id+"/abort"))
	}

	require.Equal(t, 2, abort("/v1/transactions/change%207/abort?wait=30s", `{"mode": "force"}`).Count)
	for _, j := range []*testJob{one, two} {
		j.reach("ABORTED")
		j.nothingLeft()
	}
	require.Equal(t, "IN_PROGRESS", alone.get().Status)
	want.Status = "ABORTED"
	eventually(t, "the transaction is aborted", func() bool {
		var got transaction
		ask("/v1/transactions/change%207", &got)
		return got.Status == want.Status && got.JobCount == want.JobCount
	})

	a := abort("/v1/aborts", `{"filter": {"fabric": "filtered"}, "mode": "force", "expect": 1}`)
	require.Equal(t, alone.id, a.Results[0].ID)
	alone.reach("ABORTED")
	alone.nothingLeft()
}

// The agent is killed while it works on several devices, and one of them ends
// in the meantime: the next agent goes on, and nothing runs twice.
func TestWorkflowOfCrashedAgent(t *testing.T) {
	etcd := startEtcd(t)
	c := startAPIServer(t, etcd)
	dataDir := t.TempDir()
	agent := spawnAgent(t, etcd, "node-1", dataDir, "--max-devices", "2")
	agent.up()
	j := c.order(order{template: "locked-devices", fabric: "crash", devices: []string{"leaf-1", "leaf-2", "leaf-3", "leaf-4"}, files: map[string]string{"go-leaf-1": "", "output-leaf-1": `{"one": 1}`, "output-leaf-2": `{"two": 2}`}})
	aborted := c.order(order{template: "locked-devices", fabric: "crash", devices: []string{"spine-1", "spine-2"}}).onDevices("spine-1", "spine-2")
	j.onDevices("leaf-2", "leaf-3")
	agent.kill()
	j.touch("go-leaf-2")
	eventually(t, "the run on leaf-2 ends", func() bool {
		ends, err := filepath.Glob(filepath.Join(dataDir, "*", j.id, "playbook-0-device-2", "exit.json"))
		require.NoError(t, err)
		return len(ends) == 1
	})
	require.NotEmpty(t, j.processes(), "the run on leaf-3 goes on")
	aborted.abort("force", "")
	require.Contains(t, c.locks(), aborted.id)

	spawnAgent(t, etcd, "node-1", dataDir, "--max-devices", "2").up()
	require.Equal(t, []string{"INTERRUPTED", "INTERRUPTED"}, aborted.reach("ABORTED").deviceStatuses())
	aborted.nothingLeft()
	j.onDevices("leaf-4")
	j.touch("go-leaf-3", "go-leaf-4")
	v := j.reach("SUCCESS")
	require.Equal(t, []string{"SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS"}, v.deviceStatuses())
	require.JSONEq(t, `{"one": 1, "two": 2}`, string(v.Output))
	runs, err := filepath.Glob(j.file("ran-*"))
	require.NoError(t, err)
	require.Len(t, runs, 4, "nothing runs twice")
	j.nothingLeft()
}

// A password that is encrypted in the operator's inventory is decrypted in the
// playbook that uses it, and nowhere else.
func TestWorkflowWithVaultedInventory(t *testing.T) {
	dir, dataDir := t.TempDir(), t.TempDir()
	vault := filepath.Join(dir, "vault-password")
	write(t, dir, map[string]string{"vault-password": "open sesame\n"})
	encrypted, err := exec.Command("ansible-vault", "encrypt_string", "--vault-password-file", vault, "hidden-9").Output()
	require.NoError(t, err)
	value := strings.ReplaceAll(strings.TrimSpace(string(encrypted)), "\n", "\n      ")
	write(t, dir, map[string]string{"hosts.yml": "all:\n  hosts:\n    leaf-1:\n      ansible_host: 10.0.0.1\n" +
		"      device_family: junos\n      device_username: root\n      device_password: " + value + "\n"})
	d, c := startDev(t, dataDir, "--inventory", filepath.Join(dir, "hosts.yml"), "--vault-password-file", vault)
	j := c.order(order{template: "locked-devices", look: true, devices: []string{"leaf-1", "unknown"}}).onDevices("leaf-1", "unknown")
	saw := j.saw("saw-leaf-1")
	for name, want := range map[string]any{
		"device_id": "leaf-1", "device_management_ip": "10.0.0.1", "device_family": "junos", "device_username": "root", "device_password": "hidden-9",
	} {
		require.Equal(t, want, saw[name], name)
	}
	require.NotContains(t, j.saw("saw-unknown"), "device_password")
	require.Equal(t, "unknown", j.saw("saw-unknown")["device_id"])
	require.NotContains(t, fmt.Sprint(j.processes()), "hidden-9")
	j.touch("go")
	j.reach("SUCCESS")
	j.nothingLeft()
	require.NotContains(t, c.etcdctl("get", "--prefix", "/"), "hidden-9")
	require.NotContains(t, d.log.String(), "hidden-9")
	// Logs, and all else that lies in the data folder.
	require.NoError(t, filepath.WalkDir(dataDir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		require.NotContains(t, string(text), "hidden-9", path)
		return err
	}))
}

// Contrail's own file of job templates is taken as it is.
func TestWorkflowTemplatesOfContrail(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	apply := exec.Command(filepath.Join(binaries, "quell"), "template", "apply", "../../internal/template/testdata/contrail_payload.json")
	apply.Env = append(os.Environ(), "QUELL_API="+c.api)
	var told strings.Builder
	apply.Stderr = &told
	stored, err := apply.Output()
	require.NoError(t, err, told.String())
	names := strings.Split(strings.TrimSpace(string(stored)), "\n")
	require.Greater(t, len(names), 1)
	for _, line := range names {
		name, rest, _ := strings.Cut(line, " ")
		require.Equal(t, "stored", rest)
		code, body := c.call("GET", "/v1/job-templates/"+url.PathEscape(name), "")
		require.Equal(t, http.StatusOK, code, body)
	}
	require.Contains(t, told.String(), "skipped")
	require.Contains(t, told.String(), "tag")
}
