package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"quell"
)

// runner cares for one job: it asks the protocol what is to be done, does it,
// and stores what became of it. All of a job's life happens in the goroutine
// of run; what may take long goes on beside it, so that a kill never waits for
// a write.
type runner struct {
	o   Options
	id  string
	log *slog.Logger

	mu      sync.Mutex
	own     []*quell.StoredIntent // values of the job's abort key not yet observed
	all     *quell.AbortAll       // not yet observed
	gone    bool                  // the index key is gone
	wake    chan struct{}
	removal sync.Once
	jobs    func() int // on this node

	job     quell.Job
	state   *quell.State // what holds; job.State is what is stored
	intents quell.Intents
	dirty   bool // state has something that is to be stored now
	cur     *run // the run in progress; nil: none, or begun and not started yet
	pending *commit
	done    bool      // final, or not this node's
	resting time.Time // nothing is sent to the store before; news about intents end it
	errText string
	seen    quell.Mode // the mode whose way is already in the metrics

	progress progressWriter
}

// commit is a transition on its way to the store.
type commit struct {
	apply  func(*quell.State) // what it does to the state, beside what was already there
	state  quell.State
	result chan commitResult // buffered
}

type commitResult struct {
	revision int64
	err      error
	reread   *quell.Job // after CodeStale
}

func newRunner(o Options, id string, jobs func() int) *runner {
	return &runner{o: o, id: id, log: o.Logger.With("job", id), wake: make(chan struct{}, 1), jobs: jobs}
}

// setAborts and setOwn take news about intents; removed that the node's index
// no longer has the job.
func (r *runner) setAborts(all quell.AbortAll) { r.tell(func() { r.all = &all }) }

func (r *runner) setOwn(i *quell.StoredIntent) { r.tell(func() { r.own = append(r.own, i) }) }

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
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	if !r.load(ctx) {
		return
	}
	beside.Go(func() { _ = r.o.Store.FollowIntent(ctx, r.id, r.setOwn) })
	defer r.close()
	r.adopt()
	for !r.done && ctx.Err() == nil {
		until := r.step(ctx, &beside)
		if r.done {
			break
		}
		r.wait(ctx, until)
	}
	if r.done {
		r.cleanUp()
	}
}

