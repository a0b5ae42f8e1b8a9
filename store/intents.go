package store

import (
	"context"
	"errors"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"

	"quell"
)

// PutIntent asks for an abort of one job. It merges the intent with the one
// that is stored and writes only what adds something, while the job is
// active. It returns the job as it is then, and whether it wrote.
func (s *Store) PutIntent(ctx context.Context, id string, intent quell.Intent) (quell.Job, bool, error) {
	p := &intentPut{store: s, id: id, intent: intent}
	// What goes to etcd has to be what a reader makes of it.
	value, err := encode(s.keys.abort(id), intent)
	if err != nil {
		return quell.Job{}, false, err
	}
	if p.intent, err = quell.ParseIntent([]byte(value)); err != nil {
		return quell.Job{}, false, err
	}
	err = retry(ctx, func() (bool, error) { return p.try(ctx) })
	return p.job, p.written, err
}

// intentPut is one PutIntent under way.
type intentPut struct {
	store  *Store
	id     string
	intent quell.Intent

	job     quell.Job
	sent    string // the value of an earlier try that may have arrived
	written bool
}

// try reads the job and writes what the intent adds. It says whether to try
// again.
func (p *intentPut) try(ctx context.Context) (bool, error) {
	job, err := p.store.Job(ctx, p.id)
	if err != nil {
		if p.sent != "" {
			return quell.CodeOf(err) == quell.CodeUnavailable, inDoubt(err)
		}
		return false, err
	}
	p.job = job
	key, stored := p.store.keys.abort(p.id), quell.Intent{}
	if job.Intent != nil && job.Intent.Err == nil {
		stored = job.Intent.Intent
		if value, err := encode(key, stored); err == nil && p.sent == value {
			p.written = true // by the earlier try
			return false, nil
		}
	}
	if job.Token == 0 || !stored.Adds(p.intent) {
		return false, nil
	}
	merged := stored.Merge(p.intent)
	value, err := encode(key, merged)
	if err != nil {
		return false, err
	}
	r := p.store.batch.commit(ctx, transaction{
		compares: []clientv3.Cmp{
			clientv3.Compare(clientv3.CreateRevision(p.store.keys.active(p.id)), ">", 0),
			clientv3.Compare(clientv3.ModRevision(key), "=", quell.Intents{Own: job.Intent}.OwnRevision()),
		},
		then: []clientv3.Op{clientv3.OpPut(key, value)},
	})
	switch err := writeError(r.err); {
	case quell.CodeOf(err) == quell.CodeUnknown:
		p.sent = value
		return true, err
	case err != nil && p.sent != "":
		return !errors.Is(err, errClosed), inDoubt(err)
	case err != nil:
		return false, err
	case !r.succeeded:
		return true, nil // it changed meanwhile: read again
	}
	p.job.Intent = &quell.StoredIntent{Key: key, Revision: r.revision, Intent: merged}
	p.written = true
	return false, nil
}

// PutAbortAll asks for an abort of every job that is older than the revision
// that it returns.
func (s *Store) PutAbortAll(ctx context.Context, intent quell.Intent) (int64, error) {
	key := s.keys.aborts() + uuid.NewString()
	value, err := encode(key, intent)
	if err != nil {
		return 0, err
	}
	if _, err := quell.ParseIntent([]byte(value)); err != nil {
		return 0, err
	}
	// Where an earlier try arrived, and was done and deleted before this one,
	// it is an abort-all once more, of a later revision; the caller has not
	// had an answer yet, so that is its revision.
	r, _, err := s.settle(ctx, transaction{
		compares: []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
		then:     []clientv3.Op{clientv3.OpPut(key, value)},
		orElse:   []clientv3.Op{clientv3.OpGet(key)},
	})
	if err != nil || r.succeeded {
		return r.revision, err
	}
	return r.responses[0].GetResponseRange().Kvs[0].ModRevision, nil
}

// DeleteAborts removes abort-all intents that no active job is older than. Its
// caller has read ActiveJobs since it read the intents: no older job can come
// after that.
func (s *Store) DeleteAborts(ctx context.Context, l quell.Leader, stored []quell.StoredIntent) error {
	if err := checkLeader(l); err != nil {
		return err
	}
	for _, i := range stored {
		if i.Key == s.keys.star() {
			continue // lives until it is overwritten
		}
		r := s.batch.commit(ctx, transaction{
			compares: []clientv3.Cmp{leads(l), clientv3.Compare(clientv3.ModRevision(i.Key), "=", i.Revision)},
			then:     []clientv3.Op{clientv3.OpDelete(i.Key)},
			orElse:   []clientv3.Op{clientv3.OpGet(l.Key)},
		})
		if r.err != nil {
			return writeError(r.err)
		}
		if !r.succeeded && !stillLeads(l, r.responses[0]) {
			return errDeposed()
		}
	}
	return nil
}
