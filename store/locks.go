package store

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"quell"
)

// A lock's value is the id of the job that holds it. The scheduler takes a
// job's locks in the transaction that assigns it, an agent those of devices
// that turn up in the middle of a job; all are released in the final
// transaction (design: Keys in etcd).

const (
	// locksOneByOne is how many locks are compared one by one. More are
	// compared as a range, which also fails where a lock of the same fabric
	// was taken that is of no interest.
	locksOneByOne = 32
	// locksInside is how many locks one inner transaction writes.
	locksInside = 48
)

// areFree compares that nobody holds the locks.
func (s *Store) areFree(locks []quell.Lock, revision int64) []clientv3.Cmp {
	if len(locks) > locksOneByOne { // of devices, all of one fabric
		return []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(s.keys.deviceLocks(locks[0].Fabric)).WithPrefix(), "<", revision+1)}
	}
	compares := make([]clientv3.Cmp, 0, len(locks))
	for _, l := range locks {
		compares = append(compares, clientv3.Compare(clientv3.CreateRevision(s.keys.lock(l)), "=", 0))
	}
	return compares
}

// takeOps writes the locks, which are compared to be free.
func (s *Store) takeOps(locks []quell.Lock, id string) []clientv3.Op {
	ops := make([]clientv3.Op, 0, len(locks))
	for _, l := range locks {
		ops = append(ops, clientv3.OpPut(s.keys.lock(l), id))
	}
	return inner(ops)
}

// releaseOps deletes those of the locks that the job holds.
func (s *Store) releaseOps(locks []quell.Lock, id string) []clientv3.Op {
	ops := make([]clientv3.Op, 0, len(locks))
	for _, l := range locks {
		key := s.keys.lock(l)
		ops = append(ops, clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.Value(key), "=", id)}, []clientv3.Op{clientv3.OpDelete(key)}, nil))
	}
	return inner(ops)
}

// inner puts many operations into transactions inside, since etcd bounds how
// many stand side by side.
func inner(ops []clientv3.Op) []clientv3.Op {
	if len(ops) <= locksOneByOne {
		return ops
	}
	var outer []clientv3.Op
	for chunk := range slices.Chunk(ops, locksInside) {
		outer = append(outer, clientv3.OpTxn(nil, chunk, nil))
	}
	return outer
}

// TakeLocks takes those of the locks that are free, for a job whose owner has
// this token and whose stored status wants them. It returns who holds the
// others, by the device. It may be repeated.
func (s *Store) TakeLocks(ctx context.Context, id string, token int64, locks []quell.Lock) (map[string]string, error) {
	if token == 0 {
		return nil, errNotOwner(id)
	}
	holders := map[string]string{}
	for chunk := range slices.Chunk(locks, locksInside) {
		t := transaction{compares: []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(s.keys.active(id)), "=", token)}}
		for _, l := range chunk {
			key := s.keys.lock(l)
			t.then = append(t.then, clientv3.OpTxn(
				[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
				[]clientv3.Op{clientv3.OpPut(key, id)}, []clientv3.Op{clientv3.OpGet(key)}))
		}
		r, _, err := s.settle(ctx, t)
		if err != nil {
			return nil, err
		}
		if !r.succeeded {
			return nil, errNotOwner(id)
		}
		for i, l := range chunk {
			if holder := holderOf(r.responses[i]); holder != "" && holder != id {
				holders[l.Device] = holder
			}
		}
	}
	return holders, nil
}

// Holders reads who holds the locks now; those that are free are left out.
func (s *Store) Holders(ctx context.Context, locks []quell.Lock) (map[quell.Lock]string, error) {
	held := map[quell.Lock]string{}
	for chunk := range slices.Chunk(locks, nestedOps) {
		ops := make([]clientv3.Op, len(chunk))
		for i, l := range chunk {
			ops[i] = clientv3.OpGet(s.keys.lock(l))
		}
		r, err := s.read(ctx, ops...)
		if err != nil {
			return nil, err
		}
		for i, l := range chunk {
			if kvs := r.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
				held[l] = string(kvs[0].Value)
			}
		}
	}
	return held, nil
}

// holderOf reads who has a lock that was not free.
func holderOf(response *pb.ResponseOp) string {
	t := response.GetResponseTxn()
	if t.Succeeded {
		return ""
	}
	kvs := t.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return ""
	}
	return string(kvs[0].Value)
}

// FollowLocks tells of all locks that are held, and by whom, and then of each
// change, until ctx ends.
func (s *Store) FollowLocks(ctx context.Context, changed func(quell.LockChanges)) error {
	put := func(c *quell.LockChanges, kv *mvccpb.KeyValue) {
		if l, ok := s.keys.parseLock(string(kv.Key)); ok {
			c.Held[l] = string(kv.Value)
		}
	}
	return s.follow(ctx, &follower{
		key: s.keys.locks(), prefix: true,
		reset: func(all []*mvccpb.KeyValue, revision int64) {
			c := quell.LockChanges{Reset: true, Held: map[quell.Lock]string{}, Revision: revision}
			for _, kv := range all {
				put(&c, kv)
			}
			changed(c)
		},
		apply: func(events []*clientv3.Event) {
			// One change for the events of one revision, in which a lock is
			// either taken or freed.
			for len(events) > 0 {
				c := quell.LockChanges{Held: map[quell.Lock]string{}, Revision: events[0].Kv.ModRevision}
				for ; len(events) > 0 && events[0].Kv.ModRevision == c.Revision; events = events[1:] {
					if events[0].Type == clientv3.EventTypePut {
						put(&c, events[0].Kv)
					} else if l, ok := s.keys.parseLock(string(events[0].Kv.Key)); ok {
						c.Freed = append(c.Freed, l)
					}
				}
				changed(c)
			}
		},
	})
}
