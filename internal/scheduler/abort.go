package scheduler

import (
	"context"
	"slices"

	"quell"
)

// watchedIntent is a queued job's own abort key, as the term follows it.
type watchedIntent struct {
	stop   context.CancelFunc
	stored *quell.StoredIntent
	// forced is a force abort that was stored once: neither overwriting nor
	// deleting the key takes it back.
	forced *quell.StoredIntent
}

// take takes the next value of the key.
func (w *watchedIntent) take(i *quell.StoredIntent) {
	w.stored = i
	if i != nil && i.Err == nil && i.Intent.Mode == quell.Force {
		w.forced = i
	}
}

// effective is what holds for the job. Nothing is watched where w is nil.
func (w *watchedIntent) effective(all []quell.StoredIntent, specRevision int64) quell.Effective {
	if w == nil {
		return quell.EffectiveIntent(nil, all, specRevision)
	}
	if w.forced != nil {
		return quell.EffectiveIntent(w.forced, all, specRevision)
	}
	return quell.EffectiveIntent(w.stored, all, specRevision)
}

func (t *term) watchIntent(ctx context.Context, id string) {
	if t.intents[id] != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watchedIntent{stop: cancel}
	t.intents[id] = w
	t.working.Go(func() {
		_ = t.Store.FollowIntent(ctx, id, func(i *quell.StoredIntent) { t.news(func() { w.take(i) }) })
	})
}

// forced returns the force abort that a waiting job's key once held.
func (t *term) forced(id string) *quell.StoredIntent {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.intents[id]; w != nil {
		return w.forced
	}
	return nil
}

// abortsWork stands for the deletion of abort-all intents where a job's id
// would be.
const abortsWork = "aborts"

// cleanAborts deletes the abort-all intents that have hit all they can hit.
func (t *term) cleanAborts(ctx context.Context) {
	if t.busy[abortsWork] || t.resting(abortsWork) {
		return
	}
	oldest := int64(-1)
	for _, job := range t.active {
		if oldest < 0 || job.SpecRevision < oldest {
			oldest = job.SpecRevision
		}
	}
	var over []quell.StoredIntent
	for _, i := range t.aborts.Intents {
		if emergency := i.Revision == t.aborts.Star; !emergency && (oldest < 0 || oldest >= i.Before) {
			over = append(over, i)
		}
	}
	if len(over) > 0 {
		t.do(ctx, abortsWork, func() error { return t.deleteAborts(ctx, over) })
	}
}

// deleteAborts makes sure by a read of its own: the followed map may be older
// than the intent, and miss a job that it hits.
func (t *term) deleteAborts(ctx context.Context, over []quell.StoredIntent) error {
	jobs, _, err := t.Store.ActiveJobs(ctx)
	if err != nil {
		return err
	}
	over = slices.DeleteFunc(over, func(i quell.StoredIntent) bool {
		return slices.ContainsFunc(jobs, func(j quell.ActiveJob) bool { return j.SpecRevision < i.Before })
	})
	if len(over) == 0 {
		return nil
	}
	return t.Store.DeleteAborts(ctx, t.leader, over)
}
