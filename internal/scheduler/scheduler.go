// Package scheduler places queued jobs on nodes and ends those that are
// aborted before they have a node. It runs inside every API server; one of
// them leads at a time.
//
// It promises that a queued job with an abort intent never starts, that jobs
// are placed first come, first served, and that nothing of it survives the
// loss of the lead: every write compares the leader's key. It works on
// levels: whatever changes, it looks at all queued jobs again. It refuses to
// know etcd.
package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"quell"
	"quell/metrics"
)

// Store is what the scheduler needs of the store.
type Store interface {
	Lead(ctx context.Context, who string, lead func(context.Context, quell.Leader)) error
	FollowActive(ctx context.Context, changed func(map[string]quell.ActiveJob)) error
	FollowNodes(ctx context.Context, changed func(map[string]quell.Node)) error
	FollowAborts(ctx context.Context, changed func(quell.AbortAll)) error
	FollowIntent(ctx context.Context, id string, changed func(*quell.StoredIntent)) error
	Load(ctx context.Context, id string) (quell.Job, quell.Intents, error)
	Assign(ctx context.Context, l quell.Leader, t quell.Transition, node quell.Node, attempt int) (int64, error)
	CommitQueued(ctx context.Context, l quell.Leader, t quell.Transition) (int64, error)
	ActiveJobs(ctx context.Context) ([]quell.ActiveJob, int64, error)
	DeleteAborts(ctx context.Context, l quell.Leader, stored []quell.StoredIntent) error
}

// Options are what a Scheduler needs.
type Options struct {
	Store   Store
	Name    string // of this candidate, for people who look at the leader key
	Logger  *slog.Logger
	Metrics *metrics.Scheduler
}

// Scheduler is one candidate for the lead.
type Scheduler struct{ o Options }

// New makes a scheduler.
func New(o Options) *Scheduler { return &Scheduler{o: o} }

// Run campaigns and, while it leads, schedules; until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	return s.o.Store.Lead(ctx, s.o.Name, func(ctx context.Context, l quell.Leader) {
		s.o.Logger.Info("this process leads the scheduler", "key", l.Key)
		s.o.Metrics.Leader.Set(1)
		newTerm(s.o, l).run(ctx)
		s.o.Metrics.Leader.Set(0)
		s.o.Metrics.JobsQueued.Set(0)
		s.o.Logger.Info("this process no longer leads the scheduler")
	})
}

// pause is how long what failed is left alone.
const pause = time.Second

// atOnce bounds the transitions that are on their way at once.
const atOnce = 32

// term is the time of one lead.
type term struct {
	Options
	leader quell.Leader
	wake   chan struct{} // something changed; buffered, so that changes coalesce

	mu      sync.Mutex
	active  map[string]quell.ActiveJob // nil: not read yet
	nodes   map[string]quell.Node      // nil: not read yet
	aborts  *quell.AbortAll            // nil: not read yet
	intents map[string]*watchedIntent
	// placed are the assignments that the active map does not show yet.
	placed map[string]assignment
	busy   map[string]bool      // a transition is on its way
	told   map[string]string    // reasons already written
	failed map[string]time.Time // when something failed that is tried again

	working sync.WaitGroup
	slots   chan struct{}
}

// assignment is a placement, and the token that the job had before.
type assignment struct {
	node  string
	token int64
}

// watchedIntent is a queued job's own abort key.
type watchedIntent struct {
	stop   context.CancelFunc
	stored *quell.StoredIntent
}

func newTerm(o Options, l quell.Leader) *term {
	return &term{
		Options: o, leader: l, wake: make(chan struct{}, 1),
		intents: map[string]*watchedIntent{}, placed: map[string]assignment{},
		busy: map[string]bool{}, told: map[string]string{}, failed: map[string]time.Time{},
		slots: make(chan struct{}, atOnce),
	}
}

// run schedules until ctx ends, and waits for all that it started.
func (t *term) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	t.working.Go(func() {
		_ = t.Store.FollowActive(ctx, func(m map[string]quell.ActiveJob) { t.change(func() { t.active = m }) })
	})
	t.working.Go(func() {
		_ = t.Store.FollowNodes(ctx, func(m map[string]quell.Node) { t.change(func() { t.nodes = m }) })
	})
	t.working.Go(func() {
		_ = t.Store.FollowAborts(ctx, func(a quell.AbortAll) { t.change(func() { t.aborts = &a }) })
	})
	defer func() { cancel(); t.working.Wait() }()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-again.C:
		}
		if t.reconcile(ctx) {
			again.Reset(pause)
		}
	}
}

func (t *term) change(set func()) {
	t.mu.Lock()
	set()
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// reconcile looks at every queued job. It returns true when something has to
// be tried again although nothing may change.
func (t *term) reconcile(ctx context.Context) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active == nil || t.nodes == nil || t.aborts == nil {
		return false
	}
	t.settle()
	t.cleanAborts(ctx)
	queue := t.queue()
	t.Metrics.JobsQueued.Set(float64(len(queue)))
	room := t.room()
	for _, job := range queue {
		if !t.resting(job.ID) {
			t.consider(ctx, job, room)
		}
	}
	return len(t.failed) > 0
}

