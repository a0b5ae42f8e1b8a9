// Package scheduler places queued jobs on nodes and ends those that are
// aborted before they have a node. It runs inside every API server; one of
// them leads at a time.
//
// It promises that a queued job with an abort intent never starts, that jobs
// are placed first come, first served, for nodes as for each lock, that no two
// of them wait for each other (a job has all of its locks or none), and that
// nothing of it survives the loss of the lead: every write compares the
// leader's key. It works on levels: whatever changes, it looks at all queued
// jobs again. It refuses to know etcd.
package scheduler

import (
	"cmp"
	"context"
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
	FollowLocks(ctx context.Context, changed func(quell.LockChanges)) error
	Holders(ctx context.Context, locks []quell.Lock) (map[quell.Lock]string, error)
	FollowIntent(ctx context.Context, id string, changed func(*quell.StoredIntent)) error
	Load(ctx context.Context, id string) (quell.Job, quell.Intents, error)
	Assign(ctx context.Context, l quell.Leader, t quell.Transition, node quell.Node, attempt int, locksRevision int64) (int64, error)
	CommitQueued(ctx context.Context, l quell.Leader, t quell.Transition) (int64, error)
	ActiveJobs(ctx context.Context) ([]quell.ActiveJob, int64, error)
	DeleteAborts(ctx context.Context, l quell.Leader, stored []quell.StoredIntent) error
}

// Options are what a Scheduler needs.
type Options struct {
	Store   Store
	Name    string       // of this candidate, for people who look at the leader key
	Limits  quell.Limits // of jobs that do not say otherwise: of these, Queue
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
	stop   context.CancelFunc

	mu      sync.Mutex
	views   int                        // counts the changes of what is followed
	active  map[string]quell.ActiveJob // nil: not read yet
	nodes   map[string]quell.Node      // nil: not read yet
	aborts  *quell.AbortAll            // nil: not read yet
	locks   lockView
	intents map[string]*watchedIntent
	wants   map[string]*wants // of the active jobs that were read here while they were queued
	// settled are the jobs that were placed or ended here, which the active
	// map does not show yet.
	settled map[string]settlement
	busy    map[string]bool   // something is done about it
	rests   map[string]rest   // left alone for a while
	told    map[string]string // reasons already written

	working sync.WaitGroup
	slots   chan struct{}
}

// settlement is what became of a queued job: the node that it was given, ""
// where it was ended, and the token that it had before.
type settlement struct {
	node  string
	token int64
}

// rest keeps what came too late, or failed, from being done again at once. It
// ends when what is followed has changed since views, unless it failed, and
// when its time has passed.
type rest struct {
	until  time.Time
	views  int
	failed bool
}

func newTerm(o Options, l quell.Leader) *term {
	return &term{
		Options: o, leader: l, wake: make(chan struct{}, 1), stop: func() {},
		intents: map[string]*watchedIntent{}, wants: map[string]*wants{}, locks: lockView{numbers: map[quell.Lock]int{}}, settled: map[string]settlement{},
		busy: map[string]bool{}, rests: map[string]rest{}, told: map[string]string{},
		slots: make(chan struct{}, atOnce),
	}
}

// run schedules until ctx ends or somebody else leads, and waits for all that
// it started.
func (t *term) run(ctx context.Context) {
	ctx, t.stop = context.WithCancel(ctx)
	defer func() { t.stop(); t.working.Wait() }()
	t.working.Go(func() {
		_ = t.Store.FollowActive(ctx, func(m map[string]quell.ActiveJob) { t.news(func() { t.active = m }) })
	})
	t.working.Go(func() {
		_ = t.Store.FollowNodes(ctx, func(m map[string]quell.Node) { t.news(func() { t.nodes = m }) })
	})
	t.working.Go(func() {
		_ = t.Store.FollowAborts(ctx, func(a quell.AbortAll) { t.news(func() { t.aborts = &a }) })
	})
	t.working.Go(func() {
		_ = t.Store.FollowLocks(ctx, func(c quell.LockChanges) { t.news(func() { t.locks.take(c) }) })
	})
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-again.C:
		}
		if next := t.reconcile(ctx); next > 0 {
			again.Reset(next)
		}
	}
}

// news takes a change of what is followed.
func (t *term) news(set func()) { t.change(func() { t.views++; set() }) }

func (t *term) change(set func()) {
	t.mu.Lock()
	set()
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// reconcile looks at every queued job. It returns after which time it has to
// look again although nothing may change; 0: never.
func (t *term) reconcile(ctx context.Context) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active == nil || t.nodes == nil || t.aborts == nil || !t.locks.read {
		return 0
	}
	t.forget()
	t.cleanAborts(ctx)
	queue := t.queue()
	t.Metrics.JobsQueued.Set(float64(len(queue)))
	room, claims := t.room(), t.claims(func(l int) string { return t.locks.held[l] })
	next := time.Duration(0)
	for _, job := range queue {
		w := t.wants[job.ID]
		switch {
		case t.busy[job.ID]:
			room.take(w) // kept for it, so that no younger job overtakes it
		case !t.resting(job.ID):
			t.consider(ctx, job, room, claims)
		}
		claims.add(job.ID, w)
		if left := w.left(); left > 0 && (next == 0 || left < next) {
			next = left
		}
	}
	if len(t.rests) > 0 && (next == 0 || next > pause) {
		next = pause
	}
	return next
}

