package store

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"quell/store/embedded"
)

// TestFootprint says who may share an etcd transaction with a final transition
// of job 1.
func TestFootprint(t *testing.T) {
	modified := func(key string) clientv3.Cmp { return clientv3.Compare(clientv3.ModRevision(key), "=", 1) }
	prefix := clientv3.Compare(clientv3.ModRevision("/aborts/").WithPrefix(), "<", 9)
	final := transaction{
		compares: []clientv3.Cmp{modified("/active/1"), modified("/status/1"), modified("/abort/1"), prefix},
		then:     []clientv3.Op{clientv3.OpPut("/status/1", "x"), clientv3.OpDelete("/active/1")},
	}
	for name, c := range map[string]struct {
		other transaction
		want  bool
	}{
		"another job's": {transaction{
			compares: []clientv3.Cmp{modified("/active/2"), modified("/abort/2"), prefix}, then: []clientv3.Op{clientv3.OpPut("/status/2", "x")},
		}, false},
		"the same again":      {final, true},
		"its abort":           {transaction{then: []clientv3.Op{clientv3.OpPut("/abort/1", "force")}}, true},
		"an abort-all":        {transaction{then: []clientv3.Op{clientv3.OpPut("/aborts/x", "force")}}, true},
		"the end of one":      {transaction{then: []clientv3.Op{clientv3.OpDelete("/aborts/x")}}, true},
		"its progress":        {transaction{compares: []clientv3.Cmp{modified("/active/1")}, then: []clientv3.Op{clientv3.OpPut("/progress/1", "")}}, true},
		"all active compared": {transaction{compares: []clientv3.Cmp{modified("/active/").WithPrefix()}}, true},
		"beside the prefix":   {transaction{then: []clientv3.Op{clientv3.OpPut("/aborts0", ""), clientv3.OpPut("/aborts", "")}}, false},
	} {
		f := &footprint{}
		f.add(&final)
		require.Equal(t, c.want, f.conflicts(&c.other), name)
		f = &footprint{}
		f.add(&c.other)
		require.Equal(t, c.want, f.conflicts(&final), "%s, the other way round", name)
	}
}

// TestRefusedMember has one member of a batch make etcd refuse all of it.
func TestRefusedMember(t *testing.T) {
	server, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", UnsafeNoFsync: true})
	require.NoError(t, err)
	defer server.Stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{server.Endpoint()}, Logger: zap.NewNop()})
	require.NoError(t, err)
	defer client.Close()
	b := newBatcher(client, 5*time.Second)
	defer b.close()
	for name, bad := range map[string]clientv3.Op{
		"a lease that is gone": clientv3.OpPut("/bad", "", clientv3.WithLease(12345)),
		"too large":            clientv3.OpPut("/bad", strings.Repeat("x", 1800<<10)),
		"no key":               clientv3.OpPut("", ""),
	} {
		var batch []*pending
		for _, op := range []clientv3.Op{clientv3.OpPut("/a", name), bad, clientv3.OpPut("/b", name)} {
			batch = append(batch, &pending{transaction: transaction{then: []clientv3.Op{op}}, done: make(chan reply, 1)})
		}
		b.send(batch)
		first, second, third := <-batch[0].done, <-batch[1].done, <-batch[2].done
		require.NoError(t, first.err, name)
		require.NoError(t, third.err, name)
		require.True(t, first.succeeded && third.succeeded, name)
		require.True(t, refused(second.err), "%s: %v", name, second.err)
		r, err := client.Get(t.Context(), "/a")
		require.NoError(t, err)
		require.Equal(t, name, string(r.Kvs[0].Value))
	}
}
