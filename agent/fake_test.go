package agent

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"quell"
)

// fakeStore is the store in memory, for one node.
type fakeStore struct {
	mu       sync.Mutex
	changed  chan struct{} // closed at every change
	revision int64
	jobs     map[string]*quell.Job
	values   map[string][]*quell.StoredIntent // what the abort keys held, nil where deleted
	index    map[string]int64
	aborts   quell.AbortAll
	locks    map[quell.Lock]string
	deaf     bool          // nothing is told of intents
	taken    error         // what Register fails with
	told     chan struct{} // ticks when the index or the abort-all intents were told, while taken

	commits  []quell.State // each transition that was made
	loads    int
	progress []time.Time
	latest   quell.Progress

	lockTrouble func() error // what TakeLocks fails with first
	// before and after are called around every transition, without the lock.
	before func(ctx context.Context, t quell.Transition) error
	after  func(t quell.Transition)
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		changed: make(chan struct{}), revision: 1, jobs: map[string]*quell.Job{},
		told: make(chan struct{}, 2), values: map[string][]*quell.StoredIntent{}, index: map[string]int64{}, aborts: quell.AbortAll{Revision: 1},
		locks: map[quell.Lock]string{},
	}
}

// do changes something at a revision of its own.
func (f *fakeStore) do(change func(revision int64)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bump(change)
}

func (f *fakeStore) bump(change func(revision int64)) {
	f.revision++
	change(f.revision)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeStore) follow(ctx context.Context, look func()) error {
	for {
		f.mu.Lock()
		changed := f.changed
		f.mu.Unlock()
		look()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeStore) Register(ctx context.Context, _ quell.NodeInfo, registered func(bool)) error {
	if f.taken != nil {
		<-f.told
		<-f.told // all that it could act on
		return f.taken
	}
	registered(true)
	defer registered(false)
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeStore) tick() {
	if f.taken != nil {
		f.told <- struct{}{}
	}
}

func (f *fakeStore) FollowNodeJobs(ctx context.Context, _ string, changed func(map[string]int64)) error {
	var last map[string]int64
	return f.follow(ctx, func() {
		f.mu.Lock()
		m := maps.Clone(f.index)
		f.mu.Unlock()
		if last == nil || !maps.Equal(m, last) {
			last = m
			changed(maps.Clone(m))
			f.tick()
		}
	})
}

func (f *fakeStore) FollowAborts(ctx context.Context, changed func(quell.AbortAll)) error {
	last := quell.AbortAll{Revision: -1}
	return f.follow(ctx, func() {
		f.mu.Lock()
		all, deaf := f.aborts, f.deaf && last.Revision >= 0
		f.mu.Unlock()
		if !deaf && (all.Revision != last.Revision || all.Star != last.Star) {
			last = all
			changed(all)
			f.tick()
		}
	})
}

func (f *fakeStore) FollowIntent(ctx context.Context, id string, changed func(*quell.StoredIntent)) error {
	told := 0
	return f.follow(ctx, func() {
		f.mu.Lock()
		values := slices.Clone(f.values[id][told:])
		if f.deaf {
			values = nil
		}
		f.mu.Unlock()
		if told == 0 && len(values) == 0 {
			changed(nil)
		}
		told += len(values)
		for _, v := range values {
			changed(v)
		}
	})
}

func (f *fakeStore) own(id string) *quell.StoredIntent {
	if v := f.values[id]; len(v) > 0 {
		return v[len(v)-1]
	}
	return nil
}

func (f *fakeStore) Load(_ context.Context, id string) (quell.Job, quell.Intents, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loads++
	j := f.jobs[id]
	if j == nil {
		return quell.Job{}, quell.Intents{}, quell.Errorf(quell.CodeNotFound, "no job %s", id)
	}
	copied := *j
	copied.State = j.State.Clone()
	intents := quell.Intents{Own: f.own(id)}
	f.aborts.Into(&intents)
	intents.AllRevision = f.revision
	return copied, intents, nil
}

func (f *fakeStore) Commit(ctx context.Context, t quell.Transition) (int64, error) {
	f.mu.Lock()
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(ctx, t); err != nil {
			return 0, err
		}
	}
	revision, err := f.make(t)
	if err == nil && after != nil {
		after(t)
	}
	return revision, err
}

