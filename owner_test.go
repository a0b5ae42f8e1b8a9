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
	state    quell.State
	now      time.Time
	revision int64
	own      *quell.StoredIntent
	all      []quell.StoredIntent
	idle     bool     // begun runs are not started at once
	kept     bool     // the state stays in memory: the owner is never restarted
	killed   string   // the cause for which the current run was last told to die
	trace    []string // what the owner did
}

func newOwner(t testing.TB, template quell.Template) *owner {
	require.NoError(t, template.Check())
	return &owner{t: t, template: template, state: quell.NewState(template), now: t0, revision: jobRevision + 1}
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
		require.NotEmpty(o.t, o.killed, "nobody killed the run")
		o.end(quell.RunResult{Killed: quell.Cause(o.killed), Signal: "KILL", SignalledAt: o.now})
	case "killed": // for an abort that the state need not know
		o.end(quell.RunResult{Killed: quell.CauseAbort, Signal: "KILL", SignalledAt: o.now})
	case "barred":
		o.end(quell.RunResult{NeverStarted: true, Killed: quell.CauseAbort, SignalledAt: o.now})
	case "broken":
		o.end(quell.RunResult{NeverStarted: true, Error: "no such file"})
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
	r.EndedAt, r.DeadAt = o.now, o.now
	if !r.NeverStarted {
		r.StartedAt = o.now
	}
	o.killed = ""
	o.state.Ended(run, r)
}

// react does what has to be done until there is nothing but to wait.
func (o *owner) react() {
	for {
		o.restart()
		o.state.Observe(o.effective(), o.now)
		step := o.state.Next(o.template, o.now)
		switch step.Action {
		case quell.ActBegin:
			o.did("begin " + step.Run.Name())
			o.state.Begin(step.Run, o.now)
			if o.restart(); !o.idle {
				o.state.Started(step.Run, o.now)
			}
		case quell.ActFinish:
			o.did("finish")
			o.state.Finish(o.now)
			require.True(o.t, o.state.Status.Final())
		case quell.ActKill:
			if o.killed == "" {
				o.killed = string(step.Cause)
				o.did("kill " + step.Run.Name() + " " + o.killed)
			}
			return
		default:
			return
		}
	}
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
func next(s quell.State, t quell.Template, now time.Time) string {
	step := s.Next(t, now)
	words := string(step.Action)
	switch step.Action {
	case quell.ActBegin:
		words += " " + step.Run.Name()
	case quell.ActKill:
		words += " " + step.Run.Name() + " " + string(step.Cause)
	case quell.ActWait:
		if words += " " + step.Run.Name(); !step.Until.IsZero() {
			words += " until " + step.Until.Sub(t0).String()
		}
	case quell.ActFinish:
		s.Finish(now)
		words += " " + string(s.Status)
		if s.Abort != nil {
			words += " " + string(s.Abort.Outcome)
		}
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
