package quell_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// workflow has a playbook that finds devices out, one that runs once for each
// of them, one for all, and recovery playbooks of both kinds.
func workflow(options ...func(*quell.Template)) quell.Template {
	one := 1
	t := quell.Template{
		FQName: quell.FQName{"default", "upgrade"},
		Playbooks: []quell.Playbook{
			{URI: "find.yml", MaxRetries: &one}, {URI: "each.yml", MultiDevice: true, MaxRetries: &one}, {URI: "check.yml"},
		},
		RecoveryPlaybooks: []quell.Playbook{{URI: "r.yml"}},
	}
	for _, option := range options {
		option(&t)
	}
	return t
}

func eachFirst(t *quell.Template) { t.Playbooks = t.Playbooks[1:2] }
func eachTwice(t *quell.Template) {
	t.Playbooks[0] = quell.Playbook{URI: "each0.yml", MultiDevice: true}
}
func eachUnabortable(t *quell.Template) { no := false; t.Playbooks[1].Abortable = &no }
func eachLimited(t *quell.Template)     { t.Playbooks[1].Timeout = quell.Duration(10 * time.Minute) }
func eachRecovers(t *quell.Template)    { t.RecoveryPlaybooks[0].MultiDevice = true }
func byDevice(t *quell.Template)        { t.Concurrency = quell.ConcurrencyDevice }

func jobLimit(t *quell.Template) { t.Timeout = quell.Duration(time.Hour) }

func recoversOn(failure, force, graceful bool) func(*quell.Template) {
	return func(t *quell.Template) {
		t.Recovery = quell.RecoveryPolicy{OnFailure: &failure, OnForce: &force, OnGraceful: &graceful}
	}
}

// devices tells how each device stands by its letter, with + where it was
// changed: "S+ F S".
func devices(s quell.State) string {
	var list []string
	for _, d := range s.Devices {
		text, _ := d.MarshalText()
		word, _, _ := strings.Cut(string(text), " ")
		list = append(list, strings.TrimRight(word, "0123456789"))
	}
	return strings.Join(list, " ")
}

const (
	found = "place; gives devices=a,b,c; "
	began = "begin playbook-0, begin playbook-1-device-1 playbook-1-device-2, "
)

