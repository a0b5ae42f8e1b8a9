package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// adopt takes over the run that was in progress when an earlier agent ended.
func (r *runner) adopt() {
	ref, ok := r.state.Current()
	if !ok {
		return
	}
	p, err := r.o.Processes.Adopt(r.id, ref.Name())
	if errors.Is(err, process.ErrNotClaimed) {
		return // begun, and not started yet: the next step sees to it
	}
	if err != nil {
		r.fail(ref, fmt.Errorf("take over the run: %w", err))
		return
	}
	r.log.Info("a run is taken over", "run", ref.Name())
	r.attach(ref, p)
}

func (r *runner) attach(ref quell.RunRef, p *process.Run) {
	r.cur = &run{
		ref: ref, process: p, varsFile: r.varsFile(ref),
		events: eventReader{path: r.o.Processes.EventsPath(r.id, ref.Name())},
		told:   r.state.Playbook(ref).Status == quell.PlaybookRunning,
	}
}

// start starts a run that was begun, unless an abort was seen since: then the
// run is barred for ever.
func (r *runner) start(ref quell.RunRef) {
	if barred := r.state.Bars(ref); barred {
		r.bar(ref, quell.CauseAbort)
		return
	}
	command, err := r.command(ref)
	if err == nil {
		var p *process.Run
		if p, err = r.o.Processes.Start(r.id, ref.Name(), command); err == nil {
			r.attach(ref, p)
			return
		}
	}
	r.log.Error("a run could not be started", "run", ref.Name(), "error", err)
	r.fail(ref, err)
}

// fail ends a run that could not even be started. It is barred, so that no
// stray shim starts it later.
func (r *runner) fail(ref quell.RunRef, cause error) {
	if _, err := r.o.Processes.Seal(r.id, ref.Name()); err != nil {
		r.log.Error("a run that failed to start could not be barred", "run", ref.Name(), "error", err)
	}
	now := time.Now().UTC()
	r.state.Ended(ref, quell.RunResult{NeverStarted: true, Error: cause.Error(), EndedAt: now, DeadAt: now})
	r.poke()
}

// bar ends a run that was begun and must not start any more.
func (r *runner) bar(ref quell.RunRef, cause quell.Cause) {
	claimed, err := r.o.Processes.Seal(r.id, ref.Name())
	if err == nil && !claimed { // a shim was quicker
		var p *process.Run
		if p, err = r.o.Processes.Adopt(r.id, ref.Name()); err == nil {
			r.attach(ref, p)
			r.poke()
			return
		}
	}
	if err != nil {
		r.log.Error("a run could not be barred; it is tried again", "run", ref.Name(), "error", err)
		r.rest(errorRest)
		return
	}
	now := time.Now().UTC()
	r.state.Ended(ref, quell.RunResult{NeverStarted: true, Killed: cause, SignalledAt: now, EndedAt: now, DeadAt: now})
	r.poke()
}

// kill ends the run's tree. It returns at once; the run's end is news.
func (r *runner) kill(step quell.Step) {
	switch {
	case r.cur == nil && r.pending == nil:
		r.bar(step.Run, step.Cause)
	case r.cur != nil && r.cur.killed == "":
		r.cur.killed, r.cur.killedAt = step.Cause, time.Now().UTC()
		r.cur.process.Kill(string(step.Cause))
		r.log.Info("a run is killed", "run", step.Run.Name(), "cause", step.Cause)
	}
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
	if err := c.events.read(); err != nil {
		r.log.Warn("the events of a run cannot be read", "run", c.ref.Name(), "error", err)
	}
	if c.varsFile != "" && (ended || c.events.progress.Started()) {
		// Ansible has read it; it may hold secrets.
		if err := os.Remove(c.varsFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.log.Error("the variables' file of a run could not be removed", "error", err)
		}
		c.varsFile = ""
	}
	r.state.SetProgress(r.job.Spec.Template, c.events.progress.Fraction())
	if survivors := processes(c.process.Survivors()); !slices.Equal(survivors, c.survivors) {
		c.survivors = survivors
		r.state.Survived(survivors, c.killedAt)
		r.dirty = true
		r.log.Warn("a killed run has survivors", "run", c.ref.Name(), "survivors", survivors)
	}
	if ended {
		r.ended(c)
	}
}

