package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"quell"
	"quell/agent/ansible"
	"quell/internal/process"
)

// run is a run in progress of a job, as this agent follows it.
type run struct {
	ref      quell.RunRef
	process  Run
	events   eventReader
	varsFile string
	told     bool // the state knows that it was started
	killed   quell.Cause
	killedAt time.Time
	// survivors are what the kill has not brought down yet.
	survivors []quell.Process
	news      atomic.Bool // there is some since it was last looked at
}

// enterNext gets hold of the next of the runs that were begun: takes it over,
// starts it, or bars it for ever where it must not start any more. Only of one
// at a time: a start takes milliseconds, and many would keep an abort waiting.
func (r *runner) enterNext(ctx context.Context, step quell.Step) {
	for _, ref := range r.state.CurrentRuns() {
		if r.runs[ref] != nil {
			continue
		}
		cause := r.state.Bars(ref)
		for _, k := range step.Kill {
			if k.Run == ref {
				cause = k.Cause
			}
		}
		if r.enter(ctx, ref, cause) {
			return
		}
	}
}

// enter gets hold of one run. bars is why it must not start any more, if so. It
// returns false where it has to wait for what is known of the run's device.
func (r *runner) enter(ctx context.Context, ref quell.RunRef, bars quell.Cause) bool {
	p, err := r.o.Processes.Adopt(r.id, ref.Name())
	switch {
	case err == nil:
		r.log.Info("a run is taken over", "run", ref.Name())
		r.attach(ctx, ref, p)
	case !errors.Is(err, process.ErrNotClaimed):
		// It may well be alive: nothing is decided before that is known.
		r.log.Error("a run cannot be taken over; it is tried again", "run", ref.Name(), "error", err)
		r.rest(errorRest)
	case !r.marked(ref) || r.state.Running(ref):
		r.bar(ref, quell.RunResult{
			ExitCode: -1,
			Error:    "it was begun by an agent of this node with another data folder, and may have been started there",
		})
	case bars != "":
		r.bar(ref, quell.RunResult{NeverStarted: true, Killed: bars})
	default:
		return r.start(ctx, ref)
	}
	return true
}

func (r *runner) start(ctx context.Context, ref quell.RunRef) bool {
	facts, ready, err := r.factsOf(ctx, ref)
	if !ready {
		return false
	}
	var command process.Command
	if err == nil {
		command, err = r.command(ref, facts)
	}
	if err == nil {
		var p Run
		if p, err = r.o.Processes.Start(r.id, ref.Name(), command); err == nil {
			r.attach(ctx, ref, p)
			return true
		}
	}
	r.log.Error("a run could not be started", "run", ref.Name(), "error", err)
	r.bar(ref, quell.RunResult{NeverStarted: true, Error: err.Error()})
	return true
}

// bar ends a run that was begun and must not start any more, not even by a
// stray shim.
func (r *runner) bar(ref quell.RunRef, result quell.RunResult) {
	sealed, err := r.o.Processes.Seal(r.id, ref.Name())
	switch {
	case err != nil:
		r.log.Error("a run could not be barred; it is tried again", "run", ref.Name(), "error", err)
		r.rest(errorRest)
		return
	case sealed:
		now := time.Now().UTC()
		result.EndedAt, result.DeadAt = now, now
		if result.Killed != "" {
			result.SignalledAt = now
		}
		r.state.Ended(ref, result)
	}
	r.poke() // unless it was sealed, a shim was quicker, and there is something to take over
}

// attach follows a run from now on.
func (r *runner) attach(ctx context.Context, ref quell.RunRef, p Run) {
	c := &run{
		ref: ref, process: p, varsFile: r.varsFile(ref),
		events: eventReader{path: r.o.Processes.EventsPath(r.id, ref.Name())},
		told:   r.state.Running(ref),
	}
	c.news.Store(true)
	r.runs[ref] = c
	if ref.Device == 0 {
		r.listInLog(ref)
	}
	r.beside.Go(func() { r.listen(ctx, c) })
	r.poke()
}