// deviceLives are whole jobs of which two devices are worked on at once.
var deviceLives = map[string]struct {
	template quell.Template
	list     string // params.device_list
	events   string
	does     string
	ends     string // as in lives, then the devices
}{
	"well": {
		workflow(), "", found + "on b changed; on a ok; on c ok; ok",
		began + "begin playbook-1-device-3, begin playbook-2, finish", "SUCCESS - SSS|K: S S+ S",
	},
	"one fails": {
		workflow(), "", found + "on a fail; on b ok; on c ok; ok",
		began + "begin playbook-1-device-3, begin playbook-2, finish", "WARNING - SSS|K: F S S",
	},
	"all fail": {
		workflow(), "", found + "on a fail; on b fail; on c fail; ok",
		began + "begin playbook-1-device-3, begin recovery-0, finish", "FAILURE - SFK|S: F F F",
	},
	"who failed is left out": {
		workflow(eachTwice), "a,b,c", "place; on a fail; on b ok; on c ok; on b ok; on c fail; ok",
		"begin playbook-0-device-1 playbook-0-device-2, begin playbook-0-device-3, begin playbook-1-device-2 playbook-1-device-3, begin playbook-2, finish",
		"WARNING - SSS|K: F S F",
	},
	"the rest fails later": {
		workflow(eachTwice), "a,b", "place; on a fail; on b ok; on b fail; ok",
		"begin playbook-0-device-1 playbook-0-device-2, begin playbook-1-device-2, begin recovery-0, finish", "FAILURE - SFK|S: F F",
	},
	"none at all": {
		workflow(), "", "place; ok; ok",
		"begin playbook-0, pass playbook-1, begin recovery-0, finish", "FAILURE - SFK|S: ",
	},
	"none to be worked on": {
		workflow(), "", "place; gives devices=; ok",
		"begin playbook-0, pass playbook-1, begin playbook-2, finish", "SUCCESS - SSS|K: ",
	},
	"device_json takes the place of device_list": {
		workflow(), "a,b", "place; gives devices=b,c; on b ok; on c ok; ok",
		"begin playbook-0, begin playbook-1-device-2 playbook-1-device-3, begin playbook-2, finish", "SUCCESS - SSS|K: K- S S",
	},
	"all that is left failed before": {
		workflow(eachTwice, func(t *quell.Template) { t.Playbooks[1].MultiDevice = false; t.Playbooks[2].MultiDevice = true }), "a,b",
		"place; on a fail; on b ok; gives devices=a; ok",
		"begin playbook-0-device-1 playbook-0-device-2, begin playbook-1, pass playbook-2, begin recovery-0, finish", "FAILURE - SSF|S: F S-",
	},

	"retry": {
		workflow(), "", found + "on a retry=a; on b ok; on c ok; on a changed; ok",
		began + "begin playbook-1-device-3, begin playbook-1-device-1-try-1, begin playbook-2, finish", "SUCCESS - SSS|K: S+ S S",
	},
	"retry of another, which had failed": {
		workflow(), "", found + "on b fail; on a retry=b,nobody; on c ok; on b ok; ok",
		began + "begin playbook-1-device-3, begin playbook-1-device-2-try-1, begin playbook-2, finish", "SUCCESS - SSS|K: S S S",
	},
	"retry of one that is still running, or waits": {
		workflow(), "", found + "on a retry=b,c; on b ok; on c ok; on b ok; on c ok; ok",
		began + "begin playbook-1-device-3, begin playbook-1-device-2-try-1 playbook-1-device-3-try-1, begin playbook-2, finish",
		"SUCCESS - SSS|K: S S S",
	},
	"a failure that a retry makes good, and another": {
		workflow(), "", found + "on a fail; on b retry=a; on c ok; on a ok; ok",
		began + "begin playbook-1-device-3, begin playbook-1-device-1-try-1, begin playbook-2, finish", "SUCCESS - SSS|K: S S S",
	},
	"retry too often": {
		workflow(), "", found + "on a retry=a; on b ok; on c ok; on a retry=a; ok",
		began + "begin playbook-1-device-3, begin playbook-1-device-1-try-1, begin playbook-2, finish", "WARNING - SSS|K: F S S",
	},
	"retry of a playbook of no device": {
		workflow(eachFirst, func(t *quell.Template) { t.Playbooks[0].MultiDevice = false }), "", "place; gives retry=x; ok",
		"begin playbook-0, begin playbook-0-try-1, finish", "SUCCESS - S|K: ",
	},
	"retry of a playbook of no device, too often": {
		workflow(eachFirst, func(t *quell.Template) { t.Playbooks[0].MultiDevice = false }), "", "place; gives retry=x; gives retry=x; ok",
		"begin playbook-0, begin playbook-0-try-1, begin recovery-0, finish", "FAILURE - F|S: ",
	},

	"early exit": {
		workflow(), "", "place; gives early",
		"begin playbook-0, finish", "SUCCESS - SKK|K: ",
	},
	"early exit on a device waits for the others": {
		workflow(), "", found + "on a early; on b fail; on c ok",
		began + "begin playbook-1-device-3, finish", "WARNING - SSK|K: S F S",
	},
	"an output that says failure": {
		workflow(), "", "place; gives failure=full; ok",
		"begin playbook-0, begin recovery-0, finish", "FAILURE - FKK|S: ",
	},
	"an output that says warning": {
		workflow(), "a,b,c", "place; gives warning=old; on a ok; on b ok; on c ok; ok",
		began + "begin playbook-1-device-3, begin playbook-2, finish", "WARNING - SSS|K: S S S",
	},

	"a repetition counts, and not what came before": {
		workflow(eachFirst, func(t *quell.Template) { t.Playbooks[0].MultiDevice = false }), "", "place; gives early warning=x retry=x; ok",
		"begin playbook-0, begin playbook-0-try-1, finish", "SUCCESS - S|K: ",
	},
	"all locked in the middle, and no playbook on devices": {
		workflow(byDevice, func(t *quell.Template) { t.Playbooks = []quell.Playbook{t.Playbooks[0], t.Playbooks[2]} }), "",
		"locked a; place; gives devices=a; ok",
		"begin playbook-0, lock [device a of fabric __DEFAULT__], begin recovery-0, finish", "FAILURE - SK|S: F",
	},
	"locked in the middle": {
		workflow(byDevice), "a", "locked c; place; gives devices=a,b,c; on a ok; on b ok; ok",
		"begin playbook-0, lock [device b of fabric __DEFAULT__ device c of fabric __DEFAULT__], begin playbook-1-device-1 playbook-1-device-2, begin playbook-2, finish",
		"WARNING - SSS|K: S S F",
	},
	"all locked in the middle": {
		workflow(byDevice), "", "locked a; place; gives devices=a; ok",
		"begin playbook-0, lock [device a of fabric __DEFAULT__], begin recovery-0, finish", "FAILURE - SKK|S: F",
	},

	"graceful with half of the devices done": {
		workflow(), "", found + "on a ok; put graceful; on b ok; on c changed; ok",
		began + "begin playbook-1-device-3, begin recovery-0, finish", "ABORTED graceful aborted SSK|S: S S S+",
	},
	"graceful with devices not begun": {
		workflow(), "", found + "put graceful; on a ok; on b fail; ok",
		began + "begin recovery-0, finish", "ABORTED graceful aborted SIK|S: S F K",
	},
	"graceful, withdrawn while devices run": {
		workflow(), "", found + "put graceful; on a ok; withdraw; on b ok; on c ok; ok",
		began + "begin playbook-1-device-3, begin playbook-2, finish", "SUCCESS graceful withdrawn SSS|K: S S S",
	},
	"graceful in the last playbook, all devices begun": {
		workflow(eachFirst), "a,b", "place; put graceful; on a ok; on b fail",
		"begin playbook-0-device-1 playbook-0-device-2, finish", "WARNING graceful finished_first S|K: S F",
	},
	"force with half of the devices done": {
		workflow(), "", found + "on a ok; put force; on b dies; on c dies; ok",
		began + "begin playbook-1-device-3, kill playbook-1-device-2 abort, kill playbook-1-device-3 abort, begin recovery-0, finish",
		"ABORTED force aborted SIK|S: S I I",
	},
	"force, one run was quicker": {
		workflow(), "", found + "put force; on a ok; on b dies; ok",
		began + "kill playbook-1-device-1 abort, kill playbook-1-device-2 abort, begin recovery-0, finish", "ABORTED force aborted SIK|S: S I K",
	},
	"force, all runs were quicker": {
		workflow(eachFirst), "a,b", "place; put force; on a ok; on b fail",
		"begin playbook-0-device-1 playbook-0-device-2, kill playbook-0-device-1 abort, kill playbook-0-device-2 abort, finish",
		"WARNING force finished_first S|K: S F",
	},
	"force waits for the unabortable, and begins no more": {
		workflow(eachUnabortable), "", found + "put force; on a ok; on b ok; ok",
		began + "begin recovery-0, finish", "ABORTED force aborted SIK|S: S S K",
	},
	"force overrides the unabortable": {
		workflow(eachUnabortable), "", found + "put force; put " + override + "; on a dies; on b dies; ok",
		began + "kill playbook-1-device-1 abort, kill playbook-1-device-2 abort, begin recovery-0, finish", "ABORTED force aborted SIK|S: I I K",
	},
	"graceful in a retry": {
		workflow(), "", found + "on a retry=a,b; on b ok; on c ok; put graceful; on a ok; on b ok; ok",
		began + "begin playbook-1-device-3, begin playbook-1-device-1-try-1 playbook-1-device-2-try-1, begin recovery-0, finish",
		"ABORTED graceful aborted SSK|S: S S S",
	},
	"graceful before a retry": {
		workflow(), "", found + "on a retry=a; on b ok; put graceful; on c ok; ok",
		began + "begin playbook-1-device-3, begin recovery-0, finish", "ABORTED graceful aborted SIK|S: K S S",
	},
	"force in a retry": {
		workflow(), "", found + "on a retry=a; on b ok; on c ok; put force; on a dies; ok",
		began + "begin playbook-1-device-3, begin playbook-1-device-1-try-1, kill playbook-1-device-1-try-1 abort, begin recovery-0, finish",
		"ABORTED force aborted SIK|S: I S S",
	},
	"graceful before a retry of no device": {
		workflow(eachFirst, func(t *quell.Template) { t.Playbooks[0].MultiDevice = false }), "", "place; put graceful; gives retry=x; ok",
		"begin playbook-0, begin recovery-0, finish", "ABORTED graceful aborted I|S: ",
	},
	"force while locks are to be taken": {
		workflow(byDevice), "", "place; put force; gives devices=a,b; ok",
		"begin playbook-0, kill playbook-0 abort, begin recovery-0, finish", "ABORTED force aborted SKK|S: K K",
	},

	"a limit strikes on each device alone": {
		workflow(eachLimited), "", found + "after 10m; on a dies; on b ok; on c ok; ok",
		began + "kill playbook-1-device-1 timeout, kill playbook-1-device-2 timeout, begin playbook-1-device-3, begin playbook-2, finish",
		"WARNING - SSS|K: F S S",
	},
	"the job's limit strikes": {
		workflow(jobLimit), "", found + "on a ok; after 1h; on b dies; on c dies; ok",
		began + "begin playbook-1-device-3, kill playbook-1-device-2 fault, kill playbook-1-device-3 fault, begin recovery-0, finish",
		"FAILURE - SIK|S: S I I",
	},
	"the job's limit strikes before devices have begun": {
		workflow(jobLimit), "", found + "after 1h; on a dies; on b dies; ok",
		began + "kill playbook-1-device-1 fault, kill playbook-1-device-2 fault, begin recovery-0, finish", "FAILURE - SIK|S: I I K",
	},
	"the job's limit waits for the unabortable": {
		workflow(jobLimit, eachUnabortable), "", found + "after 1h; on a ok; on b ok; ok",
		began + "begin recovery-0, finish", "FAILURE - SIK|S: S S K",
	},
	"the job's limit while the last runs, which must not be interrupted": {
		workflow(jobLimit, eachUnabortable, func(t *quell.Template) { t.Playbooks = t.Playbooks[1:2] }), "a,b", "place; after 1h; on a ok; on b ok",
		"begin playbook-0-device-1 playbook-0-device-2, finish", "WARNING - S|K: S S",
	},
	"the job's limit is no recovery's": {
		workflow(jobLimit), "", "place; fail; after 2h; ok",
		"begin playbook-0, begin recovery-0, finish", "FAILURE - FKK|S: ",
	},
	"force, then the job's limit": {
		workflow(jobLimit), "", "place; put force; after 1h; dies; ok",
		"begin playbook-0, kill playbook-0 abort, begin recovery-0, finish", "ABORTED force aborted IKK|S: ",
	},
	"the job's limit, then force": {
		workflow(jobLimit), "", "place; after 1h; put force; dies; ok",
		"begin playbook-0, kill playbook-0 fault, begin recovery-0, finish", "FAILURE force finished_first IKK|S: ",
	},
	"graceful, then the job's limit": {
		workflow(jobLimit), "", "place; put graceful; after 1h; dies; ok",
		"begin playbook-0, kill playbook-0 fault, begin recovery-0, finish", "FAILURE graceful finished_first IKK|S: ",
	},
	"a fault before anything has begun": {
		workflow(), "a", "fault missing; put force",
		"finish", "FAILURE - KKK|K: K",
	},

	"recovery on each device": {
		workflow(eachRecovers), "", found + "on a fail; on b fail; on c fail; on a ok; on b fail; on c ok",
		began + "begin playbook-1-device-3, begin recovery-0-device-1 recovery-0-device-2, begin recovery-0-device-3, finish",
		"FAILURE - SFK|S: F F F",
	},
	"recovery on each device, stopped": {
		workflow(eachRecovers), "", found + "on a fail; on b fail; on c fail; on a ok; put " + forceNow + "; on b dies; on c dies",
		began + "begin playbook-1-device-3, begin recovery-0-device-1 recovery-0-device-2, begin recovery-0-device-3, " +
			"kill recovery-0-device-2 abort, kill recovery-0-device-3 abort, finish",
		"FAILURE force recovery_stopped SFK|I: F F F",
	},
	"no recovery on failure": {
		workflow(recoversOn(false, true, true)), "", "place; fail",
		"begin playbook-0, finish", "FAILURE - FKK|K: ",
	},
	"recovery on force": {
		workflow(recoversOn(false, true, false)), "", "place; put force; dies; ok",
		"begin playbook-0, kill playbook-0 abort, begin recovery-0, finish", "ABORTED force aborted IKK|S: ",
	},
	"no recovery on graceful": {
		workflow(recoversOn(true, true, false)), "", "place; put graceful; ok",
		"begin playbook-0, finish", "ABORTED graceful aborted SKK|K: ",
	},
	"recovery that has begun goes on when graceful turns to force": {
		workflow(recoversOn(true, false, true), func(t *quell.Template) {
			t.RecoveryPlaybooks = append(t.RecoveryPlaybooks, quell.Playbook{URI: "s.yml"})
		}),
		"", "place; put graceful; ok; put force; ok; ok",
		"begin playbook-0, begin recovery-0, begin recovery-1, finish", "ABORTED force aborted SKK|SS: ",
	},
}

