package quell_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

const begins = "begin playbook-0, "

// lives are whole jobs: what happens (see owner.tell), what the owner does
// about it, and how the job ends: its status, the abort's record, and the
// statuses of its playbooks|recovery playbooks by their first letters (K:
// SKIPPED).
var lives = map[string]struct {
	template quell.Template
	events   string
	does     string
	ends     string
}{
	"well": {
		template(), "place; ok; ok",
		begins + "begin playbook-1, finish", "SUCCESS - SS|KK",
	},
	"badly": {
		template(), "place; fail; ok; ok",
		begins + "begin recovery-0, begin recovery-1, finish", "FAILURE - FK|SS",
	},
	"recovery fails too": {
		template(), "place; ok; fail; fail; ok",
		begins + "begin playbook-1, begin recovery-0, begin recovery-1, finish", "FAILURE - SF|FS",
	},
	"never started": {
		template(), "idle; place; broken",
		begins + "finish", "FAILURE - FK|KK",
	},

	"queued, graceful":          {template(), "put graceful", "finish", "ABORTED graceful aborted KK|KK"},
	"queued, force":             {template(), "put force", "finish", "ABORTED force aborted KK|KK"},
	"queued, abort-all":         {template(), "all graceful", "finish", "ABORTED graceful aborted KK|KK"},
	"younger than an abort-all": {template(), "old force; place; ok; ok", begins + "begin playbook-1, finish", "SUCCESS - SS|KK"},
	"queued, withdrawn by the time it is seen": {
		template(), "put junk; withdraw; place; ok; ok",
		begins + "begin playbook-1, finish", "SUCCESS - SS|KK",
	},

	"graceful": {
		template(), "place; put graceful; ok; ok; ok",
		begins + "begin recovery-0, begin recovery-1, finish", "ABORTED graceful aborted SK|SS",
	},
	"graceful, no recovery wanted": {
		template(), "place; put " + gracefulNow + "; ok",
		begins + "finish", "ABORTED graceful aborted SK|KK",
	},
	"graceful, nothing to recover with": {
		template(noRecovery), "place; put graceful; ok",
		begins + "finish", "ABORTED graceful aborted SK|",
	},
	"graceful in the last playbook": {
		template(), "place; ok; put graceful; ok",
		begins + "begin playbook-1, finish", "SUCCESS graceful finished_first SS|KK",
	},
	"graceful, then the playbook fails": {
		template(), "place; ok; put graceful; fail; ok; ok",
		begins + "begin playbook-1, begin recovery-0, begin recovery-1, finish", "FAILURE graceful finished_first SF|SS",
	},
	"graceful, then its time limit passes": {
		template(timeout), "place; put graceful; after 10m; dies; ok; ok",
		begins + "kill playbook-0 timeout, begin recovery-0, begin recovery-1, finish", "FAILURE graceful finished_first FK|SS",
	},
	"graceful, withdrawn": {
		template(), "place; put graceful; withdraw; ok; ok",
		begins + "begin playbook-1, finish", "SUCCESS graceful withdrawn SS|KK",
	},
	"graceful, withdrawn too late": {
		template(), "place; put graceful; ok; withdraw; ok; ok",
		begins + "begin recovery-0, begin recovery-1, finish", "ABORTED graceful aborted SK|SS",
	},
	"graceful, withdrawn, graceful": {
		template(), "place; put graceful; withdraw; put graceful; ok; ok; ok",
		begins + "begin recovery-0, begin recovery-1, finish", "ABORTED graceful aborted SK|SS",
	},
	"graceful before the process starts": {
		template(), "idle; place; put graceful; barred",
		begins + "finish", "ABORTED graceful aborted KK|KK",
	},
	"graceful, then unreadable": {
		template(noRecovery), "place; put graceful; put forec; ok",
		begins + "finish", "ABORTED graceful aborted (error) SK|",
	},

	"force": {
		template(), "place; put force; dies; ok; ok",
		begins + "kill playbook-0 abort, begin recovery-0, begin recovery-1, finish", "ABORTED force aborted IK|SS",
	},
	"force, no recovery wanted": {
		template(), "place; put " + forceNow + "; dies",
		begins + "kill playbook-0 abort, finish", "ABORTED force aborted IK|KK",
	},
	"force before the process starts": {
		template(), "idle; place; put force; barred",
		begins + "kill playbook-0 abort, finish", "ABORTED force aborted KK|KK",
	},
	"force, cannot be withdrawn": {
		template(noRecovery), "place; put force; withdraw; put graceful; dies",
		begins + "kill playbook-0 abort, finish", "ABORTED force aborted IK|",
	},
	"force, the run was quicker": {
		template(), "place; put force; ok; ok; ok",
		begins + "kill playbook-0 abort, begin recovery-0, begin recovery-1, finish", "ABORTED force aborted SK|SS",
	},
	"force, the last run was quicker": {
		template(), "place; ok; put force; ok",
		begins + "begin playbook-1, kill playbook-1 abort, finish", "SUCCESS force finished_first SS|KK",
	},
	"force, the failure was quicker": {
		template(noRecovery), "place; put force; fail",
		begins + "kill playbook-0 abort, finish", "FAILURE force finished_first FK|",
	},
	"force, the time limit was quicker": {
		template(timeout), "place; after 10m; put force; dies; ok; ok",
		begins + "kill playbook-0 timeout, begin recovery-0, begin recovery-1, finish", "FAILURE force finished_first FK|SS",
	},
	"force waits for the unabortable": {
		template(unabortable, noLastRecovery), "place; put force; ok; ok",
		begins + "begin recovery-0, finish", "ABORTED force aborted SK|S",
	},
	"force overrides the unabortable": {
		template(unabortable, noLastRecovery), "place; put force; put " + override + "; dies; ok",
		begins + "kill playbook-0 abort, begin recovery-0, finish", "ABORTED force aborted IK|S",
	},
	"force, begun after the unabortable": {
		template(unabortable), "place; ok; put force; dies; ok; ok",
		begins + "begin playbook-1, kill playbook-1 abort, begin recovery-0, begin recovery-1, finish", "ABORTED force aborted SI|SS",
	},

	"escalated by word": {
		template(noRecovery), "place; put graceful; put force; dies",
		begins + "kill playbook-0 abort, finish", "ABORTED force aborted IK|",
	},
	"escalated by an abort-all": {
		template(noRecovery), "place; put graceful; all force; dies",
		begins + "kill playbook-0 abort, finish", "ABORTED force aborted IK|",
	},
	"escalated by force_after": {
		template(noRecovery), "place; put " + in5m + "; after 4m; after 1m; dies",
		begins + "kill playbook-0 abort, finish", "ABORTED force aborted IK|",
	},
	"over before force_after": {
		template(noRecovery), "place; put " + in5m + "; after 4m; ok",
		begins + "finish", "ABORTED graceful aborted SK|",
	},
	"escalated, then withdrawn": {
		template(noRecovery), "place; put " + in5m + "; after 5m; withdraw; dies",
		begins + "kill playbook-0 abort, finish", "ABORTED force aborted IK|",
	},
	"own withdrawn, the abort-all stays": {
		template(noRecovery), "place; all graceful; put " + in5m + "; withdraw; after 6m; ok",
		begins + "finish", "ABORTED graceful aborted SK|",
	},
	"own withdrawn as a forced abort-all comes": {
		template(noRecovery), "place; put " + gracefulNow + "; all force; dies",
		begins + "kill playbook-0 abort, finish", "ABORTED force aborted IK|",
	},

	"force in recovery": {
		template(), "place; fail; put force; ok; ok",
		begins + "begin recovery-0, begin recovery-1, finish", "FAILURE force finished_first FK|SS",
	},
	"force in recovery, without recovery": {
		template(), "place; fail; put " + forceNow + "; dies",
		begins + "begin recovery-0, kill recovery-0 abort, finish", "FAILURE force recovery_stopped FK|IK",
	},
	"force again in an abort's recovery, without recovery": {
		template(), "place; put force; dies; put " + forceNow + "; dies",
		begins + "kill playbook-0 abort, begin recovery-0, kill recovery-0 abort, finish", "ABORTED force aborted IK|IK",
	},
	"force in the last recovery playbook": {
		template(noLastRecovery), "place; fail; put " + forceNow + "; dies",
		begins + "begin recovery-0, kill recovery-0 abort, finish", "FAILURE force recovery_stopped FK|I",
	},
	"graceful in recovery, without recovery": {
		template(), "place; fail; put " + gracefulNow + "; ok",
		begins + "begin recovery-0, finish", "FAILURE graceful recovery_stopped FK|SK",
	},
	"graceful in recovery, withdrawn": {
		template(), "place; fail; put " + gracefulNow + "; withdraw; ok; ok",
		begins + "begin recovery-0, begin recovery-1, finish", "FAILURE graceful withdrawn FK|SS",
	},
	"no recovery, said before the failure": {
		template(), "place; put " + gracefulNow + "; fail",
		begins + "finish", "FAILURE graceful recovery_stopped FK|KK",
	},
	"no recovery, said in the last one": {
		template(), "place; fail; ok; put " + gracefulNow + "; ok",
		begins + "begin recovery-0, begin recovery-1, finish", "FAILURE graceful finished_first FK|SS",
	},
	"recovery's time limit": {
		template(timeout), "place; fail; after 10m; dies; ok",
		begins + "begin recovery-0, kill recovery-0 timeout, begin recovery-1, finish", "FAILURE - FK|FS",
	},
	"force_after passes in recovery": {
		template(), `place; fail; put {"mode":"graceful","recovery":false,"force_after":"5m"}; after 5m; dies`,
		begins + "begin recovery-0, kill recovery-0 abort, finish", "FAILURE force recovery_stopped FK|IK",
	},
}

