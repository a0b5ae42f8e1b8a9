package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"quell"
	"quell/store"
)

// register registers node n and returns what it is told.
func (k *kit) register(s *store.Store, instance string) (told *feed[bool], stop func() error) {
	told = newFeed[bool](k)
	return told, k.background(func(ctx context.Context) error {
		return s.Register(ctx, quell.NodeInfo{Node: "n", Address: "http://" + instance, Instance: instance}, told.tell)
	})
}

// lease is the lease that a key is bound to.
func (k *kit) lease(key string) clientv3.LeaseID {
	k.Helper()
	r, err := k.raw.Get(k.ctx, k.prefix+key)
	require.NoError(k, err)
	require.Len(k, r.Kvs, 1)
	return clientv3.LeaseID(r.Kvs[0].Lease)
}

func testRegister(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	told, stop := k.register(k.s, "one")
	require.True(t, told.next())
	lease := k.lease("/nodes/n/info")
	require.NotZero(t, lease)
	nodes, err := k.s.Nodes(k.ctx)
	require.NoError(t, err)
	require.Equal(t, "one", nodes[0].Info.Instance)
	require.Equal(t, quell.FormatVersion, nodes[0].Info.Version)

	err = Open(t, endpoint, k.prefix).Register(k.ctx, quell.NodeInfo{Node: "n", Instance: "two"}, func(now bool) { require.False(t, now) })
	k.code(quell.CodeAlready, err)
	require.Contains(t, err.Error(), "http://one")
	require.Equal(t, lease, k.lease("/nodes/n/info"))

	again, stopAgain := k.register(Open(t, endpoint, k.prefix), "one")
	require.True(t, again.next(), "the same agent, started again, takes over")
	taken := k.lease("/nodes/n/info")
	require.NotEqual(t, lease, taken)
	require.ErrorIs(t, stop(), context.Canceled)
	require.False(t, told.next())
	require.Equal(t, taken, k.lease("/nodes/n/info"), "the end of the first does not take it off")
	require.ErrorIs(t, stopAgain(), context.Canceled)
	require.False(t, k.has("/nodes/n/info"))
	for _, id := range []clientv3.LeaseID{lease, taken} {
		r, err := k.raw.TimeToLive(k.ctx, id)
		require.NoError(t, err)
		require.EqualValues(t, -1, r.TTL, "the lease is revoked")
	}
}

func testRegisterAgain(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	told, _ := k.register(k.s, "one")
	require.True(t, told.next())
	_, err := k.raw.Revoke(k.ctx, k.lease("/nodes/n/info"))
	require.NoError(t, err)
	require.False(t, told.next())
	require.True(t, told.next())
	require.True(t, k.has("/nodes/n/info"))
	k.del("/nodes/n/info")
	require.False(t, told.next())
	require.True(t, told.next())
	require.True(t, k.has("/nodes/n/info"))
}

// candidate is one who wants to lead the scheduler.
type candidate struct {
	leads chan quell.Leader // each lead
	lost  chan struct{}     // its end
	stop  func() error
}

func (k *kit) candidate(s *store.Store, name string, leading *atomic.Int32) *candidate {
	c := &candidate{leads: make(chan quell.Leader, 16), lost: make(chan struct{}, 16)}
	c.stop = k.background(func(ctx context.Context) error {
		return s.Lead(ctx, name, func(ctx context.Context, l quell.Leader) {
			if n := leading.Add(1); n != 1 {
				k.Errorf("%d lead at once", n)
			}
			c.leads <- l
			<-ctx.Done()
			leading.Add(-1)
			c.lost <- struct{}{}
		})
	})
	return c
}

func testLead(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	var leading atomic.Int32
	tr := k.load(k.create())
	one := k.candidate(k.s, "one", &leading)
	first := <-one.leads
	two := k.candidate(Open(t, endpoint, k.prefix), "two", &leading)
	tr.State.Reason = "no room"
	_, err := k.s.CommitQueued(k.ctx, first, tr)
	require.NoError(t, err)
	require.Empty(t, two.leads)
	require.ErrorIs(t, one.stop(), context.Canceled)
	second := <-two.leads
	require.NotEqual(t, first, second)

	tr = k.load(tr.ID)
	k.unchanged(tr.ID, func() {
		_, err := k.s.CommitQueued(k.ctx, first, tr)
		k.code(quell.CodeNotOwner, err)
	})
	_, err = k.s.CommitQueued(k.ctx, second, tr)
	require.NoError(t, err)

	// A lead that ends behind the leader's back.
	r, err := k.raw.Get(k.ctx, second.Key)
	require.NoError(t, err)
	_, err = k.raw.Revoke(k.ctx, clientv3.LeaseID(r.Kvs[0].Lease))
	require.NoError(t, err)
	<-two.lost
	third := <-two.leads
	require.NotEqual(t, second, third)
	tr = k.load(tr.ID)
	_, err = k.s.CommitQueued(k.ctx, second, tr)
	k.code(quell.CodeNotOwner, err)
	require.ErrorIs(t, two.stop(), context.Canceled)
	require.Empty(t, k.keys("/scheduler/"), "nothing is left behind")
}

// testPartition cuts a leading and registered process off for longer than its
// leases live.
func testPartition(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	p, s := k.proxied(time.Second)
	var leading atomic.Int32
	told, _ := k.register(s, "one")
	require.True(t, told.next())
	one := k.candidate(s, "one", &leading)
	first := <-one.leads
	two := k.candidate(k.s, "two", &leading)
	tr := k.load(k.create())
	p.Cut()
	began := time.Now()
	var all sync.WaitGroup
	all.Go(func() { <-one.lost }) // by its own clock
	second := <-two.leads
	require.Less(t, time.Since(began), 15*time.Second)
	all.Wait()
	require.False(t, told.next())
	require.False(t, k.has("/nodes/n/info"))
	_, err := k.s.CommitQueued(k.ctx, first, tr)
	k.code(quell.CodeNotOwner, err)
	_, err = k.s.CommitQueued(k.ctx, second, tr)
	require.NoError(t, err)

	began = time.Now()
	p.Resume()
	told.until(func(now bool) bool { return now })
	require.Less(t, time.Since(began), 10*time.Second, "a long outage is not followed by a longer one")
}
