package scheduler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"quell"
)

// lockView is who holds which lock, as far as it is known. A lock is a number
// here, since jobs may want thousands, and all that wait are looked at again
// whenever something changes.
type lockView struct {
	numbers  map[quell.Lock]int
	locks    []quell.Lock // by its number
	held     []string     // likewise: its holder, empty where it is free
	read     bool
	revision int64 // up to which that is known
	first    []string
}

// number is a lock's number, a new one where it has none yet.
func (v *lockView) number(l quell.Lock) int {
	n, known := v.numbers[l]
	if !known {
		n = len(v.locks)
		v.numbers[l] = n
		v.locks, v.held = append(v.locks, l), append(v.held, "")
	}
	return n
}

// take takes what has changed.
func (v *lockView) take(c quell.LockChanges) {
	if v.read = true; c.Reset {
		clear(v.held)
	}
	for l, holder := range c.Held {
		v.held[v.number(l)] = holder
	}
	for _, l := range c.Freed {
		v.held[v.number(l)] = ""
	}
	v.revision = c.Revision
}

// wants is what a job wants, read once while it is queued: it does not change.
type wants struct {
	locks  []int             // their numbers
	node   map[string]string // labels
	onLock quell.OnLock
	rules  quell.Rules // of these, how long it may wait
	until  time.Time   // when it has waited too long; zero: never
}

// look reads what a job wants. One that cannot be read wants nothing: the
// attempt to place it says what is wrong, and it holds up nobody.
func (t *term) look(ctx context.Context, id string) error {
	job, _, err := t.Store.Load(ctx, id)
	w := &wants{}
	switch code := quell.CodeOf(err); {
	case err == nil:
		w.rules = job.Spec.Rules(t.Limits)
		w.until, w.onLock = w.rules.QueuedUntil(job.Spec.CreatedAt), job.Spec.OnLock
		w.node, w.rules.Template = job.Spec.Template.NodeLabels, quell.Template{}
	case code != quell.CodeInternal && code != quell.CodeUnsupported && code != quell.CodeNotFound:
		return err
	}
	t.change(func() {
		for _, l := range job.State.WantedLocks() {
			w.locks = append(w.locks, t.locks.number(l))
		}
		t.wants[id] = w
	})
	return nil
}

// fits says whether the job can run on a node with these labels.
func (w *wants) fits(labels map[string]string) bool {
	if w == nil {
		return true
	}
	for name, value := range w.node {
		if have, ok := labels[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// labels names the labels that a node needs.
func (w *wants) labels() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(w.node)) {
		list = append(list, name+"="+w.node[name])
	}
	return strings.Join(list, ", ")
}

func (w *wants) expired() bool { return !w.until.IsZero() && !time.Now().Before(w.until) }

// left is how long the job may still wait; 0: for ever, or no longer.
func (w *wants) left() time.Duration {
	if w == nil || w.until.IsZero() {
		return 0
	}
	return max(0, time.Until(w.until))
}

// claims are the locks that are held, and those that older jobs in the queue
// are to have first, so that nobody overtakes them.
type claims struct {
	locks   []quell.Lock
	held    func(lock int) string
	first   []string // by the lock's number: the youngest that is before whoever comes next
	unknown bool     // an older job's wants have not been read yet
}

// claims begins with what is held: as held says, and by jobs that were placed
// here, whose locks may not show yet.
func (t *term) claims(held func(lock int) string) *claims {
	v := &t.locks
	v.first = slices.Grow(v.first[:0], len(v.locks))[:len(v.locks)]
	clear(v.first)
	c := &claims{locks: v.locks, held: held, first: v.first}
	for id, w := range t.wants {
		if s := t.settled[id]; s.node != "" || t.active[id].Active.Node != "" {
			c.add(id, w)
		}
	}
	return c
}

func (c *claims) add(id string, w *wants) {
	if w == nil {
		c.unknown = true
		return
	}
	for _, l := range w.locks {
		c.first[l] = id
	}
}

// blocks says which job is before this one, and on what, if one is: whether it
// has the lock already, or is to have it first. The words do not tell which: they
// would have to be written anew for every job in the queue whenever one ends.
func (c *claims) blocks(id string, w *wants) (before string, unknown bool) {
	if len(w.locks) > 0 && c.unknown {
		return "", true
	}
	for _, l := range w.locks {
		first := c.first[l]
		if first == "" {
			first = c.held(l)
		}
		if first != "" && first != id {
			return fmt.Sprintf("job %s, which is before it on %s", first, c.locks[l]), false
		}
	}
	return "", false
}

// blockedNow says whether another job is before this one on a lock, by who
// holds them now and by the queue. The mutex is held.
func (t *term) blockedNow(id string, w *wants, held map[quell.Lock]string) bool {
	c := t.claims(func(l int) string { return held[t.locks.locks[l]] })
	for _, job := range t.queue() {
		if job.ID == id {
			break
		}
		c.add(job.ID, t.wants[job.ID])
	}
	before, unknown := c.blocks(id, w)
	return before != "" && !unknown
}