// resting says whether a job is left alone for now.
func (t *term) resting(id string) bool {
	r, ok := t.rests[id]
	return ok && (r.failed || r.views == t.views)
}

// consider starts what can be done for one queued job now.
func (t *term) consider(ctx context.Context, job quell.ActiveJob, room *room, claims *claims) {
	wanted := t.intents[job.ID].effective(t.aborts.Intents, job.SpecRevision)
	if wanted.Mode != "" {
		t.do(ctx, job.ID, func() error { return t.abort(ctx, job.ID) })
		return
	}
	if wanted.Error != "" && t.told[job.ID] != wanted.Error {
		t.told[job.ID] = wanted.Error
		t.do(ctx, job.ID, func() error { return t.update(ctx, job.ID, "") })
		return
	}
	w := t.wants[job.ID]
	if w == nil {
		t.do(ctx, job.ID, func() error { return t.look(ctx, job.ID) })
		return
	}
	reason := ""
	var node *quell.Node
	before, unknown := claims.blocks(job.ID, w)
	switch {
	case unknown: // it may want the same
		reason = "waits for an older job that is being looked at"
	case before != "" && w.onLock == quell.OnLockFail:
		t.do(ctx, job.ID, func() error {
			return t.failLocked(ctx, job.ID, w, "it is not to wait (on_lock=fail) for "+before)
		})
		return
	case before != "":
		reason = "waits for the end of " + before
	default:
		node, reason = room.take(w)
	}
	if node == nil && w.expired() {
		t.do(ctx, job.ID, func() error { return t.fail(ctx, job.ID, w.rules.WaitedTooLong(reason)) })
		return
	}
	if node != nil {
		t.settled[job.ID] = settlement{node: node.Info.Node, token: job.Token}
		revision := t.locks.revision
		t.do(ctx, job.ID, func() error { return t.place(ctx, job.ID, *node, revision) })
		return
	}
	// Placing reads the intents itself; only a job that waits is watched.
	t.watchIntent(ctx, job.ID)
	if wanted.Error == "" && t.told[job.ID] != reason {
		t.told[job.ID] = reason
		t.do(ctx, job.ID, func() error { return t.update(ctx, job.ID, reason) })
	}
}

// forget drops what concerns jobs that are no longer queued, what has become
// visible, and the rests that are over.
func (t *term) forget() {
	maps.DeleteFunc(t.settled, func(id string, s settlement) bool {
		job, ok := t.active[id]
		return !t.busy[id] && (!ok || job.Token != s.token)
	})
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
	maps.DeleteFunc(t.wants, func(id string, _ *wants) bool { _, active := t.active[id]; return !active })
	maps.DeleteFunc(t.rests, func(_ string, r rest) bool { return !time.Now().Before(r.until) })
}

// queue lists the jobs that wait for a node, the oldest first.
func (t *term) queue() []quell.ActiveJob {
	var queue []quell.ActiveJob
	for id, job := range t.active {
		if _, settled := t.settled[id]; job.Active.Node == "" && !settled {
			queue = append(queue, job)
		}
	}
	slices.SortFunc(queue, func(a, b quell.ActiveJob) int {
		return cmp.Or(cmp.Compare(a.SpecRevision, b.SpecRevision), cmp.Compare(a.ID, b.ID))
	})
	return queue
}

// do runs one piece of work beside the others, one at a time for an id. The
// lock is held.
func (t *term) do(ctx context.Context, id string, work func() error) {
	t.busy[id] = true
	views := t.views
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
			if ctx.Err() == nil {
				t.done(id, views, err)
			}
		})
	})
}

// done takes what became of a piece of work that was begun at views. The lock
// is held.
func (t *term) done(id string, views int, err error) {
	r := rest{until: time.Now().Add(pause), views: views}
	switch quell.CodeOf(err) {
	case "":
		if id != abortsWork {
			return // settled and told say what need not be done again
		}
	case quell.CodeStale, quell.CodeNotFound:
		// What has changed will show, or shows already.
		t.Logger.Debug("a scheduler's transition came too late", "job", id, "error", err)
	case quell.CodeNotOwner:
		// The job was read just before: it is the lead that is gone.
		t.Logger.Warn("a scheduler's transition was refused; the lead is given up", "job", id, "error", err)
		t.stop()
	default:
		r.failed = true
		t.Logger.Warn("a scheduler's transition failed and is tried again", "job", id, "error", err)
	}
	if err != nil {
		delete(t.settled, id)
		delete(t.told, id)
	}
	t.rests[id] = r
}