func TestLives(t *testing.T) {
	for name, tt := range lives {
		t.Run(name, func(t *testing.T) {
			o := live(newOwner(t, tt.template), tt.events)
			assert.Equal(t, tt.does, strings.Join(o.trace, ", "))
			assert.Equal(t, tt.ends, string(o.state.Status)+" "+record(o.state)+" "+runs(o.state))
		})
	}
}

func noLastRecovery(t *quell.Template) { t.RecoveryPlaybooks = t.RecoveryPlaybooks[:1] }

// TestBetweenPlaybooks: the owner stops between the end of a playbook and the
// begin of the next one, which is where an intent or a withdrawal may come.
func TestBetweenPlaybooks(t *testing.T) {
	for _, tt := range []struct{ before, intent, status, next string }{
		{"place", none, "IN_PROGRESS", "begin playbook-1"},
		{"place", graceful, "ABORTING", "begin recovery-0"},
		{"place", forceNow, "ABORTING", "finish ABORTED aborted"},
		{"place; put graceful", none, "IN_PROGRESS", "begin playbook-1"},
		{"place; put graceful", force, "ABORTING", "begin recovery-0"},
		{"place; ok", graceful, "ABORTING", "finish SUCCESS finished_first"},
		{"place; ok", force, "ABORTING", "finish SUCCESS finished_first"},
	} {
		o := live(newOwner(t, template()), tt.before)
		o.end(quell.RunResult{})
		o.restart()
		if o.own = nil; tt.intent != none {
			o.own = o.read("/jobs/x/abort", tt.intent)
		}
		o.state.Observe(o.effective(), o.now)
		assert.Equal(t, tt.status, string(o.state.Status), tt)
		assert.Equal(t, tt.next, next(o.state, o.rules, o.now), tt)
	}
}