// listen wakes the runner when there is news about a run.
func (r *runner) listen(ctx context.Context, c *run) {
	started := c.process.Started()
	for {
		ended := false
		select {
		case <-ctx.Done():
			return
		case <-started:
			started = nil
		case <-c.process.Changed():
		case <-c.process.Done():
			ended = true
		}
		c.news.Store(true)
		r.poke()
		if ended {
			return
		}
	}
}

// kill ends the tree of a run in progress, where it is in hand. It returns at
// once; the run's end is news.
func (r *runner) kill(k quell.Kill) {
	c := r.runs[k.Run]
	if c == nil || c.killed != "" {
		return
	}
	c.killed, c.killedAt = k.Cause, time.Now().UTC()
	c.process.Kill(string(k.Cause))
	r.log.Info("a run is killed", "run", k.Run.Name(), "cause", k.Cause)
}

// takeNews takes the news about the runs in progress into the state.
func (r *runner) takeNews() {
	fractions, survived, budget := 0.0, false, int64(maxEvents)
	for _, ref := range r.state.CurrentRuns() { // in their order
		c := r.runs[ref]
		if c == nil {
			continue
		}
		if c.news.Swap(false) {
			survived = r.follow(c, &budget) || survived
		}
		if r.runs[ref] != nil {
			fractions += c.events.progress.Fraction()
		}
	}
	if survived {
		r.tellSurvivors()
	}
	r.state.SetProgress(r.job.Spec.Template, fractions)
}

// follow takes the news about one run into the state. It returns true when the
// survivors are to be told anew.
func (r *runner) follow(c *run, budget *int64) bool {
	ended := false
	select {
	case <-c.process.Done():
		ended = true
	default:
	}
	if !c.told {
		select {
		case <-c.process.Started():
			if at := c.process.StartedAt(); !at.IsZero() {
				r.state.Started(c.ref, at.UTC())
				c.told, r.dirty = true, true
			}
		default:
		}
	}
	more, err := c.events.read(budget)
	if err != nil {
		r.log.Warn("the events of a run cannot be read", "run", c.ref.Name(), "error", err)
	} else if more {
		c.news.Store(true)
		r.poke()
		ended = false // not before all is read; other runs may have to be killed meanwhile
	}
	if c.varsFile != "" && (ended || c.events.progress.Started()) {
		// Ansible has read it; it may hold secrets.
		if err := os.Remove(c.varsFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.log.Error("the variables' file of a run could not be removed", "error", err)
		}
		c.varsFile = ""
	}
	if ended {
		r.ended(c)
		return r.survived() // those of the other runs are still there
	}
	survivors := processes(c.process.Survivors())
	if slices.Equal(survivors, c.survivors) {
		return false
	}
	r.o.Metrics.Survivors.Add(float64(len(survivors) - len(c.survivors)))
	c.survivors = survivors
	r.log.Warn("a killed run has survivors", "run", c.ref.Name(), "survivors", survivors)
	return true
}

// survived says whether a run has survivors.
func (r *runner) survived() bool {
	for _, c := range r.runs {
		if len(c.survivors) > 0 {
			return true
		}
	}
	return false
}

// tellSurvivors puts the survivors of all runs on record.
func (r *runner) tellSurvivors() {
	var all []quell.Process
	var killedAt time.Time
	for _, ref := range r.state.CurrentRuns() {
		if c := r.runs[ref]; c != nil {
			all = append(all, c.survivors...)
			killedAt = earlier(killedAt, c.killedAt)
		}
	}
	r.state.Survived(all, killedAt)
	r.dirty = true
}