// load reads the job; it goes on trying. It returns false when there is
// nothing to do.
func (r *runner) load(ctx context.Context) bool {
	pause := 50 * time.Millisecond
	for {
		job, intents, err := r.o.Store.Load(ctx, r.id)
		switch {
		case err == nil:
			if job.Token == 0 || job.ActiveNode != r.o.Info.Node {
				r.giveUp(ctx)
				return false
			}
			r.job, r.intents = job, intents
			state := job.State.Clone()
			r.state = &state
			return true
		case quell.CodeOf(err) == quell.CodeNotFound:
			r.giveUp(ctx)
			return false
		}
		r.log.Warn("the job cannot be read; it is tried again", "error", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// giveUp ends what is left here of a job that this node does not own.
func (r *runner) giveUp(ctx context.Context) {
	r.log.Info("the job is final or not this node's; what is left of it here is ended")
	if err := r.disown(ctx); err != nil && ctx.Err() == nil {
		r.log.Error("what is left of the job could not be ended", "error", err)
	}
}

// step observes what is wanted, and does the next thing. It returns when it
// wants to be called again at the latest; zero: when something happens.
func (r *runner) step(ctx context.Context, beside *sync.WaitGroup) time.Time {
	now := time.Now().UTC()
	r.collect(now)
	if r.isGone() && r.pending == nil {
		r.giveUp(ctx)
		r.done = true
		return time.Time{}
	}
	t := r.job.Spec.Template
	step := r.state.Next(t, now)
	if step.Action == quell.ActKill {
		r.kill(step)
	}
	if r.pending != nil {
		return step.Until
	}
	if now.Before(r.resting) {
		return r.resting
	}
	transit := func(relies bool, apply func(*quell.State)) { r.commit(ctx, beside, relies, apply) }
	switch step.Action {
	case quell.ActBegin:
		transit(true, func(s *quell.State) { s.Begin(step.Run, now) })
	case quell.ActFinish:
		transit(true, func(s *quell.State) { s.Finish(now) })
	case quell.ActWait:
		if r.cur == nil {
			r.start(step.Run)
		}
		if r.dirty {
			transit(false, func(*quell.State) {})
		}
	case quell.ActKill:
		// The record of a kill is stored with what comes after it, unless
		// the kill takes its time.
		if r.dirty && r.cur != nil && len(r.cur.survivors) > 0 {
			transit(false, func(*quell.State) {})
		}
	case quell.ActNone:
		r.done = true
	case quell.ActPlace: // the scheduler's; a job with a node is not queued
		r.log.Error("an assigned job is stored as queued; it is left alone")
		r.done = true
	}
	return step.Until
}

// collect takes the news about intents and about the run into the state, one
// value after the other, since each may be the one that counts.
func (r *runner) collect(now time.Time) {
	r.mu.Lock()
	own, all := r.own, r.all
	r.own, r.all = nil, nil
	r.mu.Unlock()
	if all != nil && all.Revision >= r.intents.AllRevision {
		all.Into(&r.intents)
		r.resting = time.Time{}
	}
	for _, i := range own {
		r.intents.Own = i
		r.resting = time.Time{}
		r.observe(now)
	}
	r.observe(now)
	if r.cur != nil {
		r.follow(now)
	}
}

func (r *runner) observe(now time.Time) {
	wanted := r.intents.Effective(r.job.SpecRevision)
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

// commit sends the state, changed by apply, to the store. relies: the step was
// decided on the intents, which are compared.
func (r *runner) commit(ctx context.Context, beside *sync.WaitGroup, relies bool, apply func(*quell.State)) {
	next := r.state.Clone()
	apply(&next)
	c := &commit{apply: apply, state: next, result: make(chan commitResult, 1)}
	t := quell.Transition{
		ID: r.id, Token: r.job.Token, StateRevision: r.job.StateRevision, State: c.state, Node: r.o.Info.Node,
	}
	if relies {
		intents := r.intents
		t.Intents = &intents
	}
	r.pending, r.dirty = c, false
	beside.Go(func() {
		revision, err := r.o.Store.Commit(ctx, t)
		result := commitResult{revision: revision, err: err}
		if quell.CodeOf(err) == quell.CodeStale {
			if job, _, err := r.o.Store.Load(ctx, r.id); err == nil {
				result.reread = &job
			}
		}
		c.result <- result
	})
}

// committed takes the result of a commit.
func (r *runner) committed(ctx context.Context, result commitResult) {
	c := r.pending
	r.pending = nil
	switch code := quell.CodeOf(result.err); {
	case result.err == nil:
		r.job.StateRevision = result.revision
		c.apply(r.state)
		if r.state.Status.Final() {
			r.finished()
		}
	case ctx.Err() != nil:
	case code == quell.CodeNotOwner:
		r.removed()
	case code == quell.CodeStale && result.reread != nil:
		// An intent has come: its event is under way to collect, which
		// makes the decision anew. A status that somebody else wrote is
		// overwritten: this node owns the job.
		if result.reread.StateRevision == r.job.StateRevision {
			r.rest(staleRest)
		}
		r.job.StateRevision = result.reread.StateRevision
		r.dirty = true
	default:
		r.log.Error("a transition could not be stored; it is tried again", "status", c.state.Status, "error", result.err)
		r.rest(errorRest)
		r.dirty = true
	}
}

// How long a runner sends nothing: while the event of an intent is on its way
// that a compare has shown, and after an error.
const (
	staleRest = 100 * time.Millisecond
	errorRest = time.Second
)

func (r *runner) rest(d time.Duration) { r.resting = time.Now().Add(d) }

// wait returns when there is something to look at again.
func (r *runner) wait(ctx context.Context, until time.Time) {
	var result chan commitResult
	if r.pending != nil {
		result = r.pending.result
	}
	at := until
	if p := r.progress.next(); !p.IsZero() && (at.IsZero() || p.Before(at)) {
		at = p
	}
	var timeout <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(max(0, time.Until(at)))
		defer timer.Stop()
		timeout = timer.C
	}
	started, changed, ended := r.cur.news()
	select {
	case <-ctx.Done():
	case <-r.wake:
	case got := <-result:
		r.committed(ctx, got)
	case <-r.progress.sent:
		r.progress.landed()
	case <-timeout:
	case <-started:
	case <-changed:
	case <-ended:
	}
	if r.cur != nil {
		r.writeProgress(ctx)
	}
}

// finished is called once the final state is stored.
func (r *runner) finished() {
	s := r.state
	r.done = true
	r.o.Metrics.JobsFinished.WithLabelValues(string(s.Status)).Inc()
	if a := s.Abort; a != nil && a.Mode != "" && a.SeenAt != nil {
		r.o.Metrics.AbortFinal.WithLabelValues(string(a.Mode)).Observe(time.Since(*a.SeenAt).Seconds())
	}
	r.log.Info("the job is final", "status", s.Status, "reason", s.Reason)
}

// tempDir is the job's own temp folder.
func (r *runner) tempDir() string { return filepath.Join(r.o.TempDir, "quell-"+r.id) }

// cleanUp removes what the job needs no longer. What a killed playbook leaves
// in its temp folder may hold secrets.
func (r *runner) cleanUp() {
	r.removal.Do(func() {
		err := errors.Join(os.RemoveAll(r.tempDir()), r.o.Processes.Remove(r.id))
		if err != nil {
			r.log.Error("what the job had for itself on this node could not be removed", "error", err)
		}
	})
}

// close lets go of the run in progress without ending it.
func (r *runner) close() {
	if r.cur != nil {
		if err := r.cur.process.Close(); err != nil {
			r.log.Debug("a run was let go of", "error", err)
		}
	}
	r.progress.wait()
}
