package quell_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"quell"
)

// The intents of the table, as they stand in etcd.
const (
	none        = ""
	graceful    = "graceful"
	force       = "force"
	in5m        = `{"mode":"graceful","force_after":"5m"}`
	gracefulNow = `{"mode":"graceful","recovery":false}`
	forceNow    = `{"mode":"force","recovery":false}`
	override    = `{"mode":"force","override":true}`
	junk        = "forec"
)

// The states of the table: what has happened to a job before the intent.
var situations = map[string]struct {
	template quell.Template
	before   string
}{
	"queued":              {template(), ""},
	"starting":            {template(), "idle; place"}, // its first playbook was begun, its process was not started
	"first runs":          {template(), "place"},
	"last runs":           {template(), "place; ok"},
	"unabortable runs":    {template(unabortable), "place"},
	"limited runs":        {template(timeout), "place"},
	"graceful abort":      {template(), "place; put graceful"},
	"force abort":         {template(), "place; put force"},
	"unabortable, force":  {template(unabortable), "place; put force"},
	"failed, recovers":    {template(), "place; fail"},
	"aborted, recovers":   {template(), "place; put force; dies"},
	"protected recovery":  {template(unabortable), "place; fail"},
	"stopped, recovers":   {template(), "place; put graceful; ok"},
	"succeeded":           {template(), "place; ok; ok"},
	"failed":              {template(noRecovery), "place; fail"},
	"aborted":             {template(), "put force"},
	"aborted by an all":   {template(), "place; all graceful"},
	"withdrawn":           {template(), "place; put graceful; withdraw"},
	"graceful, in 5m":     {template(), "place; put " + in5m},
	"unreadable intent":   {template(), "place; put " + junk},
	"all and own in 5m":   {template(), "place; all graceful; put " + in5m},
	"unabortable, in 5m":  {template(unabortable), "place; put " + in5m},
	"graceful, all forec": {template(), "place; all " + junk + "; put graceful"},
}

