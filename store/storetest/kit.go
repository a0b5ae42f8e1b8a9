package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"quell"
	"quell/store"
)

// patience bounds every wait of the suite.
const patience = 30 * time.Second

// kit is what a test of the suite works with: a Store with a prefix of its
// own, and etcd's client beside it, as an operator with etcdctl.
type kit struct {
	*testing.T
	endpoint string
	prefix   string
	s        *store.Store
	raw      *clientv3.Client
	ctx      context.Context //nolint:containedctx // the test's
}

func newKit(t *testing.T, endpoint string) *kit {
	t.Helper()
	prefix := Prefix(t)
	return &kit{T: t, endpoint: endpoint, prefix: prefix, s: Open(t, endpoint, prefix), raw: newRaw(t, endpoint), ctx: bounded(t)}
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func newRaw(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	raw, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = raw.Close() })
	return raw
}

// proxied adds a proxy, and a Store behind it with the kit's prefix.
func (k *kit) proxied(timeout time.Duration) (*Proxy, *store.Store) {
	k.Helper()
	p := NewProxy(k, k.endpoint)
	return p, open(k, store.Options{Endpoints: []string{p.Endpoint()}, Prefix: k.prefix, Timeout: timeout})
}

// put writes a key as etcdctl does and returns the revision.
func (k *kit) put(key, value string) int64 {
	k.Helper()
	r, err := k.raw.Put(k.ctx, k.prefix+key, value)
	require.NoError(k, err)
	return r.Header.Revision
}

func (k *kit) del(key string) {
	k.Helper()
	r, err := k.raw.Delete(k.ctx, k.prefix+key)
	require.NoError(k, err)
	require.EqualValues(k, 1, r.Deleted, key)
}

// value returns a key's value and its version; "" and 0: it is not there.
func (k *kit) value(key string) (string, int64) {
	k.Helper()
	r, err := k.raw.Get(k.ctx, k.prefix+key)
	require.NoError(k, err)
	if len(r.Kvs) == 0 {
		return "", 0
	}
	return string(r.Kvs[0].Value), r.Kvs[0].Version
}

func (k *kit) has(key string) bool {
	k.Helper()
	_, version := k.value(key)
	return version > 0
}

