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

// lockView is who holds which lock, as far as it is known.
type lockView struct {
	held     map[quell.Lock]string
	revision int64 // up to which that is known
}

// wants is what a job wants, read once while it is queued: it does not change.
type wants struct {
	locks  []quell.Lock
	node   map[string]string // labels
	onLock quell.OnLock
	rules  quell.Rules
	until  time.Time // when it has waited too long; zero: never
}

// look reads what a job wants. One that cannot be read wants nothing: the
// attempt to place it says what is wrong, and it holds up nobody.
func (t *term) look(ctx context.Context, id string) error {
	job, _, err := t.Store.Load(ctx, id)
	w := &wants{}
	switch code := quell.CodeOf(err); {
	case err == nil:
		w.rules = job.Spec.Rules(t.Limits)
		w.locks, w.onLock = job.State.WantedLocks(), job.Spec.OnLock
		w.node, w.until = job.Spec.Template.NodeLabels, w.rules.QueuedUntil(job.Spec.CreatedAt)
	case code != quell.CodeInternal && code != quell.CodeUnsupported && code != quell.CodeNotFound:
		return err
	}
	t.change(func() { t.wants[id] = w })
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
	held    map[quell.Lock]string
	first   map[quell.Lock]string // the youngest that is before whoever comes next
	unknown bool                  // an older job's wants have not been read yet
}

// claims begins with what is held: as it is followed, and by jobs that were
// placed here, whose locks may not show yet.
func (t *term) claims(held map[quell.Lock]string) *claims {
	c := &claims{held: held, first: map[quell.Lock]string{}}
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
			first = c.held[l]
		}
		if first != "" && first != id {
			return fmt.Sprintf("job %s, which is before it on %s", first, l), false
		}
	}
	return "", false
}

// blockedNow says whether another job is before this one on a lock, by who
// holds them now and by the queue. The mutex is held.
func (t *term) blockedNow(id string, w *wants, held map[quell.Lock]string) bool {
	c := t.claims(held)
	for _, job := range t.queue() {
		if job.ID == id {
			break
		}
		c.add(job.ID, t.wants[job.ID])
	}
	before, unknown := c.blocks(id, w)
	return before != "" && !unknown
}