// protocol is the whole of it in one table: when a job in this situation finds
// this value in its own key (none: the key is missing), so much later, then
// this is its status, the abort's record and the next step.
var protocol = []struct {
	situation string
	own       string
	after     time.Duration
	status    quell.Status
	record    string
	next      string
}{
	{"queued", none, 0, "QUEUED", "-", "place"},
	{"queued", graceful, 0, "QUEUED", "graceful", "finish ABORTED aborted"},
	{"queued", force, 0, "QUEUED", "force", "finish ABORTED aborted"},
	{"queued", in5m, 0, "QUEUED", "graceful", "finish ABORTED aborted"},
	{"queued", junk, 0, "QUEUED", "(error)", "place"},

	{"starting", none, 0, "IN_PROGRESS", "-", "wait playbook-0"},
	{"starting", graceful, 0, "ABORTING", "graceful", "wait playbook-0"},
	{"starting", force, 0, "ABORTING", "force", "kill playbook-0 abort"},

	{"first runs", none, 0, "IN_PROGRESS", "-", "wait playbook-0"},
	{"first runs", graceful, 0, "ABORTING", "graceful", "wait playbook-0"},
	{"first runs", in5m, 0, "ABORTING", "graceful", "wait playbook-0 until 5m0s"},
	{"first runs", in5m, time.Hour, "ABORTING", "graceful", "wait playbook-0 until 1h5m0s"}, // from first seen
	{"first runs", gracefulNow, 0, "ABORTING", "graceful", "wait playbook-0"},
	{"first runs", force, 0, "ABORTING", "force", "kill playbook-0 abort"},
	{"first runs", forceNow, 0, "ABORTING", "force", "kill playbook-0 abort"},
	{"first runs", junk, 0, "IN_PROGRESS", "(error)", "wait playbook-0"},
	{"last runs", graceful, 0, "ABORTING", "graceful", "wait playbook-1"},
	{"last runs", force, 0, "ABORTING", "force", "kill playbook-1 abort"},

	{"limited runs", none, 0, "IN_PROGRESS", "-", "wait playbook-0 until 10m0s"},
	{"limited runs", none, 10*time.Minute - 1, "IN_PROGRESS", "-", "wait playbook-0 until 10m0s"},
	{"limited runs", none, 10 * time.Minute, "IN_PROGRESS", "-", "kill playbook-0 timeout"},
	{"limited runs", graceful, 10 * time.Minute, "ABORTING", "graceful", "kill playbook-0 timeout"},
	{"limited runs", in5m, time.Minute, "ABORTING", "graceful", "wait playbook-0 until 6m0s"},
	{"limited runs", in5m, 6 * time.Minute, "ABORTING", "graceful", "wait playbook-0 until 10m0s"},
	{"limited runs", force, 10 * time.Minute, "ABORTING", "force", "kill playbook-0 abort"},

	{"unabortable runs", graceful, 0, "ABORTING", "graceful", "wait playbook-0"},
	{"unabortable runs", force, 0, "ABORTING", "force", "wait playbook-0"},
	{"unabortable runs", override, 0, "ABORTING", "force", "kill playbook-0 abort"},
	{"unabortable runs", `{"mode":"graceful","override":true}`, 0, "ABORTING", "graceful", "wait playbook-0"},
	{"unabortable, force", override, 0, "ABORTING", "force", "kill playbook-0 abort"},
	{"unabortable, in 5m", in5m, 5 * time.Minute, "ABORTING", "force", "wait playbook-0"},
	{"unabortable, force", none, 0, "ABORTING", "force", "wait playbook-0"},

	{"graceful abort", none, 0, "IN_PROGRESS", "graceful withdrawn", "wait playbook-0"},
	{"graceful abort", graceful, 0, "ABORTING", "graceful", "wait playbook-0"},
	{"graceful abort", in5m, time.Minute, "ABORTING", "graceful", "wait playbook-0 until 6m0s"},
	{"graceful abort", junk, 0, "ABORTING", "graceful (error)", "wait playbook-0"},
	{"graceful abort", force, 0, "ABORTING", "force", "kill playbook-0 abort"},
	{"graceful, in 5m", graceful, time.Minute, "ABORTING", "graceful", "wait playbook-0 until 5m0s"},
	{"graceful, in 5m", `{"mode":"graceful","force_after":"1h"}`, 0, "ABORTING", "graceful", "wait playbook-0 until 5m0s"},
	{"graceful, in 5m", `{"mode":"graceful","force_after":"2m"}`, time.Minute, "ABORTING", "graceful", "wait playbook-0 until 3m0s"},
	{"graceful, in 5m", `{"mode":"graceful","force_after":"4m"}`, 2 * time.Minute, "ABORTING", "graceful", "wait playbook-0 until 5m0s"},
	{"graceful, in 5m", in5m, 5*time.Minute - 1, "ABORTING", "graceful", "wait playbook-0 until 5m0s"},
	{"graceful, in 5m", in5m, 5 * time.Minute, "ABORTING", "force", "kill playbook-0 abort"},
	{"graceful, in 5m", junk, 5 * time.Minute, "ABORTING", "force (error)", "kill playbook-0 abort"},
	{"graceful, in 5m", none, 5 * time.Minute, "IN_PROGRESS", "graceful withdrawn", "wait playbook-0"},
	{"withdrawn", none, 0, "IN_PROGRESS", "graceful withdrawn", "wait playbook-0"},
	{"withdrawn", in5m, time.Minute, "ABORTING", "graceful", "wait playbook-0 until 6m0s"},
	{"withdrawn", force, 0, "ABORTING", "force", "kill playbook-0 abort"},
	{"unreadable intent", none, 0, "IN_PROGRESS", "-", "wait playbook-0"},
	{"unreadable intent", graceful, 0, "ABORTING", "graceful", "wait playbook-0"},
	{"aborted by an all", none, 0, "ABORTING", "graceful", "wait playbook-0"},
	{"aborted by an all", force, 0, "ABORTING", "force", "kill playbook-0 abort"},
	{"all and own in 5m", none, time.Hour, "ABORTING", "graceful", "wait playbook-0"},
	{"graceful, all forec", none, 0, "IN_PROGRESS", "graceful withdrawn (error)", "wait playbook-0"},

	{"force abort", none, 0, "ABORTING", "force", "kill playbook-0 abort"},
	{"force abort", graceful, 0, "ABORTING", "force", "kill playbook-0 abort"},
	{"force abort", gracefulNow, 0, "ABORTING", "force", "kill playbook-0 abort"},
	{"force abort", junk, 0, "ABORTING", "force (error)", "kill playbook-0 abort"},

	{"failed, recovers", none, 0, "RECOVERING", "-", "wait recovery-0"},
	{"failed, recovers", graceful, 0, "RECOVERING", "graceful", "wait recovery-0"},
	{"failed, recovers", gracefulNow, 0, "RECOVERING", "graceful", "wait recovery-0"},
	{"failed, recovers", force, 0, "RECOVERING", "force", "wait recovery-0"},
	{"failed, recovers", forceNow, 0, "RECOVERING", "force", "kill recovery-0 abort"},
	{"aborted, recovers", none, 0, "RECOVERING", "force", "wait recovery-0"},
	{"aborted, recovers", force, 0, "RECOVERING", "force", "wait recovery-0"},
	{"aborted, recovers", forceNow, 0, "RECOVERING", "force", "kill recovery-0 abort"},
	{"protected recovery", forceNow, 0, "RECOVERING", "force", "wait recovery-0"},
	{"protected recovery", `{"mode":"force","recovery":false,"override":true}`, 0, "RECOVERING", "force", "kill recovery-0 abort"},
	{"stopped, recovers", none, 0, "RECOVERING", "graceful", "wait recovery-0"}, // it has taken effect
	{"stopped, recovers", force, 0, "RECOVERING", "force", "wait recovery-0"},

	{"succeeded", force, 0, "SUCCESS", "-", "none"},
	{"failed", force, 0, "FAILURE", "-", "none"},
	{"aborted", none, 0, "ABORTED", "force aborted", "none"},
	{"aborted", graceful, 0, "ABORTED", "force aborted", "none"},
}