// ended takes the run's end into the state. It is stored together with what
// comes next.
func (r *runner) ended(c *run) {
	e := c.process.Exit()
	result := r.result(c, e)
	r.state.Ended(c.ref, result)
	r.cur = nil
	if err := c.process.Close(); err != nil {
		r.log.Debug("an ended run was let go of", "error", err)
	}
	p := r.state.Playbook(c.ref)
	r.o.Metrics.Runs.WithLabelValues(string(p.Status)).Inc()
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

func (r *runner) varsFile(ref quell.RunRef) string {
	return filepath.Join(r.tempDir(), "vars-"+ref.Name()+".json")
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

// makeTempDir makes the job's temp folder. Its name is no secret, so one that
// somebody else has put there is refused.
func (r *runner) makeTempDir() error {
	dir := r.tempDir()
	err := os.Mkdir(dir, 0o700)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if mine, err := ownPrivateFolder(dir); err != nil || !mine {
		return fmt.Errorf("the temp folder %s is not a private folder of this agent's user: remove it: %w", dir, errors.Join(err, os.ErrPermission))
	}
	return nil
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

// eventReader reads a run's events file from where it stopped.
type eventReader struct {
	path     string
	offset   int64
	progress ansible.Progress
}

// read takes in all whole lines that have come. A line that cannot be read is
// left out: events are for people, nothing is decided on them.
func (e *eventReader) read() error {
	f, err := os.Open(e.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open events: %w", err)
	}
	defer f.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := f.ReadAt(buffer, e.offset)
		used := e.take(buffer[:n])
		if used == 0 && n == len(buffer) {
			used = n // a line beyond all bounds is skipped
		}
		e.offset += int64(used)
		if used == 0 || err != nil {
			return nil
		}
	}
}

// take applies the whole lines in data and returns how long they were.
func (e *eventReader) take(data []byte) int {
	used := 0
	for {
		end := slices.Index(data[used:], '\n')
		if end < 0 {
			return used
		}
		if event, err := ansible.DecodeEvent(data[used : used+end]); err == nil {
			e.progress.Apply(event)
		}
		used += end + 1
	}
}

// progressWriter stores a job's progress sparingly.
type progressWriter struct {
	last    quell.Progress
	wanted  bool
	allowed time.Time // not before
	sent    chan struct{}
	busy    bool
}

// next is when there is something to write; zero: nothing.
func (p *progressWriter) next() time.Time {
	if !p.wanted || p.busy {
		return time.Time{}
	}
	return p.allowed
}

func (p *progressWriter) landed() { p.busy = false }

// wait waits for a write that is on its way.
func (p *progressWriter) wait() {
	if p.busy {
		<-p.sent
		p.busy = false
	}
}

// writeProgress stores the job's progress where it has changed, at most every
// max(1 s, jobs on the node ÷ 10) (design: Keys in etcd). One that is lost is
// made good by the next.
func (r *runner) writeProgress(ctx context.Context) {
	p := &r.progress
	now := quell.Progress{
		Percentage: r.state.Percentage, Tasks: r.cur.events.progress.CurrentTasks(),
	}
	if now.Percentage != p.last.Percentage || !slices.Equal(now.Tasks, p.last.Tasks) {
		p.last, p.wanted = now, true
	}
	if !p.wanted || p.busy || time.Now().Before(p.allowed) {
		return
	}
	if p.sent == nil {
		p.sent = make(chan struct{}, 1)
	}
	every := max(time.Second, time.Duration(r.jobs())*time.Second/10)
	p.wanted, p.busy, p.allowed = false, true, time.Now().Add(every)
	id, token := r.id, r.job.Token
	go func() { // waited for by progressWriter.wait
		if err := r.o.Store.PutProgress(ctx, id, token, now); err != nil && ctx.Err() == nil {
			r.log.Debug("progress was not stored", "error", err)
		}
		p.sent <- struct{}{}
	}()
}
