package quell_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"quell"
)

// t0 is when every test begins.
var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// jobRevision is the create revision of the spec of every job here.
const jobRevision = 10

// owner drives one job as the scheduler and an agent do: it observes, asks
// what is next, does it, and stores the state, which it reads back each time
// as if it had been restarted. What happens outside comes in by [owner.tell].
type owner struct {
	t        testing.TB
	template quell.Template
	rules    quell.Rules
	state    quell.State
	now      time.Time
	revision int64
	own      *quell.StoredIntent
	all      []quell.StoredIntent
	idle     bool                         // begun runs are not started at once
	kept     bool                         // the state stays in memory: the owner is never restarted
	killed   map[quell.RunRef]quell.Cause // the runs that were told to die
	taken    map[string]string            // devices that other jobs have locked
	trace    []string                     // what the owner did
}

func newOwner(t testing.TB, template quell.Template) *owner {
	return newOwnerOf(t, quell.Spec{ID: "x", Template: template}, quell.Limits{})
}

// newOwnerOf is the owner of a job of this spec, whose template has a name.
func newOwnerOf(t testing.TB, spec quell.Spec, limits quell.Limits) *owner {
	require.NoError(t, spec.Template.Check())
	return &owner{
		t: t, template: spec.Template, rules: spec.Rules(limits), state: quell.NewState(spec), now: t0, revision: jobRevision + 1,
		killed: map[quell.RunRef]quell.Cause{}, taken: map[string]string{},
	}
}

func (o *owner) effective() quell.Effective {
	return quell.Intents{Own: o.own, All: o.all}.Effective(jobRevision)
}

// tell lets something happen, and the owner react until it has to wait.
func (o *owner) tell(event string) {
	verb, rest, _ := strings.Cut(event, " ")
	switch verb {
	case "place":
		o.state.Assign("node-1")
	case "ok":
		o.end(quell.RunResult{})
	case "fail":
		o.end(quell.RunResult{ExitCode: 2})
	case "dies": // of the kill that was ordered
		run, _ := o.state.Current()
		require.NotEmpty(o.t, o.killed[run], "nobody killed the run")
		o.end(quell.RunResult{Killed: o.killed[run], Signal: "KILL", SignalledAt: o.now})
	case "killed": // for an abort that the state need not know
		o.end(quell.RunResult{Killed: quell.CauseAbort, Signal: "KILL", SignalledAt: o.now})
	case "barred":
		o.end(quell.RunResult{NeverStarted: true, Killed: quell.CauseAbort, SignalledAt: o.now})
	case "broken":
		o.end(quell.RunResult{NeverStarted: true, Error: "no such file"})
	case "gives": // the current run ends well, with this output
		o.end(quell.RunResult{Report: report(o.t, rest)})
	case "on": // something happens to the run on one device
		device, how, _ := strings.Cut(rest, " ")
		o.onDevice(device, how)
	case "locked":
		o.taken[rest] = "job-2"
	case "fault":
		o.state.Fail(rest)
	case "idle":
		o.idle = true
	case "withdraw":
		o.own = nil
	case "put":
		o.own = o.read("/jobs/x/abort", rest)
	case "all":
		i := o.read(fmt.Sprintf("/aborts/%d", o.revision), rest)
		i.Before = i.Revision
		o.all = append(o.all, *i)
	case "old": // an abort-all that came before the job
		i := o.read("/aborts/old", rest)
		i.Revision, i.Before = jobRevision-1, jobRevision-1
		o.all = append(o.all, *i)
	case "after":
		d, err := time.ParseDuration(rest)
		require.NoError(o.t, err)
		o.now = o.now.Add(d)
	default:
		require.Fail(o.t, "no such event", event)
	}
	o.react()
}

func (o *owner) read(key, value string) *quell.StoredIntent {
	o.revision++
	i := &quell.StoredIntent{Key: key, Revision: o.revision}
	i.Intent, i.Err = quell.ParseIntent([]byte(value))
	return i
}

func (o *owner) end(r quell.RunResult) {
	run, ok := o.state.Current()
	require.True(o.t, ok, "no run is in progress")
	o.endRun(run, r)
}

func (o *owner) endRun(run quell.RunRef, r quell.RunResult) {
	r.EndedAt, r.DeadAt = o.now, o.now
	if !r.NeverStarted {
		r.StartedAt = o.now
	}
	delete(o.killed, run)
	o.state.Ended(run, r)
}

// onDevice ends the run on a device: ok, changed, fail, dies, or with an
// output.
func (o *owner) onDevice(device, how string) {
	for _, run := range o.state.CurrentRuns() {
		if run.Device == 0 || o.state.Devices[run.Device-1].ID != device {
			continue
		}
		r := quell.RunResult{}
		switch how {
		case "ok":
		case "changed":
			r.Changed = true
		case "fail":
			r.ExitCode = 2
		case "dies":
			require.NotEmpty(o.t, o.killed[run], "nobody killed the run")
			r = quell.RunResult{Killed: o.killed[run], Signal: "KILL", SignalledAt: o.now}
		default:
			r.Report = report(o.t, how)
		}
		o.endRun(run, r)
		return
	}
	require.Fail(o.t, "no run is in progress on device "+device)
}