// ended takes a run's end into the state. It is stored together with what
// comes next.
func (r *runner) ended(c *run) {
	e := c.process.Exit()
	result := r.result(c, e)
	if c.ref.Device > 0 {
		r.listInLog(c.ref)
	}
	r.takeOutput(c.ref, &result)
	r.state.Ended(c.ref, result)
	r.afterEnd(c.ref)
	delete(r.runs, c.ref)
	r.dirty = true
	r.o.Metrics.Survivors.Sub(float64(len(c.survivors)))
	_ = c.process.Close() // it lets go of the run, nothing more
	status := result.Status()
	r.o.Metrics.Runs.WithLabelValues(string(status)).Inc()
	if !result.NeverStarted && !result.StartedAt.IsZero() {
		r.o.Metrics.RunSeconds.WithLabelValues(string(status)).Observe(result.EndedAt.Sub(result.StartedAt).Seconds())
	}
	r.o.Metrics.Leftovers.Add(float64(result.LeftoverCount))
	if a := r.state.Abort; result.Killed == quell.CauseAbort && a != nil && a.SeenAt != nil {
		r.o.Metrics.AbortDead.WithLabelValues(string(a.Mode)).Observe(max(0, result.DeadAt.Sub(*a.SeenAt).Seconds()))
	}
	r.log.Info("a run has ended", "run", c.ref.Name(), "playbook", r.state.Playbook(c.ref).URI, "status", status,
		"leftovers", result.LeftoverCount, "proof", e.Proof)
}

// result turns the shim's record into the domain's words.
func (r *runner) result(c *run, e process.Exit) quell.RunResult {
	result := quell.RunResult{
		NeverStarted: e.NeverStarted, ExitCode: e.ExitCode, Signal: e.Signal, Error: e.Error,
		Leftovers: processes(e.Leftovers), LeftoverCount: e.LeftoverCount,
		StartedAt: e.StartedAt.UTC(), EndedAt: e.EndedAt.UTC(), DeadAt: e.DeadAt.UTC(),
	}
	if result.EndedAt.IsZero() {
		result.EndedAt = result.DeadAt
	}
	if e.Kill != nil && (e.Killed || e.NeverStarted) {
		result.Killed = quell.Cause(e.Kill.Cause)
		result.SignalledAt = e.Kill.SignalledAt.UTC()
		if e.Kill.SignalledAt.IsZero() {
			result.SignalledAt = e.Kill.RequestedAt.UTC()
		}
	}
	progress := &c.events.progress
	result.Changed = progress.Changed()
	switch {
	case result.Error != "":
	case result.Killed == "" && e.NeverStarted:
		// It was sealed by an agent that could not store that any more.
		result.Killed = r.state.Bars(c.ref)
	case result.Killed == quell.CauseTimeout:
		result.Error = fmt.Sprintf("killed after its time limit of %s", quell.Duration(r.rules.RunLimit(c.ref)))
	case result.Killed == quell.CauseFault:
		result.Error = "killed: " + r.state.Fault
	case result.Killed == "" && e.Signal == "" && e.ExitCode != 0:
		if r.job.Spec.Template.Playbook(c.ref).Executable != "" {
			result.Error = ansible.ExplainExecutable(e.ExitCode)
			break
		}
		result.Error = progress.Explain(e.ExitCode)
	}
	return result
}

func processes(list []process.Process) []quell.Process {
	var out []quell.Process
	for _, p := range list {
		out = append(out, quell.Process{PID: p.PID, Command: p.Comm, State: p.State})
	}
	return out
}

// command builds what a run executes.
func (r *runner) command(ref quell.RunRef, facts deviceFacts) (process.Command, error) {
	if err := r.makeTempDir(); err != nil {
		return process.Command{}, err
	}
	vars, err := r.vars(ref, facts.untrusted)
	if err != nil {
		return process.Command{}, err
	}
	p := r.job.Spec.Template.Playbook(ref)
	args, env, dir, err := r.o.Ansible.Command(ansible.Playbook{
		URI: p.Name(), Executable: p.Executable != "", Args: p.Args, Vars: vars, Trusted: facts.trusted,
		VarsFile: r.varsFile(ref), OutputFile: r.outputFile(ref), TempDir: r.tempDir(), JobID: r.id,
	})
	return process.Command{Args: args, Env: env, Dir: dir}, err
}