func TestEachStatusWithEachIntent(t *testing.T) {
	for _, tt := range protocol {
		name := strings.Join([]string{tt.situation, "with", tt.own, "after", tt.after.String()}, " ")
		t.Run(name, func(t *testing.T) {
			o := arrange(t, tt.situation)
			o.now = o.now.Add(tt.after)
			o.own = nil
			if tt.own != none {
				o.own = o.read("/jobs/x/abort", tt.own)
			}
			before := encode(t, o.state)
			changed := o.state.Observe(o.effective(), o.now)
			after := encode(t, o.state)
			assert.Equal(t, before != after, changed, "Observe tells whether the state changed")
			assert.Equal(t, tt.status, o.state.Status)
			assert.Equal(t, tt.record, record(o.state))
			assert.Equal(t, tt.next, next(o.state, o.rules, o.now))

			assert.False(t, o.state.Observe(o.effective(), o.now), "observed twice is observed once")
			assert.Equal(t, after, encode(t, o.state))
		})
	}
}

// arrange brings a job into one of the situations.
func arrange(t *testing.T, situation string) *owner {
	s, ok := situations[situation]
	if !ok {
		t.Fatalf("no situation %q", situation)
	}
	return live(newOwner(t, s.template), s.before)
}

// live lets the events happen, which are separated by "; ".
func live(o *owner, events string) *owner {
	o.react()
	for event := range strings.SplitSeq(events, "; ") {
		if event != "" {
			o.tell(event)
		}
	}
	return o
}

func TestRecordTellsWhoAborted(t *testing.T) {
	o := live(newOwner(t, template()), `place; put {"mode":"graceful","requested_by":"ann","source":"api","reason":"wrong image"}`)
	a := o.state.Abort
	assert.Equal(t, "ann", a.RequestedBy)
	assert.Equal(t, quell.SourceAPI, a.Source)
	assert.Equal(t, t0, *a.SeenAt)
	assert.Nil(t, a.EscalatedAt)

	live(o, `after 1m; put {"mode":"graceful","requested_by":"bob"}`)
	assert.Equal(t, "ann", o.state.Abort.RequestedBy, "a repetition changes nothing")

	live(o, `put {"mode":"force","requested_by":"cat","requested_at":"2026-03-01T12:00:30Z"}`)
	a = o.state.Abort
	assert.Equal(t, "cat", a.RequestedBy)
	assert.Equal(t, t0.Add(30*time.Second), *a.RequestedAt)
	assert.Equal(t, t0, *a.SeenAt, "an abort was first seen then")
	assert.Equal(t, t0.Add(time.Minute), *a.EscalatedAt)

	live(o, `put {"mode":"force","force_after":"1h","requested_by":"dan"}`)
	assert.Equal(t, "cat", o.state.Abort.RequestedBy, "force has nothing to wait for")

	live(o, "after 1m; dies; ok")
	assert.Equal(t, "RECOVERING", string(o.state.Status))
	live(o, "after 1m; ok")
	a = o.state.Abort
	assert.Equal(t, "aborted (force) by cat", o.state.Reason)
	assert.Equal(t, t0.Add(2*time.Minute), *a.SignalledAt)
	assert.Equal(t, t0.Add(2*time.Minute), *a.DeadAt, "the recovery playbooks' ends are not the abort's")
	assert.Equal(t, t0.Add(3*time.Minute), *o.state.EndedAt)
}

func TestSurvivorsAreOnRecordUntilDead(t *testing.T) {
	o := live(newOwner(t, template(noRecovery)), "place; put force")
	o.state.Survived([]quell.Process{{PID: 7, Command: "cp", State: "D"}}, t0)
	o.restart()
	assert.Equal(t, []quell.Process{{PID: 7, Command: "cp", State: "D"}}, o.state.Abort.Survivors)
	assert.Equal(t, t0, *o.state.Abort.SignalledAt)
	o.tell("after 1h")
	assert.Equal(t, quell.StatusAborting, o.state.Status)
	o.tell("dies")
	assert.Equal(t, quell.StatusAborted, o.state.Status)
	assert.Empty(t, o.state.Abort.Survivors)
}

func TestBars(t *testing.T) {
	main, recovery := quell.RunRef{}, quell.RunRef{Recovery: true}
	for intent, want := range map[string][2]bool{
		junk: {false, false}, graceful: {true, false}, force: {true, false},
		gracefulNow: {true, true}, forceNow: {true, true},
	} {
		o := live(newOwner(t, template()), "idle; place; put "+intent)
		assert.Equal(t, want, [2]bool{o.state.Bars(main) != "", o.state.Bars(recovery) != ""}, intent)
	}
}
