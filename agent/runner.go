package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"quell"
)

// runner cares for one job: it asks the protocol what is to be done, does it,
// and stores what became of it. All of a job's life happens in the goroutine
// of run; what may take long goes on beside it, so that a kill never waits for
// a write.
type runner struct {
	o    Options
	id   string
	log  *slog.Logger
	jobs func() int // on this node
	wake chan struct{}

	mu   sync.Mutex
	own  []*quell.StoredIntent // values of the job's abort key not yet observed
	all  []quell.AbortAll      // not yet observed
	gone bool                  // the job is not this node's any more

	// What follows belongs to the goroutine of run.

	job     quell.Job    // as it was read; of its status, the revision is kept up to date
	state   *quell.State // what holds, stored or not
	intents quell.Intents
	// behind is what a compare has shown of the intents and no event has told
	// yet; nil: nothing.
	behind  *quell.Intents
	dirty   bool                  // state has something that is to be stored now
	runs    map[quell.RunRef]*run // the runs in progress that are in hand
	pending *commit
	stale   bool      // so was the last transition
	stored  time.Time // when the last one was sent
	done    bool
	rules   quell.Rules
	checked bool         // that all playbooks are there
	outputs outputs      // what the playbooks gave back
	facts   *factsRead   // what the inventory says of the devices; nil: it was not asked
	locking *locksTaking // nil: no locks are being taken
	resting time.Time    // nothing is tried before; news about intents end it
	errText string       // what is wrong with an intent, as it was logged last
	seen    quell.Mode   // the mode whose way is already in the metrics

	progress progressWriter
	beside   sync.WaitGroup // what goes on beside
}

func newRunner(o Options, id string, jobs func() int) *runner {
	return &runner{
		o: o, id: id, log: o.Logger.With("job", id), wake: make(chan struct{}, 1), jobs: jobs, runs: map[quell.RunRef]*run{},
	}
}

// setAborts and setOwn take news about intents. Each value is kept until it
// was observed: one that was overwritten at once may be the one that counts.
func (r *runner) setAborts(all quell.AbortAll) { r.tell(func() { r.all = append(r.all, all) }) }

func (r *runner) setOwn(i *quell.StoredIntent) { r.tell(func() { r.own = append(r.own, i) }) }

// removed says that the job is not this node's any more.
func (r *runner) removed() { r.tell(func() { r.gone = true }) }

func (r *runner) tell(set func()) {
	r.mu.Lock()
	set()
	r.mu.Unlock()
	r.poke()
}

// poke makes the runner look again.
func (r *runner) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run cares for the job until it is final or not this node's any more, or ctx
// ends.
func (r *runner) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer r.beside.Wait()
	defer cancel()
	if !r.load(ctx) {
		return
	}
	r.beside.Go(func() { _ = r.o.Store.FollowIntent(ctx, r.id, r.setOwn) })
	defer r.letGo()
	for ctx.Err() == nil {
		until := r.step(ctx)
		if r.done {
			return
		}
		r.wait(ctx, until)
	}
	if r.pending != nil {
		// It lands or is given up soon: see commit.
		r.committed(ctx, <-r.pending.result)
	}
}