func (f *fakeStore) make(t quell.Transition) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jobs[t.ID]
	stale := quell.Errorf(quell.CodeStale, "stale")
	switch i := t.Intents; {
	case j.Token == 0 || j.Token != t.Token:
		return 0, quell.Errorf(quell.CodeNotOwner, "not its owner")
	case j.StateRevision != t.StateRevision:
		return 0, stale
	case i == nil && t.State.Status.Final():
		return 0, quell.Errorf(quell.CodeInternal, "final without intents")
	case i == nil:
	case i.OwnRevision() != (quell.Intents{Own: f.own(t.ID)}).OwnRevision(), i.StarRevision != f.aborts.Star:
		return 0, stale
	default:
		for _, a := range f.aborts.Intents {
			if a.Revision != f.aborts.Star && a.Revision > i.AllRevision {
				return 0, stale
			}
		}
	}
	f.bump(func(revision int64) {
		j.State, j.StateRevision = t.State.Clone(), revision
		if t.Output != nil {
			j.Output = t.Output
		}
		if t.State.Status.Final() {
			j.Token = 0
			delete(f.index, t.ID)
			maps.DeleteFunc(f.locks, func(_ quell.Lock, holder string) bool { return holder == t.ID })
		}
		f.commits = append(f.commits, j.State)
	})
	return f.revision, nil
}

func (f *fakeStore) PutProgress(_ context.Context, id string, token int64, p quell.Progress) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.jobs[id].Token != token {
		return quell.Errorf(quell.CodeNotOwner, "not its owner")
	}
	f.progress, f.latest = append(f.progress, time.Now()), p
	return nil
}

func (f *fakeStore) Ping(context.Context) error { return nil }
func (f *fakeStore) Healthy() error             { return nil }

// What a test does to the store.

// assign gives a new job to the node.
func (f *fakeStore) assign(id string, t quell.Template) {
	f.assignSpec(quell.Spec{ID: id, Template: t, Input: []byte(`{}`), CreatedAt: time.Now()})
}

func (f *fakeStore) assignSpec(spec quell.Spec) {
	f.assignState(spec, quell.NewState(spec), nil)
}

func (f *fakeStore) assignState(spec quell.Spec, s quell.State, output json.RawMessage) {
	f.do(func(revision int64) {
		s.Assign("n1")
		f.jobs[spec.ID] = &quell.Job{
			Spec: spec, State: s, Output: output,
			SpecRevision: revision, StateRevision: revision, Token: revision, ActiveNode: "n1",
		}
		f.index[spec.ID] = revision
		for _, l := range s.WantedLocks() {
			f.locks[l] = spec.ID
		}
	})
}

// TakeLocks demands that the locks stand in the stored status.
func (f *fakeStore) TakeLocks(_ context.Context, id string, token int64, locks []quell.Lock) (map[string]string, error) {
	if f.lockTrouble != nil {
		if err := f.lockTrouble(); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jobs[id]
	if j.Token != token {
		return nil, quell.Errorf(quell.CodeNotOwner, "not its owner")
	}
	holders := map[string]string{}
	for _, l := range locks {
		if !slices.Contains(j.State.WantedLocks(), l) {
			return nil, quell.Errorf(quell.CodeInternal, "%s is not wanted", l)
		}
		if holder := f.locks[l]; holder != "" && holder != id {
			holders[l.Device] = holder
		} else {
			f.locks[l] = id
		}
	}
	return holders, nil
}

// held are the locks that the job holds.
func (f *fakeStore) held(id string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, holder := range f.locks {
		if holder == id {
			n++
		}
	}
	return n
}

// job is a job as it is stored.
func (f *fakeStore) job(id string) quell.Job {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *f.jobs[id]
}

// abort stores values of a job's own key, one after the other; "" deletes it.
// Nobody is told of the first before the last is there.
func (f *fakeStore) abort(id string, values ...string) {
	f.do(func(int64) {
		for _, value := range values {
			f.revision++
			var stored *quell.StoredIntent
			if value != "" {
				intent, err := quell.ParseIntent([]byte(value))
				stored = &quell.StoredIntent{Key: "/jobs/" + id + "/abort", Revision: f.revision, Intent: intent, Err: err}
			}
			f.values[id] = append(f.values[id], stored)
		}
	})
}

func (f *fakeStore) abortAll(star bool) {
	f.do(func(revision int64) {
		f.aborts.Intents = append(f.aborts.Intents, quell.StoredIntent{
			Key: "/aborts/x", Revision: revision, Before: revision, Intent: quell.Intent{Mode: quell.Force},
		})
		if star {
			f.aborts.Star = revision
		} else {
			f.aborts.Revision = revision
		}
	})
}

// lose takes the job away from the node.
func (f *fakeStore) lose(id string, index bool) {
	f.do(func(int64) {
		f.jobs[id].Token, f.jobs[id].State.Status = 0, quell.StatusLost
		if index {
			delete(f.index, id)
		}
	})
}

func (f *fakeStore) state(id string) quell.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.jobs[id].State.Clone()
}

func (f *fakeStore) made() []quell.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.commits)
}

func (f *fakeStore) hook(before func(context.Context, quell.Transition) error, after func(quell.Transition)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}
