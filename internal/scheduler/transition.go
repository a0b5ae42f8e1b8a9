package scheduler

import (
	"context"
	"fmt"
	"time"

	"quell"
)

// place gives the job to the node, with its locks, which were free at a
// revision; or ends it where an intent has come.
func (t *term) place(ctx context.Context, id string, node quell.Node, locksRevision int64) error {
	return t.transit(ctx, id, func(job quell.Job, tr quell.Transition, now time.Time) error {
		t.settle(id, settlement{node: node.Info.Node, token: tr.Token})
		tr.State.Assign(node.Info.Node)
		if _, err := t.Store.Assign(ctx, t.leader, tr, node, job.Attempt+1, locksRevision); err != nil {
			return fmt.Errorf("place job %s on node %s: %w", id, node.Info.Node, err)
		}
		t.Metrics.JobsPlaced.Inc()
		t.Metrics.Queue.Observe(now.Sub(job.Spec.CreatedAt).Seconds())
		t.Logger.Info("a job was placed", "job", id, "node", node.Info.Node)
		return nil
	})
}

// abort ends a queued job, unless what was followed of its intents is over.
func (t *term) abort(ctx context.Context, id string) error {
	return t.transit(ctx, id, func(quell.Job, quell.Transition, time.Time) error {
		return quell.Errorf(quell.CodeStale, "the abort of job %s was withdrawn", id)
	})
}

// update writes why the job still waits, or what is wrong with its abort
// intent; it ends the job where an intent has come.
func (t *term) update(ctx context.Context, id, reason string) error {
	return t.transit(ctx, id, func(_ quell.Job, tr quell.Transition, _ time.Time) error {
		if reason != "" {
			tr.State.Reason = reason
		}
		if _, err := t.Store.CommitQueued(ctx, t.leader, tr); err != nil {
			return fmt.Errorf("write why job %s waits: %w", id, err)
		}
		return nil
	})
}

// fail ends a queued job that is not to wait any longer; or ends it where an
// intent has come.
func (t *term) fail(ctx context.Context, id, fault string) error {
	return t.transit(ctx, id, func(job quell.Job, tr quell.Transition, now time.Time) error {
		tr.State.Fail(fault)
		return t.end(ctx, job, tr, now)
	})
}

// failLocked ends a queued job that is not to wait for its locks. What is
// followed of them may be older than the job: who has seen the end of their
// holder, and started it then, is not to see it fail.
func (t *term) failLocked(ctx context.Context, id string, w *wants, fault string) error {
	t.mu.Lock()
	locks := make([]quell.Lock, len(w.locks))
	for i, l := range w.locks {
		locks[i] = t.locks.locks[l]
	}
	t.mu.Unlock()
	held, err := t.Store.Holders(ctx, locks)
	if err != nil {
		return err
	}
	t.mu.Lock()
	blocked := t.blockedNow(id, w, held)
	t.mu.Unlock()
	if !blocked {
		return quell.Errorf(quell.CodeStale, "the locks of job %s are free by now", id)
	}
	return t.fail(ctx, id, fault)
}

// transit reads a queued job and its intents, and ends it where it is aborted;
// otherwise it lets goOn do what was meant to be done. Where that comes too
// late it is done once more: an intent that is not watched shows nowhere else.
func (t *term) transit(ctx context.Context, id string, goOn func(quell.Job, quell.Transition, time.Time) error) error {
	try := func() error {
		job, intents, err := t.Store.Load(ctx, id)
		if err != nil {
			return err
		}
		if job.State.Status != quell.StatusQueued || job.Token == 0 {
			return quell.Errorf(quell.CodeStale, "job %s is no longer queued", id)
		}
		now := time.Now().UTC()
		if forced := t.forced(id); forced != nil {
			seen := intents
			seen.Own = forced
			job.State.Observe(seen.Effective(job.SpecRevision), now)
		}
		job.State.Observe(intents.Effective(job.SpecRevision), now)
		tr := quell.Transition{
			ID: id, Token: job.Token, StateRevision: job.StateRevision, Intents: &intents, State: job.State,
		}
		if job.State.Next(job.Spec.Rules(t.Limits), now).Action == quell.ActPlace {
			return goOn(job, tr, now)
		}
		return t.end(ctx, job, tr, now)
	}
	err := try()
	if code := quell.CodeOf(err); (code == quell.CodeStale || code == quell.CodeNotOwner) && ctx.Err() == nil {
		return try()
	}
	return err
}

// end makes a queued job that is aborted, or has failed, final.
func (t *term) end(ctx context.Context, job quell.Job, tr quell.Transition, now time.Time) error {
	// Whatever node was meant for it has its place back.
	t.settle(tr.ID, settlement{token: tr.Token})
	tr.State.Finish(now)
	if _, err := t.Store.CommitQueued(ctx, t.leader, tr); err != nil {
		return fmt.Errorf("end queued job %s: %w", job.Spec.ID, err)
	}
	t.Logger.Info("a queued job was ended", "job", job.Spec.ID, "status", tr.State.Status, "reason", tr.State.Reason)
	return nil
}

// settle says what is about to become of the job; see done for where it fails.
func (t *term) settle(id string, s settlement) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settled[id] = s
}
