package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"quell"
	"quell/agent/ansible"
	"quell/internal/process"
)

// run is the run in progress of a job, as this agent follows it.
type run struct {
	ref      quell.RunRef
	process  *process.Run
	events   eventReader
	varsFile string
	told     bool // the state knows that it was started
	killed   quell.Cause
	killedAt time.Time
	// survivors are what the kill has not brought down yet.
	survivors []quell.Process
}

// news are the channels that tell of news about the run; nil ones where
// there is no run, or no more news of that kind.
func (c *run) news() (started, changed, ended <-chan struct{}) {
	if c == nil {
		return nil, nil, nil
	}
	if !c.told {
		started = c.process.Started()
	}
	return started, c.process.Changed(), c.process.Done()
}

// enter gets hold of the run that was begun: takes it over, starts it, or bars
// it for ever where it must not start any more.
func (r *runner) enter(step quell.Step) {
	ref := step.Run
	p, err := r.o.Processes.Adopt(r.id, ref.Name())
	switch {
	case err == nil:
		r.log.Info("a run is taken over", "run", ref.Name())
		r.attach(ref, p)
		r.poke()
	case !errors.Is(err, process.ErrNotClaimed):
		// It may well be alive: nothing is decided before that is known.
		r.log.Error("a run cannot be taken over; it is tried again", "run", ref.Name(), "error", err)
		r.rest(errorRest)
	case !r.marked(ref) || r.state.Playbook(ref).Status == quell.PlaybookRunning:
		r.bar(ref, quell.RunResult{
			ExitCode: -1,
			Error:    "it was begun by an agent of this node with another data folder, and may have been started there",
		})
	case step.Action == quell.ActKill:
		r.bar(ref, quell.RunResult{NeverStarted: true, Killed: step.Cause})
	case r.state.Bars(ref):
		r.bar(ref, quell.RunResult{NeverStarted: true, Killed: quell.CauseAbort})
	default:
		r.start(ref)
	}
}

func (r *runner) start(ref quell.RunRef) {
	command, err := r.command(ref)
	if err == nil {
		var p *process.Run
		if p, err = r.o.Processes.Start(r.id, ref.Name(), command); err == nil {
			r.attach(ref, p)
			r.poke()
			return
		}
	}
	r.log.Error("a run could not be started", "run", ref.Name(), "error", err)
	r.bar(ref, quell.RunResult{NeverStarted: true, Error: err.Error()})
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

func (r *runner) attach(ref quell.RunRef, p *process.Run) {
	r.cur = &run{
		ref: ref, process: p, varsFile: r.varsFile(ref),
		events: eventReader{path: r.o.Processes.EventsPath(r.id, ref.Name())},
		told:   r.state.Playbook(ref).Status == quell.PlaybookRunning,
	}
}

// kill ends the tree of the run in progress. It returns at once; the run's end
// is news.
func (r *runner) kill(step quell.Step) {
	if r.cur.killed != "" {
		return
	}
	r.cur.killed, r.cur.killedAt = step.Cause, time.Now().UTC()
	r.cur.process.Kill(string(step.Cause))
	r.log.Info("a run is killed", "run", step.Run.Name(), "cause", step.Cause)
}

// follow takes the news about the run in progress into the state.
func (r *runner) follow(now time.Time) {
	c := r.cur
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
	more, err := c.events.read()
	for ended && more && err == nil {
		more, err = c.events.read() // nothing is left that could need a kill
	}
	if err != nil {
		r.log.Warn("the events of a run cannot be read", "run", c.ref.Name(), "error", err)
	} else if more {
		r.poke()
	}
	if c.varsFile != "" && (ended || c.events.progress.Started()) {
		// Ansible has read it; it may hold secrets.
		if err := os.Remove(c.varsFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.log.Error("the variables' file of a run could not be removed", "error", err)
		}
		c.varsFile = ""
	}
	r.state.SetProgress(r.job.Spec.Template, c.events.progress.Fraction())
	if ended {
		r.ended(c)
		return
	}
	if survivors := processes(c.process.Survivors()); !slices.Equal(survivors, c.survivors) {
		r.o.Metrics.Survivors.Add(float64(len(survivors) - len(c.survivors)))
		c.survivors = survivors
		r.state.Survived(survivors, c.killedAt)
		r.dirty = true
		r.log.Warn("a killed run has survivors", "run", c.ref.Name(), "survivors", survivors)
	}
}

// ended takes the run's end into the state. It is stored together with what
// comes next.
func (r *runner) ended(c *run) {
	e := c.process.Exit()
	result := r.result(c, e)
	r.state.Ended(c.ref, result)
	r.cur = nil
	r.o.Metrics.Survivors.Sub(float64(len(c.survivors)))
	_ = c.process.Close() // it lets go of the run, nothing more
	p := r.state.Playbook(c.ref)
	r.o.Metrics.Runs.WithLabelValues(string(p.Status)).Inc()
	if !result.NeverStarted && !result.StartedAt.IsZero() {
		r.o.Metrics.RunSeconds.WithLabelValues(string(p.Status)).Observe(result.EndedAt.Sub(result.StartedAt).Seconds())
	}
	r.o.Metrics.Leftovers.Add(float64(result.LeftoverCount))
	if a := r.state.Abort; result.Killed == quell.CauseAbort && a != nil && a.SeenAt != nil {
		r.o.Metrics.AbortDead.WithLabelValues(string(a.Mode)).Observe(max(0, result.DeadAt.Sub(*a.SeenAt).Seconds()))
	}
	r.log.Info("a run has ended", "run", c.ref.Name(), "playbook", p.URI, "status", p.Status,
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
	switch {
	case result.Error != "":
	case result.Killed == quell.CauseTimeout:
		limit := r.job.Spec.Template.Playbook(c.ref).Timeout
		result.Error = fmt.Sprintf("killed after its time limit of %s", limit)
	case result.Killed == "" && e.Signal == "" && e.ExitCode != 0 && !e.NeverStarted:
		result.Error = c.events.progress.Explain(e.ExitCode)
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
func (r *runner) command(ref quell.RunRef) (process.Command, error) {
	if err := r.makeTempDir(); err != nil {
		return process.Command{}, err
	}
	vars, err := r.vars()
	if err != nil {
		return process.Command{}, err
	}
	args, env, dir, err := r.o.Ansible.Command(ansible.Playbook{
		URI: r.job.Spec.Template.Playbook(ref).URI, Vars: vars,
		VarsFile: r.varsFile(ref), TempDir: r.tempDir(), JobID: r.id,
	})
	return process.Command{Args: args, Env: env, Dir: dir}, err
}

// vars are the variables of a playbook (contrail.md: How a job runs there).
func (r *runner) vars() (map[string]any, error) {
	spec := r.job.Spec
	var input map[string]any
	if err := json.Unmarshal(spec.Input, &input); err != nil {
		return nil, fmt.Errorf("the job's input cannot be read: %w", err)
	}
	vars := map[string]any{
		"input":               spec.Input,
		"job_execution_id":    spec.ID,
		"job_template_fqname": spec.Template.FQName,
		"job_description":     spec.Template.DisplayName,
	}
	if fabric, ok := input["fabric_fq_name"]; ok {
		vars["fabric_fq_name"] = fabric
	}
	return vars, nil
}
