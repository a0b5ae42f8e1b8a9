package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"quell"
)

// LeaseTTL is how long a node or a scheduler counts as there after its last
// sign of life (design: Keys in etcd).
const LeaseTTL = 10 * time.Second

// Register tells the cluster of a node and keeps it told until ctx ends; then
// it takes the node off the list. registered is called with true and false as
// that changes. CodeAlready: another agent uses the name.
func (s *Store) Register(ctx context.Context, info quell.NodeInfo, registered func(bool)) error {
	info.Version = quell.FormatVersion
	for {
		err := s.registerOnce(ctx, info, registered)
		registered(false)
		if ctx.Err() != nil || quell.CodeOf(err) == quell.CodeAlready {
			return err
		}
		s.log.Warn("the node's registration is lost and is made anew", "node", info.Node, "error", err)
		if !rest(ctx, 500*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// registerOnce holds one lease until it is lost or ctx ends.
func (s *Store) registerOnce(ctx context.Context, info quell.NodeInfo, registered func(bool)) error {
	lease, end, err := s.grant(ctx)
	if err != nil {
		return err
	}
	defer end()
	value, err := encode(s.keys.nodeInfo(info.Node), info)
	if err != nil {
		return err
	}
	if err := s.putInfo(ctx, info, value, lease); err != nil {
		return err
	}
	// The lease outlives ctx, so that end can revoke it; but not end, which
	// may fail to.
	kept, letGo := context.WithCancel(s.client.Ctx())
	defer letGo()
	alive, err := s.client.KeepAlive(kept, lease)
	if err != nil {
		return fmt.Errorf("keep the lease of node %s: %w", info.Node, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer func() { cancel(nil); watching.Wait() }()
	watching.Go(func() { _ = s.follow(ctx, s.infoFollower(info.Node, cancel)) })
	registered(true)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case answer := <-alive:
			if answer == nil {
				return fmt.Errorf("the lease of node %s has run out", info.Node)
			}
		}
	}
}

// infoFollower calls lost when the node's info is gone, by whatever way.
func (s *Store) infoFollower(node string, lost context.CancelCauseFunc) *follower {
	gone := fmt.Errorf("the info of node %s was deleted", node)
	return &follower{
		key: s.keys.nodeInfo(node), lazy: true,
		reset: func(all []*mvccpb.KeyValue, _ int64) {
			if len(all) == 0 {
				lost(gone)
			}
		},
		apply: func(events []*clientv3.Event) {
			if events[len(events)-1].Type == clientv3.EventTypeDelete {
				lost(gone)
			}
		},
	}
}

// putInfo writes the node's info unless another instance holds the name.
func (s *Store) putInfo(ctx context.Context, info quell.NodeInfo, value string, lease clientv3.LeaseID) error {
	key := s.keys.nodeInfo(info.Node)
	return retry(ctx, func() (bool, error) {
		r, err := s.get(ctx, key)
		if err != nil {
			return false, err
		}
		var revision int64
		if len(r.Kvs) > 0 {
			var there quell.NodeInfo
			if err := decode(r.Kvs[0], &there); err != nil {
				return false, err
			}
			if there.Instance != info.Instance {
				return false, quell.Errorf(quell.CodeAlready, "another agent is registered as node %s (at %s): give this one another --node",
					info.Node, there.Address)
			}
			revision = r.Kvs[0].ModRevision
		}
		t := s.batch.commit(ctx, transaction{
			compares: []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", revision)},
			then:     []clientv3.Op{clientv3.OpPut(key, value, clientv3.WithLease(lease))},
		})
		return t.err == nil && !t.succeeded, writeError(t.err)
	})
}

// grant makes a lease. end revokes it, also after ctx has ended.
func (s *Store) grant(ctx context.Context) (clientv3.LeaseID, func(), error) {
	request, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	r, err := s.client.Grant(request, int64(LeaseTTL/time.Second))
	if err != nil {
		return 0, nil, readError(err)
	}
	return r.ID, func() {
		revoke, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
		defer cancel()
		if _, err := s.client.Revoke(revoke, r.ID); err != nil {
			s.log.Debug("a lease was not revoked; it runs out by itself", "error", err)
		}
	}, nil
}

// node reads a node's info key.
func node(kv *mvccpb.KeyValue) (quell.Node, bool) {
	n := quell.Node{Revision: kv.CreateRevision}
	return n, decode(kv, &n.Info) == nil
}

// Nodes lists the nodes that are registered now.
func (s *Store) Nodes(ctx context.Context) ([]quell.Node, error) {
	r, err := s.get(ctx, s.keys.nodes(), clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	var nodes []quell.Node
	for _, kv := range r.Kvs {
		if _, ok := s.keys.infoNode(string(kv.Key)); ok {
			if n, ok := node(kv); ok {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes, nil
}

// FollowNodes tells of the registered nodes until ctx ends.
func (s *Store) FollowNodes(ctx context.Context, changed func(map[string]quell.Node)) error {
	return followMap(ctx, s, s.keys.nodes(), node, s.keys.infoNode, changed)
}

// FollowActive tells of the jobs that are not final until ctx ends.
func (s *Store) FollowActive(ctx context.Context, changed func(map[string]quell.ActiveJob)) error {
	return followMap(ctx, s, s.keys.actives(), activeJob,
		func(key string) (string, bool) { return name(key), true }, changed)
}

// FollowNodeJobs tells of the jobs that a node was given until ctx ends. The
// values are the revisions of the index keys.
func (s *Store) FollowNodeJobs(ctx context.Context, node string, changed func(map[string]int64)) error {
	return followMap(ctx, s, s.keys.nodeJobs(node),
		func(kv *mvccpb.KeyValue) (int64, bool) { return kv.ModRevision, true },
		func(key string) (string, bool) { return name(key), true }, changed)
}