// report reads an output in short: words such as "early", "failure=…",
// "warning=…", "retry=a,b", "devices=a,b" or "devices=".
func report(t testing.TB, text string) quell.Report {
	var r quell.Report
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		list := []string{}
		if value != "" {
			list = strings.Split(value, ",")
		}
		switch name {
		case "early":
			r.EarlyExit = true
		case "failure":
			r.Failure = value
		case "warning":
			r.Warning = value
		case "retry":
			r.Retry = list
		case "devices":
			r.Devices = list
		default:
			require.Fail(t, "no such output", word)
		}
	}
	return r
}

// react does what has to be done until there is nothing but to wait.
func (o *owner) react() {
	for {
		o.restart()
		o.state.Observe(o.effective(), o.now)
		o.state.Expire(o.rules, o.now)
		step := o.state.Next(o.rules, o.now)
		for _, k := range step.Kill {
			if o.killed[k.Run] == "" {
				o.killed[k.Run] = k.Cause
				o.did("kill " + k.Run.Name() + " " + string(k.Cause))
			}
		}
		switch step.Action {
		case quell.ActBegin:
			o.did("begin " + names(step.Begin))
			o.state.Begin(step.Begin, o.now)
			if o.restart(); !o.idle {
				for _, run := range step.Begin {
					o.state.Started(run, o.now)
				}
			}
		case quell.ActLock:
			o.did("lock " + fmt.Sprint(o.state.LocksToTake()))
			o.state.Locked(o.taken)
		case quell.ActPass:
			o.did("pass " + step.Pass.Name())
			o.state.Pass(step.Pass, o.now)
		case quell.ActFinish:
			o.did("finish")
			o.state.Finish(o.now)
			require.True(o.t, o.state.Status.Final())
		default:
			return
		}
	}
}

// names joins the names of runs.
func names(runs []quell.RunRef) string {
	var list []string
	for _, run := range runs {
		list = append(list, run.Name())
	}
	return strings.Join(list, " ")
}

func (o *owner) did(what string) { o.trace = append(o.trace, what) }

// restart stores the state and reads it back.
func (o *owner) restart() {
	if o.kept {
		return
	}
	stored := encode(o.t, o.state)
	o.state = quell.State{}
	require.NoError(o.t, json.Unmarshal([]byte(stored), &o.state))
	require.Equal(o.t, stored, encode(o.t, o.state), "the state changes when it is stored and read")
}

func encode(t testing.TB, v any) string {
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

// record is the abort's record in words: "graceful", "force aborted".
func record(s quell.State) string {
	a := s.Abort
	if a == nil {
		return "-"
	}
	words := string(a.Mode) + " " + string(a.Outcome)
	if a.Error != "" {
		words += " (error)"
	}
	return strings.Join(strings.Fields(words), " ")
}

// runs tells the statuses of the playbooks and recovery playbooks by their
// first letters, such as "SIK|S" with K for SKIPPED.
func runs(s quell.State) string {
	letters := map[quell.PlaybookStatus]string{
		quell.PlaybookPending: "P", quell.PlaybookRunning: "R", quell.PlaybookSuccess: "S",
		quell.PlaybookFailure: "F", quell.PlaybookInterrupted: "I", quell.PlaybookSkipped: "K",
	}
	text := ""
	for _, p := range s.Playbooks {
		text += letters[p.Status]
	}
	text += "|"
	for _, p := range s.Recovery {
		text += letters[p.Status]
	}
	return text
}

// next is the step in words, its time limit counted from t0. A finish is made
// on a copy, to tell how it ends.
func next(s quell.State, r quell.Rules, now time.Time) string {
	step := s.Next(r, now)
	words := ""
	for _, k := range step.Kill {
		words += "kill " + k.Run.Name() + " " + string(k.Cause) + " "
	}
	switch step.Action {
	case quell.ActBegin:
		words += "begin " + names(step.Begin)
	case quell.ActPass:
		words += "pass " + step.Pass.Name()
	case quell.ActWait:
		if len(step.Kill) > 0 {
			break
		}
		words += "wait " + names(s.CurrentRuns())
		if !step.Until.IsZero() {
			words += " until " + step.Until.Sub(t0).String()
		}
	case quell.ActFinish:
		s.Finish(now)
		words += "finish " + string(s.Status)
		if s.Abort != nil {
			words += " " + string(s.Abort.Outcome)
		}
	default:
		words += string(step.Action)
	}
	return strings.TrimSpace(words)
}

// template has two playbooks and two recovery playbooks, changed by options.
func template(options ...func(*quell.Template)) quell.Template {
	t := quell.Template{
		FQName:            quell.FQName{"default", "upgrade"},
		Playbooks:         []quell.Playbook{{URI: "a.yml"}, {URI: "b.yml"}},
		RecoveryPlaybooks: []quell.Playbook{{URI: "r.yml"}, {URI: "s.yml"}},
	}
	for _, option := range options {
		option(&t)
	}
	return t
}

// unabortable playbooks are waited for; the recovery playbooks are too.
func unabortable(t *quell.Template) {
	no := false
	t.Playbooks[0].Abortable, t.RecoveryPlaybooks[0].Abortable = &no, &no
}

func timeout(t *quell.Template) {
	t.Playbooks[0].Timeout = quell.Duration(10 * time.Minute)
	t.RecoveryPlaybooks[0].Timeout = quell.Duration(10 * time.Minute)
}

func noRecovery(t *quell.Template) { t.RecoveryPlaybooks = nil }
