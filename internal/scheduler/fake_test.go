package scheduler

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"quell"
	"quell/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is the store in memory. What is followed is told at once, unless a
// test holds it back.
type cluster struct {
	mu        sync.Mutex
	revision  int64
	jobs      map[string]*quell.Job
	nodes     map[string]quell.Node
	aborts    map[string]quell.StoredIntent
	star      int64
	locks     map[quell.Lock]string
	lockTaken map[quell.Lock]int64
	values    map[string][]*quell.StoredIntent // what the abort keys held, nil where deleted
	index     map[string]map[string]int64      // of the nodes
	leader    quell.Leader
	changed   chan struct{}   // closed at every change
	held      map[string]bool // what is followed and not told: active, nodes, aborts, intents
	lead      context.CancelFunc

	calls map[string]int
	// before is asked at the begin of every call, without the lock.
	before func(call, id string) error
	placed []string // job@node, in order
}

func newCluster() *cluster {
	return &cluster{
		revision: 1, jobs: map[string]*quell.Job{}, nodes: map[string]quell.Node{}, aborts: map[string]quell.StoredIntent{}, locks: map[quell.Lock]string{}, lockTaken: map[quell.Lock]int64{},
		values: map[string][]*quell.StoredIntent{}, index: map[string]map[string]int64{},
		changed: make(chan struct{}), held: map[string]bool{}, calls: map[string]int{},
	}
}