func TestDeviceLives(t *testing.T) {
	for name, tt := range deviceLives {
		t.Run(name, func(t *testing.T) {
			spec := quell.Spec{ID: "x", Template: tt.template}
			if tt.list != "" {
				spec.Params.DeviceList = strings.Split(tt.list, ",")
			}
			o := live(newOwnerOf(t, spec, quell.Limits{MaxDevices: 2}), tt.events)
			assert.Equal(t, tt.does, strings.Join(o.trace, ", "))
			assert.Equal(t, tt.ends, string(o.state.Status)+" "+record(o.state)+" "+runs(o.state)+": "+devices(o.state))
			assert.True(t, o.state.Status == quell.StatusSuccess || o.state.Reason != "", "a reason")
			unchanged(t, o)
		})
	}
}

func TestReasonsTellWhy(t *testing.T) {
	for events, want := range map[string]string{
		found + "on a fail; on b ok; on c ok; ok":                            "1 of 3 devices failed (a: exit code 2)",
		"place; gives warning=old; on a ok; on b ok; ok":                     "old",
		found + "on a fail; on b fail; on c fail; ok":                        "playbook each.yml failed: it failed on all of its 3 devices: device a: exit code 2",
		"place; gives failure=full; ok":                                      "playbook find.yml failed: full",
		"place; ok; ok":                                                      "playbook each.yml failed: it runs once for each device, and the job has none: give params.device_list, or device_json in the output of an earlier playbook",
		"fault playbook x.yml is missing; put graceful":                      "playbook x.yml is missing",
		"place; after 1h; dies; ok":                                          "the job's time limit of 1h0m0s has passed",
		found + "on a retry=a,b; on b fail; on c fail; on a ok; on b ok; ok": "1 of 3 devices failed (c: exit code 2)",
		"place; after 1h; ok; ok":                                            "the job's time limit of 1h0m0s has passed",
		found + "on b ok; put graceful; on a ok; on c ok; ok":                "aborted (graceful) by way of etcdctl",
	} {
		spec := quell.Spec{ID: "x", Template: workflow(jobLimit)}
		if strings.Contains(events, "warning") {
			spec.Params.DeviceList = []string{"a", "b"}
		}
		o := live(newOwnerOf(t, spec, quell.Limits{MaxDevices: 3}), events)
		assert.Equal(t, want, o.state.Reason, events)
	}
}