// TestRecoveringTellsWhatIsSkipped: later playbooks show as skipped as soon as
// the recovery playbooks begin, and so does why the job will end.
func TestRecoveringTellsWhatIsSkipped(t *testing.T) {
	o := live(newOwner(t, template()), "place; fail")
	assert.Equal(t, "FK|RP", runs(o.state))
	assert.Equal(t, quell.StatusFailure, o.state.Outcome)
	assert.Equal(t, "playbook a.yml failed: exit code 2", o.state.Reason)
}

// TestAssignedButNotBegun: STARTING, where nothing has begun yet.
func TestAssignedButNotBegun(t *testing.T) {
	for intent, want := range map[string]string{
		none: "begin playbook-0", junk: "begin playbook-0",
		graceful: "finish ABORTED aborted", force: "finish ABORTED aborted", in5m: "finish ABORTED aborted",
	} {
		o := newOwner(t, template())
		o.state.Assign("node-1")
		if intent != none {
			o.own = o.read("/jobs/x/abort", intent)
		}
		o.state.Observe(o.effective(), o.now)
		assert.Equal(t, quell.StatusStarting, o.state.Status)
		assert.Equal(t, "node-1", o.state.Node)
		assert.Equal(t, want, next(o.state, o.rules, o.now), intent)
	}
}