// resting says whether a job is left alone for now: a transition is on its
// way, or has just failed.
func (t *term) resting(id string) bool {
	at, failed := t.failed[id]
	if failed && time.Since(at) >= pause {
		delete(t.failed, id)
		failed = false
	}
	return failed || t.busy[id]
}

// consider starts what can be done for one queued job now.
func (t *term) consider(ctx context.Context, job quell.ActiveJob, room *room) {
	var own *quell.StoredIntent
	if w := t.intents[job.ID]; w != nil {
		own = w.stored
	}
	wanted := quell.EffectiveIntent(own, t.aborts.Intents, job.SpecRevision)
	if wanted.Mode != "" || wanted.Error != "" && t.told[job.ID] != wanted.Error {
		t.told[job.ID] = wanted.Error
		t.do(ctx, job.ID, func() error { return t.update(ctx, job.ID, "") })
		return
	}
	node, reason := room.take()
	if node != nil {
		t.placed[job.ID] = assignment{node: node.Info.Node, token: job.Token}
		t.do(ctx, job.ID, func() error { return t.place(ctx, job.ID, *node) })
		return
	}
	// Placing reads the intents itself; only a job that waits is watched.
	t.watchIntent(ctx, job.ID)
	if wanted.Error == "" && t.told[job.ID] != reason {
		t.told[job.ID] = reason
		t.do(ctx, job.ID, func() error { return t.update(ctx, job.ID, reason) })
	}
}

// settle forgets what concerns jobs that are no longer queued, and the
// assignments that have become visible.
func (t *term) settle() {
	for id, a := range t.placed {
		if job, ok := t.active[id]; !t.busy[id] && (!ok || job.Token != a.token) {
			delete(t.placed, id)
		}
	}
	gone := func(id string) bool {
		job, ok := t.active[id]
		return !ok || job.Active.Node != ""
	}
	for id, w := range t.intents {
		if gone(id) {
			w.stop()
			delete(t.intents, id)
		}
	}
	maps.DeleteFunc(t.told, func(id, _ string) bool { return gone(id) })
	maps.DeleteFunc(t.failed, func(id string, at time.Time) bool { return gone(id) && time.Since(at) >= pause })
}

// queue lists the jobs that wait for a node, the oldest first.
func (t *term) queue() []quell.ActiveJob {
	var queue []quell.ActiveJob
	for id, job := range t.active {
		if _, placed := t.placed[id]; job.Active.Node == "" && !placed {
			queue = append(queue, job)
		}
	}
	slices.SortFunc(queue, func(a, b quell.ActiveJob) int {
		return cmp.Or(cmp.Compare(a.SpecRevision, b.SpecRevision), cmp.Compare(a.ID, b.ID))
	})
	return queue
}

func (t *term) watchIntent(ctx context.Context, id string) {
	if t.intents[id] != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watchedIntent{stop: cancel}
	t.intents[id] = w
	t.working.Go(func() {
		_ = t.Store.FollowIntent(ctx, id, func(i *quell.StoredIntent) { t.change(func() { w.stored = i }) })
	})
}

// cleanAborts deletes the abort-all intents that have hit all they can hit.
func (t *term) cleanAborts(ctx context.Context) {
	oldest := int64(-1)
	for _, job := range t.active {
		if oldest < 0 || job.SpecRevision < oldest {
			oldest = job.SpecRevision
		}
	}
	var done []quell.StoredIntent
	for _, i := range t.aborts.Intents {
		if emergency := i.Revision == t.aborts.Star; !emergency && (oldest < 0 || oldest >= i.Before) {
			done = append(done, i)
		}
	}
	if len(done) > 0 && !t.resting(abortsWork) {
		t.do(ctx, abortsWork, func() error { return t.deleteAborts(ctx, done) })
	}
}

// abortsWork stands for the deletion of abort-all intents where a job's id
// would be.
const abortsWork = "aborts"

// deleteAborts makes sure by a read of its own: the followed map may be older
// than the intent, and miss a job that it hits.
func (t *term) deleteAborts(ctx context.Context, done []quell.StoredIntent) error {
	jobs, _, err := t.Store.ActiveJobs(ctx)
	if err != nil {
		return err
	}
	done = slices.DeleteFunc(done, func(i quell.StoredIntent) bool {
		return slices.ContainsFunc(jobs, func(j quell.ActiveJob) bool { return j.SpecRevision < i.Before })
	})
	return t.Store.DeleteAborts(ctx, t.leader, done)
}