// TestErrorsOfDevices: what a playbook says is of a device that failed, and a
// run that never started has no exit.
func TestErrorsOfDevices(t *testing.T) {
	spec := quell.Spec{ID: "x", Template: workflow(eachFirst), Params: quell.Params{DeviceList: []string{"a", "b"}}}
	o := live(newOwnerOf(t, spec, quell.Limits{MaxDevices: 2}), "place")
	runs := o.state.CurrentRuns()
	o.state.Ended(runs[0], quell.RunResult{ExitCode: 2, Report: quell.Report{Retry: []string{"a"}}, StartedAt: t0, EndedAt: t0})
	o.state.Ended(runs[1], quell.RunResult{NeverStarted: true, Error: "no\nspace", EndedAt: t0})
	live(o, "on a ok")
	assert.Equal(t, "it failed on 1 of 2 devices: device b: no space", o.state.Playbooks[0].Error)
	assert.Nil(t, o.state.Playbooks[0].ExitCode)

	o = live(newOwnerOf(t, spec, quell.Limits{MaxDevices: 2}), "place")
	for _, run := range o.state.CurrentRuns() {
		o.state.Ended(run, quell.RunResult{NeverStarted: true, EndedAt: t0})
	}
	assert.Nil(t, o.state.Playbooks[0].ExitCode)
	assert.Equal(t, "it never started", o.state.Devices[0].Error)
}

