package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"quell"
)

// Load reads one job and the intents that concern it at one revision.
func (s *Store) Load(ctx context.Context, id string) (quell.Job, quell.Intents, error) {
	ops := append(s.jobOps(id), clientv3.OpGet(s.keys.output(id)),
		clientv3.OpGet(s.keys.aborts(), clientv3.WithPrefix()), clientv3.OpGet(s.keys.star()))
	r, err := s.read(ctx, ops...)
	if err != nil {
		return quell.Job{}, quell.Intents{}, err
	}
	job, err := found(id)(parseJob(r.Responses[:keysPerJob]))
	if err != nil {
		return quell.Job{}, quell.Intents{}, err
	}
	intents := quell.Intents{Own: job.Intent, AllRevision: r.Header.Revision}
	for _, kv := range r.Responses[keysPerJob].GetResponseRange().Kvs {
		intents.All = append(intents.All, abortAllIntent(kv))
	}
	for _, kv := range r.Responses[keysPerJob+1].GetResponseRange().Kvs {
		intents.All = append(intents.All, starIntent(kv))
		intents.StarRevision = kv.ModRevision
	}
	return job, intents, nil
}

// Commit stores a transition of the job's owner and returns the new revision
// of its status. Where etcd does not answer it finds out what became of the
// transition, as long as ctx lasts.
//
// CodeStale: the status or an intent has changed since it was read.
// CodeNotOwner: the job is somebody else's now, or final.
func (s *Store) Commit(ctx context.Context, t quell.Transition) (int64, error) {
	return s.commit(ctx, change{Transition: t})
}

// CommitQueued is Commit by the leading scheduler, for a job that is QUEUED.
// CodeNotOwner is also returned when another process leads it now.
func (s *Store) CommitQueued(ctx context.Context, l quell.Leader, t quell.Transition) (int64, error) {
	return s.commit(ctx, change{Transition: t, leader: &l})
}

// Assign is CommitQueued that gives the job to a node and takes the locks that
// stand in its status, all or none. It also compares that the node is still
// registered as it was read, and that the locks are free: that was so at
// locksRevision, up to which the caller knows of all locks. CodeStale: one of
// these is not so any more. The revision that it returns is the new token, too.
func (s *Store) Assign(ctx context.Context, l quell.Leader, t quell.Transition, node quell.Node, attempt int, locksRevision int64) (int64, error) {
	if node.Revision == 0 {
		return 0, quell.Errorf(quell.CodeStale, "node %s is not registered", node.Info.Node)
	}
	active, err := encode(s.keys.active(t.ID), quell.Active{Node: node.Info.Node, Attempt: attempt})
	if err != nil {
		return 0, err
	}
	locks := t.State.WantedLocks()
	return s.commit(ctx, change{
		Transition: t, leader: &l, relies: true,
		compares: append(s.areFree(locks, locksRevision),
			clientv3.Compare(clientv3.CreateRevision(s.keys.nodeInfo(node.Info.Node)), "=", node.Revision)),
		ops: append([]clientv3.Op{
			clientv3.OpPut(s.keys.active(t.ID), active),
			clientv3.OpPut(s.keys.index(node.Info.Node, t.ID), fmt.Sprintf(`{"attempt":%d}`, attempt)),
		}, s.takeOps(locks, t.ID)...),
	})
}

func leads(l quell.Leader) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(l.Key), "=", l.Revision)
}

// checkLeader refuses a leader that never led: its compare would succeed.
func checkLeader(l quell.Leader) error {
	if l.Key == "" || l.Revision == 0 {
		return errDeposed()
	}
	return nil
}

func stillLeads(l quell.Leader, read *pb.ResponseOp) bool {
	kvs := read.GetResponseRange().Kvs
	return len(kvs) > 0 && kvs[0].CreateRevision == l.Revision
}

func errDeposed() error {
	return quell.Errorf(quell.CodeNotOwner, "another process leads the scheduler now")
}

// change is a transition with what its kind adds.
type change struct {
	quell.Transition
	leader   *quell.Leader // nil: the owner's own
	relies   bool          // it must have been decided on the intents
	compares []clientv3.Cmp
	ops      []clientv3.Op
}

// check refuses what compares could not: a key that is missing has revision 0.
func (c *change) check() error {
	switch {
	case c.leader != nil && checkLeader(*c.leader) != nil:
		return errDeposed()
	case c.Token == 0:
		return errNotOwner(c.ID)
	case c.StateRevision == 0:
		return quell.Errorf(quell.CodeInternal, "a transition of job %s does not say which status it was made from", c.ID)
	case !c.State.Status.Known():
		return quell.Errorf(quell.CodeInternal, "a transition of job %s leads to the unknown status %q", c.ID, c.State.Status)
	case c.Intents == nil && (c.relies || c.State.Status.Final()):
		return quell.Errorf(quell.CodeInternal, "a transition of job %s to %s relies on no intents", c.ID, c.State.Status)
	}
	return nil
}

