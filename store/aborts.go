package store

import (
	"context"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"quell"
)

// FollowAborts tells of the abort-all intents, the emergency key among them,
// until ctx ends. The first call comes once both have been read. It also
// makes the copies of the emergency key that the design asks for.
func (s *Store) FollowAborts(ctx context.Context, changed func(quell.AbortAll)) error {
	a := &abortFollower{store: s, changed: changed, all: map[string]quell.StoredIntent{}}
	var both sync.WaitGroup
	both.Go(func() { _ = s.follow(ctx, a.prefixFollower()) })
	both.Go(func() { _ = s.follow(ctx, a.starFollower(ctx)) })
	both.Wait()
	return ctx.Err()
}

type abortFollower struct {
	store   *Store
	changed func(quell.AbortAll)

	mu       sync.Mutex
	all      map[string]quell.StoredIntent
	star     *quell.StoredIntent
	revision int64
	ready    [2]bool
}

// update changes what is known under the lock and hands it out.
func (a *abortFollower) update(part int, change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	a.ready[part] = true
	if !a.ready[0] || !a.ready[1] {
		return
	}
	out := quell.AbortAll{Revision: a.revision}
	for _, i := range a.all {
		out.Intents = append(out.Intents, i)
	}
	if a.star != nil {
		out.Star = a.star.Revision
		out.Intents = append(out.Intents, *a.star)
	}
	a.changed(out)
}

func (a *abortFollower) prefixFollower() *follower {
	return &follower{
		key: a.store.keys.aborts(), prefix: true,
		reset: func(all []*mvccpb.KeyValue, revision int64) {
			a.update(0, func() {
				clear(a.all)
				for _, kv := range all {
					a.all[string(kv.Key)] = abortAllIntent(kv)
				}
				a.revision = revision
			})
		},
		apply: func(events []*clientv3.Event) {
			a.update(0, func() {
				for _, e := range events {
					if e.Type == clientv3.EventTypePut {
						a.all[string(e.Kv.Key)] = abortAllIntent(e.Kv)
					} else {
						delete(a.all, string(e.Kv.Key))
					}
					// The answer's own revision can be ahead of its events
					// where many are on their way: a transition that
					// compares it would not notice those to come.
					a.revision = e.Kv.ModRevision
				}
			})
		},
	}
}

func (a *abortFollower) starFollower(ctx context.Context) *follower {
	set := func(kv *mvccpb.KeyValue) {
		a.update(1, func() {
			if a.star = nil; kv != nil {
				star := starIntent(kv)
				a.star = &star
			}
		})
	}
	return &follower{
		key: a.store.keys.star(), history: true,
		reset: func(all []*mvccpb.KeyValue, _ int64) {
			if len(all) == 0 {
				set(nil)
				return
			}
			set(all[len(all)-1])
			for _, kv := range all {
				if a.store.hitsAny(ctx, kv.ModRevision) {
					a.store.copyStar(ctx, kv)
				}
			}
		},
		apply: func(events []*clientv3.Event) {
			for _, e := range events { // each one: an overwritten word counts too
				if e.Type != clientv3.EventTypePut {
					set(nil)
					continue
				}
				set(e.Kv)
				a.store.copyStar(ctx, e.Kv)
			}
		},
	}
}

// hitsAny says whether a job is active that is older than the revision. Where
// the answer does not come it says so too: a copy too many does no harm.
func (s *Store) hitsAny(ctx context.Context, revision int64) bool {
	r, err := s.get(ctx, s.keys.actives(), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithMaxCreateRev(revision-1), clientv3.WithLimit(1))
	return err != nil || len(r.Kvs) > 0
}

// copyStar keeps the emergency key's value against being overwritten. One of
// all who see it succeeds.
func (s *Store) copyStar(ctx context.Context, kv *mvccpb.KeyValue) {
	if _, err := quell.ParseIntent(kv.Value); err != nil {
		s.log.Error("the emergency abort key is not acted on", "key", string(kv.Key), "error", err)
		return
	}
	to := s.keys.starCopy(kv.ModRevision)
	_, _, err := s.settle(ctx, transaction{
		compares: []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(to), "=", 0)},
		then:     []clientv3.Op{clientv3.OpPut(to, string(kv.Value))},
	})
	if err != nil && ctx.Err() == nil {
		// It is in effect without the copy, and the next reader tries again.
		s.log.Warn("the emergency abort key was not copied", "key", to, "error", err)
	}
}

// FollowIntent tells of a job's own abort key until ctx ends; nil: there is
// none. Every value is told in its turn, also one that was overwritten at
// once, or before anybody looked.
func (s *Store) FollowIntent(ctx context.Context, id string, changed func(*quell.StoredIntent)) error {
	return s.follow(ctx, &follower{
		key: s.keys.abort(id), history: true, lazy: true,
		reset: func(all []*mvccpb.KeyValue, _ int64) {
			if len(all) == 0 {
				changed(nil)
			}
			for _, kv := range all {
				changed(ownIntent(kv))
			}
		},
		apply: func(events []*clientv3.Event) {
			for _, e := range events {
				if e.Type == clientv3.EventTypePut {
					changed(ownIntent(e.Kv))
				} else {
					changed(nil)
				}
			}
		},
	})
}

// ownIntent reads a job's own abort key.
func ownIntent(kv *mvccpb.KeyValue) *quell.StoredIntent {
	i := storedIntent(kv)
	return &i
}

// abortAllIntent reads a key below /aborts/. It hits the jobs that are older
// than its latest value; an emergency copy those older than the original. The
// name of a copy can only lower the bound: nothing hits jobs yet to come.
func abortAllIntent(kv *mvccpb.KeyValue) quell.StoredIntent {
	i := storedIntent(kv)
	i.Before = kv.ModRevision
	if revision, ok := starRevision(i.Key); ok {
		i.Before = min(revision, i.Before)
	}
	return i
}

// starIntent reads the emergency key.
func starIntent(kv *mvccpb.KeyValue) quell.StoredIntent {
	i := storedIntent(kv)
	i.Before = kv.ModRevision
	return i
}

func storedIntent(kv *mvccpb.KeyValue) quell.StoredIntent {
	intent, err := quell.ParseIntent(kv.Value)
	return quell.StoredIntent{Key: string(kv.Key), Revision: kv.ModRevision, Intent: intent, Err: err}
}