// TestSurvivorsOfALimit: a tree that cannot be killed for its limit shows.
func TestSurvivorsOfALimit(t *testing.T) {
	o := live(newOwner(t, template(timeout, noRecovery)), "place; after 10m")
	o.state.Survived([]quell.Process{{PID: 7, Command: "cp", State: "D"}}, o.now)
	o.react()
	assert.Equal(t, "1 processes were killed and are not dead yet, such as cp (pid 7, state D)", o.state.Reason)
	o.tell("dies")
	assert.Empty(t, o.state.Survivors)
	assert.Equal(t, "playbook a.yml failed: its time limit had passed", o.state.Reason)
}

// TestForceSaysWhatItWaitsFor: at once, for each run in progress.
func TestForceSaysWhatItWaitsFor(t *testing.T) {
	o := live(newOwner(t, template(unabortable)), "place")
	want := "the abort waits for the end of playbook a.yml, which must not be interrupted; override kills it all the same"
	assert.Equal(t, want, o.state.WaitsFor(quell.Intent{Mode: quell.Force}))
	assert.Empty(t, o.state.WaitsFor(quell.Intent{Mode: quell.Graceful}))
	assert.Empty(t, o.state.WaitsFor(quell.Intent{Mode: quell.Force, Override: true}))
	o.tell("put force")
	assert.Equal(t, want, o.state.Reason)
	o.tell("put " + override)
	assert.Empty(t, o.state.Reason)
	o = live(newOwner(t, template(unabortable)), "place; fail")
	assert.Empty(t, o.state.WaitsFor(quell.Intent{Mode: quell.Force}), "recovery goes on anyway")
	assert.Contains(t, o.state.WaitsFor(quell.Intent{Mode: quell.Force, NoRecovery: true}), "r.yml")
}