// TestKillWithoutAnIntent: the agent was told on its node, or it killed for a
// force intent, was restarted before it could store that, and the key is gone.
func TestKillWithoutAnIntent(t *testing.T) {
	for events, want := range map[string]string{
		"place; killed; ok; ok":                          "ABORTED force aborted IK|SS",
		"place; put graceful; killed; ok; ok":            "ABORTED force aborted IK|SS",
		"place; put graceful; withdraw; killed; ok; ok":  "ABORTED force aborted IK|SS",
		"place; put graceful; killed; withdraw; ok; ok":  "ABORTED force aborted IK|SS",
		"place; put forec; killed; ok; ok":               "ABORTED force aborted (error) IK|SS",
		"place; fail; killed":                            "FAILURE force recovery_stopped FK|IK",
		"idle; place; put graceful; barred; withdraw":    "ABORTED graceful aborted KK|KK",
		"idle; place; barred":                            "ABORTED force aborted KK|KK",
		"place; put force; killed; put graceful; ok; ok": "ABORTED force aborted IK|SS",
	} {
		o := live(newOwner(t, template()), events)
		assert.Equal(t, want, string(o.state.Status)+" "+record(o.state)+" "+runs(o.state), events)
		assert.NotEmpty(t, o.state.Reason)
	}
}

// TestBarredIsEffective: a run that a graceful abort kept from starting is not
// brought back by a withdrawal that comes before the owner's next step.
func TestBarredIsEffective(t *testing.T) {
	o := live(newOwner(t, template()), "idle; place; put graceful")
	o.end(quell.RunResult{NeverStarted: true, Killed: quell.CauseAbort, SignalledAt: o.now})
	assert.Nil(t, o.state.Abort.SignalledAt, "nothing was signalled")
	o.own = nil
	o.react()
	assert.Equal(t, "ABORTED graceful aborted KK|KK", string(o.state.Status)+" "+record(o.state)+" "+runs(o.state))
}