// do changes something, at a revision of its own.
func (c *cluster) do(change func(revision int64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bump(change)
}

func (c *cluster) bump(change func(revision int64)) {
	c.revision++
	change(c.revision)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cluster) call(name, id string) error {
	c.mu.Lock()
	c.calls[name]++
	before := c.before
	c.mu.Unlock()
	if before != nil {
		return before(name, id)
	}
	return nil
}

func (c *cluster) follow(ctx context.Context, what string, tell func()) error {
	for ctx.Err() == nil {
		c.mu.Lock()
		changed := c.changed
		held := c.held[what]
		c.mu.Unlock()
		if !held {
			tell()
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

func (c *cluster) Lead(ctx context.Context, who string, lead func(context.Context, quell.Leader)) error {
	for ctx.Err() == nil {
		lctx, cancel := context.WithCancel(ctx)
		var l quell.Leader
		c.do(func(revision int64) {
			l = quell.Leader{Key: "/scheduler/" + who, Revision: revision}
			c.leader, c.lead = l, cancel
		})
		lead(lctx, l)
		cancel()
	}
	return ctx.Err()
}

func (c *cluster) active() []quell.ActiveJob {
	var list []quell.ActiveJob
	for id, j := range c.jobs {
		if j.Token != 0 {
			list = append(list, quell.ActiveJob{
				ID: id, Active: quell.Active{Node: j.ActiveNode, Attempt: j.Attempt}, SpecRevision: j.SpecRevision, Token: j.Token,
			})
		}
	}
	slices.SortFunc(list, func(a, b quell.ActiveJob) int { return cmp.Compare(a.SpecRevision, b.SpecRevision) })
	return list
}

func (c *cluster) FollowActive(ctx context.Context, changed func(map[string]quell.ActiveJob)) error {
	last := map[string]quell.ActiveJob(nil)
	return c.follow(ctx, "active", func() {
		c.mu.Lock()
		m := map[string]quell.ActiveJob{}
		for _, j := range c.active() {
			m[j.ID] = j
		}
		c.mu.Unlock()
		if last == nil || !maps.Equal(last, m) {
			last = m
			changed(maps.Clone(m))
		}
	})
}

func (c *cluster) FollowNodes(ctx context.Context, changed func(map[string]quell.Node)) error {
	var last map[string]int64
	return c.follow(ctx, "nodes", func() {
		c.mu.Lock()
		m, revisions := maps.Clone(c.nodes), map[string]int64{}
		for name, n := range m {
			revisions[name] = n.Revision
		}
		c.mu.Unlock()
		if last == nil || !maps.Equal(revisions, last) {
			last = revisions
			changed(m)
		}
	})
}

func (c *cluster) all() quell.AbortAll {
	a := quell.AbortAll{Revision: c.revision, Star: c.star}
	for _, key := range slices.Sorted(maps.Keys(c.aborts)) {
		a.Intents = append(a.Intents, c.aborts[key])
	}
	return a
}

func (c *cluster) FollowAborts(ctx context.Context, changed func(quell.AbortAll)) error {
	last := quell.AbortAll{Star: -1}
	return c.follow(ctx, "aborts", func() {
		c.mu.Lock()
		a := c.all()
		c.mu.Unlock()
		if a.Star != last.Star || !slices.Equal(a.Intents, last.Intents) {
			last = a
			changed(a)
		}
	})
}

func (c *cluster) FollowLocks(ctx context.Context, changed func(quell.LockChanges)) error {
	var last map[quell.Lock]string
	return c.follow(ctx, "locks", func() {
		c.mu.Lock()
		m, revision := maps.Clone(c.locks), c.revision
		c.mu.Unlock()
		if last == nil || !maps.Equal(last, m) {
			last = m
			changed(quell.LockChanges{Reset: true, Held: maps.Clone(m), Revision: revision})
		}
	})
}

func (c *cluster) Holders(_ context.Context, locks []quell.Lock) (map[quell.Lock]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := map[quell.Lock]string{}
	for _, l := range locks {
		if c.locks[l] != "" {
			held[l] = c.locks[l]
		}
	}
	return held, nil
}

// FollowIntent tells every value in its turn, as the store does.
func (c *cluster) FollowIntent(ctx context.Context, id string, changed func(*quell.StoredIntent)) error {
	told := -1
	return c.follow(ctx, "intents", func() {
		c.mu.Lock()
		values := c.values[id]
		if told < 0 { // the values since the key was made
			for told = len(values); told > 0 && values[told-1] != nil; {
				told--
			}
			if told == len(values) {
				values = append(slices.Clone(values), nil)
				defer func() { told-- }()
			}
		}
		values = values[told:]
		c.mu.Unlock()
		for _, i := range values {
			told++
			changed(i)
		}
	})
}

func (c *cluster) Load(_ context.Context, id string) (quell.Job, quell.Intents, error) {
	if err := c.call("load", id); err != nil {
		return quell.Job{}, quell.Intents{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jobs[id]
	if j == nil {
		return quell.Job{}, quell.Intents{}, quell.Errorf(quell.CodeNotFound, "no job %s", id)
	}
	copied := *j
	copied.State = j.State.Clone()
	intents := quell.Intents{Own: j.Intent}
	c.all().Into(&intents)
	return copied, intents, nil
}

// check is what every transition of the scheduler compares.
func (c *cluster) check(l quell.Leader, t quell.Transition) error {
	j := c.jobs[t.ID]
	switch {
	case l != c.leader:
		return quell.Errorf(quell.CodeNotOwner, "deposed")
	case j.Token != t.Token || t.Token == 0:
		return quell.Errorf(quell.CodeNotOwner, "not its owner")
	case j.StateRevision != t.StateRevision, t.Intents.OwnRevision() != (quell.Intents{Own: j.Intent}).OwnRevision(), t.Intents.StarRevision != c.star:
		return quell.Errorf(quell.CodeStale, "stale")
	}
	for _, i := range c.aborts {
		if i.Revision > t.Intents.AllRevision {
			return quell.Errorf(quell.CodeStale, "stale")
		}
	}
	return nil
}

func (c *cluster) Assign(_ context.Context, l quell.Leader, t quell.Transition, node quell.Node, attempt int, locksRevision int64) (int64, error) {
	if err := c.call("assign", t.ID); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.check(l, t); err != nil {
		return 0, err
	}
	if c.nodes[node.Info.Node].Revision != node.Revision {
		return 0, quell.Errorf(quell.CodeStale, "the node is gone")
	}
	wanted := t.State.WantedLocks()
	for _, l := range wanted {
		if c.locks[l] != "" {
			return 0, quell.Errorf(quell.CodeStale, "%s is locked", l)
		}
	}
	// Many are compared as a range, by when one of it was last taken.
	for l, taken := range c.lockTaken {
		if len(wanted) > 32 && l.Fabric == wanted[0].Fabric && c.locks[l] != "" && taken > locksRevision {
			return 0, quell.Errorf(quell.CodeStale, "%s was locked meanwhile", l)
		}
	}
	c.bump(func(revision int64) {
		j := c.jobs[t.ID]
		for _, l := range wanted {
			c.locks[l], c.lockTaken[l] = t.ID, revision
		}
		j.State, j.StateRevision, j.Token, j.ActiveNode, j.Attempt = t.State, revision, revision, node.Info.Node, attempt
		c.placed = append(c.placed, t.ID+"@"+node.Info.Node)
		if c.index[node.Info.Node] == nil {
			c.index[node.Info.Node] = map[string]int64{}
		}
		c.index[node.Info.Node][t.ID] = revision
	})
	return c.revision, nil
}

func (c *cluster) CommitQueued(_ context.Context, l quell.Leader, t quell.Transition) (int64, error) {
	if err := c.call("commit", t.ID); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.check(l, t); err != nil {
		return 0, err
	}
	c.bump(func(revision int64) {
		j := c.jobs[t.ID]
		j.State, j.StateRevision = t.State, revision
		if t.State.Status.Final() {
			j.Token = 0
		}
	})
	return c.revision, nil
}

func (c *cluster) ActiveJobs(context.Context) ([]quell.ActiveJob, int64, error) {
	if err := c.call("active", ""); err != nil {
		return nil, 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active(), c.revision, nil
}

func (c *cluster) DeleteAborts(_ context.Context, l quell.Leader, stored []quell.StoredIntent) error {
	if err := c.call("delete", ""); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l != c.leader {
		return quell.Errorf(quell.CodeNotOwner, "deposed")
	}
	c.bump(func(int64) {
		for _, i := range stored {
			delete(c.aborts, i.Key)
		}
	})
	return nil
}

// What a test does to the cluster.

func (c *cluster) create(id string, options ...func(*quell.Spec)) {
	spec := quell.Spec{
		ID: id, Template: quell.Template{Playbooks: []quell.Playbook{{URI: "a.yml"}}}, Input: []byte("{}"), CreatedAt: time.Now(),
	}
	for _, option := range options {
		option(&spec)
	}
	c.do(func(revision int64) {
		c.jobs[id] = &quell.Job{
			Spec: spec, State: quell.NewState(spec),
			SpecRevision: revision, StateRevision: revision, Token: revision,
		}
	})
}

// end makes a job final, as its agent would.
func (c *cluster) end(id string) {
	c.do(func(revision int64) {
		j := c.jobs[id]
		j.State.Status, j.StateRevision, j.Token = quell.StatusSuccess, revision, 0
		maps.DeleteFunc(c.locks, func(_ quell.Lock, holder string) bool { return holder == id })
	})
}

// fabric and devices are options of a job that wants locks.
func fabric(name string) func(*quell.Spec) {
	return func(s *quell.Spec) {
		s.Template.Concurrency, s.Input = quell.ConcurrencyFabric, []byte(`{"fabric_fq_name":"`+name+`"}`)
	}
}

func devices(ids ...string) func(*quell.Spec) {
	return func(s *quell.Spec) {
		s.Template.Concurrency, s.Params.DeviceList = quell.ConcurrencyDevice, ids
	}
}

func (c *cluster) join(node string, capacity int) { c.joinAs(node, capacity, nil) }

func (c *cluster) joinAs(node string, capacity int, labels map[string]string) {
	c.do(func(revision int64) {
		c.nodes[node] = quell.Node{Info: quell.NodeInfo{Node: node, Capacity: capacity, Labels: labels}, Revision: revision}
	})
}

func (c *cluster) leave(node string) { c.do(func(int64) { delete(c.nodes, node) }) }

// abort stores a value of the job's own key; "" deletes it.
func (c *cluster) abort(id, value string) {
	c.do(func(revision int64) {
		c.jobs[id].Intent = nil
		if value != "" {
			intent, err := quell.ParseIntent([]byte(value))
			c.jobs[id].Intent = &quell.StoredIntent{Key: "/jobs/" + id + "/abort", Revision: revision, Intent: intent, Err: err}
		}
		c.values[id] = append(c.values[id], c.jobs[id].Intent)
	})
}

func (c *cluster) abortAll(key, value string) {
	c.do(func(revision int64) {
		intent, err := quell.ParseIntent([]byte(value))
		c.aborts[key] = quell.StoredIntent{Key: key, Revision: revision, Before: revision, Intent: intent, Err: err}
	})
}

func (c *cluster) hold(what string, held bool) { c.do(func(int64) { c.held[what] = held }) }

func (c *cluster) onCall(f func(call, id string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = f
}

func (c *cluster) count(call string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[call]
}

func (c *cluster) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.placed)
}

func (c *cluster) state(id string) quell.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jobs[id].State.Clone()
}

func (c *cluster) abortKeys() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.aborts)
}

// gauges read the value of a metric.
type gauges func(name string) float64

func gauge(t *testing.T, reg *prometheus.Registry) gauges {
	return func(name string) float64 {
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == name {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		require.Fail(t, "there is no metric "+name)
		return 0
	}
}

// under runs a scheduler over the cluster in a bubble.
func under(t *testing.T, test func(t *testing.T, c *cluster, m gauges)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		ctx, cancel := context.WithCancel(t.Context())
		reg := prometheus.NewRegistry()
		s := New(Options{Store: c, Name: "s", Limits: quell.Limits{Queue: 24 * time.Hour}, Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewScheduler(reg)})
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		defer func() {
			c.onCall(nil)
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
		}()
		synctest.Wait()
		test(t, c, gauge(t, reg))
	})
}

var errBroken = errors.New("broken")