// load reads the job; it goes on trying. It returns false when there is
// nothing to do.
func (r *runner) load(ctx context.Context) bool {
	for pause := errorRest / 20; ; pause = min(2*pause, 2*errorRest) {
		job, intents, err := r.o.Store.Load(ctx, r.id)
		foreign := err == nil && (job.Token == 0 || job.ActiveNode != r.o.Info.Node)
		if foreign || quell.CodeOf(err) == quell.CodeNotFound {
			r.giveUp(ctx)
			return false
		}
		if err == nil {
			state := job.State.Clone()
			r.job, r.intents, r.state = job, intents, &state
			r.rules = job.Spec.Rules(r.o.Limits)
			r.outputs = r.readOutputs(job.Output)
			if state.Abort != nil {
				r.seen = state.Abort.Mode
			}
			return true
		}
		if ctx.Err() == nil {
			r.log.Warn("the job cannot be read; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// step observes what is wanted, and does the next thing. It returns when it
// wants to be called again at the latest; zero: when something happens.
func (r *runner) step(ctx context.Context) time.Time {
	now := time.Now().UTC()
	r.collect(now)
	// Before anything else: news about the runs, of which there may be much,
	// are no reason for a kill to wait.
	r.killAll(now)
	r.takeNews()
	if r.isGone() {
		// The key may be gone because of the final transition on its way.
		if r.pending == nil {
			r.done = r.giveUp(ctx)
		}
		return time.Time{}
	}
	step := r.killAll(now)
	r.writeProgress(ctx)
	until := step.Until
	if !now.Before(r.resting) {
		r.enterNext(ctx, step)
		if r.pending == nil {
			until = earlier(until, r.act(ctx, step, now))
		}
	}
	if now.Before(r.resting) { // also where that has begun just now
		until = earlier(until, r.resting)
	}
	return until
}

// killAll asks what is to be done, and kills what is to be killed.
func (r *runner) killAll(now time.Time) quell.Step {
	if r.isGone() {
		for _, c := range r.runs {
			c.process.Kill(string(quell.CauseDisown))
		}
		return quell.Step{}
	}
	if r.state.Expire(r.rules, now) {
		r.dirty = true
	}
	step := r.state.Next(r.rules, now)
	for _, k := range step.Kill {
		r.kill(k)
	}
	return step
}

// act does what the protocol asks for, apart from killing. It returns when it
// wants to be called again; zero: when something happens.
func (r *runner) act(ctx context.Context, step quell.Step, now time.Time) time.Time {
	switch step.Action {
	case quell.ActBegin:
		r.begin(ctx, step.Begin, now)
	case quell.ActFinish:
		if !r.stopFacts() {
			break // a job that is final has no process of its own
		}
		r.gatherCutShort()
		r.checkOutput()
		r.commit(ctx, true, func(s *quell.State) { s.Finish(now) })
	case quell.ActLock:
		r.takeLocks(ctx)
	case quell.ActPass:
		r.state.Pass(step.Pass, now)
		r.dirty = true
		r.poke()
	case quell.ActWait:
		return r.store(ctx, step)
	case quell.ActNone:
		r.done = r.giveUp(ctx)
	case quell.ActPlace: // the scheduler's; a job with a node is not queued
		r.log.Error("an assigned job is stored as queued; it is left alone")
		r.done = true
	}
	return time.Time{}
}

// begin marks the runs and stores that they may start.
func (r *runner) begin(ctx context.Context, runs []quell.RunRef, now time.Time) {
	if fault := r.missing(); fault != "" {
		r.state.Fail(fault)
		r.dirty = true
		r.poke()
		return
	}
	if runs[0].Recovery {
		r.gatherCutShort()
	}
	for _, ref := range runs {
		if err := r.mark(ref); err != nil {
			r.log.Error("a run cannot begin; it is tried again", "run", ref.Name(), "error", err)
			r.rest(errorRest)
			return
		}
	}
	r.commit(ctx, true, func(s *quell.State) { s.Begin(runs, now) })
}

// missing says what playbook is not there before the job has begun anything.
func (r *runner) missing() string {
	if r.checked || r.state.StartedAt != nil {
		return ""
	}
	r.checked = true
	t := r.job.Spec.Template
	for i, p := range slices.Concat(t.Playbooks, t.RecoveryPlaybooks) {
		if i < len(r.state.Playbooks) && r.state.Playbooks[i].From != "" {
			continue // the earlier job's
		}
		if err := r.o.Ansible.Check(p.Name(), p.Executable != ""); err != nil {
			return "nothing was started: " + err.Error()
		}
	}
	return ""
}

// storeEvery is how often what has no effect is stored at most, while a job
// works on several devices: each write has all of them.
const storeEvery = time.Second

// store stores what has happened where it is not stored with what comes next.
func (r *runner) store(ctx context.Context, step quell.Step) time.Time {
	switch {
	case !r.dirty:
		return time.Time{}
	// The record of a kill is stored with what comes after it, unless the kill
	// takes its time, or there is more to come by itself.
	case len(step.Kill) > 0 && len(step.Kill) == len(r.runs) && !r.survived():
		return time.Time{}
	case len(r.state.CurrentRuns()) > 1:
		if at := r.stored.Add(storeEvery); time.Now().Before(at) {
			return at
		}
	}
	r.commit(ctx, false, func(*quell.State) {})
	return time.Time{}
}

// collect takes the news about intents into the state, one value after the
// other.
func (r *runner) collect(now time.Time) {
	r.mu.Lock()
	own, all := r.own, r.all
	r.own, r.all = nil, nil
	r.mu.Unlock()
	if r.behind != nil && !now.Before(r.resting) {
		r.intents, r.behind = *r.behind, nil
	}
	known := r.intents
	for _, view := range all {
		r.intents = newer(r.intents, view)
		r.observe(r.intents, now)
	}
	for _, i := range own {
		seen := r.intents
		seen.Own = i
		r.observe(seen, now)
		// What is told first are the values of the past; a transition that
		// compared one of them would be refused.
		if i == nil || i.Revision >= r.intents.OwnRevision() {
			r.intents.Own = i
		}
	}
	if is := r.intents; is.OwnRevision() != known.OwnRevision() || is.AllRevision != known.AllRevision || is.StarRevision != known.StarRevision {
		r.resting, r.behind = time.Time{}, nil
	}
	r.observe(r.intents, now)
}

// newer is what is known of the abort-all intents from a read of the runner's
// own and from what the agent follows. Either may be ahead, of /aborts/ and of
// the emergency key each. That the emergency key was deleted takes nothing
// back (there is a copy of it); a transition that compares it brings it up.
func newer(known quell.Intents, view quell.AbortAll) quell.Intents {
	split := func(all []quell.StoredIntent, star int64) (aborts, emergency []quell.StoredIntent) {
		for _, i := range all {
			if i.Revision == star {
				emergency = append(emergency, i)
			} else {
				aborts = append(aborts, i)
			}
		}
		return aborts, emergency
	}
	aborts, emergency := split(known.All, known.StarRevision)
	viewAborts, viewEmergency := split(view.Intents, view.Star)
	if view.Revision >= known.AllRevision {
		aborts, known.AllRevision = viewAborts, view.Revision
	}
	if view.Star > known.StarRevision {
		emergency, known.StarRevision = viewEmergency, view.Star
	}
	known.All = slices.Concat(aborts, emergency)
	return known
}

// observe folds what is wanted into the state.
func (r *runner) observe(intents quell.Intents, now time.Time) {
	wanted := intents.Effective(r.job.SpecRevision)
	if r.state.Observe(wanted, now) {
		// A kill is quicker than its record: what it did is stored with it.
		r.dirty = true
		r.tellSeen(now)
	}
	if wanted.Error != r.errText {
		if r.errText = wanted.Error; r.errText != "" {
			r.o.Metrics.InvalidIntents.Inc()
			r.log.Warn("an abort intent is not acted on", "error", r.errText)
		}
	}
}

func (r *runner) tellSeen(now time.Time) {
	a := r.state.Abort
	if a == nil || a.Mode == "" || a.Mode == r.seen {
		return
	}
	r.seen = a.Mode
	r.o.Metrics.AbortsSeen.WithLabelValues(string(a.Mode), string(a.Source)).Inc()
	r.log.Info("an abort was seen", "mode", a.Mode, "source", a.Source, "requested_by", a.RequestedBy, "reason", a.Reason)
	if a.RequestedAt != nil {
		r.o.Metrics.AbortSeen.WithLabelValues(string(a.Mode)).Observe(max(0, now.Sub(*a.RequestedAt).Seconds()))
	}
}

func (r *runner) isGone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

// wait returns when there is something to look at again.
func (r *runner) wait(ctx context.Context, until time.Time) {
	var result chan commitResult
	if r.pending != nil {
		result = r.pending.result
	}
	var timeout <-chan time.Time
	if at := earlier(until, r.progress.next()); !at.IsZero() {
		timer := time.NewTimer(max(0, time.Until(at)))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-ctx.Done():
	case <-r.wake:
	case got := <-result:
		r.committed(ctx, got)
	case <-r.progress.sent:
		r.progress.busy = false
	case <-timeout:
	}
}

// earlier is the earlier of two times of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// letGo stops following the runs in progress without ending them.
func (r *runner) letGo() {
	for ref, c := range r.runs {
		_ = c.process.Close() // that is all it does
		delete(r.runs, ref)
	}
}