// keys lists the keys below a key, without the prefix.
func (k *kit) keys(below string) []string {
	k.Helper()
	r, err := k.raw.Get(k.ctx, k.prefix+below, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	require.NoError(k, err)
	var keys []string
	for _, kv := range r.Kvs {
		keys = append(keys, string(kv.Key)[len(k.prefix):])
	}
	return keys
}

// written returns when a key has been written at this version or a later one.
func (k *kit) written(key string, version int64) {
	k.Helper()
	ctx, cancel := context.WithCancel(k.ctx)
	defer cancel()
	watch := k.raw.Watch(ctx, k.prefix+key, clientv3.WithCreatedNotify())
	<-watch
	if _, now := k.value(key); now >= version {
		return
	}
	for w := range watch {
		for _, e := range w.Events {
			if e.Kv.Version >= version {
				return
			}
		}
	}
	k.Fatalf("%s was never written for the %d. time", key, version)
}

func newSpec() quell.Spec {
	return quell.Spec{
		ID:        uuid.Must(uuid.NewV7()).String(),
		Template:  quell.Template{FQName: quell.FQName{"domain", "image_upgrade"}, Playbooks: []quell.Playbook{{URI: "a.yml"}, {URI: "b.yml"}}},
		Input:     json.RawMessage(`{"device":"<a&b>"}`),
		CreatedAt: time.Now().UTC(),
	}
}

// newJob stores a job.
func (k *kit) newJob(spec quell.Spec) error {
	_, err := k.s.CreateJob(k.ctx, spec)
	return err
}

// create makes a queued job.
func (k *kit) create() string {
	k.Helper()
	spec := newSpec()
	require.NoError(k, k.newJob(spec))
	return spec.ID
}

// leader makes a key that leads the scheduler.
func (k *kit) leader() quell.Leader {
	k.Helper()
	k.put("/scheduler/leader/test", "test")
	return quell.Leader{Key: k.prefix + "/scheduler/leader/test", Revision: k.revision("/scheduler/leader/test")}
}

// node registers a node without a lease.
func (k *kit) node(name string) quell.Node {
	k.Helper()
	info := quell.NodeInfo{Version: quell.FormatVersion, Node: name, Address: "http://" + name, Capacity: 16, Instance: name}
	text, err := json.Marshal(info)
	require.NoError(k, err)
	k.put("/nodes/"+name+"/info", string(text))
	return quell.Node{Info: info, Revision: k.revision("/nodes/" + name + "/info")}
}

// load reads a job and makes a transition of it as it is.
func (k *kit) load(id string) quell.Transition {
	k.Helper()
	job, intents, err := k.s.Load(k.ctx, id)
	require.NoError(k, err)
	return quell.Transition{
		ID: id, Token: job.Token, StateRevision: job.StateRevision, Intents: &intents, State: job.State, Node: job.ActiveNode,
	}
}

// assign gives a job to node n1 and returns its next transition.
func (k *kit) assign(id string) quell.Transition {
	k.Helper()
	t := k.load(id)
	t.State.Assign("n1")
	_, err := k.s.Assign(k.ctx, k.leader(), t, k.node("n1"), 1, 0)
	require.NoError(k, err)
	return k.load(id)
}

// running makes a job whose first playbook has begun.
func (k *kit) running() quell.Transition {
	k.Helper()
	t := k.assign(k.create())
	t.State.Begin([]quell.RunRef{{}}, time.Now().UTC())
	_, err := k.s.Commit(k.ctx, t)
	require.NoError(k, err)
	return k.load(t.ID)
}

// fail makes a state final.
func fail(state *quell.State) {
	now := time.Now().UTC()
	state.Playbooks[0].Status, state.Playbooks[0].EndedAt = quell.PlaybookFailure, &now
	state.Finish(now)
}

// finish ends a job.
func (k *kit) finish(id string) {
	k.Helper()
	t := k.load(id)
	if fail(&t.State); t.Node != "" {
		_, err := k.s.Commit(k.ctx, t)
		require.NoError(k, err)
		return
	}
	_, err := k.s.CommitQueued(k.ctx, k.leader(), t)
	require.NoError(k, err)
}

// revision is a key's create revision, 0 where it is missing.
func (k *kit) revision(key string) int64 {
	k.Helper()
	r, err := k.raw.Get(k.ctx, k.prefix+key)
	require.NoError(k, err)
	if len(r.Kvs) == 0 {
		return 0
	}
	return r.Kvs[0].CreateRevision
}

// code demands an error's code.
func (k *kit) code(want quell.Code, err error) {
	k.Helper()
	require.Equal(k, want, quell.CodeOf(err), "%v", err)
}

// feed collects what a callback was told, for one reader.
type feed[T any] struct {
	*kit
	told chan T
}

func newFeed[T any](k *kit) *feed[T] { return &feed[T]{kit: k, told: make(chan T, 4096)} }

func (f *feed[T]) tell(v T) { f.told <- v }

// next returns what was told next.
func (f *feed[T]) next() T {
	f.Helper()
	select {
	case v := <-f.told:
		return v
	case <-f.ctx.Done():
		f.Fatal("nothing was told")
		panic("not reached")
	}
}

// until returns the first that is wanted.
func (f *feed[T]) until(wanted func(T) bool) T {
	f.Helper()
	for {
		if v := f.next(); wanted(v) {
			return v
		}
	}
}

// background runs something until the test ends, or the function that it
// returns is called, which gives its error.
func (k *kit) background(run func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(k.ctx)
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = run(ctx)
	}()
	stop = func() error {
		cancel()
		<-done
		return err
	}
	k.Cleanup(func() { _ = stop() })
	return stop
}

// copyOf is where the emergency key's value of a revision is copied to.
func copyOf(revision int64) string { return fmt.Sprintf("/aborts/star-%d", revision) }

// shortTick is how often a condition is looked at that tells nobody of itself.
const shortTick = 5 * time.Millisecond