// do runs one piece of work for a job beside the others. The lock is held.
func (t *term) do(ctx context.Context, id string, work func() error) {
	if t.busy[id] {
		return
	}
	t.busy[id] = true
	t.working.Go(func() {
		var err error
		select {
		case t.slots <- struct{}{}:
			err = work()
			<-t.slots
		case <-ctx.Done():
			err = ctx.Err()
		}
		t.change(func() {
			delete(t.busy, id)
			if err == nil || ctx.Err() != nil {
				return
			}
			if code := quell.CodeOf(err); code == quell.CodeStale || code == quell.CodeNotOwner || code == quell.CodeNotFound {
				// What has changed will show in the views, or shows already.
				t.Logger.Debug("a scheduler's transition came too late", "job", id, "error", err)
				delete(t.placed, id)
				delete(t.told, id)
				return
			}
			delete(t.placed, id)
			delete(t.told, id)
			t.failed[id] = time.Now()
			t.Logger.Warn("a scheduler's transition failed and is tried again", "job", id, "error", err)
		})
	})
}

// load reads a queued job and folds the intents into its state.
func (t *term) load(ctx context.Context, id string) (quell.Job, quell.Transition, error) {
	job, intents, err := t.Store.Load(ctx, id)
	if err != nil {
		return job, quell.Transition{}, err
	}
	if job.State.Status != quell.StatusQueued {
		return job, quell.Transition{}, quell.Errorf(quell.CodeStale, "job %s is no longer queued", id)
	}
	job.State.Observe(intents.Effective(job.SpecRevision), time.Now().UTC())
	return job, quell.Transition{
		ID: id, Token: job.Token, StateRevision: job.StateRevision, Intents: &intents, State: job.State,
	}, nil
}

// place gives the job to the node, or ends it where an intent has come.
func (t *term) place(ctx context.Context, id string, node quell.Node) error {
	job, tr, err := t.load(ctx, id)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	if tr.State.Next(job.Spec.Template, now).Action != quell.ActPlace {
		t.change(func() { delete(t.placed, id) })
		return t.finish(ctx, job, tr, now)
	}
	tr.State.Assign(node.Info.Node)
	if _, err := t.Store.Assign(ctx, t.leader, tr, node, job.Attempt+1); err != nil {
		return fmt.Errorf("place job %s on node %s: %w", id, node.Info.Node, err)
	}
	t.Metrics.JobsPlaced.Inc()
	t.Metrics.Queue.Observe(now.Sub(job.Spec.CreatedAt).Seconds())
	t.Logger.Info("a job was placed", "job", id, "node", node.Info.Node)
	return nil
}

// update ends a queued job that is aborted; otherwise it writes why the job
// still waits, or what is wrong with its abort intent.
func (t *term) update(ctx context.Context, id, reason string) error {
	job, tr, err := t.load(ctx, id)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	if tr.State.Next(job.Spec.Template, now).Action != quell.ActPlace {
		return t.finish(ctx, job, tr, now)
	}
	if reason != "" {
		tr.State.Reason = reason
	}
	if _, err := t.Store.CommitQueued(ctx, t.leader, tr); err != nil {
		return fmt.Errorf("write why job %s waits: %w", id, err)
	}
	return nil
}

func (t *term) finish(ctx context.Context, job quell.Job, tr quell.Transition, now time.Time) error {
	tr.State.Finish(now)
	if _, err := t.Store.CommitQueued(ctx, t.leader, tr); err != nil {
		return fmt.Errorf("end queued job %s: %w", job.Spec.ID, err)
	}
	t.Logger.Info("a queued job was aborted", "job", job.Spec.ID, "reason", tr.State.Reason)
	return nil
}

// room is how much the nodes can still take.
type room struct {
	nodes []quell.Node
	load  map[string]int
}

func (t *term) room() *room {
	r := &room{load: map[string]int{}}
	for _, job := range t.active {
		if job.Active.Node != "" {
			r.load[job.Active.Node]++
		}
	}
	for id, a := range t.placed {
		if t.active[id].Active.Node == "" {
			r.load[a.node]++
		}
	}
	for _, n := range t.nodes {
		r.nodes = append(r.nodes, n)
	}
	slices.SortFunc(r.nodes, func(a, b quell.Node) int { return cmp.Compare(a.Info.Node, b.Info.Node) })
	return r
}

// take reserves a place on the node with the largest part of it free. Without
// one it says why.
func (r *room) take() (*quell.Node, string) {
	var best *quell.Node
	free := func(n *quell.Node) float64 {
		return 1 - float64(r.load[n.Info.Node])/float64(max(1, n.Info.Capacity))
	}
	for i := range r.nodes {
		n := &r.nodes[i]
		if r.load[n.Info.Node] < n.Info.Capacity && (best == nil || free(n) > free(best)) {
			best = n
		}
	}
	switch {
	case best != nil:
		r.load[best.Info.Node]++
		return best, ""
	case len(r.nodes) == 0:
		return nil, "waits for a node: none is registered, start an agent"
	}
	return nil, fmt.Sprintf("waits for a node with room: all %d are full", len(r.nodes))
}