func TestRunLimits(t *testing.T) {
	minute := func(n int) quell.Duration { return quell.Duration(time.Duration(n) * time.Minute) }
	no := false
	template := quell.Template{
		FQName:            quell.FQName{"x"},
		Playbooks:         []quell.Playbook{{URI: "a"}, {URI: "b", Timeout: minute(5)}, {URI: "c", Abortable: &no}, {URI: "d", Abortable: &no, Timeout: minute(6)}},
		RecoveryPlaybooks: []quell.Playbook{{URI: "r"}, {URI: "s", Timeout: minute(7)}},
	}
	defaults := quell.Limits{Playbook: time.Duration(minute(1)), Recovery: time.Duration(minute(2)), Job: time.Duration(minute(3)), Queue: time.Duration(minute(4))}
	limits := func(spec quell.Spec) (list []int) {
		spec.Template = template
		r := spec.Rules(defaults)
		for i := range template.Playbooks {
			list = append(list, int(r.RunLimit(quell.RunRef{Index: i})/time.Minute))
		}
		for i := range template.RecoveryPlaybooks {
			list = append(list, int(r.RunLimit(quell.RunRef{Recovery: true, Index: i})/time.Minute))
		}
		return append(list, int(r.Job/time.Minute), int(r.Queue/time.Minute))
	}
	assert.Equal(t, []int{1, 5, 0, 6, 2, 7, 3, 4}, limits(quell.Spec{}))
	assert.Equal(t, []int{9, 9, 0, 6, 2, 7, 8, 10}, limits(quell.Spec{Timeout: minute(8), PlaybookTimeout: minute(9), QueueTimeout: minute(10)}))
	template.Timeout, template.QueueTimeout = minute(11), minute(12)
	assert.Equal(t, []int{1, 5, 0, 6, 2, 7, 11, 12}, limits(quell.Spec{}))
	assert.Equal(t, []int{1, 5, 0, 6, 2, 7, 8, 12}, limits(quell.Spec{Timeout: minute(8)}))
	assert.Equal(t, t0.Add(12*time.Minute), quell.Spec{Template: template}.Rules(defaults).QueuedUntil(t0))
	assert.True(t, quell.Spec{}.Rules(quell.Limits{}).QueuedUntil(t0).IsZero())
}

