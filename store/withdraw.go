package store

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"quell"
)

// WithdrawIntent deletes the job's own intent: a graceful one that has not
// taken effect, or one that cannot be read. What that was decided on is
// compared. It returns the job as it is then and the revision of the store.
//
// CodeNotFound: there is no such job or intent. CodeConflict: it is force, has
// taken effect, or the job is final.
func (s *Store) WithdrawIntent(ctx context.Context, id string) (quell.Job, int64, error) {
	w := &withdrawal{store: s, id: id}
	err := retry(ctx, func() (bool, error) { return w.try(ctx) })
	return w.job, w.revision, err
}

// withdrawal is one WithdrawIntent under way.
type withdrawal struct {
	store *Store
	id    string

	job      quell.Job
	revision int64
	sent     int64 // the mod revision of a key whose deletion may have arrived
}

func (w *withdrawal) try(ctx context.Context) (bool, error) {
	job, err := w.store.Job(ctx, w.id)
	if err != nil {
		if w.sent != 0 {
			return quell.CodeOf(err) == quell.CodeUnavailable, inDoubt(err)
		}
		return false, err
	}
	w.job = job
	if w.sent != 0 && (job.Intent == nil || job.Intent.Revision != w.sent) {
		return false, nil // the earlier try arrived, or somebody asked anew since
	}
	if err := withdrawable(job); err != nil {
		return false, err
	}
	key, status := w.store.keys.abort(w.id), w.store.keys.status(w.id)
	r := w.store.batch.commit(ctx, transaction{
		compares: []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(w.store.keys.active(w.id)), "=", job.Token),
			clientv3.Compare(clientv3.ModRevision(status), "=", job.StateRevision),
			clientv3.Compare(clientv3.ModRevision(key), "=", job.Intent.Revision),
		},
		then: []clientv3.Op{clientv3.OpDelete(key)},
	})
	switch err := writeError(r.err); {
	case quell.CodeOf(err) == quell.CodeUnknown:
		w.sent = job.Intent.Revision
		return true, err
	case err != nil && w.sent != 0:
		return !errors.Is(err, errClosed), inDoubt(err)
	case err != nil:
		return false, err
	case !r.succeeded:
		return true, nil // it changed meanwhile: read again
	}
	w.job.Intent, w.revision = nil, r.revision
	return false, nil
}

// withdrawable says why the job's intent cannot be withdrawn, if it cannot.
func withdrawable(job quell.Job) error {
	id, a := job.Spec.ID, job.State.Abort
	switch {
	case job.Token == 0:
		return quell.Errorf(quell.CodeConflict, "job %s is final (%s): there is nothing left to withdraw", id, job.State.Status)
	case job.Intent == nil:
		return quell.Errorf(quell.CodeNotFound, "job %s has no abort intent of its own", id)
	case job.Intent.Err == nil && job.Intent.Intent.Mode == quell.Force:
		return quell.Errorf(quell.CodeConflict, "the abort of job %s is force: only a graceful one can be withdrawn", id)
	case a != nil && a.Outcome == "" && a.Mode == quell.Force:
		return quell.Errorf(quell.CodeConflict, "the abort of job %s has turned to force: it can no longer be withdrawn", id)
	case job.State.AbortTookEffect():
		return quell.Errorf(quell.CodeConflict, "the abort of job %s has taken effect already (%s)", id, job.State.Status)
	}
	return nil
}