func errNotOwner(id string) error {
	return quell.Errorf(quell.CodeNotOwner, "job %s belongs to somebody else now, or is final", id)
}

// commit builds the transaction, sends it, and settles an unknown result.
func (s *Store) commit(ctx context.Context, c change) (int64, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	key := s.keys.status(c.ID)
	c.State.Version = quell.FormatVersion
	value, err := encode(key, c.State)
	if err != nil {
		return 0, err
	}
	if len(value) > quell.MaxStateSize {
		return 0, quell.Errorf(quell.CodeTooLarge, "the status of job %s has %d bytes: at most %d", c.ID, len(value), quell.MaxStateSize)
	}
	output, err := s.outputOps(c.Transition)
	if err != nil {
		return 0, err
	}
	t := transaction{
		compares: append(s.reliesOn(c.Transition), c.compares...),
		then:     slices.Concat([]clientv3.Op{clientv3.OpPut(key, value)}, output, c.ops, s.finalOps(c.Transition)),
		orElse:   []clientv3.Op{clientv3.OpGet(s.keys.active(c.ID)), clientv3.OpGet(key)},
	}
	if c.leader != nil {
		t.compares = append(t.compares, leads(*c.leader))
		t.orElse = append(t.orElse, clientv3.OpGet(c.leader.Key))
	}
	r, doubt, err := s.settle(ctx, t)
	if err != nil || r.succeeded {
		return r.revision, err
	}
	active, status := r.responses[0].GetResponseRange().Kvs, r.responses[1].GetResponseRange().Kvs
	switch {
	case doubt && len(status) > 0 && string(status[0].Value) == value && status[0].ModRevision != c.StateRevision:
		return status[0].ModRevision, nil // an earlier try arrived
	case c.leader != nil && !stillLeads(*c.leader, r.responses[2]):
		return 0, errDeposed()
	case len(active) == 0 || active[0].ModRevision != c.Token:
		return 0, errNotOwner(c.ID)
	}
	return 0, quell.Errorf(quell.CodeStale, "what is stored of job %s has changed since it was read", c.ID)
}

// reliesOn compares the owner's token, the status and, where the transition
// was decided on them, the intents.
func (s *Store) reliesOn(t quell.Transition) []clientv3.Cmp {
	compares := []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(s.keys.active(t.ID)), "=", t.Token),
		clientv3.Compare(clientv3.ModRevision(s.keys.status(t.ID)), "=", t.StateRevision),
	}
	if i := t.Intents; i != nil {
		compares = append(compares,
			clientv3.Compare(clientv3.ModRevision(s.keys.abort(t.ID)), "=", i.OwnRevision()),
			clientv3.Compare(clientv3.ModRevision(s.keys.aborts()).WithPrefix(), "<", i.AllRevision+1),
			clientv3.Compare(clientv3.ModRevision(s.keys.star()), "=", i.StarRevision))
	}
	return compares
}

// finalOps ends what lives only until the job is final.
func (s *Store) finalOps(t quell.Transition) []clientv3.Op {
	if !t.State.Status.Final() {
		return nil
	}
	ops := []clientv3.Op{clientv3.OpDelete(s.keys.active(t.ID)), clientv3.OpDelete(s.keys.progress(t.ID))}
	if node := cmp.Or(t.Node, t.State.Node); node != "" {
		ops = append(ops, clientv3.OpDelete(s.keys.index(node, t.ID)))
	}
	return append(ops, s.releaseOps(t.State.WantedLocks(), t.ID)...)
}

// outputOps stores the job's output where the transition has one.
func (s *Store) outputOps(t quell.Transition) ([]clientv3.Op, error) {
	if t.Output == nil {
		return nil, nil
	}
	key := s.keys.output(t.ID)
	value, err := encode(key, quell.Output{Version: quell.FormatVersion, Output: t.Output})
	if err != nil {
		return nil, err
	}
	if len(value) > quell.MaxOutputSize {
		return nil, quell.Errorf(quell.CodeTooLarge, "the output of job %s has %d bytes: at most %d", t.ID, len(value), quell.MaxOutputSize)
	}
	return []clientv3.Op{clientv3.OpPut(key, value)}, nil
}

// PutProgress stores a job's progress while its owner holds this token. It is
// not tried again: the next one is newer.
func (s *Store) PutProgress(ctx context.Context, id string, token int64, p quell.Progress) error {
	if token == 0 {
		return errNotOwner(id)
	}
	key := s.keys.progress(id)
	value, err := encode(key, p)
	if err != nil {
		return err
	}
	if len(value) > quell.MaxProgressSize {
		return quell.Errorf(quell.CodeTooLarge, "the progress of job %s has %d bytes: at most %d", id, len(value), quell.MaxProgressSize)
	}
	r := s.batch.commit(ctx, transaction{
		compares: []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(s.keys.active(id)), "=", token)},
		then:     []clientv3.Op{clientv3.OpPut(key, value)},
	})
	if r.err == nil && !r.succeeded {
		return errNotOwner(id)
	}
	return writeError(r.err)
}
