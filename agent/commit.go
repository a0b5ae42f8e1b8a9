package agent

import (
	"context"
	"slices"
	"time"

	"quell"
)

// commit is a transition on its way to the store.
type commit struct {
	apply  func(*quell.State) // what it does to the state, beside what was already there
	state  quell.State
	output bool              // it stores the job's output, too
	result chan commitResult // buffered
}

type commitResult struct {
	revision int64
	err      error
	reread   *quell.Job // after CodeStale, with the intents
	intents  quell.Intents
}

// How long a runner tries nothing: while the event of an intent is on its way
// that a compare has shown, and after an error.
const (
	staleRest = 100 * time.Millisecond
	errorRest = time.Second
)

func (r *runner) rest(d time.Duration) { r.resting = time.Now().Add(d) }

// commit sends the state, changed by apply, to the store. relies: the step was
// decided on the intents, which are compared.
func (r *runner) commit(ctx context.Context, relies bool, apply func(*quell.State)) {
	next := r.state.Clone()
	apply(&next)
	c := &commit{apply: apply, state: next, result: make(chan commitResult, 1)}
	t := quell.Transition{
		ID: r.id, Token: r.job.Token, StateRevision: r.job.StateRevision, State: next, Node: r.o.Info.Node,
	}
	if relies {
		intents := r.intents
		t.Intents = &intents
	}
	t.Output = r.outputs.toStore()
	c.output = t.Output != nil
	r.pending, r.dirty, r.stored = c, false, time.Now()
	r.beside.Go(func() {
		ctx, cancel := lingering(ctx)
		defer cancel()
		var result commitResult
		result.revision, result.err = r.o.Store.Commit(ctx, t)
		if quell.CodeOf(result.err) == quell.CodeStale {
			if job, intents, err := r.o.Store.Load(ctx, r.id); err == nil {
				result.reread, result.intents = &job, intents
			}
		}
		c.result <- result
	})
}

// landing is how long a transition may take that is on its way when the agent
// stops.
const landing = 2 * time.Second

// lingering is a context that ends a little later than ctx. A final transition
// that is made, and whose answer nobody waits for, would leave the job's temp
// folder with its secrets to the next start.
func lingering(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(landing)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-late.Done():
		}
	})
	return late, func() { stop(); cancel() }
}

// committed takes the result of a commit.
func (r *runner) committed(ctx context.Context, result commitResult) {
	c, stale := r.pending, r.stale
	r.pending, r.stale = nil, false
	if result.err != nil && c.output {
		r.outputs.changed = true
	}
	switch code := quell.CodeOf(result.err); {
	case result.err == nil && c.state.Status.Final():
		// What was observed since came too late.
		*r.state = c.state
		r.finished()
	case result.err == nil && c.state.Outcome != "" && r.state.Outcome == "":
		// It has decided how the job ends: what was observed since, while
		// nothing ran, comes on top of that.
		r.job.StateRevision = result.revision
		*r.state = c.state
		r.observe(r.intents, time.Now().UTC())
	case result.err == nil:
		r.job.StateRevision = result.revision
		c.apply(r.state)
	case code == quell.CodeNotOwner:
		r.removed()
	case code == quell.CodeStale && result.reread != nil:
		r.stale, r.dirty = true, true
		if seen := r.job.StateRevision; result.reread.StateRevision != seen {
			// A status that somebody else wrote is overwritten: this node
			// owns the job.
			r.job.StateRevision = result.reread.StateRevision
			return
		}
		// An intent has come. The decision is made anew when its event
		// arrives, since a value that it has overwritten counts too; should
		// none come, on what was read now.
		if stale || r.misses(result.intents) {
			r.behind = &result.intents
			r.rest(staleRest)
		}
	case ctx.Err() != nil:
	default:
		r.log.Error("a transition could not be stored; it is tried again", "status", c.state.Status, "error", result.err)
		r.rest(errorRest)
		r.dirty = true
	}
}

// misses says whether the runner has not been told yet of something in read.
func (r *runner) misses(read quell.Intents) bool {
	known := r.intents
	return read.OwnRevision() != known.OwnRevision() || read.StarRevision != known.StarRevision ||
		slices.ContainsFunc(read.All, func(i quell.StoredIntent) bool {
			return i.Revision != read.StarRevision && i.Revision > known.AllRevision
		})
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
	r.cleanUp()
}