func TestDevicesAsText(t *testing.T) {
	for text, d := range map[string]quell.Device{
		"P a":           {ID: "a", Status: quell.PlaybookPending},
		"S+ a b":        {ID: "a b", Status: quell.PlaybookSuccess, Changed: true},
		"F12 a\tx y\tz": {ID: "a", Status: quell.PlaybookFailure, Step: 12, Error: "x y\tz"},
		"F+-0 a":        {ID: "a", Status: quell.PlaybookFailure, Changed: true, Gone: true},
		"P? a":          {ID: "a", Status: quell.PlaybookPending, Locking: true},
	} {
		out, err := json.Marshal([]quell.Device{d})
		require.NoError(t, err)
		want, _ := json.Marshal([]string{text})
		assert.Equal(t, string(want), string(out))
		var back []quell.Device
		require.NoError(t, json.Unmarshal(out, &back))
		assert.Equal(t, []quell.Device{d}, back)
	}
	for _, text := range []string{"", "a", " a", "X a", "Fx a"} {
		require.Error(t, new(quell.Device).UnmarshalText([]byte(text)), text)
	}
}

func TestSpecCheck(t *testing.T) {
	good := quell.Spec{ID: "x", Template: workflow(eachFirst), Params: quell.Params{DeviceList: []string{"a"}}}
	require.NoError(t, good.Check())
	for want, change := range map[string]func(*quell.Spec){
		"params.device_list": func(s *quell.Spec) { s.Params.DeviceList = nil },
		"twice":              func(s *quell.Spec) { s.Params.DeviceList = []string{"a", "a"} },
		"is empty":           func(s *quell.Spec) { s.Params.DeviceList = []string{""} },
		"control character":  func(s *quell.Spec) { s.Params.DeviceList = []string{"a\tb"} },
		"longer than 256":    func(s *quell.Spec) { s.Params.DeviceList = []string{strings.Repeat("x", 257)} },
		"give it fewer":      func(s *quell.Spec) { s.Params.DeviceList = manyIDs(2000) },
		"fabric_fq_name": func(s *quell.Spec) {
			s.Template.Concurrency = "fabric"
			s.Input = []byte(`{"fabric_fq_name":"` + strings.Repeat("f", 257) + `"}`)
		},
		"or holds a '/'":       func(s *quell.Spec) { s.Params.TransactionID = "a/b" },
		"holds a '/' or a con": func(s *quell.Spec) { s.Params.TransactionID = ".." },
		"locks of 3001 devices": func(s *quell.Spec) {
			s.Template.Concurrency = quell.ConcurrencyDevice
			s.Params.DeviceList = nil
			for i := range 3001 {
				s.Params.DeviceList = append(s.Params.DeviceList, strconv.Itoa(i))
			}
		},
		"names too long": func(s *quell.Spec) {
			s.Template.Concurrency, s.Input = quell.ConcurrencyDevice, []byte(`{"fabric_fq_name":"`+strings.Repeat("ü", 100)+`"}`)
			s.Params.DeviceList = manyIDs(400)
		},
		"template syntax":        func(s *quell.Spec) { s.Input = []byte(`{"a":[{"{{x}}":1}]}`) },
		"Ansible's own":          func(s *quell.Spec) { s.Input = []byte(`{"__ansible_vault":1}`) },
		"levels":                 func(s *quell.Spec) { s.Input = []byte(strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70)) },
		"transaction_id or tran": func(s *quell.Spec) { s.Params.TransactionID = strings.Repeat("x", 2000) },
	} {
		bad := good
		change(&bad)
		require.ErrorContains(t, bad.Check(), want)
	}
	thousand := good
	thousand.Params.DeviceList = manyIDs(1000)
	require.NoError(t, thousand.Check())
}

func manyIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = strings.Repeat("0", 32) + string(rune('a'+i/1000%26)) + string(rune('a'+i/100%10)) + string(rune('a'+i/10%10)) + string(rune('a'+i%10))
	}
	return ids
}

func TestLocks(t *testing.T) {
	spec := quell.Spec{ID: "x", Template: workflow(), Input: []byte(`{"fabric_fq_name":["d","f"]}`), Params: quell.Params{DeviceList: []string{"a", "b"}}}
	s := quell.NewState(spec)
	assert.Empty(t, s.WantedLocks())
	spec.Template.Concurrency = quell.ConcurrencyFabric
	s = quell.NewState(spec)
	assert.Equal(t, []quell.Lock{{Fabric: "d:f"}}, s.WantedLocks())
	spec.Template.Concurrency = quell.ConcurrencyDevice
	s = quell.NewState(spec)
	assert.Equal(t, []quell.Lock{{Fabric: "d:f", Device: "a"}, {Fabric: "d:f", Device: "b"}}, s.WantedLocks())
	for input, want := range map[string]string{
		`{"fabric_fq_name":"f"}`: "f", `{"fabric_fq_name":["d","f"]}`: "d:f", `{}`: "", `{"fabric_fq_name":7}`: "", `[]`: "", ``: "",
	} {
		assert.Equal(t, want, quell.FabricOf([]byte(input)), input)
	}
}

func TestProgressOfDevices(t *testing.T) {
	ninety := 90.0
	spec := quell.Spec{ID: "x", Template: workflow(eachTwice, func(t *quell.Template) { t.Playbooks[0].Weight = &ninety })}
	spec.Params.DeviceList = []string{"a", "b", "c", "d"}
	o := live(newOwnerOf(t, spec, quell.Limits{MaxDevices: 2}), "place")
	progress := func(fractions, want float64) {
		t.Helper()
		o.state.SetProgress(o.template, fractions)
		assert.InDelta(t, want, o.state.Percentage, 0.1)
	}
	progress(1, 22.5)
	o.tell("on a fail")
	progress(0.5, 33.75)
	o.tell("on b ok")
	progress(5, 90)
	live(o, "on c ok; on d ok")
	progress(0, 90)
	o.tell("on b ok")
	progress(0, 91.7)
}