func TestResultsOfRuns(t *testing.T) {
	for _, tt := range []struct {
		name   string
		result quell.RunResult
		status quell.PlaybookStatus
		reason string
	}{
		{"well", quell.RunResult{}, "SUCCESS", ""},
		{"leftovers", quell.RunResult{Leftovers: []quell.Process{{PID: 3}}}, "SUCCESS", ""},
		{"exit code", quell.RunResult{ExitCode: 4}, "FAILURE", "playbook a.yml failed: exit code 4"},
		{"signal", quell.RunResult{Signal: "SEGV"}, "FAILURE", "playbook a.yml failed: signal SEGV ended it"},
		{"error", quell.RunResult{Error: "no disk"}, "FAILURE", "playbook a.yml failed: no disk"},
		{"timeout", quell.RunResult{Killed: "timeout", Signal: "KILL"}, "FAILURE", "playbook a.yml failed: its time limit had passed"},
		{"timeout, exit 0", quell.RunResult{Killed: "timeout"}, "FAILURE", "playbook a.yml failed: its time limit had passed"},
		{"disowned", quell.RunResult{Killed: "disown", Signal: "KILL"}, "FAILURE", "playbook a.yml failed: signal KILL ended it"},
		{"never started", quell.RunResult{NeverStarted: true}, "FAILURE", "playbook a.yml failed: it never started"},
	} {
		o := live(newOwner(t, template(noRecovery, onePlaybook)), "idle; place")
		o.end(tt.result)
		o.react()
		p := o.state.Playbooks[0]
		assert.Equal(t, tt.status, p.Status, tt.name)
		assert.Equal(t, tt.reason, o.state.Reason, tt.name)
		assert.Equal(t, len(tt.result.Leftovers), p.LeftoverCount, tt.name)
		assert.Equal(t, !tt.result.NeverStarted, p.StartedAt != nil, tt.name)
		assert.Equal(t, tt.result.NeverStarted || tt.result.Signal != "", p.ExitCode == nil, tt.name)
	}
}

func onePlaybook(t *quell.Template) { t.Playbooks = t.Playbooks[:1] }

// TestUnknownStartIsAStart: a claim without an exit record may have run, so
// that there is something to recover.
func TestUnknownStartIsAStart(t *testing.T) {
	o := live(newOwner(t, template()), "idle; place")
	run, _ := o.state.Current()
	o.state.Ended(run, quell.RunResult{Error: "its shim is gone", EndedAt: t0, DeadAt: t0})
	o.react()
	assert.Equal(t, t0, *o.state.Playbooks[0].StartedAt)
	assert.Equal(t, quell.StatusRecovering, o.state.Status)
}

func TestMethodsOutOfTurn(t *testing.T) {
	t.Run("a final state", func(t *testing.T) {
		for _, events := range []string{"place; ok; ok", "put force", "place; put force; dies; ok; ok"} {
			o := live(newOwner(t, template()), events)
			require.True(t, o.state.Status.Final())
			unchanged(t, o)
		}
	})
	t.Run("finish before the end", func(t *testing.T) {
		for _, events := range []string{"", "place", "place; put force", "place; fail"} {
			o := live(newOwner(t, template()), events)
			before := encode(t, o.state)
			o.state.Finish(o.now)
			assert.Equal(t, before, encode(t, o.state), events)
		}
	})
	t.Run("a second end, a second begin", func(t *testing.T) {
		o := live(newOwner(t, template()), "place; ok")
		before := encode(t, o.state)
		o.state.Begin([]quell.RunRef{{}}, o.now.Add(1))
		o.state.Started(quell.RunRef{}, o.now.Add(1))
		o.state.Ended(quell.RunRef{}, quell.RunResult{ExitCode: 1})
		o.state.Assign("node-2")
		assert.Equal(t, before, encode(t, o.state))
	})
}

// unchanged checks that nothing changes a final state.
func unchanged(t testing.TB, o *owner) {
	before, later := encode(t, o.state), o.now.Add(1)
	s := o.state.Clone()
	changed := s.Observe(quell.Effective{Intent: quell.Intent{Mode: quell.Force}, Error: "x", Own: true}, later)
	require.False(t, changed)
	for _, run := range []quell.RunRef{{}, {Index: 1}, {Recovery: true}} {
		s.Begin([]quell.RunRef{run}, later)
		s.Started(run, later)
		s.Ended(run, quell.RunResult{Killed: quell.CauseAbort})
	}
	s.Assign("elsewhere")
	s.Survived([]quell.Process{{PID: 1}}, later)
	s.SetProgress(o.template, 1)
	s.Finish(later)
	require.Equal(t, before, encode(t, s), "final is final")
	require.Equal(t, quell.ActNone, s.Next(o.rules, later).Action)
}
